"""Pair summaries: what a pair has in common, and what the shortcut adds or changes at initialization."""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn import functional

from resexp import config, probes, training
from resexp.config import Experiment, Settings, Trial
from resexp.networks import Network, NetworkCost, Noise, boundary_stages, count, weighted_layers
from resexp.runs import AtStart, Equalities, ExtraCost, PairSummary
from resexp.runs.records import StartDifference

Costs = dict[str, NetworkCost]  # by architecture

COSTS = ("parameters", "multiply_adds", "activation_bytes")  # attributes of NetworkCost


def pair_summaries(experiment: Experiment, device: str, costs: Costs | None = None) -> list[PairSummary]:
    """One summary per configuration and shortcut, measured at the first seed on its first batch; `costs`: see `cost_of`."""
    first_seed = [trial for trial in experiment.trials if trial.seed == experiment.trials[0].seed]
    costs = {} if costs is None else costs
    return [
        pair_summary(plain, residual, experiment, device, costs)
        for plain, residual in config.pairs(first_seed, experiment.axes)
    ]


def pair_summary(plain: Trial, residual: Trial, experiment: Experiment, device: str, costs: Costs) -> PairSummary:
    """The summary of one pair; `costs`: see `cost_of`."""
    plain_network, plain_batch, plain_values = measure_at_initialization(plain, device, costs)
    residual_network, residual_batch, residual_values = measure_at_initialization(residual, device, costs)
    shared = _shared_weights(plain_network, residual_network)
    is_parameter_matched = plain.parameters_of is not None
    is_wider = width_of(plain_network) != residual.settings.network.width
    # A parameter-matched baseline of the same width is the plain counterpart itself.
    has_other_width = is_parameter_matched and is_wider
    extra_costs = ExtraCost(**{key: getattr(residual_values, key) - getattr(plain_values, key) for key in COSTS})
    network, precision = residual.settings.network, residual.settings.precision
    inits = {"zero_init_residual": network.zero_init_residual, **{init: network.init == init for init in training.PLAIN_INITS}}
    rare: dict[str, Any] = {"padded_channels_dead": True} if padded_channels_dead(network) else {}
    rare |= {"precision": precision} if precision in config.COARSE else {}
    return PairSummary(
        cell=" ".join(config.cell_label(plain.settings, experiment.axes)),
        plain=plain.arm,
        residual=residual.arm,
        seed=plain.seed,
        equal=Equalities(
            weights=0 if has_other_width else len(shared),
            weights_bit_equal=None if has_other_width else all(torch.equal(a, b) for a, b in shared),
            first_batch=torch.equal(plain_batch, residual_batch),
            recipe=_without_shortcut(plain.settings) == _without_shortcut(residual.settings),
        ),
        start_differs=tuple(cast("StartDifference", key) for key, applies in inits.items() if applies),
        same_function_class=_same_function_class(residual.settings),
        nothing_to_skip=network.depth == 2,
        same_as_plain=is_parameter_matched and not is_wider,
        width={plain.arm: width_of(plain_network), residual.arm: width_of(residual_network)},
        beyond=extra_costs,
        at_start={plain.arm: plain_values, residual.arm: residual_values},
        **rare,
    )


def measure_at_initialization(trial: Trial, device: str, costs: Costs) -> tuple[Network, Tensor, AtStart]:
    """(network, first batch, values): loss, output RMS, gradient slope and costs before the first update."""
    settings, smoothing = trial.settings, trial.settings.training.label_smoothing
    training_data = training.load_training_data(settings.data, device, settings.precision)
    network = training.build(trial, training_data.input_shape, training_data.classes).to(torch.device(device))
    x, labels = next(training.batches(training_data, [trial.seed], settings.training.batch_size, settings.data.augment))
    noise = training.sample_noise(network, [trial.seed], 0, x)
    gradients = partial(boundary_gradients, network, x, labels, noise, smoothing)
    logits, grad_norms, distance = gradients(settings.precision)
    cost = cost_of(trial, network, training_data.input_shape, x.device, costs)
    loss = functional.cross_entropy(logits, labels, label_smoothing=smoothing)
    is_coarse = settings.precision in config.COARSE
    gap: dict[str, Any] = {"precision_gap": precision_gap(gradients, grad_norms)} if is_coarse else {}
    at_start = AtStart(
        loss=_rounded(loss.item()),
        output_rms=_rounded(logits.double().square().mean().sqrt().item()),
        slope=_rounded(probes.slope(grad_norms, boundary_stages(network))),
        distance=_rounded(distance),
        **{key: getattr(cost, key) for key in COSTS},
        **gap,
    )
    return network, x, at_start


