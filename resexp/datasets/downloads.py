"""Published files, fetched once: into a folder beside their place, checked, unpacked, and only then renamed.

Whatever stops a download, only whole files stand in their place; the next one clears away what it left.
"""

import gzip
import hashlib
import os
import shutil
import ssl
import tarfile
import time
import urllib.error
import urllib.request
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from time import sleep
from typing import IO

import filelock

from resexp.datasets.images import DataError

TIMEOUT = 30.0  # seconds that a server may be silent
SLOWEST = 1000  # bytes a second that it sends at least, on the whole
LARGEST = 2**30  # bytes that it sends at most; the largest published archive has 170 million
WAITS = (1.0, 3.0, 9.0)  # seconds before addresses with temporary failures are tried again


@dataclass(frozen=True)
class Archive:
    """A published archive: its name, the addresses that have it, its MD5, and the names of the files in it."""

    name: str
    urls: Sequence[str]
    md5: str
    files: Sequence[str]


def fetch(published: str, root: Path, folder: Path, archives: Sequence[Archive]) -> None:
    """Puts the files of `archives` into `folder`; those that are there stay as they are and are not fetched again.

    An archive that somebody put into `folder` or `root` serves before any server. A second process waits for the first.

    Raises:
        DataError: nobody has the published bytes, or the disk does not take them.
    """
    if not any(_missing(archive, folder) for archive in archives):
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(folder / ".download.lock"):
            for archive in archives:
                if _missing(archive, folder):
                    _put(archive, folder, [path / archive.name for path in (folder, root)])
    except (OSError, ValueError, EOFError, RuntimeError, zlib.error, tarfile.TarError) as error:
        reason = " ".join(str(error).split())
        raise DataError(f"{published}: download to {root} failed ({reason}); put the files there by hand") from None


def _missing(archive: Archive, folder: Path) -> list[str]:
    return [name for name in archive.files if not os.path.lexists(folder / name)]


def _put(archive: Archive, folder: Path, at_hand: Sequence[Path]) -> None:
    beside = folder / ".download"
    shutil.rmtree(beside, ignore_errors=True)  # of a download that was killed: whoever holds the lock is alone here
    beside.mkdir(exist_ok=True)
    try:
        _unpack(_received(archive, beside, at_hand), archive.files)
        for name in _missing(archive, folder):
            (beside / name).rename(folder / name)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _received(archive: Archive, beside: Path, at_hand: Sequence[Path]) -> Path:
    """The archive in `beside`, from the first address that has the published bytes.

    Addresses with temporary failures are tried again after increasing waits.
    """
    urls = [*(path.resolve().as_uri() for path in at_hand if path.is_file()), *archive.urls]
    faults: dict[str, str] = {}
    for attempt in range(len(WAITS) + 1):
        again = []
        for url in urls:
            try:
                return _copied(url, beside / archive.name, archive.md5)
            except (OSError, ValueError, HTTPException) as error:
                faults[url] = f"{url}: {error}"
                again += [url] if _may_pass(error) else []
        urls = again
        if not urls or attempt == len(WAITS):
            break
        sleep(WAITS[attempt])
    tried = f"; tried {attempt + 1} times" if attempt else ""
    raise ValueError("; ".join(faults.values()) + tried)


def _may_pass(fault: Exception) -> bool:
    """Whether the failure is temporary: no answer, a broken connection, a server error, too many requests."""
    if isinstance(fault, urllib.error.HTTPError):
        return fault.code >= 500 or fault.code in (408, 425, 429)
    return isinstance(fault, urllib.error.URLError | ConnectionError | TimeoutError | ssl.SSLError | HTTPException)


def _copied(url: str, file: Path, md5: str) -> Path:
    """The published bytes in `file`.

    Raises:
        ConnectionError: fewer bytes came than were promised.
        OSError, HTTPException: no answer; a disk that is full.
        ValueError: other bytes, too many, too slowly.
    """
    digest, size, begun = hashlib.md5(usedforsecurity=False), 0, time.monotonic()
    request = urllib.request.Request(url, headers={"User-Agent": "resexp"})  # noqa: S310 - torchvision's addresses
    with urllib.request.urlopen(request, timeout=TIMEOUT) as answer, file.open("wb") as copy:  # noqa: S310 - as above
        while chunk := answer.read1(2**16):
            copy.write(chunk)
            digest.update(chunk)
            size += len(chunk)
            if size > LARGEST:
                raise ValueError(f"more than {LARGEST} bytes came")
            if size < SLOWEST * (time.monotonic() - begun - TIMEOUT):
                raise ValueError(f"fewer than {SLOWEST} bytes a second came")
        promised = answer.headers.get("Content-Length", "")
    if digest.hexdigest() != md5:
        problem = f"{size} bytes came that are not the published file (their MD5 differs)"
        raise ConnectionError(problem) if promised.isdecimal() and size < int(promised) else ValueError(problem)
    return file


def _unpack(archive: Path, names: Sequence[str]) -> None:
    """The named files of a tar, or the one in a gzip, beside the archive."""
    if archive.name.endswith(".tar.gz"):
        with tarfile.open(archive, "r|gz") as tar:
            for member in tar:
                name = Path(member.name).name
                if name in names and (content := tar.extractfile(member)):
                    _write(content, archive.with_name(name))
    else:
        with gzip.open(archive) as packed:
            _write(packed, archive.with_name(names[0]))


def _write(packed: IO[bytes] | gzip.GzipFile, file: Path) -> None:
    with file.open("wb") as plain:
        shutil.copyfileobj(packed, plain)
        plain.flush()
        os.fsync(plain.fileno())
