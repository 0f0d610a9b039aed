"""Which outputs of submodules are the boundaries x_0 .. x_L of a network, and how they are recorded."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import groupby
from typing import Any

from torch import Tensor, nn

from resexp.config import ConfigError, did_you_mean

MIN_RUN = 3  # modules of one class that follow one another
CONTAINERS = (nn.Sequential, nn.Identity)  # classes that say nothing about what a module is
ACTIVATIONS = (
    nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.PReLU, nn.ELU, nn.SELU, nn.GELU, nn.SiLU, nn.Mish, nn.Tanh, nn.Sigmoid, nn.Softplus,
    nn.Hardswish,
)  # fmt: skip


@dataclass(frozen=True)
class Call:
    """The number-th call of a module, in the order in which calls end."""

    name: str
    number: int
    kind: type[nn.Module]

    @property
    def label(self) -> str:
        """The name of the module; a repeated call has its number."""
        return self.name if self.number == 0 else f"{self.name}#{self.number + 1}"


@dataclass(frozen=True)
class Boundaries:
    """The calls whose outputs are the boundaries, the rule that chose them, and whether the input of the first is x_0."""

    calls: Sequence[Call]
    rule: str
    with_input: bool = True


Edit = Callable[[str, Tensor], Tensor]


def first_tensor(value: Any) -> Tensor | None:
    """The tensor itself, or the first floating-point tensor in a tuple, list, dict or output object."""
    if isinstance(value, Tensor):
        return value if value.is_floating_point() else None
    parts = value.values() if isinstance(value, Mapping) else value if isinstance(value, tuple | list) else ()
    return next((tensor for part in parts if (tensor := first_tensor(part)) is not None), None)


def replaced(value: Any, old: Tensor, new: Tensor) -> Any:
    """The same value with one tensor replaced."""
    if value is old:
        return new
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(replaced(part, old, new) for part in value))
    if isinstance(value, tuple | list):
        return type(value)(replaced(part, old, new) for part in value)
    if isinstance(value, Mapping):
        for key in [key for key, part in value.items() if first_tensor(part) is old]:
            value[key] = replaced(value[key], old, new)  # type: ignore[index] # output objects are mutable mappings
    return value


@contextmanager
def recording(module: nn.Module) -> Iterator[list[Call]]:
    """Yields the list that receives every call of a named submodule while the block runs."""
    calls: list[Call] = []
    counts: dict[str, int] = {}

    def hook(name: str) -> Callable[..., None]:
        def record(called: nn.Module, _inputs: Any, output: Any) -> None:
            number = counts[name] = counts.get(name, -1) + 1
            if first_tensor(output) is not None:
                calls.append(Call(name, number, type(called)))

        return record

    handles = [submodule.register_forward_hook(hook(name)) for name, submodule in module.named_modules() if name]
    try:
        yield calls
    finally:
        for handle in handles:
            handle.remove()


def default_boundaries(calls: Sequence[Call]) -> Boundaries:
    """The boundaries that the names and classes of the modules suggest.

    The deepest level of names at which at least MIN_RUN calls of one class follow one another: all calls of that class there,
    and the input of the first. Otherwise the activation modules if there are MIN_RUN, else the modules without submodules.
    """
    levels = {call.name.count(".") for call in calls}
    for level in sorted(levels, reverse=True):
        here = [call for call in calls if call.name.count(".") == level]
        runs = [list(run) for kind, run in groupby(here, key=lambda call: call.kind) if kind not in CONTAINERS]
        longest = max(runs, key=len, default=[])
        if len(longest) >= MIN_RUN:
            kind = longest[0].kind
            blocks = [call for call in here if call.kind is kind]
            return Boundaries(blocks, f"input and outputs of the modules of class {kind.__name__}")
    activations = [call for call in calls if issubclass(call.kind, ACTIVATIONS)]
    if len(activations) >= MIN_RUN:
        return Boundaries(activations, "outputs of the activation modules", with_input=False)
    parents = {call.name.rpartition(".")[0] for call in calls}
    leaves = [call for call in calls if call.name not in parents]
    return Boundaries(leaves, "outputs of the modules without submodules", with_input=False)


def matches(name: str, glob: str) -> bool:
    """Whether each part of a dotted name matches; * does not match a dot."""
    parts, patterns = name.split("."), glob.split(".")
    return len(parts) == len(patterns) and all(map(fnmatchcase, parts, patterns))


def matching_boundaries(calls: Sequence[Call], globs: Sequence[str]) -> Boundaries:
    """The outputs of modules whose name matches a glob, and the input of the first.

    Raises:
        ConfigError: a glob that matches no module that was called.
    """
    for glob in globs:
        if not any(matches(call.name, glob) for call in calls):
            names = list(dict.fromkeys(call.name for call in calls))
            shown = ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")
            near = did_you_mean(glob, names)
            raise ConfigError(f"{glob!r} matches no module that is called; names are {shown}{near}", where="--at")
    chosen = [call for call in calls if any(matches(call.name, glob) for glob in globs)]
    return Boundaries(chosen, f"input and outputs of {', '.join(globs)}")


@contextmanager
def editing(module: nn.Module, boundaries: Boundaries, edit: Edit) -> Iterator[None]:
    """While the block runs, each boundary tensor is replaced by what `edit(label, tensor)` returns."""
    chosen = boundaries.calls
    labels = {(call.name, call.number): call.label for call in chosen}
    counts: dict[str, int] = {}
    starts: list[Tensor] = []

    def hook(name: str) -> Callable[..., Any]:
        def replace(_called: nn.Module, _inputs: Any, output: Any) -> Any:
            number = counts[name] = counts.get(name, -1) + 1
            label, tensor = labels.get((name, number)), first_tensor(output)
            return None if label is None or tensor is None else replaced(output, tensor, edit(label, tensor))

        return replace

    def before(_called: nn.Module, arguments: tuple[Any, ...]) -> Any:
        tensor = first_tensor(arguments)
        if tensor is None or starts:
            return None
        starts.append(tensor)
        return replaced(arguments, tensor, edit("input", tensor))

    modules = dict(module.named_modules())
    handles = [modules[name].register_forward_hook(hook(name)) for name in {call.name for call in chosen}]
    handles += [modules[chosen[0].name].register_forward_pre_hook(before)] if boundaries.with_input else []
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
