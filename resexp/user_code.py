"""Files and modules of users: how they are imported, and one clear line for whatever they raise. No torch."""

import importlib
import importlib.util
import sys
import traceback
from contextlib import AbstractContextManager
from pathlib import Path
from types import ModuleType, TracebackType

from resexp.config import ConfigError

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
        places = [frame for frame in frames if not frame.filename.startswith(("<", importlib.__file__ or "<"))]
        line = f" at {Path(places[-1].filename).name}:{places[-1].lineno}" if places else ""
        if isinstance(error, SyntaxError) and error.filename:
            line = f" at {Path(error.filename).name}:{error.lineno}"
        words = " ".join(str(error).split())
        message = f": {words[:MAX_CHARACTERS]}{'...' if len(words) > MAX_CHARACTERS else ''}" if words else ""
        raise ConfigError(f"{self.what} raised {type(error).__name__}{line}{message}{self.hint}") from error


def import_code(name: str) -> ModuleType:
    """The module of a dotted name, or of a file that ends with .py, whose folder is on the path as for `python FILE.py`.

    Raises:
        ConfigError: the file does not exist, or importing it fails.
    """
    if not name.endswith(".py"):
        if not all(part.isidentifier() for part in name.split(".")):
            raise ConfigError("is neither the path of a file that ends with .py nor the name of a module", where=name)
        _add_to_path(Path.cwd())  # as `python -m` does
        with UserCode(f"the import of {name}"):
            return importlib.import_module(name)
    path = Path(name).expanduser()
    if not path.is_file():
        raise ConfigError("is a folder; name a file in it" if path.is_dir() else "no such file", where=name)
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None  # a name that ends with .py has a loader
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules.setdefault(path.stem, module)  # so that its classes can be copied and pickled
    _add_to_path(path.parent.resolve())
    with UserCode(f"the import of {name}"):
        spec.loader.exec_module(module)
    return module


def _add_to_path(folder: Path) -> None:
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
