"""The device and process settings of a trial, its images, and its mini-batches."""

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import torch
from torch import Tensor

from resexp import datasets, streams
from resexp.config import ConfigError, DataSettings, Settings, expanded
from resexp.datasets import Images

MAX_TRAINING_SAMPLE = 10_000  # training images on which training accuracy and loss are evaluated
FIRST_LOGGING_STEPS = 10  # steps 0 to 10 are logging steps

DTYPES = {"float32": torch.float32, "float64": torch.float64, "tf32": torch.float32, "bfloat16": torch.float32}


class DeviceError(ConfigError):
    """The requested device is absent; the message lists the devices that are present (exit code 2)."""


# ---- device and process -------------------------------------------------------------------------------------------------


def resolve_device(requested: str) -> str:
    """The device to use: auto is cuda:0 if present, otherwise cpu. auto never selects mps.

    Raises:
        DeviceError: the requested device is absent.
    """
    present = ["cpu", *(f"cuda:{n}" for n in range(torch.cuda.device_count()))]
    present += ["mps"] if torch.backends.mps.is_available() else []
    if requested == "auto":
        return "cuda:0" if "cuda:0" in present else "cpu"
    device = "cuda:0" if requested == "cuda" else requested
    if device not in present:
        raise DeviceError(f"device: {requested} is not on this machine; choose {', '.join(present)}, or auto")
    return device


def check_compilation(settings: Settings, device: str) -> None:
    """Raises DeviceError if the training step is to be captured as a CUDA graph, but not on a CUDA device."""
    if settings.compile == "cuda-graph" and not device.startswith("cuda"):
        raise DeviceError(
            f"'cuda-graph' is available only on cuda, and the device is {device}; write compile: true or compile: false",
            key="compile",
        )


def device_name(device: str) -> str:
    """The product name of a CUDA device; for other devices the argument itself."""
    return torch.cuda.get_device_name(device) if device.startswith("cuda") else device


def kernels() -> str:
    """The CPU kernels: instruction set, MKL and oneDNN, for example "AVX512, MKL 2024.2, oneDNN 3.12.0".

    PyTorch reports the versions of MKL and oneDNN only in its build information; a missing library is left out.
    """
    build = torch.__config__.show()
    patterns = {"MKL": r"Math Kernel Library Version (\d[\d.]*)", "oneDNN": r"MKL-DNN v(\d[\d.]*)"}
    versions = [f"{name} {match[1]}" for name, pattern in patterns.items() if (match := re.search(pattern, build))]
    return ", ".join([torch.backends.cpu.get_cpu_capability(), *versions])


def prepare_process(threads: int, *, deterministic: bool, compiled: bool, precision: str) -> None:
    """Sets threads, determinism and precision, and flushes denormals: they make a 100-layer plain network four times slower."""
    torch.set_num_threads(threads)
    torch.set_flush_denormal(True)
    torch.use_deterministic_algorithms(deterministic)
    # With deterministic algorithms torch would also fill every new tensor. (torch has no stub for this setting.)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    if compiled:
        torch._dynamo.config.recompile_limit = 64  # noqa: SLF001 - its documented location; each network shape is one compilation
    torch.backends.cudnn.benchmark = False
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = precision == "tf32"


