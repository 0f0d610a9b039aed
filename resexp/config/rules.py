"""Combinations of values that are refused."""

import re
from collections.abc import Iterable
from typing import Any

from pydantic import ValidationError

from resexp.config.expectations import parse_expectation
from resexp.config.models import PROBE_NAMES, NetworkSettings, Settings
from resexp.config.parsing import ConfigError, did_you_mean
from resexp.config.properties import SHORTCUT_NAMES
from resexp.config.synonyms import VALUES
from resexp.config.types import CUSTOM_HINT, CUSTOM_NAMES, Scalars, trial_name
from resexp.config.validation import Problem, broken_rule, value_text
from resexp.config.variants import (
    ACTIVATION_NAMES,
    arm_name,
    format_value,
    parameter_model,
    shortcut_name,
    shortcut_properties,
    variant,
)


def custom(field: str) -> Iterable[str]:
    """The names that files, packages or programs of users have added."""
    return sorted(CUSTOM_NAMES.get(field, ()))


def depths_near(depth: int, family: str, block_layers: int) -> list[int]:
    """[depth] if it is valid for the family and the number of layers in a block, else the nearest valid depths."""
    step = block_layers * (3 if family == "cnn" else 1)
    below = 2 + (depth - 2) // step * step
    return [depth] if below == depth else [below, below + step]


def incompatible_values(
    cell: Settings, shortcuts: Iterable[str] | None = SHORTCUT_NAMES, probes: Iterable[str] = PROBE_NAMES
) -> Problem | None:
    """The first combination of values in `cell` that cannot be built or trained, if any."""
    allowed = (*shortcuts, *custom("shortcut")) if shortcuts is not None else (shortcut_name(cell.network.shortcut),)
    zero_branches = _zero_branch_problem(cell.network) if shortcuts is not None else None  # a stored experiment stays readable
    problems = (
        _network_problem(cell, allowed, stored=shortcuts is None),
        _probe_problem(cell, (*probes, *custom("probes"))) if shortcuts is not None else None,
        zero_branches,
        _training_problem(cell),
        _data_problem(cell),
        _environment_problem(cell),
    )
    return next((problem for problem in problems if problem), None)


def _probe_problem(cell: Settings, probes: tuple[str, ...]) -> Problem | None:
    unknown = next((name for name in cell.gradients.probes if name not in probes), None)
    if unknown is None:
        return None
    return "gradients.probes", f"{unknown!r} is not one of {', '.join(probes)}{did_you_mean(unknown, probes) or CUSTOM_HINT}"


def _network_problem(cell: Settings, shortcuts: tuple[str, ...], *, stored: bool) -> Problem | None:
    network = cell.network
    name = shortcut_name(network.shortcut)
    layers = 3 if network.block == "bottleneck" else network.block_layers
    near = depths_near(network.depth, network.family, layers)
    if name not in shortcuts:
        return "network.shortcut", _unknown_shortcut(name, shortcuts)
    activations = (*ACTIVATION_NAMES, *CUSTOM_NAMES.get("activation", ()))
    if not stored and (activation := variant(network.activation)[0]) not in activations:
        near_name = did_you_mean(activation, activations) or CUSTOM_HINT
        return "network.activation", f"{activation!r} is not one of {', '.join(activations)}{near_name}"
    for key, setting in (("network.shortcut", network.shortcut), ("network.activation", network.activation)):
        if isinstance(setting, dict) and (problem := _parameter_problem(key, setting)):
            return problem
    if problem := _arm_name_problem(arm_name(network.shortcut)):
        return problem
    if network.block == "bottleneck" and network.family == "mlp":
        return "network.block", "'bottleneck' is a convolutional block; with family: mlp, write block: basic"
    if near != [network.depth]:
        unit = "block_layers" if network.family == "mlp" else "3 block_layers" if network.block == "basic" else "9"
        return "network.depth", (
            f"{network.depth} is not a valid depth for this {network.family} (2 plus a multiple of {unit} = "
            f"{near[1] - near[0]}); the nearest are {near[0]} and {near[1]}"
        )
    if name == "projection" and network.family == "mlp":
        return (
            "network.shortcut",
            "'projection' acts only where shapes change, and no block of an mlp changes them; use projection-all",
        )
    return _init_problem(network) or (_group_norm_problem(network) if network.norm == "group" else None)


