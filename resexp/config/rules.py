"""Combinations of keys that are refused."""

import re
from collections.abc import Iterable
from typing import Any

from pydantic import ValidationError

from resexp.config.expectations import parse_expectation
from resexp.config.models import Network, Settings
from resexp.config.parsing import ConfigError, did_you_mean
from resexp.config.shortcut_parameters import (
    FREE_SHORTCUTS,
    SHORTCUT_NAMES,
    SHORTCUT_PARAMETERS,
    arm_name,
    format_value,
    shortcut_name,
)
from resexp.config.synonyms import VALUES
from resexp.config.types import Scalars, trial_name
from resexp.config.validation import Problem, broken_rule, shown


def depths_near(depth: int, family: str, block_layers: int) -> list[int]:
    """The depths nearest to `depth` that the family can have, for so many layers in a block: [depth] itself when it can."""
    unit = block_layers * (3 if family == "cnn" else 1)
    below = 2 + (depth - 2) // unit * unit
    return [depth] if below == depth else [below, below + unit]


def impossible(cell: Settings, shortcuts: Iterable[str] | None = SHORTCUT_NAMES) -> Problem | None:
    """The first combination of values in `cell` that cannot be built or run, if any."""
    allowed = tuple(shortcuts) if shortcuts is not None else (shortcut_name(cell.network.shortcut),)
    dead = _about_zero_branches(cell.network) if shortcuts is not None else None  # a stored experiment stays readable
    checks = (_about_network(cell, allowed), dead, _about_training(cell), _about_data(cell), _about_run(cell))
    return next((problem for problem in checks if problem), None)


def _about_network(cell: Settings, shortcuts: tuple[str, ...]) -> Problem | None:
    network = cell.network
    name = shortcut_name(network.shortcut)
    layers = 3 if network.block == "bottleneck" else network.block_layers
    near = depths_near(network.depth, network.family, layers)
    if name not in shortcuts:
        return "network.shortcut", _unknown_shortcut(name, shortcuts)
    if isinstance(network.shortcut, dict) and name in SHORTCUT_PARAMETERS and (wrong := _wrong_parameter(network.shortcut)):
        return wrong
    if wrong := _wrong_name(arm_name(network.shortcut)):
        return wrong
    if network.block == "bottleneck" and network.family == "mlp":
        return "network.block", "'bottleneck' is a block of convolutions; an mlp has basic"
    if near != [network.depth]:
        unit = "block_layers" if network.family == "mlp" else "3 block_layers" if network.block == "basic" else "9"
        return "network.depth", (
            f"{network.depth} is no depth of this {network.family} (2 plus a multiple of {unit} = "
            f"{near[1] - near[0]}); nearest are {near[0]} and {near[1]}"
        )
    if name == "projection" and network.family == "mlp":
        return "network.shortcut", "'projection' acts where shapes change, which no mlp block does; use projection-all"
    if network.init == "delta-orthogonal" and network.family == "mlp":
        return "network.init", "'delta-orthogonal' is a start for convolutions; an mlp has orthogonal"
    if network.init == "fixup" and network.norm != "none":
        return "network.init", f"'fixup' is a start without norms and does not go with norm: {network.norm}; write norm: none"
    if network.init == "fixup" and network.init_scale is not None:
        return "network.init_scale", f"{network.init_scale:g} would undo the scaling of init: fixup; leave one of them out"
    return _about_groups(network) if network.norm == "group" else None


def _about_zero_branches(network: Network) -> Problem | None:
    """Branches that are 0 at initialization and whose weights can never receive a gradient.

    A zeroed branch learns because its last layer has a gradient at once. It has none where a factor after that layer is 0, too:
    the derivative of ReLU at 0, which is 0 (tanh has 1 there, GELU 1/2); the scalar of rezero, whose own gradient is <dL/dx, F>
    with F = 0; or an output that is 0 as a whole, before a ReLU. Plain networks are not zeroed.
    """
    name = shortcut_name(network.shortcut)
    key = "network.init" if network.init == "fixup" else "network.zero_init_residual" if network.zero_init_residual else None
    if key is None or network.depth == 2 or name == "plain":
        return None
    zeroed = "fixup" if key == "network.init" else "true"
    other = "another init such as he" if key == "network.init" else "zero_init_residual: false"
    if network.placement == "branch" and network.activation == "relu":
        return key, (
            f"{zeroed} with placement: branch and activation: relu trains no branch: each ends in relu(0), which has "
            f"derivative 0; write placement: post, activation: gelu or {other}"
        )
    if name == "rezero":
        return key, (
            f"{zeroed} with shortcut: rezero trains no branch: its scalar and its last layer both start at 0, so neither has "
            f"a gradient; write {other}, or shortcut: identity"
        )
    if isinstance(network.shortcut, dict) and network.shortcut.get("scaled", {}).get("scale") == 0:
        return key, f"{zeroed} with scale 0 of scaled makes every block 0, so nothing reaches the classifier; write {other}"
    return None


def _unknown_shortcut(name: str, shortcuts: tuple[str, ...]) -> str:
    """The message for an unknown shortcut, with how to train a custom one."""
    if not re.fullmatch(r"[\w-]+", name):
        cure = "; parameters are written as in {gate: {bias: -6}}"
    elif name.lower() in VALUES:
        cure = ""
    else:
        cure = f"; train a custom one from Python: resexp.SHORTCUTS[{name!r}] = ..., then resexp.train(...)"
    return f"{name!r} is not one of {', '.join(shortcuts)}{cure}{did_you_mean(name, shortcuts)}"