@contextmanager
def process_restored(*, compiled: bool) -> Iterator[None]:
    """A context that restores everything that `prepare_process` sets and torch's random state, also after an exception.

    For work in a process that belongs to the caller. `compiled`: whether networks are compiled.
    """
    backends: Any = torch.backends  # torch has no stubs for these attributes
    names = (("cuda", "matmul"), ("mkldnn", "matmul"), ("cudnn", "conv"), ("cudnn", "rnn"))  # some came after torch 2.8
    precision_modules = [getattr(getattr(backends, backend), kind, None) for backend, kind in names]
    attributes: list[tuple[Any, str]] = [
        (torch.utils.deterministic, "fill_uninitialized_memory"),
        (torch.backends.cudnn, "benchmark"),
        (torch.backends.cudnn, "allow_tf32"),
        *((module, "fp32_precision") for module in precision_modules),
        *([(torch._dynamo.config, "recompile_limit")] if compiled else []),  # noqa: SLF001 - as above
    ]
    values = [_readable(partial(getattr, *attribute, None)) for attribute in attributes]
    deterministic = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    threads, matmul = torch.get_num_threads(), _readable(torch.get_float32_matmul_precision)
    flush = (torch.tensor(1e-40, dtype=torch.float32, device="cpu") * 1).item() == 0  # torch has no getter
    try:
        with torch.random.fork_rng(devices=[]):  # layers draw torch's default weights before they are initialized
            yield
    finally:
        torch.set_num_threads(threads)
        torch.set_flush_denormal(flush)
        torch.use_deterministic_algorithms(deterministic, warn_only=warn_only)
        if matmul is not None:
            torch.set_float32_matmul_precision(matmul)
        for (module, name), value in zip(attributes, values, strict=True):
            if value is not None:
                setattr(module, name, value)


def _readable(read: Callable[[], Any]) -> Any:
    """The value of a setting; None if torch refuses to read it because the caller has mixed two APIs."""
    try:
        return read()
    except RuntimeError:
        return None


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error reports that memory is exhausted; torch has no exception class for this on a CPU."""
    phrases = ("can't allocate memory", "not enough memory")
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or any(phrase in str(error) for phrase in phrases)


# ---- training data ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class TrainingData:
    """Training and validation images on their device, the training sample, and the shift and scale of normalization."""

    training: Images
    validation: Images
    sample: Images
    shift: Tensor
    scale: Tensor

    def batch(self, index: Tensor) -> Tensor:
        """The normalized training images at `index`, of any shape: (*index, C, H, W)."""
        chosen = self.training.pixels.flatten(1).index_select(0, index.flatten())  # by rows: three times as fast as [index]
        return datasets.normalize(chosen.view(*index.shape, *self.input_shape), self.shift, self.scale)

    @property
    def input_shape(self) -> tuple[int, ...]:
        return tuple(self.training.pixels.shape[1:])

    @property
    def classes(self) -> int:
        return len(self.training.classes)


def source(data: DataSettings) -> datasets.Source:
    """The source of a config's images on this machine."""
    root = datasets.data_root(data.root)
    return datasets.Source(
        root, data.image_size, data.download, root / expanded(data.labels, "data.labels") if data.labels else None
    )


_unused_splits: dict[tuple[DataSettings, str], Images] = {}  # splits that `read_images` has read and that are not in use yet


def read_images(data: DataSettings) -> tuple[Images, Images]:
    """The images of the training and test sets as stored now, on the CPU.

    `load_training_data` and `test_images` then use these images, so every file is read and decoded once.
    """
    for cache in (load_training_data, test_images):
        cache.cache_clear()
    _unused_splits.clear()
    _unused_splits.update({(data, split): _load_split(data, split) for split in ("train", "test")})
    return _unused_splits[data, "train"], _unused_splits[data, "test"]


def _load_split(data: DataSettings, split: str) -> Images:
    images = _unused_splits.pop((data, split), None)
    return datasets.DATASETS[data.name](source(data), split) if images is None else images


@lru_cache(maxsize=1)
def load_training_data(data: DataSettings, device: str, precision: str) -> TrainingData:
    """The training and validation images of an experiment, without the test set.

    Raises:
        DataError: missing or damaged files; a validation set or limit that is too large; identical training images.
    """
    training, validation = datasets.train_validation_split(
        _load_split(data, "train"), data.validation, data.limit, data.name, data.limit_validation
    )
    pixels = training.pixels
    if len(pixels) > 1 and all(torch.equal(image, pixels[0]) for image in pixels):
        raise datasets.DataError(
            f"{source(data).root}: all {len(pixels)} training images are identical, so nothing can be learned from them; "
            "replace them"
        )
    shift, scale = datasets.normalization_stats(training, data.normalize)
    number = min(MAX_TRAINING_SAMPLE, len(training))
    index = datasets.held_out(training.labels, number, streams.generator(0, "training sample", data.name))
    target, dtype = torch.device(device), DTYPES[precision]
    training = training.to(target)
    sample = training if number == len(training) else training.at(index.to(target))
    return TrainingData(training, validation.to(target), sample, shift.to(dtype).to(target), scale.to(dtype).to(target))


