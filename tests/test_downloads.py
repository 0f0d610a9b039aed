"""Downloads from a local server that answers correctly, or interrupts, delays or falsifies its answers."""

import errno
import gzip
import io
import os
import shutil
import socket
import subprocess
import sys
import tarfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from originals import IMAGES_FILE, LABELS, PIXELS, error_of, idx, idx_files, md5, published_cifar, written
from torchvision.datasets import cifar, mnist

from resexp.datasets import DATASETS, DataError, Images, Source, downloads

# ---- a configurable server -------------------------------------------------------------------------------------------


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.server.requests.append(self.path)
        self.server.answers.get(self.path, status(404))(self)

    def log_message(self, *_arguments: object) -> None: ...


Answer = Callable[[Handler], None]


class Server(ThreadingHTTPServer):
    """Answers each path with its entry in `answers`; `requests` lists the requested paths."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.requests: list[str] = []
        self.answers: dict[str, Answer] = {}
        self.stalled, self.closing = threading.Event(), threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/"

    def handle_error(self, *_arguments: object) -> None:
        """Ignores clients that close the connection early."""


def status(code: int, **headers: str) -> Answer:
    def answer(request: Handler) -> None:
        request.send_response(code)
        for name, value in headers.items():
            request.send_header(name, value)
        request.end_headers()

    return answer


def sends(content: bytes, length: int | None = None) -> Answer:
    """Status 200, the given Content-Length (by default the true one), the content."""

    def answer(request: Handler) -> None:
        status(200, **{"Content-Length": str(len(content) if length is None else length)})(request)
        request.wfile.write(content)

    return answer


def in_turn(*answers: Answer) -> Answer:
    """Each request gets the next answer."""
    remaining = iter(answers)

    def answer(request: Handler) -> None:
        next(remaining)(request)

    return answer


def by_content(answer: Callable[[Handler, bytes], None]) -> Callable[[bytes], Answer]:
    """A function of the published content whose result is an answer."""
    return lambda content: lambda request: answer(request, content)


@by_content
def sends_in_chunks(request: Handler, content: bytes) -> None:
    request.protocol_version = "HTTP/1.1"
    status(200, **{"Transfer-Encoding": "chunked"})(request)
    for piece in (content[:50], content[50:], b""):
        request.wfile.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")


@by_content
def stops_in_a_chunk(request: Handler, content: bytes) -> None:
    request.protocol_version = "HTTP/1.1"
    status(200, **{"Transfer-Encoding": "chunked"})(request)
    request.wfile.write(f"{len(content):x}\r\n".encode() + content[:20])
    request.close_connection = True


@by_content
def sends_without_length(request: Handler, content: bytes) -> None:
    status(200)(request)
    request.wfile.write(content)


@by_content
def stalls(request: Handler, content: bytes) -> None:
    """Sends half of the content, and then nothing until the end of the test."""
    sends(content[: len(content) // 2], len(content))(request)
    request.wfile.flush()
    request.server.stalled.set()
    request.server.closing.wait()


@by_content
def sends_slowly(request: Handler, _content: bytes) -> None:
    status(200)(request)
    while not request.server.closing.wait(0.01):
        request.wfile.write(b"x")


@by_content
def never_ends(request: Handler, _content: bytes) -> None:
    status(200)(request)
    while not request.server.closing.is_set():
        request.wfile.write(bytes(2**16))


@pytest.fixture(autouse=True)
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds of each wait before a retry; the test does not actually wait."""
    seconds: list[float] = []
    monkeypatch.setattr(downloads, "sleep", seconds.append)
    return seconds


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "*")
    with Server() as running:
        threading.Thread(target=running.serve_forever, args=(0.02,), daemon=True).start()
        yield running
        running.closing.set()
        running.shutdown()


# ---- small data sets that replace the published ones in torchvision --------------------------------------------------