def _about_groups(network: Network) -> Problem | None:
    """Norms over groups: a unit of an mlp that is a group by itself is normalised to 0, whatever comes in."""
    width, alone = network.width, network.family == "mlp"
    least = 16 if alone else 8
    near = sorted({max(least, width // 8 * 8), max(least, -(-width // 8) * 8)})
    if near == [width]:
        return None
    groups = f"8 groups{' of at least 2 units' if alone else ''}; nearest: {' and '.join(map(str, near))}"
    return "network.width", f"{width} must be a multiple of 8 under norm: group ({groups})"


def _wrong_parameter(shortcut: Scalars) -> Problem | None:
    """What is wrong with the parameters of a shortcut that comes with resexp, if anything."""
    ((name, parameters),) = shortcut.items()
    model = SHORTCUT_PARAMETERS[name]
    if not model.model_fields and parameters:
        return "network.shortcut", f"{name} takes no parameters; write just {name}"
    try:
        model.model_validate(parameters)
    except ValidationError as error:
        first = error.errors()[0]
        parameter, fields = str(first["loc"][0]), list(model.model_fields)
        if first["type"] == "extra_forbidden":
            only = f"only {', '.join(fields)}{did_you_mean(parameter, fields)}"
            return "network.shortcut", f"{name} has no parameter {parameter!r}, {only}"
        return "network.shortcut", f"{parameter} of {name}: {broken_rule(first)}"
    return None


def _wrong_name(arm: str) -> Problem | None:
    """What is wrong with an arm as the beginning of trials' names, if anything."""
    try:
        trial_name(arm)
    except ValueError as error:
        return "network.shortcut", f"{shown(arm)} {error}"
    return None


def _about_training(cell: Settings) -> Problem | None:
    training = cell.training
    if training.epochs is not None and training.steps is not None:
        return "training.steps", "stands beside training.epochs; write one of the two"
    if training.schedule == "step" and not training.milestones:
        return "training.milestones", "is needed by schedule: step; a list of steps such as [32000, 48000]"
    if list(training.milestones) != sorted(set(training.milestones)):
        return "training.milestones", f"{list(training.milestones)} must grow"
    if training.nesterov and training.momentum == 0 and training.optimizer == "sgd":
        return "training.nesterov", "true needs training.momentum above 0"
    if training.batch_size == 1 and cell.network.norm == "batch":
        return "training.batch_size", "1 has no batch statistics; norm: batch needs at least 2"
    if isinstance(training.stack, int) and training.stack > 1 and cell.network.family == "cnn":
        return (
            "training.stack",
            f"{training.stack} is for an mlp; convolutions train faster one by one (auto or 1)",
        )
    return None


def _about_data(cell: Settings) -> Problem | None:
    data = cell.data
    if data.augment == "crop-flip" and data.name in ("digits", "mnist"):
        return "data.augment", f"'crop-flip' is refused for {data.name}: a mirrored digit is another sign; use none"
    if data.name == "image-folder" and data.image_size is None:
        return "data.image_size", "is needed by an image-folder: the side in pixels that images are resized to"
    if data.name == "image-folder" and data.root is None:
        return "data.root", "is needed by an image-folder: the folder that holds one folder per class"
    if len(set(cell.gradients.probes)) != len(cell.gradients.probes):
        return "gradients.probes", "a probe stands twice"
    return None


def _about_run(cell: Settings) -> Problem | None:
    if cell.precision == "tf32" and not cell.device.startswith(("cuda", "auto")):
        return "precision", f"'tf32' exists on cuda only, not on {cell.device}; use float32"
    if cell.precision == "float64" and cell.device == "mps":
        return "precision", "'float64' does not exist on mps; use cpu"
    if cell.compare.primary is not None:
        try:
            parse_expectation(cell.compare.primary)
        except ConfigError as error:
            return "compare.primary", error.problem
    return None


# Keys with a meaning only beside some value of another: (key, other key, its values).
_NEEDS: tuple[tuple[str, str, tuple[Any, ...]], ...] = (
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


def meaningless(written: Iterable[str], cells: list[Settings]) -> Problem | None:
    """The first key that the user wrote and that no cell gives a meaning to (momentum under adam)."""
    for key, other, values in _NEEDS:
        section, name = other.split(".")
        found = {getattr(getattr(cell, section), name) for cell in cells}
        if key in written and not found & set(values):
            under, belongs = (sorted(map(format_value, of)) for of in (found, values))
            return key, f"has no meaning under {other}: {', '.join(under)}; it belongs to {' or '.join(belongs)}"
    optimizers = {cell.training.optimizer for cell in cells}
    if optimizers == {"sgd"} and any("eps_bound" in cell.gradients.probes for cell in cells):
        return "gradients.probes", "'eps_bound' has no meaning under training.optimizer: sgd; it belongs to adam or adamw"
    shortcuts = {shortcut_name(cell.network.shortcut) for cell in cells}
    if "network.plain_width" in written and shortcuts <= set(FREE_SHORTCUTS):
        names = ", ".join(sorted(shortcuts))
        return "network.plain_width", f"has no meaning under network.shortcut: {names}; it belongs to what brings parameters"
    return None
