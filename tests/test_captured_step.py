"""The training step on an accelerator, checked on a CPU: no waiting between logging steps, and capture as one graph.

Tensors of the meta device have no values, so they are a second device on which every read by the host fails. A recorder of
operations takes the part of a CUDA graph: it repeats the same operations on the same memory.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.optim import adam, sgd
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from resexp import datasets, streams, training
from resexp.datasets import Images
from resexp.training import graph, loop

pytestmark = pytest.mark.usefixtures("torch_state")

CNN = ("network.family=cnn", "network.depth=[8]", "network.width=8", "network.norm=batch")
CASES = {
    "a stack of mlps": ("network.norm=layer", "training.clip_norm=0.5", "seeds=2", "training.schedule=cosine"),
    "sgd with momentum": ("training.optimizer=sgd", "training.momentum=0.9", "training.weight_decay=0.01"),
    "a cnn": (*CNN, "training.optimizer=adamw", "training.label_smoothing=0.1", "training.schedule=cosine"),
    "a stack of cnns": (*CNN, "seeds=2", "data.name=fashion-mnist", "data.augment=crop-flip"),
    "random shifts": (*CNN, "data.name=fashion-mnist", "data.augment=crop-flip", "training.optimizer=sgd"),
}
every_case = pytest.mark.parametrize("case", CASES)


def state_of(tiny: Any, folder: Path, *overrides: str, device: str = "cpu") -> training.StackState:
    """The initial state of the residual networks as one stack, with a logging step at 0, 10 and 20 only."""
    experiment = tiny("training.steps=24", "gradients.every=10", "training.epochs=null", "network.plain=false", *overrides)
    return training.initial_state(experiment.trials, folder, "stack", device)


@pytest.fixture(autouse=True)
def _few_logging_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training.data, "FIRST_LOGGING_STEPS", 0)


@pytest.fixture(autouse=True)
def _random_images(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Small random images as Fashion-MNIST, whose images may be mirrored."""
    pixels = torch.randint(0, 256, (120, 1, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    images = Images(pixels, torch.arange(120) % 10, tuple("0123456789"))
    monkeypatch.setitem(datasets.DATASETS, "fashion-mnist", lambda _source, _split: images)
    yield
    training.load_training_data.cache_clear()


def test_without_augmentation_the_batch_has_the_images_of_the_data_set_and_nothing_is_drawn(
    tiny: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    state, names, generator = state_of(tiny, tmp_path), list[object](), streams.generator
    monkeypatch.setattr(streams, "generator", lambda *name: names.append(name[1]) or generator(*name))
    x, _ = next(state.batches(0))

    assert "augment" not in names
    assert torch.equal(x, state.training_data.batch(datasets.order(0, 0, 64)[:16]))


# ---- no waiting for the device between logging steps ------------------------------------------------------------------


def is_array(value: Any) -> bool:
    return isinstance(value, Tensor) and value.ndim > 0


class OneDevice(TorchDispatchMode):
    """Refuses operations on arrays of the CPU, and operations that move an array to another device."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        devices = {value.device.type for value in pytree.tree_leaves((args, kwargs, result)) if is_array(value)}
        assert devices <= {"meta"}, f"{func} uses {devices}"
        return result


@pytest.fixture
def _fused_on_meta(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets the fused optimizers run on meta tensors: their constructors refuse them, and fused SGD has no implementation."""
    for module in (adam, sgd):
        monkeypatch.setattr(module, "_device_dtype_check_for_fused", lambda *_arguments, **_options: None)
    monkeypatch.setattr(
        torch, "_fused_sgd_", lambda weights, grads, *_arguments, **_options: torch._foreach_add_(weights, grads)
    )


@pytest.mark.usefixtures("_fused_on_meta")
@every_case
def test_between_logging_steps_the_host_neither_reads_from_the_device_nor_copies_to_it(case: str, tiny: Any, tmp_path: Path):
    state = state_of(tiny, tmp_path, *CASES[case], device="meta")
    stream = state.batches(0)
    state.network.train()
    state.step = 1
    training.update(state, *next(stream))  # the first batch of an epoch is preceded by its order and its draws
    state.step = 2
    with OneDevice():
        training.update(state, *next(stream))

    assert len(state.losses) == 2
    state.step = 3  # the last step of the first epoch is a logging step, which reads
    with pytest.raises(NotImplementedError, match="no data"):
        training.update(state, *next(stream))


def test_a_copy_to_another_device_and_an_array_of_the_cpu_are_refused():
    for operation in (lambda: torch.zeros(3).to("meta"), lambda: torch.zeros(3) + 1):
        with OneDevice(), pytest.raises(AssertionError, match="cpu"):
            operation()


# ---- one graph --------------------------------------------------------------------------------------------------------


class Recorder(TorchDispatchMode):
    """Records operations, and repeats them with the same numbers on the same tensors, as a CUDA graph does."""

    def __init__(self) -> None:
        super().__init__()
        self.operations: list[tuple[Any, Any, Any, list[Tensor]]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        assert func is not torch.ops.aten._local_scalar_dense.default
        self.operations.append((func, args, kwargs or {}, pytree.tree_leaves(result)))
        return result

    def replay(self) -> None:
        with torch.no_grad():
            for func, args, kwargs, outputs in self.operations:
                results = pytree.tree_leaves(func(*args, **kwargs))
                for output, result in zip(outputs, results, strict=True):
                    if isinstance(output, Tensor) and output.data_ptr() != result.data_ptr():
                        output.copy_(result)


def record(state: training.StackState, step: Callable[[], Tensor], _device: torch.device) -> tuple[Callable[[], None], Tensor]:
    """`graph.capture` on a CPU, where recording executes the step; so the state of training is restored afterwards."""
    moments = [value for values in state.optimizer.state.values() for value in values.values() if isinstance(value, Tensor)]
    memory = [*state.network.parameters(), *state.network.buffers(), *moments]
    before = [value.detach().clone() for value in memory]
    with Recorder() as recorder:
        losses = step()
    with torch.no_grad():
        for value, old in zip(memory, before, strict=True):
            value.copy_(old)
    return recorder.replay, losses


@pytest.mark.parametrize("case", [*CASES, "random draws"])
def test_a_replayed_step_trains_like_the_operations_one_by_one(
    case: str, tiny: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Also with a learning rate that changes in every step, and with logging steps and evaluations in between."""
    overrides = CASES.get(case, ("network.shortcut=dropout", "network.norm=batch", "training.schedule=cosine"))
    single, replayed = (state_of(tiny, tmp_path / name, *overrides) for name in ("single", "replayed"))
    for state in (single, replayed):
        loop.capture_steps(state)
        loop.resume(state)
    single.captured_step = None
    captures = []
    monkeypatch.setattr(graph, "on_side_stream", lambda step, _device: step())
    monkeypatch.setattr(graph, "capture", lambda *step: captures.append(step) or record(replayed, *step))
    for state in (single, replayed):
        loop.loop(state, training.never)

    assert len(captures) == 1
    assert replayed.step == 24
    for name, value in single.network.state_dict().items():
        assert torch.equal(replayed.network.state_dict()[name], value), name
    for log in ("metrics.csv", "gradients.csv", "signals.csv"):
        assert (replayed.trial_paths[0] / log).read_bytes() == (single.trial_paths[0] / log).read_bytes()


def test_a_tensor_as_learning_rate_follows_the_schedule(tiny: Any, tmp_path: Path):
    state = state_of(tiny, tmp_path, "training.schedule=cosine", "training.lr=0.25")
    loop.capture_steps(state)
    (group,) = state.optimizer.param_groups
    rate = group["lr"]
    stream = state.batches(0)
    for state.step in range(1, 3):
        state.captured_step = None
        training.update(state, *next(stream))

        assert group["lr"] is rate
        assert rate.item() == pytest.approx(state.learning_rate(state.step), rel=1e-6)


# ---- on a GPU ---------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@every_case
def test_a_cuda_graph_trains_like_single_kernels(case: str, tiny: Any, tmp_path: Path):
    single, replayed = (state_of(tiny, tmp_path / name, *CASES[case], device="cuda:0") for name in ("single", "replayed"))
    for state in (single, replayed):
        loop.capture_steps(state)
        loop.resume(state)
    single.captured_step = None
    for state in (single, replayed):
        loop.loop(state, training.never)

    assert replayed.captured_step
    assert replayed.captured_step.replay
    for name, value in single.network.state_dict().items():
        assert torch.equal(replayed.network.state_dict()[name], value), name
