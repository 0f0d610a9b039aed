"""Network, optimizer, learning rate and noise of a trial, from its settings."""

import math
from bisect import bisect_left
from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from resexp import stacking, streams
from resexp.config import NetworkSettings, Scalars, TrainingSettings, Trial, shortcut_name
from resexp.networks import GROUPS, Network, Noise, build_network, initialize
from resexp.training.data import DTYPES

MIN_CHANNELS_LAST = 8  # input channels: the block size of oneDNN's AVX2 convolutions


def build(trial: Trial, input_shape: tuple[int, ...], classes: int) -> Network:
    """The network of a trial at initialization. `resexp.networks` takes plain arguments, not configs.

    A plain network ignores zero_init_residual, and uses He initialization instead of fixup. Without a shortcut, a branch that
    is 0 would pass neither activations nor gradients.
    """
    network_settings = trial.settings.network
    is_plain = shortcut_name(network_settings.shortcut) == "plain"
    width = network_settings.width
    if trial.parameters_of is not None:
        width = matched_plain_width(network_settings, trial.parameters_of, input_shape, classes)
    network = _build(network_settings, network_settings.shortcut, width, input_shape, classes)
    init = PLAIN_INITS.get(network_settings.init, network_settings.init) if is_plain else network_settings.init
    initialize(
        network,
        trial.seed,
        init,
        network_settings.init_scale,
        zero_init_residual=network_settings.zero_init_residual and not is_plain,
    )
    network.to(memory_format=memory_format(network))
    return network.to(DTYPES[trial.settings.precision])


def memory_format(network: Network) -> torch.memory_format:
    """Channels-last, which makes convolutions faster, unless a convolution in the blocks has fewer than 8 input channels.

    On a CPU with AVX2 but without AVX-512, oneDNN writes past its workspace in the backward pass of a strided 1x1
    convolution with 2 to 7 input channels in channels-last: https://github.com/uxlfoundation/oneDNN/issues/6035.
    The rule covers every convolution, so that all arms of a narrow network use the same format.
    """
    channels = [module.in_channels for module in network.blocks.modules() if isinstance(module, nn.Conv2d)]
    return torch.contiguous_format if min(channels, default=MIN_CHANNELS_LAST) < MIN_CHANNELS_LAST else torch.channels_last


def _build(
    network_settings: NetworkSettings, shortcut: str | Scalars, width: int, input_shape: tuple[int, ...], classes: int
) -> Network:
    return build_network(
        network_settings.family,
        depth=network_settings.depth,
        width=width,
        shortcut=shortcut,
        input_shape=input_shape,
        classes=classes,
        block=network_settings.block,
        block_layers=network_settings.block_layers,
        placement=network_settings.placement,
        norm=network_settings.norm,
        activation=network_settings.activation,
        scalars=network_settings.init == "fixup",
    )


def matched_plain_width(
    network_settings: NetworkSettings, shortcut: str | Scalars, input_shape: tuple[int, ...], classes: int
) -> int:
    """The width of the parameter-matched plain baseline: the narrowest with at least as many parameters as with `shortcut`.

    With group norm, widths are multiples of the number of groups; with init looks-linear, they are even. Plain networks are
    built on the meta device. The network with the shortcut is not: the constructor of a custom shortcut may read values.
    """
    unit = GROUPS if network_settings.norm == "group" else 2 if network_settings.init == "looks-linear" else 1
    target = _parameters(_build(network_settings, shortcut, network_settings.width, input_shape, classes))

    def plain_parameters(units: int) -> int:
        with torch.device("meta"):
            return _parameters(_build(network_settings, "plain", units * unit, input_shape, classes))

    upper_units = network_settings.width // unit
    while plain_parameters(upper_units) < target:
        upper_units *= 2
    candidates = range(1, upper_units + 1)
    return unit * candidates[bisect_left(candidates, target, key=plain_parameters)]


def _parameters(network: Network) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


PLAIN_INITS = {"fixup": "he"}  # initialization of the plain counterpart, for initializations that need a shortcut