@dataclass
class Published:
    """A data set on the server: its archives by name and its files by their path in the data folder."""

    name: str
    title: str
    archives: dict[str, bytes]
    files: dict[str, bytes]

    @property
    def last_archive(self) -> str:
        return list(self.archives)[-1]

    def read(self, root: Path, split: str = "train") -> Images:
        return DATASETS[self.name](Source(root, download=True), split)


def tar(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def publish(name: str, server: Server, monkeypatch: pytest.MonkeyPatch) -> Published:
    """The small data set `name` on a server that answers correctly."""
    if name in ("mnist", "fashion-mnist"):
        dataset, title, folder = (
            (mnist.MNIST, "MNIST", "MNIST/raw")
            if name == "mnist"
            else (mnist.FashionMNIST, "Fashion-MNIST", "FashionMNIST/raw")
        )
        contents = idx_files()
        archives = {f"{file}.gz": gzip.compress(content, mtime=0) for file, content in contents.items()}
        monkeypatch.setattr(dataset, "mirrors", [server.url])
        monkeypatch.setattr(dataset, "resources", [(file, md5(content)) for file, content in archives.items()])
    else:
        dataset, title = (cifar.CIFAR10, "CIFAR-10") if name == "cifar10" else (cifar.CIFAR100, "CIFAR-100")
        contents, folder = published_cifar(name, monkeypatch), dataset.base_folder
        inside = {f"{folder}/readme.html": b"<html>", **{f"{folder}/{file}": content for file, content in contents.items()}}
        archives = {dataset.filename: tar(inside)}
        monkeypatch.setattr(dataset, "url", f"{server.url}{dataset.filename}")
        monkeypatch.setattr(dataset, "tgz_md5", md5(archives[dataset.filename]))
    server.answers = {f"/{file}": sends(content) for file, content in archives.items()}
    return Published(name, title, archives, {f"{folder}/{file}": content for file, content in contents.items()})


@pytest.fixture(params=["mnist", "fashion-mnist", "cifar10", "cifar100"])
def published(request: pytest.FixtureRequest, server: Server, monkeypatch: pytest.MonkeyPatch) -> Published:
    return publish(request.param, server, monkeypatch)


@pytest.fixture(params=["mnist", "cifar10"])
def dataset(request: pytest.FixtureRequest, server: Server, monkeypatch: pytest.MonkeyPatch) -> Published:
    """One data set of each kind: four gzip files on mirrors, and one tar archive."""
    return publish(request.param, server, monkeypatch)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "data"


def files_in(root: Path) -> dict[str, bytes]:
    """All files in the data folder, except the lock, which remains."""
    files = (path for path in root.rglob("*") if path.is_file() and path.name != ".download.lock")
    return {str(path.relative_to(root)): path.read_bytes() for path in files}


def folders(root: Path) -> set[str]:
    return {path.name for path in root.rglob("*") if path.is_dir()}


# ---- successful downloads --------------------------------------------------------------------------------------------


def test_without_download_nothing_is_requested(server: Server, published: Published, root: Path):
    error_of(lambda: DATASETS[published.name](Source(root), "train"))

    assert server.requests == []
    assert not root.exists()


def test_with_download_the_files_are_fetched_once_and_read(server: Server, published: Published, root: Path):
    training, requests = published.read(root), list(server.requests)
    test = published.read(root, "test")

    assert sorted(requests) == sorted(f"/{name}" for name in published.archives)
    assert server.requests == requests
    assert files_in(root) == published.files
    assert ".download" not in folders(root)
    if "mnist" in published.name:
        assert np.array_equal(training.pixels.numpy(), PIXELS[:, None])
        assert test.labels.tolist() == LABELS[:10].tolist()
    else:
        assert training.pixels[2, :, 5, 9].tolist() == [2, 5, 9]
        assert test.pixels[0, :, 31, 0].tolist() == [8, 31, 0]


def test_a_complete_data_set_is_not_locked(server: Server, published: Published, root: Path):
    for file, content in published.files.items():
        written((root / file).parent, {Path(file).name: content})
    published.read(root)

    assert server.requests == []
    assert list(root.rglob(".download*")) == []


def test_an_existing_file_is_neither_fetched_nor_overwritten(server: Server, dataset: Published, root: Path):
    existing, *others = dataset.files
    written((root / existing).parent, {Path(existing).name: b"another file"})
    message = error_of(lambda: dataset.read(root))

    assert message.startswith(f"{root / existing}: ")
    assert files_in(root) == {**dataset.files, existing: b"another file"}
    assert f"/{Path(existing).name}.gz" not in server.requests
    assert len(server.requests) == (len(others) if dataset.name == "mnist" else 1)


def test_a_broken_link_is_not_overwritten(dataset: Published, root: Path):
    file = root / next(iter(dataset.files))
    file.parent.mkdir(parents=True)
    file.symlink_to("/an/unmounted/disk")

    assert error_of(lambda: dataset.read(root)).startswith(f"{file}: a broken link")
    assert file.is_symlink()


def test_a_local_archive_is_used_instead_of_the_server(server: Server, dataset: Published, root: Path):
    written(root, dataset.archives)
    dataset.read(root)

    assert server.requests == []
    assert {file: content for file, content in files_in(root).items() if not file.endswith(".gz")} == dataset.files
    assert all((root / name).read_bytes() == content for name, content in dataset.archives.items())


def test_a_damaged_local_archive_is_not_used(server: Server, dataset: Published, root: Path):
    written(root, {dataset.last_archive: b"damaged"})
    dataset.read(root)

    assert f"/{dataset.last_archive}" in server.requests
    assert files_in(root) == {**dataset.files, dataset.last_archive: b"damaged"}


@pytest.mark.parametrize(
    "sends_content",
    [
        pytest.param(sends_without_length, id="without length"),
        pytest.param(sends_in_chunks, id="in chunks"),
        pytest.param(lambda content: sends(content, 2 * len(content)), id="with too large a length"),
    ],
)
def test_complete_content_is_accepted_for_every_way_of_sending(
    sends_content: Callable[[bytes], Answer], server: Server, dataset: Published, root: Path
):
    server.answers |= {f"/{name}": sends_content(content) for name, content in dataset.archives.items()}
    dataset.read(root)

    assert files_in(root) == dataset.files


def test_redirects_are_followed(server: Server, dataset: Published, root: Path):
    server.answers |= {f"/{name}": status(302, Location=f"/1/{name}") for name in dataset.archives}
    server.answers |= {f"/1/{name}": status(301, Location=f"{server.url}2/{name}") for name in dataset.archives}
    server.answers |= {f"/2/{name}": status(307, Location=f"../3/{name}") for name in dataset.archives}
    server.answers |= {f"/3/{name}": sends(content) for name, content in dataset.archives.items()}
    dataset.read(root)

    assert files_in(root) == dataset.files


# ---- servers that recover ------------------------------------------------------------------------------------------------


TEMPORARY_FAILURES = {
    "an unavailable server": lambda _content: status(503),
    "a busy server": lambda _content: status(429),
    "an interrupted connection": lambda content: sends(content[:20], len(content)),
    "a closed connection": lambda _content: lambda _request: None,
}


@pytest.mark.parametrize("failure", TEMPORARY_FAILURES)
def test_a_server_that_fails_twice_is_tried_again_after_increasing_waits(
    failure: str, server: Server, dataset: Published, root: Path, waits: list[float]
):
    content = dataset.archives[dataset.last_archive]
    path = f"/{dataset.last_archive}"
    failing = TEMPORARY_FAILURES[failure](content)
    server.answers[path] = in_turn(failing, failing, sends(content))
    dataset.read(root)

    assert files_in(root) == dataset.files
    assert waits == [1.0, 3.0]
    assert server.requests.count(path) == 3


def test_other_mirrors_are_tried_before_waiting(
    server: Server, root: Path, waits: list[float], monkeypatch: pytest.MonkeyPatch
):
    small = publish("mnist", server, monkeypatch)
    monkeypatch.setattr(mnist.MNIST, "mirrors", [f"{server.url}bad/", server.url])
    server.answers |= {f"/bad/{name}": status(503) for name in small.archives}
    small.read(root)

    assert files_in(root) == small.files
    assert waits == []


def test_a_server_that_keeps_failing_is_tried_four_times(server: Server, dataset: Published, root: Path, waits: list[float]):
    server.answers[f"/{dataset.last_archive}"] = status(500)
    message = error_of(lambda: dataset.read(root))

    assert waits == [1.0, 3.0, 9.0]
    assert "tried 4 times" in message


@pytest.mark.parametrize("code", [403, 404, 410])
def test_a_missing_file_is_requested_once(code: int, server: Server, dataset: Published, root: Path, waits: list[float]):
    server.answers[f"/{dataset.last_archive}"] = status(code)
    error_of(lambda: dataset.read(root))

    assert waits == []
    assert server.requests.count(f"/{dataset.last_archive}") == 1


# ---- servers that fail -----------------------------------------------------------------------------------------------

SOON = {"TIMEOUT": 0.3}
FAILURES = [
    pytest.param(
        lambda content: sends(content[:20], len(content)), {}, "the server sent 20 bytes that are not the", id="is interrupted"
    ),
    pytest.param(stops_in_a_chunk, {}, "IncompleteRead", id="is interrupted in a chunk"),
    pytest.param(
        lambda content: sends(content, 19),
        {},
        "the server sent 19 bytes that are not the published file",
        id="announces fewer bytes",
    ),
    pytest.param(lambda content: sends(content[::-1]), {}, "MD5 mismatch", id="sends other bytes"),
    pytest.param(lambda _: sends(b"<html>sign in</html>"), {}, "the server sent 20 bytes that are not", id="sends a web page"),
    pytest.param(lambda _: sends(b""), {}, "the server sent 0 bytes that are not the published file", id="sends nothing"),
    pytest.param(lambda _: status(404), {}, "HTTP Error 404: Not Found", id="does not have the file"),
    pytest.param(lambda _: status(500), {}, "HTTP Error 500: Internal Server Error", id="has an internal error"),
    pytest.param(lambda _: status(302, Location="/loop"), {}, "infinite loop", id="redirects in a circle"),
    pytest.param(lambda _: status(302, Location="file:///etc/hostname"), {}, "not allowed", id="redirects into this machine"),
    pytest.param(lambda _: lambda _request: None, {}, "closed connection", id="closes the connection"),
    pytest.param(
        lambda _: lambda request: request.wfile.write(b"220 mail\r\n\r\n"), {}, "220 mail", id="uses another protocol"
    ),
    pytest.param(lambda _: lambda request: request.server.closing.wait(), SOON, "timed out", id="never answers"),
    pytest.param(stalls, SOON, "timed out", id="stalls"),
    pytest.param(
        sends_slowly, {**SOON, "MIN_BYTES_PER_SECOND": 10**9}, "fewer than 1000000000 bytes per second", id="sends slowly"
    ),
    pytest.param(never_ends, {"MAX_BYTES": 10**6}, "more than 1000000 bytes", id="never ends"),
]


@pytest.mark.parametrize(("failure", "limits", "reason"), FAILURES)
def test_the_error_for_a_failing_server_names_it_and_the_next_download_succeeds(
    failure: Callable[[bytes], Answer],
    limits: dict[str, float],
    reason: str,
    server: Server,
    dataset: Published,
    root: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    path = f"/{dataset.last_archive}"
    server.answers |= {path: failure(dataset.archives[dataset.last_archive]), "/loop": status(302, Location="/loop")}
    with monkeypatch.context() as patched:
        for name, value in limits.items():
            patched.setattr(downloads, name, value)
        message = error_of(lambda: dataset.read(root))

    assert message.startswith(f"{dataset.title}: download to {root} failed ({server.url[:-1]}{path}: ")
    assert reason in message
    assert message.endswith("; put the files there by hand")
    assert files_in(root).items() <= dataset.files.items()
    assert ".download" not in folders(root)

    server.answers[path] = sends(dataset.archives[dataset.last_archive])
    dataset.read(root)
    assert files_in(root) == dataset.files


@pytest.mark.parametrize(("failure", "limits", "reason"), FAILURES)
def test_if_a_mirror_fails_the_next_one_is_used(
    failure: Callable[[bytes], Answer],
    limits: dict[str, float],
    reason: str,
    server: Server,
    root: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    small = publish("mnist", server, monkeypatch)
    monkeypatch.setattr(mnist.MNIST, "mirrors", [f"{server.url}bad/", server.url])
    server.answers |= {f"/bad/{name}": sends(content) for name, content in small.archives.items()}
    server.answers |= {
        f"/bad/{small.last_archive}": failure(small.archives[small.last_archive]),
        "/loop": status(302, Location="/loop"),
    }
    for name, value in limits.items():
        monkeypatch.setattr(downloads, name, value)
    small.read(root)

    assert files_in(root) == small.files
    assert [path for path in server.requests if path == f"/{small.last_archive}"] == [f"/{small.last_archive}"]


def test_if_all_mirrors_fail_the_error_names_each_with_its_failure(server: Server, root: Path, monkeypatch: pytest.MonkeyPatch):
    small = publish("mnist", server, monkeypatch)
    monkeypatch.setattr(mnist.MNIST, "mirrors", [f"{server.url}bad/", f"{server.url}worse/"])
    server.answers[f"/worse/{IMAGES_FILE}.gz"] = status(500)
    message = error_of(lambda: small.read(root))

    assert f"({server.url}bad/{IMAGES_FILE}.gz: HTTP Error 404: Not Found; {server.url}worse/{IMAGES_FILE}.gz: HTTP" in message


def test_the_error_for_a_server_that_does_not_answer_states_where_to_put_the_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))  # bound, never listening: connections are refused
        monkeypatch.setattr(mnist.MNIST, "mirrors", [f"http://127.0.0.1:{bound.getsockname()[1]}/"])
        monkeypatch.setenv("no_proxy", "*")
        message = error_of(lambda: DATASETS["mnist"](Source(tmp_path, download=True), "train"))

    assert message.startswith(f"MNIST: download to {tmp_path} failed")
    assert "by hand" in message


@pytest.mark.parametrize(
    ("name", "archive"),
    [
        pytest.param("mnist", gzip.compress(idx(PIXELS))[:-9], id="a gzip truncated"),
        pytest.param("mnist", gzip.compress(idx(PIXELS))[:-8] + bytes(8), id="a gzip with a wrong checksum"),
        pytest.param("mnist", gzip.compress(idx(PIXELS))[:10] + b"\xff" * 99, id="a gzip with invalid data"),
        pytest.param("mnist", idx(PIXELS), id="not a gzip"),
        pytest.param("cifar10", tar({"cifar-10-batches-py/test_batch": bytes(999)}), id="a tar without most files"),
        pytest.param("cifar10", tar({"cifar-10-batches-py/data_batch_1": bytes(99999)})[:80], id="a tar truncated"),
        pytest.param("cifar10", gzip.compress(b"no tar" * 999), id="not a tar"),
        pytest.param("cifar10", b"", id="empty"),
    ],
)
def test_an_invalid_published_archive_leaves_no_file(
    name: str, archive: bytes, server: Server, root: Path, monkeypatch: pytest.MonkeyPatch
):
    """Also if a killed download has left a temporary folder."""
    small = publish(name, server, monkeypatch)
    for file in small.files:
        written((root / file).parent / ".download", {Path(file).name: b"half of the content"})
    first = next(iter(small.archives))
    server.answers[f"/{first}"] = sends(archive)
    monkeypatch.setattr(cifar.CIFAR10, "tgz_md5", md5(archive))
    monkeypatch.setattr(mnist.MNIST, "resources", [(first, md5(archive)), *mnist.MNIST.resources[1:]])
    message = error_of(lambda: small.read(root))

    assert message.startswith(f"{small.title}: download to {root} failed (")
    assert files_in(root) == {}
    assert ".download" not in folders(root)


# ---- full disks, killed processes, concurrent downloads --------------------------------------------------------------


def filling_up(allowed: int, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Simulates a disk that is full after `allowed` changes; the list has all attempted changes."""
    attempts: list[str] = []

    def limited(operation: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call_if_allowed(*arguments: Any, **options: Any) -> Any:
            attempts.append(operation)
            if len(attempts) > allowed:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return function(*arguments, **options)

        return call_if_allowed

    class OnDisk(io.BufferedWriter):
        write = limited("write", io.BufferedWriter.write)

    open_path, open_for_writing = Path.open, limited("open", lambda path: OnDisk(io.FileIO(path, "wb")))
    monkeypatch.setattr(
        Path, "open", lambda path, mode="r", **_: open_for_writing(path) if mode == "wb" else open_path(path, mode)
    )
    monkeypatch.setattr(Path, "mkdir", limited("mkdir", Path.mkdir))
    monkeypatch.setattr(Path, "rename", limited("rename", Path.rename))
    monkeypatch.setattr(os, "fsync", limited("fsync", os.fsync))
    return attempts


def test_a_disk_that_becomes_full_leaves_complete_files_and_the_next_download_completes_the_data_set(
    dataset: Published, root: Path
):
    for allowed in range(100):
        with pytest.MonkeyPatch.context() as patched:
            attempts = filling_up(allowed, patched)
            try:
                dataset.read(root)
                break
            except DataError as error:
                message = str(error)
        assert message.startswith(f"{dataset.title}: download to {root} failed (")
        assert "No space left on device" in message
        assert files_in(root).items() <= dataset.files.items()
        assert ".download" not in folders(root)
        if allowed % 2:
            dataset.read(root)
            assert files_in(root) == dataset.files
        shutil.rmtree(root, ignore_errors=True)

    assert {"open", "write", "fsync", "mkdir", "rename"} <= set(attempts)
    assert len(attempts) == allowed > 15
    assert files_in(root) == dataset.files


def test_the_error_for_a_data_folder_that_cannot_be_created_names_it(dataset: Published, root: Path):
    root.write_bytes(b"a file")

    assert error_of(lambda: dataset.read(root)).startswith(f"{dataset.title}: download to {root} failed (")


def test_concurrent_downloads_fetch_the_files_once(server: Server, published: Published, root: Path):
    barrier = threading.Barrier(4)

    def read_length(split: str) -> int:
        barrier.wait()
        return len(published.read(root, split))

    with ThreadPoolExecutor(4) as pool:
        lengths = list(pool.map(read_length, ["train", "test"] * 2))

    assert lengths[:2] == lengths[2:]
    assert sorted(server.requests) == sorted(f"/{name}" for name in published.archives)
    assert files_in(root) == published.files


PROGRAM = """
import sys
from pathlib import Path
from resexp.datasets.downloads import Archive, fetch
print("ready", flush=True)
sys.stdin.readline()
root, url, md5 = sys.argv[1:]
fetch("MNIST", Path(root), Path(root) / "raw", [Archive("labels.gz", [url], md5, ["labels"])])
"""


def test_a_killed_download_releases_the_lock_for_the_next_one(server: Server, root: Path):
    content = idx(LABELS)
    archive = gzip.compress(content)
    server.answers["/labels.gz"] = in_turn(stalls(archive), sends(archive))
    line = [sys.executable, "-c", PROGRAM, str(root), f"{server.url}labels.gz", md5(archive)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(line, **pipes) as first, subprocess.Popen(line, **pipes) as second:
        assert first.stdout.readline() == second.stdout.readline() == "ready\n"
        print(file=first.stdin, flush=True)
        assert server.stalled.wait(60)
        print(file=second.stdin, flush=True)
        assert folders(root) == {"raw", ".download"}
        assert second.poll() is None
        first.kill()
        code = second.wait(60)

    assert code == 0
    assert files_in(root) == {"raw/labels": content}
    assert ".download" not in folders(root)