def cost_of(trial: Trial, network: Network, input_shape: tuple[int, ...], device: torch.device, costs: Costs) -> NetworkCost:
    """The costs of the network of a trial, counted once per architecture: initial weights have no effect on them."""
    settings = trial.settings.network
    weights = {"init": "fixup" if settings.init == "fixup" else "he", "init_scale": None, "zero_init_residual": False}
    key = repr((settings.model_copy(update=weights), trial.parameters_of, trial.settings.precision))
    if key not in costs:
        with training.autocast(trial.settings.precision, device):
            costs[key] = count(network, input_shape)
    return costs[key]


def boundary_gradients(
    network: Network, x: Tensor, labels: Tensor, noise: Sequence[Noise], label_smoothing: float, precision: str
) -> tuple[Tensor, list[float], float]:
    """(logits, norm of the mean loss's gradient at each block boundary, cosine distance at the last one)."""
    boundaries: list[Tensor] = []
    step = partial(training.forward_backward, precision=precision, label_smoothing=label_smoothing, boundaries_only=True)
    _, logits = step(network, x, labels, boundaries, noise)
    (norms,) = probes.norms([torch.zeros_like(b) if b.grad is None else b.grad for b in boundaries])
    ((distance,),) = probes.cosine_distances([boundaries[-1].detach()])
    return logits, norms, distance


def precision_gap(gradients: Callable[[str], tuple[Tensor, list[float], float]], grad_norms: Sequence[float]) -> float:
    """Largest relative difference of the norms |dL/dx_l| in `grad_norms` from those of the same pass in float32.

    Over the block boundaries whose gradient in float32 is not 0; without any, it is 0. inf or nan if `grad_norms` is not
    finite.
    """
    matmul, convolution = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    try:
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
        _, float32_norms, _ = gradients("float32")
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = matmul, convolution
    return _rounded(
        max((abs(value / norm - 1) for value, norm in zip(grad_norms, float32_norms, strict=True) if norm > 0), default=0.0)
    )


def padded_channels_dead(network: config.NetworkSettings) -> bool:
    """Whether the zero channels of option A never receive a gradient, because branches are initialized to 0 before a ReLU.

    The channels remain 0: the last layer or normalization layer of a branch is 0 in them, and so is the derivative of ReLU
    at 0. Layer norm before a block or after the addition makes them nonzero. So can the scalars of fixup, which is excluded.
    """
    is_padded = config.shortcut_properties(network.shortcut).is_padded
    has_zero_branches = network.zero_init_residual and network.init != "fixup" and network.activation == "relu"
    is_shifted = network.norm == "layer" and network.placement in ("pre", "post-norm")
    return network.family == "cnn" and network.depth > 2 and is_padded and has_zero_branches and not is_shifted


def width_of(network: Network) -> int:
    """Hidden units of an mlp, channels of the first stage of a cnn (in a bottleneck, of its inner layers)."""
    return len(weighted_layers(network)[0].weight)


def _rounded(value: float) -> float:
    return float(f"{value:.9g}") if math.isfinite(value) else value


def _shared_weights(plain: Network, residual: Network) -> Sequence[tuple[Tensor, Tensor]]:
    """The parameters that both networks have, matched by name."""
    residual_weights = dict(residual.named_parameters())
    return [(weight, residual_weights[name]) for name, weight in plain.named_parameters() if name in residual_weights]


def _without_shortcut(settings: Settings) -> Settings:
    network = settings.network.model_copy(update={"shortcut": "plain"})
    return settings.model_copy(update={"network": network})


def _same_function_class(settings: Settings) -> bool:
    """act(aWx + Ux) = act((aW + U)x): unless a = 0, such networks differ only in initialization and updates."""
    network = settings.network
    one_layer = (
        network.block == "basic" and network.block_layers == 1 and network.placement == "post" and network.norm == "none"
    )
    factors = config.shortcut_factors(network.shortcut, 0, 1)
    has_branch = factors is None or factors[0] != 0
    return one_layer and has_branch and config.shortcut_properties(network.shortcut).is_linear
