"""The machine a trial runs on, the images it trains on, and in which order it sees them."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from resexp import datasets, streams
from resexp.config import ConfigError, Data, Settings, Trial, expanded
from resexp.datasets import Images

SAMPLE = 10_000
FIRST_READINGS = 10

DTYPES = {"float32": torch.float32, "float64": torch.float64, "tf32": torch.float32, "bfloat16": torch.float32}


class DeviceError(ConfigError):
    """A device that is asked for and absent: says what is there (exit code 2)."""


# ---- the machine --------------------------------------------------------------------------------------------------------


def resolve_device(asked: str) -> str:
    """auto becomes cuda, else cpu; mps only by name.

    Raises:
        DeviceError: the named device is absent.
    """
    present = ["cpu", *(f"cuda:{n}" for n in range(torch.cuda.device_count()))]
    present += ["mps"] if torch.backends.mps.is_available() else []
    if asked == "auto":
        return "cuda:0" if "cuda:0" in present else "cpu"
    found = "cuda:0" if asked == "cuda" else asked
    if found not in present:
        raise DeviceError(f"device: {asked} is not on this machine; it has {', '.join(present)} (or device=auto)")
    return found


def device_name(device: str) -> str:
    """What an accelerator calls itself; cpu for none."""
    return torch.cuda.get_device_name(device) if device.startswith("cuda") else device


def kernels() -> str:
    """The CPU kernels: torch's instruction set, MKL, oneDNN, as in "AVX512, MKL 2024.2, oneDNN 3.12.0".

    PyTorch names the two libraries only in its build information; a missing one is left out.
    """
    build = torch.__config__.show()
    patterns = {"MKL": r"Math Kernel Library Version (\d[\d.]*)", "oneDNN": r"MKL-DNN v(\d[\d.]*)"}
    versions = [f"{name} {match[1]}" for name, pattern in patterns.items() if (match := re.search(pattern, build))]
    return ", ".join([torch.backends.cpu.get_cpu_capability(), *versions])


def prepare_process(threads: int, settings: Settings) -> None:
    """Threads, denormals (flushed: a 100-layer plain net is four times slower with them), determinism, precision."""
    torch.set_num_threads(threads)
    torch.set_flush_denormal(True)
    torch.use_deterministic_algorithms(settings.deterministic)
    # Deterministic algorithms would write every new tensor once for nothing. (torch has no stub for the switch.)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    if settings.compile:
        torch._dynamo.config.recompile_limit = 64  # noqa: SLF001 - its documented place; a network of each shape is one
    torch.backends.cudnn.benchmark = False
    torch.backends.cuda.matmul.allow_tf32 = settings.precision == "tf32"
    torch.backends.cudnn.allow_tf32 = settings.precision == "tf32"


@contextmanager
def process_restored(*, compiled: bool) -> Iterator[None]:
    """Restores everything that `prepare_process` sets and torch's random state, also after an exception.

    For work in a process that belongs to the caller. `compiled`: whether anything is compiled.
    """
    backends: Any = torch.backends  # torch has no stubs for these parts of it
    precise = [backends.cuda.matmul, backends.mkldnn.matmul, backends.cudnn.conv, backends.cudnn.rnn]
    switches: list[tuple[Any, str]] = [
        (torch.utils.deterministic, "fill_uninitialized_memory"),
        (torch.backends.cudnn, "benchmark"),
        (torch.backends.cudnn, "allow_tf32"),
        *((module, "fp32_precision") for module in precise),
        *([(torch._dynamo.config, "recompile_limit")] if compiled else []),  # noqa: SLF001 - as above
    ]
    values = [_switch(*switch) for switch in switches]
    deterministic, warn_only = (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
    )
    threads, flushed, matmul = torch.get_num_threads(), flushes_denormals(), _matmul_precision()
    try:
        with torch.random.fork_rng(devices=[]):  # layers draw torch's default weights before they are initialized
            yield
    finally:
        torch.set_num_threads(threads)
        torch.set_flush_denormal(flushed)
        torch.use_deterministic_algorithms(deterministic, warn_only=warn_only)
        if matmul is not None:
            torch.set_float32_matmul_precision(matmul)
        for (module, name), value in zip(switches, values, strict=True):
            if value is not None:
                setattr(module, name, value)


def _switch(module: Any, name: str) -> Any:
    """The value of a switch; None if torch has none, or refuses to read it because the caller has mixed two APIs."""
    try:
        return getattr(module, name, None)
    except RuntimeError:
        return None


def _matmul_precision() -> str | None:
    try:
        return torch.get_float32_matmul_precision()
    except RuntimeError:  # as above
        return None


def flushes_denormals() -> bool:
    """Whether this process flushes denormal numbers to 0; torch has no getter."""
    return (torch.tensor(1e-40, dtype=torch.float32, device="cpu") * 1).item() == 0


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that a tensor did not fit into memory; on a CPU torch has no class of its own for that."""
    words = ("can't allocate memory", "not enough memory")
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or any(of in str(error) for of in words)