def _init_problem(network: NetworkSettings) -> Problem | None:
    """An initialization that does not fit the layers, the activation or `init_scale`."""
    if network.init == "delta-orthogonal" and network.family == "mlp":
        return "network.init", "'delta-orthogonal' initializes convolutions; for an mlp, use orthogonal"
    if network.init == "fixup" and network.norm != "none":
        return "network.init", f"'fixup' requires a network without normalization, but norm is {network.norm}; write norm: none"
    if network.init in ("fixup", "looks-linear") and network.init_scale is not None:
        scale = f"{network.init_scale:g}"
        return "network.init_scale", f"{scale} would undo the scaling of init: {network.init}; remove one of the two"
    if network.init == "looks-linear" and network.width % 2:
        return "network.width", f"{network.width} must be even with init: looks-linear, which mirrors one half of the units"
    if network.init == "looks-linear" and network.activation == "tanh":
        return "network.init", (
            "'looks-linear' makes no network linear with activation: tanh, because tanh(z) - tanh(-z) is not linear; "
            "write activation: relu, or init: orthogonal"
        )
    return None


def _zero_branch_problem(network: NetworkSettings) -> Problem | None:
    """Branches that are 0 at initialization and whose weights can never receive a gradient.

    A zero branch normally learns, because its last layer receives a gradient at the first step. It receives none if a factor
    after that layer is 0 as well: the derivative of ReLU at 0, which is 0 (tanh: 1, GELU: 1/2); the scalar of rezero, whose
    gradient is <dL/dx, F> with F = 0; or a block output of 0 before a ReLU. Plain networks have no zero branches.
    """
    name = shortcut_name(network.shortcut)
    key = "network.init" if network.init == "fixup" else "network.zero_init_residual" if network.zero_init_residual else None
    if key is None or network.depth == 2 or name == "plain":
        return None
    setting = "fixup" if key == "network.init" else "true"
    remedy = "another init such as he" if key == "network.init" else "zero_init_residual: false"
    activation, parameters = variant(network.activation)
    # tat equals ReLU, up to a factor, in networks that are too shallow for its eta.
    if network.placement == "branch" and (activation in ("relu", "tat") or parameters.get("slope") == 0):
        return key, (
            f"{setting} with placement: branch and activation: {activation} trains no branch, because each ends in "
            f"{activation}(0), which has derivative 0; write placement: post, activation: gelu or {remedy}"
        )
    if name == "rezero":
        return key, (
            f"{setting} with shortcut: rezero trains no branch, because its scalar and its last layer are both 0 at "
            f"initialization and neither has a gradient; write {remedy}, or shortcut: identity"
        )
    if isinstance(network.shortcut, dict) and network.shortcut.get("scaled", {}).get("scale") == 0:
        return (
            key,
            f"{setting} with scale 0 of scaled makes every block output 0, so nothing reaches the classifier; write {remedy}",
        )
    return None


def _unknown_shortcut(name: str, shortcuts: tuple[str, ...]) -> str:
    """The message about an unknown shortcut, and how to train a custom one."""
    if not re.fullmatch(r"[\w-]+", name):
        hint = "; write parameters as in {gate: {bias: -6}}"
    elif name.lower() in VALUES:
        hint = ""
    else:
        hint = CUSTOM_HINT
    return f"{name!r} is not one of {', '.join(shortcuts)}{hint}{did_you_mean(name, shortcuts)}"


