"""Settings of an arm as theory needs them, and the reason why there is no formula for some arms."""

import math
from typing import Any

from resexp import config
from resexp.config import NetworkSettings
from resexp.theory import moments
from resexp.theory.mean_field import Wide
from resexp.theory.predictions import Range
from resexp.theory.tailoring import leaky_relu_scale, tat_slope

# g of a square hidden layer for each initialization; the plain counterpart of fixup has He initialization.
INIT_SCALES = {
    "pytorch": 1 / 3, "he": 2.0, "xavier": 1.0, "orthogonal": 1.0, "delta-orthogonal": 1.0, "fixup": 2.0,
    "identity": 1.0, "looks-linear": 2.0,
}  # fmt: skip
ORTHOGONAL = ("orthogonal", "delta-orthogonal")
# Letters of the stem, before a branch, at its end, and after the addition; see `mean_field`.
PLACEMENTS = {
    "post": ("NA", "", "N", "A"),
    "pre": ("", "NA", "", ""),
    "branch": ("NA", "", "NA", ""),
    "post-norm": ("NA", "", "", "NA"),
    "pre-act-only": ("N", "A", "N", ""),
}
# Activations with which blocks are linear in x.
EXACT_INITS = {"identity": ("relu",), "looks-linear": ("relu", "gelu", "silu")}
MIN_BATCH, MIN_GROUP = 8, 5  # smallest samples for which (S - 2) / (S - 3) describes a normalization
GROUPS, STAGES = 8, 3


def block_count(network: NetworkSettings) -> int:
    return (network.depth - 2) // layers_of_block(network)


def layers_of_block(network: NetworkSettings) -> int:
    return 3 if network.block == "bottleneck" else network.block_layers


# ---- which networks have a formula ---------------------------------------------------------------------------------------


def no_formula(network: NetworkSettings, batch: int) -> str:
    """The reason why there is no prediction; empty if there is one."""
    shortcut, factors, plain = shortcut_of(network)[0], initial_factors(network), is_plain(network)
    if block_count(network) == 0:
        return "a network of depth 2 has no blocks"
    if network.block == "bottleneck" and network.init_scale is None and network.init not in ("pytorch", "he", "fixup"):
        return f"with init {network.init}, init_scale differs between the layers of a bottleneck"
    if not plain and network.init == "fixup":
        return "fixup initializes the classifier to 0, so all other gradients are 0"
    if factors is None:
        return f"no formula is known for the shortcut {shortcut}"
    if not plain and min(s for s, _ in factors) <= 0:
        return "no formula is known for a shortcut with scale 0 or a negative scale"
    if network.norm == "batch" and batch < MIN_BATCH:
        return f"no formula is known for batch norm in batches of fewer than {MIN_BATCH}"
    if network.norm == "group" and network.width // GROUPS < MIN_GROUP:
        return f"no formula is known for groups of fewer than {MIN_GROUP} units"
    if network.init in EXACT_INITS and not _is_exact(network):
        return f"no formula is known for init {network.init} in this network"
    is_zero = not plain and (network.zero_init_residual or all(a == 0 for _, a in factors))
    unknown = (
        _activation(network) is None
        or (is_zero and not zero_branch(network))
        or (shortcut == "dropout" and network.norm != "none")
        or (not plain and network.placement == "post-norm" and network.norm == "batch")
        or (plain and network.norm == "batch" and _named(network.activation)[0] in ("gelu", "silu"))  # no stable limit
        or (network.family == "cnn" and not is_zero and (network.norm != "none" or network.activation != "relu"))
        or (network.family == "cnn" and not plain and network.placement == "branch" and not is_zero)
    )
    return _unknown(network) if unknown else ""


def _unknown(network: NetworkSettings) -> str:
    arm, family = config.arm_name(network.shortcut), {"mlp": "an mlp", "cnn": "a cnn"}[network.family]
    norm = "no normalization" if network.norm == "none" else f"{network.norm} norm"
    activation = _named(network.activation)[0]
    return f"no formula is known for {arm} in {network.placement} blocks of {family} with {activation} and {norm}"


def _named(setting: Any) -> tuple[str, dict[str, Any]]:
    name, parameters = config.variant(setting)
    return name, dict(parameters)


