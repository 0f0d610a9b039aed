"""From a trial's settings to its network, its optimizer and its learning rate."""

import math
from bisect import bisect_left
from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from resexp import stacking, streams
from resexp.config import Network as Cell
from resexp.config import Settings, Training, Trial, shortcut_name
from resexp.networks import GROUPS, Network, Noise, Shortcut, build_network, initialize
from resexp.training.data import DTYPES

NARROW = 8  # channels: the block size of oneDNN's AVX2 convolutions


def build(trial: Trial, input_shape: tuple[int, ...], classes: int) -> Network:
    """The network of a trial as it starts: the last place that sees a config.

    The plain twin of a start that is made for shortcuts has one of its own: without zero_init_residual, and he for fixup. An empty
    branch without a shortcut is a dead network.
    """
    cell = trial.settings.network
    alone = shortcut_name(cell.shortcut) == "plain"
    width = cell.width if trial.parameters_of is None else width_of_control(cell, trial.parameters_of, input_shape, classes)
    network = _assembled(cell, cell.shortcut, width, input_shape, classes)
    init = TWIN_INITS.get(cell.init, cell.init) if alone else cell.init
    initialize(network, trial.seed, init, cell.init_scale, zero_init_residual=cell.zero_init_residual and not alone)
    network.to(memory_format=memory_format(network))
    return network.to(DTYPES[trial.settings.precision])


def memory_format(network: Network) -> torch.memory_format:
    """Channels-last, which makes convolutions faster, unless a convolution in the blocks has fewer than 8 input channels.

    On a CPU with AVX2 but without AVX-512, oneDNN writes past its workspace in the backward pass of a strided 1x1
    convolution with 2 to 7 input channels in channels-last: https://github.com/uxlfoundation/oneDNN/issues/6035.
    The rule covers every convolution, so that all arms of a narrow network use the same format.
    """
    channels = [part.in_channels for part in network.blocks.modules() if isinstance(part, nn.Conv2d)]
    return torch.contiguous_format if min(channels, default=NARROW) < NARROW else torch.channels_last


def _assembled(cell: Cell, shortcut: Shortcut, width: int, input_shape: tuple[int, ...], classes: int) -> Network:
    return build_network(
        cell.family,
        depth=cell.depth,
        width=width,
        shortcut=shortcut,
        input_shape=input_shape,
        classes=classes,
        block=cell.block,
        block_layers=cell.block_layers,
        placement=cell.placement,
        norm=cell.norm,
        activation=cell.activation,
        scalars=cell.init == "fixup",
    )


def width_of_control(cell: Cell, shortcut: Shortcut, input_shape: tuple[int, ...], classes: int) -> int:
    """The width of the narrowest plain network that has at least as many parameters as the cell's with `shortcut`.

    Widths are multiples of what the cell's norm asks for. Plain networks are counted without storage; a shortcut of one's
    own may read or copy values when it is made, and is counted as it is trained.
    """
    unit = GROUPS if cell.norm == "group" else 1
    wanted = _parameters(_assembled(cell, shortcut, cell.width, input_shape, classes))

    def plain(units: int) -> int:
        with torch.device("meta"):
            return _parameters(_assembled(cell, "plain", units * unit, input_shape, classes))

    enough = cell.width // unit
    while plain(enough) < wanted:
        enough *= 2
    candidates = range(1, enough + 1)
    return unit * candidates[bisect_left(candidates, wanted, key=plain)]


def _parameters(network: Network) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


TWIN_INITS = {"fixup": "he"}  # how the plain twin starts where the start is made for shortcuts


def sample_noise(network: Network, trials: Sequence[Trial], step: int, x: Tensor) -> list[Noise]:
    """What the shortcuts leave to chance in the step that follows `step` updates, from streams (seed, step, block).

    x is (T, B, ...) of several trials, (B, ...) of one.
    """
    batch = x.shape[0 if len(trials) == 1 else 1]
    streams_of = [partial(streams.generator, trial.seed, "shortcut", step, device=x.device) for trial in trials]
    return stacking.join_noise([network.sample_noise(batch, stream) for stream in streams_of])


def learning_rate(training: Training, step: int, steps: int) -> float:
    """The learning rate of the update that follows `step` completed ones, of `steps` in all."""
    warmup = training.warmup.factor if training.warmup and step < training.warmup.steps else 1.0
    return training.lr * warmup * SCHEDULES[training.schedule](training, step, steps)


SCHEDULES: dict[str, Callable[[Training, int, int], float]] = {
    "constant": lambda _training, _step, _steps: 1.0,
    "step": lambda training, step, _steps: training.gamma ** sum(step >= m for m in training.milestones),
    "cosine": lambda _training, step, steps: (1 + math.cos(math.pi * step / steps)) / 2,
}

OPTIMIZERS: dict[str, Callable[[list[dict[str, Any]], Training], torch.optim.Optimizer]] = {
    "sgd": lambda groups, t: torch.optim.SGD(groups, t.lr, t.momentum, nesterov=t.nesterov, fused=True),
    "adam": lambda groups, t: torch.optim.Adam(groups, t.lr, t.betas, t.eps, fused=True),
    "adamw": lambda groups, t: torch.optim.AdamW(groups, t.lr, t.betas, t.eps, fused=True),
}


def make_optimizer(network: Network, training: Training, vectors: Collection[str]) -> torch.optim.Optimizer:
    """The optimizer of a recipe; `decay: weights` spares `vectors`: biases, norms and scalars, by name."""
    spared = set(vectors) if training.decay == "weights" else set()
    groups = [
        {
            "params": [p for name, p in network.named_parameters() if name not in spared],
            "weight_decay": training.weight_decay,
        },
        {"params": [p for name, p in network.named_parameters() if name in spared], "weight_decay": 0.0},
    ]
    return OPTIMIZERS[training.optimizer]([group for group in groups if group["params"]], training)


@torch.no_grad()
def clip(network: Network, trials: int, limit: float) -> None:
    """Scales the gradients of each trial to a norm of at most `limit`, as torch's clip_grad_norm_ does for one network."""
    grads = [parameter.grad for parameter in network.parameters() if parameter.grad is not None]
    norms = torch.stack([torch.linalg.vector_norm(grad.reshape(trials, -1), dim=1) for grad in grads])
    factors = (limit / (torch.linalg.vector_norm(norms, dim=0) + 1e-6)).clamp(max=1.0)
    for grad in grads:
        grad.mul_(factors if trials == 1 else factors.view(-1, *[1] * (grad.ndim - 1)))


def uncompiled(settings: Settings) -> AbstractContextManager[object]:
    """For measuring: what is compiled is the training step, and every other batch size would be compiled anew."""
    return torch.compiler.set_stance("force_eager") if settings.compile else nullcontext()


def precision_of(settings: Settings, device: torch.device) -> AbstractContextManager[object]:
    """Autocast under bfloat16, nothing else."""
    return torch.autocast(device.type, torch.bfloat16) if settings.precision == "bfloat16" else nullcontext()