def sample_noise(network: Network, seeds: Sequence[int], step: int, x: Tensor) -> list[Noise]:
    """The random draws of stochastic shortcuts after `step` updates, from the streams (seed, step, block).

    x has shape (T, B, ...) for several trials, (B, ...) for one. `seeds` has one seed per trial.
    """
    batch = x.shape[0 if len(seeds) == 1 else 1]
    trial_streams = [partial(streams.generator, seed, "shortcut", step, device=x.device) for seed in seeds]
    return stacking.join_noise([network.sample_noise(batch, stream) for stream in trial_streams])


def learning_rates(recipe: TrainingSettings, steps: int) -> Callable[[int], float]:
    """A function that returns the learning rate of the update after so many completed updates, of `steps` in all."""
    warmup_steps, warmup_factor = (recipe.warmup.steps, recipe.warmup.factor) if recipe.warmup else (0, 1.0)
    lr, factor = recipe.lr, partial(SCHEDULES[recipe.schedule], steps, recipe.milestones, recipe.gamma)
    return lambda step: lr * (warmup_factor if step < warmup_steps else 1.0) * factor(step)


# Factors of the learning rate, from (steps in all, milestones, gamma, completed steps).
SCHEDULES: dict[str, Callable[[int, Sequence[int], float, int], float]] = {
    "constant": lambda _steps, _milestones, _gamma, _step: 1.0,
    "step": lambda _steps, milestones, gamma, step: gamma ** sum(step >= milestone for milestone in milestones),
    "cosine": lambda steps, _milestones, _gamma, step: (1 + math.cos(math.pi * step / steps)) / 2,
}

OPTIMIZERS: dict[str, Callable[[list[dict[str, Any]], TrainingSettings], torch.optim.Optimizer]] = {
    "sgd": lambda groups, t: torch.optim.SGD(groups, t.lr, t.momentum, nesterov=t.nesterov, fused=True),
    "adam": lambda groups, t: torch.optim.Adam(groups, t.lr, t.betas, t.eps, fused=True),
    "adamw": lambda groups, t: torch.optim.AdamW(groups, t.lr, t.betas, t.eps, fused=True),
}


def make_optimizer(network: Network, training: TrainingSettings, vectors: Collection[str]) -> torch.optim.Optimizer:
    """The optimizer of a recipe. With `decay: weights`, the parameters named in `vectors` have no weight decay.

    These are biases, scalars and the parameters of normalization layers.
    """
    undecayed = set(vectors) if training.decay == "weights" else set()
    groups = [
        {
            "params": [p for name, p in network.named_parameters() if name not in undecayed],
            "weight_decay": training.weight_decay,
        },
        {"params": [p for name, p in network.named_parameters() if name in undecayed], "weight_decay": 0.0},
    ]
    return OPTIMIZERS[training.optimizer]([group for group in groups if group["params"]], training)


def make_capturable(optimizer: torch.optim.Optimizer) -> None:
    """Prepares an optimizer for a CUDA graph, in which a number would keep its first value: the learning rate is a tensor."""
    for group in optimizer.param_groups:
        group["lr"] = torch.tensor(group["lr"], device=group["params"][0].device)
        if "capturable" in group:
            group["capturable"] = True


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    for group in optimizer.param_groups:
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(rate)
        else:
            group["lr"] = rate


@torch.no_grad()
def clip(network: Network, trials: int, limit: float) -> None:
    """Scales the gradients of each trial to a norm of at most `limit`, as torch's clip_grad_norm_ does for one network."""
    grads = [parameter.grad for parameter in network.parameters() if parameter.grad is not None]
    norms = torch.stack([torch.linalg.vector_norm(grad.reshape(trials, -1), dim=1) for grad in grads])
    factors = (limit / (torch.linalg.vector_norm(norms, dim=0) + 1e-6)).clamp(max=1.0)
    for grad in grads:
        grad.mul_(factors if trials == 1 else factors.view(-1, *[1] * (grad.ndim - 1)))


def uncompiled(*, compiled: bool) -> AbstractContextManager[object]:
    """A context that runs compiled networks uncompiled: otherwise every new batch size would be compiled again."""
    return torch.compiler.set_stance("force_eager") if compiled else nullcontext()


def autocast(precision: str, device: torch.device) -> AbstractContextManager[object]:
    """A context with autocast for bfloat16, and without effect for other precisions."""
    return torch.autocast(device.type, torch.bfloat16) if precision == "bfloat16" else nullcontext()