@lru_cache(maxsize=1)
def test_images(data: DataSettings, device: str) -> Images:
    """The test set, which is used only after the last training step."""
    return datasets.limited(_load_split(data, "test"), data.limit_test, "test").to(torch.device(device))


@dataclass(frozen=True)
class StepCounts:
    """Training steps per epoch, floor(n / B), and in all; every how many steps gradients are logged."""

    per_epoch: int
    steps: int
    every: int

    def is_logging_step(self, step: int) -> bool:
        """True for steps 0 to 10, multiples of `every`, and the last step of the first epoch, where slope_end is measured."""
        return step <= FIRST_LOGGING_STEPS or step % self.every == 0 or step == self.end_of_first_epoch

    @property
    def end_of_first_epoch(self) -> int:
        return min(self.per_epoch, self.steps) - 1


def steps_per_epoch(images: int, batch_size: int) -> int:
    """floor(n / B); raises DataError if a batch is larger than the training set."""
    if images < batch_size:
        raise datasets.DataError(
            f"training.batch_size: {batch_size} is more than the {images} training images; choose a smaller batch size"
        )
    return images // batch_size


def step_counts(images: int, batch_size: int, steps: int | None, epochs: int | None, every: int) -> StepCounts:
    """Either `steps` or `epochs` is a number. Raises DataError if a batch is larger than the training set."""
    per_epoch = steps_per_epoch(images, batch_size)
    return StepCounts(per_epoch, per_epoch * (epochs or 0) if steps is None else steps, every)


def batch_index(seeds: Sequence[int]) -> list[int]:
    """The position of each trial's seed among the distinct seeds: the batch that it trains on."""
    distinct = list(dict.fromkeys(seeds))
    return [distinct.index(seed) for seed in seeds]


def batches(
    training_data: TrainingData, seeds: Sequence[int], batch_size: int, augment: str, step: int = 0
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yields (normalized and augmented images, labels) indefinitely, from `step` on; equal for all arms with the same seed.

    `seeds` has one seed per trial, S of them distinct. Shapes: (S, B, C, H, W) and (T, B) for several trials, (B, C, H, W)
    and (B,) for one.
    """
    device, images = training_data.shift.device, len(training_data.training)
    per_epoch, distinct = steps_per_epoch(images, batch_size), list(dict.fromkeys(seeds))
    trial_index = torch.tensor(batch_index(seeds), device=device)
    while True:
        first = step % per_epoch
        orders = torch.stack([datasets.order(seed, step // per_epoch, images) for seed in distinct])
        orders = orders[:, first * batch_size : per_epoch * batch_size].to(device)
        draws = torch.empty(0)
        if augment != "none":
            steps = range(step, step - first + per_epoch)
            draws = epoch_draws(augment, distinct, steps, batch_size, training_data.input_shape[1]).to(device)
        for number in range(per_epoch - first):
            index = orders[:, number * batch_size : (number + 1) * batch_size]
            x, labels = training_data.batch(index), training_data.training.labels[index]
            if augment != "none":
                x = datasets.AUGMENTATIONS[augment].apply(x.flatten(0, 1), draws[number]).view_as(x)
            yield (x[0], labels[0]) if len(seeds) == 1 else (x, labels[trial_index])
            step += 1


def epoch_draws(augment: str, seeds: Sequence[int], steps: Sequence[int], batch_size: int, height: int) -> Tensor:
    """The draws of an augmentation in these steps, (steps, n, seeds * B) on the CPU, from the streams (seed, step).

    They reach the device together, because a copy in each step would wait for the device.
    """
    draw = datasets.AUGMENTATIONS[augment].draw
    generators = [[streams.generator(seed, "augment", step) for seed in seeds] for step in steps]
    return torch.stack([torch.cat([draw(batch_size, height, g) for g in row], 1) for row in generators])
