"""The function that MODULE:NAME names, and attempts that need not succeed."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any

from resexp.config import ConfigError, did_you_mean
from resexp.user_code import import_code


class suppress_all(AbstractContextManager[None]):  # noqa: N801 - named as contextlib.suppress
    """Ignores whatever a user's code raises, for an attempt that need not succeed; passes on Ctrl-C and `ConfigError`."""

    def __exit__(self, _kind: type[BaseException] | None, error: BaseException | None, _trace: TracebackType | None) -> bool:
        return error is not None and not isinstance(error, KeyboardInterrupt | ConfigError)


def load(reference: str) -> Callable[..., Any]:
    """The function or class that MODULE:NAME or FILE.py:NAME names.

    Raises:
        ConfigError: the module or name does not exist, or importing it fails.
    """
    module_name, _, name = reference.rpartition(":")
    module = import_code(module_name)
    value: Any = module
    for part in name.split("."):
        if not hasattr(value, part):
            names = [other for other in vars(value) if not other.startswith("_")]
            raise ConfigError(f"{module_name} has no {part}{did_you_mean(part, names)}", where=reference)
        value = getattr(value, part)
    if not callable(value):
        raise ConfigError(
            f"{name} is a {type(value).__name__}; name a function or class that returns the network", where=reference
        )
    return value  # type: ignore[no-any-return] # callable narrows Any to a callable of unknown type
