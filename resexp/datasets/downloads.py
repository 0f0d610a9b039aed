"""Downloads of published files: into a temporary folder, where they are checked and unpacked before they are renamed.

An interrupted download leaves only complete files in the data set; the next download deletes the temporary folder.
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

TIMEOUT = 30.0  # seconds without data from the server
MIN_BYTES_PER_SECOND = 1000  # on average over the download
MAX_BYTES = 2**30  # of a download; the largest published archive has 170 million bytes
RETRY_SECONDS = (1.0, 3.0, 9.0)  # waiting times before addresses with temporary failures are tried again


@dataclass(frozen=True)
class Archive:
    """A published archive: file name, addresses, MD5, and the names of the files in it."""

    name: str
    urls: Sequence[str]
    md5: str
    files: Sequence[str]


def fetch(published: str, root: Path, folder: Path, archives: Sequence[Archive]) -> None:
    """Downloads and unpacks `archives` into `folder`. Existing files are not changed or fetched again.

    An archive that is already in `folder` or `root` is used instead of a download. A second process waits for the first.

    Raises:
        DataError: no address has the published file, or it cannot be written.
    """
    if not any(_missing(archive, folder) for archive in archives):
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(folder / ".download.lock"):
            for archive in archives:
                if _missing(archive, folder):
                    _install(archive, folder, [path / archive.name for path in (folder, root)])
    except (OSError, ValueError, EOFError, RuntimeError, zlib.error, tarfile.TarError) as error:
        reason = " ".join(str(error).split())
        raise DataError(f"{published}: download to {root} failed ({reason}); put the files there by hand") from None


def _missing(archive: Archive, folder: Path) -> list[str]:
    return [name for name in archive.files if not os.path.lexists(folder / name)]


def _install(archive: Archive, folder: Path, local_files: Sequence[Path]) -> None:
    temporary = folder / ".download"
    shutil.rmtree(temporary, ignore_errors=True)  # left by a killed download; the lock excludes other processes
    temporary.mkdir(exist_ok=True)
    try:
        _unpack(_download(archive, temporary, local_files), archive.files)
        for name in _missing(archive, folder):
            (temporary / name).rename(folder / name)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _download(archive: Archive, temporary: Path, local_files: Sequence[Path]) -> Path:
    """The archive in the folder `temporary`, from the first address that has the published bytes.

    Addresses with temporary failures are tried again after increasing waits.
    """
    urls = [*(path.resolve().as_uri() for path in local_files if path.is_file()), *archive.urls]
    failures: dict[str, str] = {}
    for attempt in range(len(RETRY_SECONDS) + 1):
        retry_urls = []
        for url in urls:
            try:
                return _copy(url, temporary / archive.name, archive.md5)
            except (OSError, ValueError, HTTPException) as error:
                failures[url] = f"{url}: {error}"
                retry_urls += [url] if _is_temporary(error) else []
        urls = retry_urls
        if not urls or attempt == len(RETRY_SECONDS):
            break
        sleep(RETRY_SECONDS[attempt])
    attempts = f"; tried {attempt + 1} times" if attempt else ""
    raise ValueError("; ".join(failures.values()) + attempts)


def _is_temporary(error: Exception) -> bool:
    """Whether the failure is temporary: no answer, a broken connection, a server error, too many requests."""
    if isinstance(error, urllib.error.HTTPError):
        return error.code >= 500 or error.code in (408, 425, 429)
    return isinstance(error, urllib.error.URLError | ConnectionError | TimeoutError | ssl.SSLError | HTTPException)


def _copy(url: str, file: Path, md5: str) -> Path:
    """Writes the content of `url` to `file`, and returns `file`.

    Raises:
        ConnectionError: the server sent fewer bytes than announced.
        OSError, HTTPException: no response; the disk is full.
        ValueError: the MD5 differs; too many bytes; too slow.
    """
    digest, size, start = hashlib.md5(usedforsecurity=False), 0, time.monotonic()
    request = urllib.request.Request(url, headers={"User-Agent": "resexp"})  # noqa: S310 - torchvision's addresses
    with urllib.request.urlopen(request, timeout=TIMEOUT) as response, file.open("wb") as copy:  # noqa: S310 - as above
        while chunk := response.read1(2**16):
            copy.write(chunk)
            digest.update(chunk)
            size += len(chunk)
            if size > MAX_BYTES:
                raise ValueError(f"the server sent more than {MAX_BYTES} bytes")
            if size < MIN_BYTES_PER_SECOND * (time.monotonic() - start - TIMEOUT):
                raise ValueError(f"the server sent fewer than {MIN_BYTES_PER_SECOND} bytes per second")
        announced = response.headers.get("Content-Length", "")
    if digest.hexdigest() != md5:
        problem = f"the server sent {size} bytes that are not the published file (MD5 mismatch)"
        raise ConnectionError(problem) if announced.isdecimal() and size < int(announced) else ValueError(problem)
    return file


def _unpack(archive: Path, names: Sequence[str]) -> None:
    """Unpacks the named files of a tar archive, or the file in a gzip archive, into the folder of the archive."""
    if archive.name.endswith(".tar.gz"):
        with tarfile.open(archive, "r|gz") as tar:
            for member in tar:
                name = Path(member.name).name
                if name in names and (content := tar.extractfile(member)):
                    _write(content, archive.with_name(name))
    else:
        with gzip.open(archive) as packed:
            _write(packed, archive.with_name(names[0]))


def _write(content: IO[bytes] | gzip.GzipFile, file: Path) -> None:
    with file.open("wb") as output:
        shutil.copyfileobj(content, output)
        output.flush()
        os.fsync(output.fileno())
