"""The card of a pair: what is equal (shown to be), what the shortcut adds, what else it changed at step 0."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from resexp import config, probes, training
from resexp.config import Experiment, Settings, Trial
from resexp.networks import Network, NetworkCost, Noise, boundary_stages, count, weighted_layers

PairSummary = dict[str, Any]
Costs = dict[str, NetworkCost]  # by trial

COSTS = ("parameters", "multiply_adds", "activation_bytes")  # of a network, per image where they grow with the batch
PADDING = tuple(name for name in config.SHORTCUT_NAMES if name not in ("plain", "projection", "projection-all"))  # option A
LINEAR = ("identity", "projection", "projection-all", "scaled")  # a is constant, S a matrix


def pair_summaries(experiment: Experiment, device: str) -> list[PairSummary]:
    """One card per cell and shortcut, measured at the first seed on that seed's first batch."""
    first_seed = [trial for trial in experiment.trials if trial.seed == experiment.trials[0].seed]
    costs: Costs = {}
    return [
        pair_summary(plain, residual, experiment, device, costs)
        for plain, residual in config.pairs(first_seed, experiment.axes)
    ]


def pair_summary(plain: Trial, residual: Trial, experiment: Experiment, device: str, costs: Costs | None = None) -> PairSummary:
    """The card of one pair; `costs` keeps what has been counted for the cards that follow."""
    costs = {} if costs is None else costs
    arms = [start_of(trial, device, costs) for trial in (plain, residual)]
    (network, batch, measured), (other, other_batch, other_measured) = arms
    shared = _shared(network, other)
    control, wider = plain.parameters_of is not None, width_of(network) != residual.settings.network.width
    own = control and wider  # a second control of the width of its cell is the plain twin once more
    beyond = {key: other_measured[key] - measured[key] for key in COSTS}
    cell, precision = residual.settings.network, residual.settings.precision
    starts = {"zero_init_residual": cell.zero_init_residual, **{init: cell.init == init for init in training.TWIN_INITS}}
    return {
        "cell": " ".join(config.cell_label(plain.settings, experiment.axes)),
        "plain": plain.arm,
        "residual": residual.arm,
        "seed": plain.seed,
        "equal": {
            "weights": 0 if own else len(shared),
            "weights_bit_equal": None if own else all(torch.equal(a, b) for a, b in shared),
            "first_batch": torch.equal(batch, other_batch),
            "recipe": _without_shortcut(plain.settings) == _without_shortcut(residual.settings),
        },
        "start_differs": [key for key, holds in starts.items() if holds],
        "same_function_class": _same_class(residual.settings),
        "nothing_to_skip": cell.depth == 2,
        "same_as_plain": control and not wider,
        **({"padded_channels_dead": True} if padded_channels_dead(cell) else {}),
        **({"precision": precision} if precision in config.COARSE else {}),
        "width": {plain.arm: width_of(network), residual.arm: width_of(other)},
        "beyond": beyond,
        "at_start": {plain.arm: measured, residual.arm: other_measured},
    }


def start_of(trial: Trial, device: str, costs: Costs) -> tuple[Network, Tensor, dict[str, float | int]]:
    """(network, first batch, what it measures): loss, output RMS and gradient slope before the first update."""
    settings = trial.settings
    found = training.load_training_data(settings.data, device, training.DTYPES[settings.precision])
    network = training.build(trial, found.input_shape, found.classes).to(torch.device(device))
    length = training.step_counts(settings, len(found.training))
    x, labels = next(training.batches([trial], found, length.per_epoch, 0))
    boundaries: list[Tensor] = []
    with training.precision_of(settings, x.device):
        noise = training.sample_noise(network, [trial], 0, x)
        logits = network(x, boundaries, noise)
        if trial.name not in costs:
            costs[trial.name] = count(network, found.input_shape)
    loss = functional.cross_entropy(logits, labels, label_smoothing=settings.training.label_smoothing)
    grads = torch.autograd.grad(loss, boundaries, allow_unused=True)
    (flows,) = probes.norms([torch.zeros_like(b) if g is None else g for b, g in zip(boundaries, grads, strict=True)])
    coarse = settings.precision in config.COARSE
    gap = {"precision_gap": precision_gap(network, x, labels, noise, flows, settings)} if coarse else {}
    measured: dict[str, float | int] = {
        "loss": _rounded(loss.item()),
        "output_rms": _rounded(logits.double().square().mean().sqrt().item()),
        "slope": _rounded(probes.slope(flows, boundary_stages(network))),
        **{key: getattr(costs[trial.name], key) for key in COSTS},
        **gap,
    }
    return network, x, measured


def precision_gap(
    network: Network, x: Tensor, labels: Tensor, noise: Sequence[Noise], flows: Sequence[float], settings: Settings
) -> float:
    """Largest relative difference of the norms |dL/dx_l| in `flows` from those of the same pass in float32.

    Over the block boundaries with a gradient in float32; 0 if there are none, inf or nan if `flows` is not finite.
    """
    boundaries: list[Tensor] = []
    matmul, convolution = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    try:
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
        loss = functional.cross_entropy(
            network(x, boundaries, noise), labels, label_smoothing=settings.training.label_smoothing
        )
        grads = torch.autograd.grad(loss, boundaries, allow_unused=True)
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = matmul, convolution
    (exact,) = probes.norms([torch.zeros_like(b) if g is None else g for b, g in zip(boundaries, grads, strict=True)])
    return _rounded(max((abs(flow / norm - 1) for flow, norm in zip(flows, exact, strict=True) if norm > 0), default=0.0))


def padded_channels_dead(network: config.Network) -> bool:
    """Whether the zero channels of option A never receive a gradient: zeroed branches leave them at 0 before a ReLU.

    They remain 0: the last layer or norm of a branch is 0 in these channels, and so is the derivative of ReLU at 0. Only
    layer norm before a block or after the addition takes them off 0. The scalars of fixup can, and are not counted.
    """
    pads = config.shortcut_name(network.shortcut) in PADDING
    zeroed = network.zero_init_residual and network.init != "fixup" and network.activation == "relu"
    moved = network.norm == "layer" and network.placement in ("pre", "post-norm")
    return network.family == "cnn" and network.depth > 2 and pads and zeroed and not moved


def width_of(network: Network) -> int:
    """Hidden units of an mlp, channels of the first stage of a cnn (of its inner layers in a bottleneck)."""
    return len(weighted_layers(network)[0].weight)


def _rounded(value: float) -> float:
    return float(f"{value:.9g}") if math.isfinite(value) else value


def _shared(plain: Network, residual: Network) -> Sequence[tuple[Tensor, Tensor]]:
    """The weights that both arms have, by name."""
    others = dict(residual.named_parameters())
    return [(weight, others[name]) for name, weight in plain.named_parameters() if name in others]


def _without_shortcut(settings: Settings) -> Settings:
    network = settings.network.model_copy(update={"shortcut": "plain"})
    return settings.model_copy(update={"network": network})


def _same_class(settings: Settings) -> bool:
    """act(aWx + Ux) = act((aW + U)x): such arms differ only in where they start and how they step, unless a = 0 drops W."""
    network = settings.network
    one_layer = (
        network.block == "basic" and network.block_layers == 1 and network.placement == "post" and network.norm == "none"
    )
    present = isinstance(network.shortcut, str) or network.shortcut.get("scaled", {}).get("branch") != 0
    return one_layer and present and config.shortcut_name(network.shortcut) in LINEAR