# ---- what a trial trains on -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class TrainingData:
    """Training and validation images on their device, a fixed sample of the former, and how they are normalised."""

    training: Images
    validation: Images
    sample: Images
    shift: Tensor
    scale: Tensor

    def batch(self, index: Tensor) -> Tensor:
        """The normalised training images at `index`, of any shape: (*index, C, H, W)."""
        chosen = self.training.pixels.flatten(1).index_select(0, index.flatten())  # whole rows: three times as fast as [index]
        return datasets.normalize(chosen.view(*index.shape, *self.input_shape), self.shift, self.scale)

    @property
    def input_shape(self) -> tuple[int, ...]:
        return tuple(self.training.pixels.shape[1:])

    @property
    def classes(self) -> int:
        return len(self.training.classes)


def source(data: Data) -> datasets.Source:
    """The source of a config's images on this machine."""
    root = datasets.data_root(data.root)
    return datasets.Source(
        root, data.image_size, data.download, root / expanded(data.labels, "data.labels") if data.labels else None
    )


_unused: dict[tuple[Data, str], Images] = {}  # splits that `read` has read, until they are used


def read(data: Data) -> tuple[Images, Images]:
    """The images of the training and test sets as stored now, on the CPU.

    `material` and `test_images` take them from here: a start reads and decodes every file once.

    Raises:
        DataError: missing or damaged files.
    """
    for cache in (load_training_data, test_images):
        cache.cache_clear()
    _unused.clear()
    _unused.update({(data, part): _part(data, part) for part in ("train", "test")})
    return _unused[data, "train"], _unused[data, "test"]


def _part(data: Data, part: str) -> Images:
    found = _unused.pop((data, part), None)
    return datasets.DATASETS[data.name](source(data), part) if found is None else found


@lru_cache(maxsize=1)
def load_training_data(data: Data, device: str, dtype: torch.dtype) -> TrainingData:
    """The images that every trial of an experiment trains on; the test part is not among them.

    Raises:
        DataError: missing or damaged files; a validation set or limit that is too large; training images that are all equal.
    """
    training, validation = datasets.split(_part(data, "train"), data.validation, data.limit, data.name, data.limit_validation)
    pixels = training.pixels
    if len(pixels) > 1 and all(torch.equal(image, pixels[0]) for image in pixels):
        raise datasets.DataError(
            f"{source(data).root}: all {len(pixels)} training images are equal, pixel by pixel, so nothing can be learned; "
            "replace them"
        )
    shift, scale = datasets.normalization_stats(training, data.normalize)
    number = min(SAMPLE, len(training))
    index = datasets.held_out(training.labels, number, streams.generator(0, "training sample", data.name))
    place = torch.device(device)
    kept = training.to(place)
    sample = kept if number == len(training) else kept.at(index.to(place))
    return TrainingData(kept, validation.to(place), sample, shift.to(dtype).to(place), scale.to(dtype).to(place))


@lru_cache(maxsize=1)
def test_images(data: Data, device: str) -> Images:
    """The test part: read by the last line of a trial and nowhere before."""
    return datasets.limited(_part(data, "test"), data.limit_test, "test").to(torch.device(device))


@dataclass(frozen=True)
class StepCounts:
    """Steps of a trial: per epoch floor(n / B), in all, and those at which gradients are read."""

    per_epoch: int
    steps: int
    every: int

    def reads(self, step: int) -> bool:
        """Steps 0-10, every `every`, and the last of the first epoch, from which slope_end is taken."""
        return step <= FIRST_READINGS or step % self.every == 0 or step == self.end_of_first_epoch

    @property
    def end_of_first_epoch(self) -> int:
        return min(self.per_epoch, self.steps) - 1


def step_counts(settings: Settings, images: int) -> StepCounts:
    """Raises DataError when a batch is larger than the training part."""
    training = settings.training
    per_epoch = images // training.batch_size
    if not per_epoch:
        raise datasets.DataError(
            f"training.batch_size: {training.batch_size} is more than the {images} training images; choose a smaller one"
        )
    steps = training.steps if training.steps is not None else per_epoch * (training.epochs or 0)
    return StepCounts(per_epoch, steps, settings.gradients.every)


def batches(trials: Sequence[Trial], training_data: TrainingData, per_epoch: int, step: int) -> Iterator[tuple[Tensor, Tensor]]:
    """(normalised, augmented images; labels) from `step` on, for ever: the same for every arm of a seed.

    (T, B, C, H, W) and (T, B) of several trials, (B, C, H, W) and (B,) of one.
    """
    settings, device = trials[0].settings, training_data.shift.device
    size, augment = settings.training.batch_size, settings.data.augment
    seeds = list(dict.fromkeys(trial.seed for trial in trials))
    seats = 0 if len(trials) == 1 else torch.tensor([seeds.index(trial.seed) for trial in trials], device=device)
    while True:
        epoch = step // per_epoch
        orders = torch.stack([datasets.order(seed, epoch, len(training_data.training)) for seed in seeds]).to(device)
        for start in range(step % per_epoch * size, per_epoch * size, size):
            index = orders[:, start : start + size]
            x, labels = training_data.batch(index), training_data.training.labels[index]
            if augment != "none":
                generators = [streams.generator(seed, "augment", step) for seed in seeds]
                x = torch.stack([datasets.AUGMENTATIONS[augment](*of) for of in zip(x, generators, strict=True)])
            yield x[seats], labels[seats]
            step += 1