def _group_norm_problem(network: NetworkSettings) -> Problem | None:
    """A width that does not fit group normalization; in an mlp, a group of a single unit would always be normalized to 0."""
    width, is_mlp = network.width, network.family == "mlp"
    min_width = 16 if is_mlp else 8
    near = sorted({max(min_width, width // 8 * 8), max(min_width, -(-width // 8) * 8)})
    if near == [width]:
        return None
    groups = f"8 groups{' of at least 2 units' if is_mlp else ''}; nearest: {' and '.join(map(str, near))}"
    return "network.width", f"{width} must be a multiple of 8 with norm: group ({groups})"


def _parameter_problem(key: str, setting: Scalars) -> Problem | None:
    """The first problem with the parameters of a built-in shortcut or an activation, if any."""
    ((name, parameters),) = setting.items()
    model = parameter_model(name)
    if model is None:
        return None
    if not model.model_fields and parameters:
        return key, f"{name} takes no parameters; write just {name}"
    try:
        model.model_validate(parameters)
    except ValidationError as error:
        first = error.errors()[0]
        parameter, fields = str(first["loc"][0]), list(model.model_fields)
        if first["type"] == "extra_forbidden":
            only = f"only {', '.join(fields)}{did_you_mean(parameter, fields)}"
            return key, f"{name} has no parameter {parameter!r}, {only}"
        return key, f"{parameter} of {name}: {broken_rule(first)}"
    return None


def _arm_name_problem(arm: str) -> Problem | None:
    """The problem with an arm as the first part of trial names, if any."""
    try:
        trial_name(arm)
    except ValueError as error:
        return "network.shortcut", f"{value_text(arm)} {error}"
    return None


def _training_problem(cell: Settings) -> Problem | None:
    training = cell.training
    if training.epochs is not None and training.steps is not None:
        return "training.steps", "is set in addition to training.epochs; remove one of the two"
    if training.schedule == "step" and not training.milestones:
        return "training.milestones", "is required with schedule: step; write a list of steps such as [32000, 48000]"
    if list(training.milestones) != sorted(set(training.milestones)):
        return "training.milestones", f"{list(training.milestones)} must be in increasing order"
    if training.nesterov and training.momentum == 0 and training.optimizer == "sgd":
        return "training.nesterov", "true requires training.momentum above 0"
    if training.batch_size == 1 and cell.network.norm == "batch":
        return "training.batch_size", "1 gives no batch statistics; with norm: batch, write at least 2"
    return None


def _data_problem(cell: Settings) -> Problem | None:
    data = cell.data
    if data.augment == "crop-flip" and data.name in ("digits", "mnist"):
        return (
            "data.augment",
            f"'crop-flip' is refused for {data.name}, because a mirrored digit is no longer a valid digit; use none",
        )
    if data.name == "image-folder" and data.image_size is None:
        return (
            "data.image_size",
            "is required with name: image-folder; write the side length in pixels to which images are resized",
        )
    if data.name == "image-folder" and data.root is None:
        return (
            "data.root",
            "is required with name: image-folder; write the path of the folder that contains one folder per class",
        )
    if len(set(cell.gradients.probes)) != len(cell.gradients.probes):
        return "gradients.probes", "contains a probe twice; remove the duplicate"
    return None


def _environment_problem(cell: Settings) -> Problem | None:
    if cell.precision == "tf32" and not cell.device.startswith(("cuda", "auto")):
        return "precision", f"'tf32' is available only on cuda, not on {cell.device}; use float32"
    if cell.compile == "cuda-graph" and not cell.device.startswith(("cuda", "auto")):
        return "compile", f"'cuda-graph' is available only on cuda, not on {cell.device}; write compile: true or compile: false"
    if cell.precision == "float64" and cell.device == "mps":
        return "precision", "'float64' is not available on mps; use device: cpu"
    if cell.compare.primary is not None:
        try:
            parse_expectation(cell.compare.primary)
        except ConfigError as error:
            return "compare.primary", error.problem
    return None


# Keys that have an effect only with certain values of another key: (key, other key, its values).
_REQUIRED_VALUES: tuple[tuple[str, str, tuple[Any, ...]], ...] = (
    ("training.momentum", "training.optimizer", ("sgd",)),
    ("training.nesterov", "training.optimizer", ("sgd",)),
    ("training.betas", "training.optimizer", ("adam", "adamw")),
    ("training.eps", "training.optimizer", ("adam", "adamw")),
    ("training.milestones", "training.schedule", ("step",)),
    ("training.gamma", "training.schedule", ("step",)),
    ("network.block_layers", "network.block", ("basic",)),
    ("network.plain_width", "network.plain", (True,)),
    ("data.image_size", "data.name", ("image-folder",)),
    ("data.labels", "data.name", ("image-folder",)),
)


def unused_key(written: Iterable[str], cells: list[Settings]) -> Problem | None:
    """The first written key that has no effect in any cell (momentum with adam)."""
    for key, other, values in _REQUIRED_VALUES:
        section, name = other.split(".")
        present = {getattr(getattr(cell, section), name) for cell in cells}
        if key in written and not present & set(values):
            present_texts, required_texts = (sorted(map(format_value, group)) for group in (present, values))
            effect = f"has no effect with {other}: {', '.join(present_texts)}"
            return key, f"{effect}; it applies only with {' or '.join(required_texts)}"
    optimizers = {cell.training.optimizer for cell in cells}
    if optimizers == {"sgd"} and any("eps_bound" in cell.gradients.probes for cell in cells):
        return "gradients.probes", "'eps_bound' has no effect with training.optimizer: sgd; it applies only with adam or adamw"
    shortcuts = {shortcut_name(cell.network.shortcut) for cell in cells}
    if "network.plain_width" in written and not any(shortcut_properties(name).has_weights for name in shortcuts):
        names = ", ".join(sorted(shortcuts))
        return (
            "network.plain_width",
            f"has no effect with network.shortcut: {names}; it applies only to shortcuts with parameters",
        )
    return None
