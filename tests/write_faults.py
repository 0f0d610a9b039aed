"""A disk that is full, read-only, broken or gone: the k-th write below a folder fails, counted over all processes.

    with write_faults.met(fault): ...                                    in this process
    subprocess.run(..., env=write_faults.environment(fault, place))      in a command and in the workers that it spawns

It stands between Python and the calls of the system. What a library writes from C++ it does not see.
"""

import builtins
import errno
import io
import os
import shutil  # noqa: F401 - looks at `os` when it is imported: before anything is exchanged there
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# What fails. A full disk has no room for more, a read-only one changes nothing, one that is gone cannot even be read.
ROOM = ("create", "write", "fsync", "rename", "mkdir")
CHANGE = (*ROOM, "open", "remove")
ERRORS = {
    "ENOSPC": ROOM, "EDQUOT": ROOM, "EROFS": CHANGE, "EIO": CHANGE, "ENOENT": (*CHANGE, "read"), "ESTALE": (*CHANGE, "read"),
}  # fmt: skip
CALLS = {
    "mkdir": "mkdir", "rename": "rename", "replace": "rename", "link": "rename", "symlink": "rename",
    "unlink": "remove", "remove": "remove", "rmdir": "remove",
    "write": "write", "truncate": "write", "ftruncate": "write", "fsync": "fsync", "fdatasync": "fsync",
    "stat": "read", "lstat": "read", "scandir": "read", "listdir": "read",
}  # fmt: skip
WIDTH = 160  # of a line in the log, so that its length is the number of writes
_REAL = {name: getattr(os, name) for name in (*CALLS, "open", "close", "fstat") if hasattr(os, name)}
_real_open = io.open


@dataclass(frozen=True)
class Fault:
    """Write number `at` (1, 2, ...; 0: none) below `root` fails with `error`, and if it is lasting so do all later ones.

    Only what can fail so is counted; each such write is a line in `log`, which lies outside `root`.
    """

    root: Path
    log: Path
    error: str = "ENOSPC"
    at: int = 0
    lasting: bool = True

    @property
    def reason(self) -> str:
        return os.strerror(getattr(errno, self.error))

    @property
    def writes(self) -> list[str]:
        """All that was written so far, such as 'rename digits/plan.json'."""
        return [line.strip() for line in self.log.read_text(encoding="utf-8").splitlines()] if self.log.exists() else []


def environment(fault: Fault, place: Path) -> dict[str, str]:
    """The variables of a command that meets the fault; `place` gets the file that Python runs when it starts."""
    place.mkdir(parents=True, exist_ok=True)
    values = (str(fault.root), str(fault.log), fault.error, fault.at, fault.lasting)
    start = f"from pathlib import Path\n\nimport write_faults\n\nroot, log, *rest = {values!r}\n"
    start += "write_faults.install(write_faults.Fault(Path(root), Path(log), *rest))\n"
    (place / "sitecustomize.py").write_text(start, encoding="utf-8")
    paths = [str(place), str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}


@contextmanager
def met(fault: Fault) -> Iterator[None]:
    """The fault in this process, for as long as the `with` lasts."""
    before = install(fault)
    try:
        yield
    finally:
        for (owner, name), call in before.items():
            setattr(owner, name, call)


def install(fault: Fault) -> dict[tuple[Any, str], Any]:
    """Exchanges the calls that write and those that read; returns what stood there before."""
    disk = _Disk(fault)
    calls: dict[tuple[Any, str], Any] = {(os, name): disk.guarded(name) for name in CALLS if name in _REAL}
    calls |= {(os, "open"): disk.open, (os, "close"): disk.close, (io, "open"): disk.open_file}
    calls |= {(builtins, "open"): disk.open_file}
    before = {(owner, name): getattr(owner, name) for owner, name in calls}
    for (owner, name), call in calls.items():
        setattr(owner, name, call)
    return before


