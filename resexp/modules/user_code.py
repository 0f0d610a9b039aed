"""Code of users: import of MODULE:NAME, and one clear line for whatever it raises."""

import importlib
import importlib.util
import sys
import traceback
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any

from resexp.config import ConfigError, did_you_mean

MAX_CHARACTERS = 300  # of a message that is quoted


class UserCode(AbstractContextManager[None]):
    """Turns any exception of a user's code into one line with its file and line number.

    Any exception is possible here, so none is named. Ctrl-C is passed on.
    """

    def __init__(self, what: str, hint: str = "") -> None:
        self.what, self.hint = what, hint

    def __exit__(self, _kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if error is None or isinstance(error, KeyboardInterrupt | ConfigError):
            return
        frames = [frame for frame in traceback.extract_tb(trace) if "site-packages" not in frame.filename]
        line = f" at {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
        words = " ".join(str(error).split())
        message = f": {words[:MAX_CHARACTERS]}{'...' if len(words) > MAX_CHARACTERS else ''}" if words else ""
        raise ConfigError(f"{self.what} raised {type(error).__name__}{line}{message}{self.hint}") from error


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
    module = _import(module_name)
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


def _import(name: str) -> ModuleType:
    """The module of a dotted name, or of a file, whose folder then is on the path, as for `python FILE.py`."""
    if not name.endswith(".py"):
        folder = str(Path.cwd())
        if folder not in sys.path:  # as `python -m` does
            sys.path.insert(0, folder)
        with UserCode(f"the import of {name}"):
            return importlib.import_module(name)
    path = Path(name).expanduser()
    if not path.is_file():
        raise ConfigError("no such file", where=name)
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None  # a name that ends with .py has a loader
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules.setdefault(path.stem, module)  # so that its classes can be copied and pickled
    if (folder := str(path.parent.resolve())) not in sys.path:
        sys.path.insert(0, folder)
    with UserCode(f"the import of {name}"):
        spec.loader.exec_module(module)
    return module