def shortcut_of(network: NetworkSettings) -> tuple[str, dict[str, Any]]:
    return _named(network.shortcut)


def _activation(network: NetworkSettings) -> moments.Activation | None:
    name, parameters = _named(network.activation)
    if name == "tat":  # every layer but the classifier is followed by an activation
        slope = tat_slope(parameters["eta"], network.depth - 1)
        return moments.activation("leaky-relu", slope, leaky_relu_scale(slope))
    return moments.activation(name, **parameters)


def is_plain(network: NetworkSettings) -> bool:
    return shortcut_of(network)[0] == "plain"


def initial_factors(network: NetworkSettings) -> tuple[Range, ...] | None:
    """(s, a) of every block at initialization, where S = s x, or the mean squares of random ones; None if not constant."""
    (name, parameters), blocks = shortcut_of(network), max(1, block_count(network))
    if name == "projection-all":
        return ((math.sqrt(_scale(network, hidden=False)), 1.0),) * blocks
    if name == "dropout":
        return ((1.0, 1.0),) * blocks
    if name == "stochastic-depth":
        return tuple((1.0, math.sqrt(1 - (index + 1) / blocks * (1 - parameters["survival"]))) for index in range(blocks))
    factors = [config.shortcut_factors(network.shortcut, index, blocks) for index in range(blocks)]
    return tuple((s, a) for a, s in filter(None, factors)) if all(factors) else None


def _is_exact(network: NetworkSettings) -> bool:
    """Whether each block is linear in x: identity weights and ReLU after a ReLU, or mirrored weights in a plain network."""
    simple = network.family == "mlp" and network.norm == "none" and network.init_scale is None
    random = shortcut_of(network)[0] in ("projection-all", "dropout", "stochastic-depth") or network.zero_init_residual
    linear = _named(network.activation)[0] in EXACT_INITS[network.init]
    return simple and linear and (is_plain(network) or (network.init == "identity" and not random))


def zero_branch(network: NetworkSettings) -> bool:
    """Whether branches are initialized to 0 and S passes x unchanged; a ReLU does not change values that are not negative."""
    factors = initial_factors(network) or ()
    is_zero = network.zero_init_residual or all(a == 0 for _, a in factors)
    preserves_x = network.placement in ("pre", "branch", "pre-act-only") or (
        network.activation == "relu" and (network.placement == "post" or network.norm == "none")
    )
    has_map = shortcut_of(network)[0] in ("projection-all", "dropout")
    return is_zero and preserves_x and not has_map and not is_plain(network)


# ---- the network as a sequence of layers ------------------------------------------------------------------------------


def _scale(network: NetworkSettings, *, hidden: bool = True) -> float:
    return INIT_SCALES[network.init] if network.init_scale is None or not hidden else network.init_scale


def wide_network(network: NetworkSettings, batch: int, side: int | None, channels: int, *, gradient: bool = False) -> Wide:
    """`gradient`: without biases if the activation is homogeneous; they do not change chi."""
    phi, (name, parameters), m = _activation(network), shortcut_of(network), layers_of_block(network)
    assert phi is not None
    inputs = side**2 * channels if side else network.width
    has_bias = network.init == "pytorch" and network.norm == "none" and not (gradient and phi.homogeneous)
    stem, before, end, after = PLACEMENTS[network.placement]
    stem_scale = _scale(network)
    if network.init_scale is None and network.init in (*ORTHOGONAL, "xavier"):
        stem_scale = min(1.0, inputs / network.width) if network.init in ORTHOGONAL else 2 * inputs / (inputs + network.width)
    return Wide(
        phi=phi,
        norm=network.norm,
        width=network.width,
        batch=batch,
        scale=_scale(network),
        bias=1 / (3 * network.width) if has_bias else 0.0,
        random_spread=0.0 if network.init in ORTHOGONAL else 2.0,
        stem=stem,
        before=before,
        branch="LNA" * (m - 1) + "L" + end,
        after=after,
        stem_square=stem_scale + (1 / (3 * inputs) if has_bias else 0.0),
        factors=initial_factors(network) or (),
        map_scale=_scale(network, hidden=False) if name == "projection-all" else None,
        kept=1 - float(parameters.get("p", 0.5)) if name == "dropout" else 1.0,
    )