class _Disk:
    """The calls as they are on such a disk; `held` knows the path of every open file below the root."""

    def __init__(self, fault: Fault) -> None:
        self.fault, self.held, self.fails = fault, dict[int, str](), ERRORS[fault.error]

    def inside(self, file: Any, folder: int | None = None) -> str | None:
        """The path of a name or descriptor below the root, None of any other."""
        if isinstance(file, int):
            return self.held.get(file)
        path = os.fsdecode("." if file is None else file)
        if not path.startswith("/"):
            path = os.path.join(self.held.get(folder or -1) or os.getcwd(), path)  # noqa: PTH109, PTH118 - below pathlib
        root = str(self.fault.root)
        return path if path == root or path.startswith(f"{root}/") else None

    def error(self, *paths: Any) -> OSError:
        names = [os.fspath(path) for path in paths if not isinstance(path, int)]
        described = (
            getattr(errno, self.fault.error),
            self.fault.reason,
            *names[:1],
            *([None, *names[1:]] if names[1:] else []),
        )
        return OSError(*described)

    def count(self, kind: str, path: str, *named: Any) -> bool:
        """Counts a call; raises if it fails at once, True for a write that is to be torn."""
        if kind not in self.fails or ("read" not in self.fails and _impossible(kind, path)):
            return False
        log = _REAL["open"](self.fault.log, os.O_RDWR | os.O_CREAT | os.O_APPEND)
        try:
            if kind != "read":
                line = f"{kind} {path[len(str(self.fault.root)) + 1 :]}"
                _REAL["write"](log, f"{line[: WIDTH - 1]:{WIDTH - 1}}\n".encode())
            number = (os.lseek(log, 0, os.SEEK_CUR) if kind != "read" else _REAL["fstat"](log).st_size) // WIDTH
        finally:
            _REAL["close"](log)
        here = number == self.fault.at and kind != "read"
        if here and kind == "write":
            return True
        if here or (self.fault.lasting and 0 < self.fault.at <= number):
            raise self.error(*named)
        return False

    def guarded(self, name: str) -> Callable[..., Any]:
        kind, real = CALLS[name], _REAL[name]

        def call(*arguments: Any, dir_fd: int | None = None, **options: Any) -> Any:
            named = arguments[: 2 if kind == "rename" else 1] or (".",)
            path = self.inside(named[-1], dir_fd)
            if path is not None and self.count(kind, path, *named):
                raise self.error()
            if kind == "fsync" and path is not None:
                return None  # no test cuts the power, and waiting for the disk is most of the time
            return real(*arguments, **options, **({} if dir_fd is None else {"dir_fd": dir_fd}))

        return call

    def open(self, path: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        place = self.inside(path, dir_fd)
        if place is not None:
            writing = flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT) and not flags & getattr(os, "O_DIRECTORY", 0)
            self.count("read" if not writing else "open" if _stands(place) else "create", place, path)
        descriptor: int = _REAL["open"](path, flags, mode, dir_fd=dir_fd)
        if place is not None:
            self.held[descriptor] = place
        return descriptor

    def close(self, descriptor: int) -> None:
        self.held.pop(descriptor, None)
        _REAL["close"](descriptor)

    def open_file(
        self, file: Any, mode: str = "r", buffering: int = -1, encoding: Any = None, errors: Any = None, newline: Any = None,
        *rest: Any, **more: Any,
    ) -> Any:  # fmt: skip
        path = self.inside(file)
        if path is None or not set(mode) & set("wax+"):
            if path is not None:
                self.count("read", path, file)
            return _real_open(file, mode, buffering, encoding, errors, newline, *rest, **more)
        self.count("open" if _stands(path) else "create", path, file)
        raw = _File(self, path, file, mode.replace("b", "").replace("t", ""), *rest, **more)
        if buffering == 0:
            return raw
        buffered = io.BufferedRandom(raw) if "+" in mode else io.BufferedWriter(raw)
        return buffered if "b" in mode else io.TextIOWrapper(buffered, encoding or "utf-8", errors, newline)


class _File(io.FileIO):
    """A file of that disk: the write at which it fills up still puts down its first half."""

    def __init__(self, disk: _Disk, path: str, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self.disk, self.path, self.torn = disk, path, False
        disk.held[self.fileno()] = path

    def write(self, data: Any) -> int:
        if self.torn:
            raise self.disk.error()
        self.torn = self.disk.count("write", self.path)
        half = memoryview(data).cast("B")[: len(memoryview(data).cast("B")) // 2]
        if self.torn and not half:
            raise self.disk.error()
        return super().write(half if self.torn else data)

    def truncate(self, size: int | None = None) -> int:
        if self.disk.count("write", self.path):
            raise self.disk.error()
        return super().truncate(size)

    def close(self) -> None:
        if not self.closed:
            self.disk.held.pop(self.fileno(), None)
        super().close()


def _stands(path: str) -> bool:
    try:
        _REAL["lstat"](path)
    except OSError:
        return False
    return True


def _impossible(kind: str, path: str) -> bool:
    """What is refused on a good disk too, for another reason: is not counted."""
    if kind == "remove":
        return not _stands(path)
    return (kind == "mkdir" and _stands(path)) or (kind in ("mkdir", "create") and not _stands(str(Path(path).parent)))
