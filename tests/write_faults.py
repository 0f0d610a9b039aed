"""Simulation of a full, read-only, broken or missing disk: the k-th write below a folder fails, counted over all processes.

    with write_faults.applied(fault): ...                                in this process
    subprocess.run(..., env=write_faults.environment(fault, folder))     in a command and its workers

It replaces functions of Python, so it does not affect what a library writes from C++.
"""

import builtins
import errno
import io
import os
import shutil  # noqa: F401 - refers to `os` on import, so it is imported before functions are replaced
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Calls that fail for each error: those that need space, all that change something, or also those that read.
NEEDS_SPACE = ("create", "write", "fsync", "rename", "mkdir")
CHANGES = (*NEEDS_SPACE, "open", "remove")
ALL = (*CHANGES, "read")
ERRORS = {"ENOSPC": NEEDS_SPACE, "EDQUOT": NEEDS_SPACE, "EROFS": CHANGES, "EIO": CHANGES, "ENOENT": ALL, "ESTALE": ALL}
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
    """Write number `at` (1, 2, ...; 0: none) below `root` fails with `error`; if the fault is lasting, all later ones fail too.

    Only calls that can fail with this error are counted; each such write is a line in `log`, which is outside `root`.
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
        """All writes so far, such as 'rename digits/plan.json'."""
        return [line.strip() for line in self.log.read_text(encoding="utf-8").splitlines()] if self.log.exists() else []


def environment(fault: Fault, folder: Path) -> dict[str, str]:
    """The environment variables of a command with the fault; the file that Python runs at its start is written to `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    values = (str(fault.root), str(fault.log), fault.error, fault.at, fault.lasting)
    start = f"from pathlib import Path\n\nimport write_faults\n\nroot, log, *rest = {values!r}\n"
    start += "write_faults.install(write_faults.Fault(Path(root), Path(log), *rest))\n"
    (folder / "sitecustomize.py").write_text(start, encoding="utf-8")
    paths = [str(folder), str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}


@contextmanager
def applied(fault: Fault) -> Iterator[None]:
    """Applies the fault to this process until the end of the `with` statement."""
    before = install(fault)
    try:
        yield
    finally:
        for (owner, name), call in before.items():
            setattr(owner, name, call)


def install(fault: Fault) -> dict[tuple[Any, str], Any]:
    """Replaces the functions that write and read; returns the original ones."""
    disk = _Disk(fault)
    calls: dict[tuple[Any, str], Any] = {(os, name): disk.guarded(name) for name in CALLS if name in _REAL}
    calls |= {(os, "open"): disk.open, (os, "close"): disk.close, (io, "open"): disk.open_file}
    calls |= {(builtins, "open"): disk.open_file}
    before = {(owner, name): getattr(owner, name) for owner, name in calls}
    for (owner, name), call in calls.items():
        setattr(owner, name, call)
    return before


class _Disk:
    """The functions on such a disk; `paths` contains the path of every open file below the root, by descriptor."""

    def __init__(self, fault: Fault) -> None:
        self.fault, self.paths, self.fails = fault, dict[int, str](), ERRORS[fault.error]

    def inside(self, file: Any, folder: int | None = None) -> str | None:
        """The path of a name or descriptor; None if it is not below the root."""
        if isinstance(file, int):
            return self.paths.get(file)
        path = os.fsdecode("." if file is None else file)
        if not path.startswith("/"):
            path = os.path.join(self.paths.get(folder or -1) or os.getcwd(), path)  # noqa: PTH109, PTH118 - below pathlib
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
        """Counts a call; raises an exception if it fails; returns True for a write of which only half succeeds."""
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
        is_fault = number == self.fault.at and kind != "read"
        if is_fault and kind == "write":
            return True
        if is_fault or (self.fault.lasting and 0 < self.fault.at <= number):
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
                return None  # most of the time would be spent waiting for the disk, and no test simulates a power failure
            return real(*arguments, **options, **({} if dir_fd is None else {"dir_fd": dir_fd}))

        return call

    def open(self, path: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        full_path = self.inside(path, dir_fd)
        if full_path is not None:
            writing = flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT) and not flags & getattr(os, "O_DIRECTORY", 0)
            self.count("read" if not writing else "open" if _exists(full_path) else "create", full_path, path)
        descriptor: int = _REAL["open"](path, flags, mode, dir_fd=dir_fd)
        if full_path is not None:
            self.paths[descriptor] = full_path
        return descriptor

    def close(self, descriptor: int) -> None:
        self.paths.pop(descriptor, None)
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
        self.count("open" if _exists(path) else "create", path, file)
        raw = _File(self, path, file, mode.replace("b", "").replace("t", ""), *rest, **more)
        if buffering == 0:
            return raw
        buffered = io.BufferedRandom(raw) if "+" in mode else io.BufferedWriter(raw)
        return buffered if "b" in mode else io.TextIOWrapper(buffered, encoding or "utf-8", errors, newline)


class _File(io.FileIO):
    """A file on such a disk: the first half of the failing write succeeds."""

    def __init__(self, disk: _Disk, path: str, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self.disk, self.path, self.failed = disk, path, False
        disk.paths[self.fileno()] = path

    def write(self, data: Any) -> int:
        if self.failed:
            raise self.disk.error()
        self.failed = self.disk.count("write", self.path)
        half = memoryview(data).cast("B")[: len(memoryview(data).cast("B")) // 2]
        if self.failed and not half:
            raise self.disk.error()
        return super().write(half if self.failed else data)

    def truncate(self, size: int | None = None) -> int:
        if self.disk.count("write", self.path):
            raise self.disk.error()
        return super().truncate(size)

    def close(self) -> None:
        if not self.closed:
            self.disk.paths.pop(self.fileno(), None)
        super().close()


def _exists(path: str) -> bool:
    try:
        _REAL["lstat"](path)
    except OSError:
        return False
    return True


def _impossible(kind: str, path: str) -> bool:
    """Whether a call also fails on an intact disk, for another reason; it is not counted."""
    if kind == "remove":
        return not _exists(path)
    return (kind == "mkdir" and _exists(path)) or (kind in ("mkdir", "create") and not _exists(str(Path(path).parent)))
