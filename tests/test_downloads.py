"""Published files, fetched from a server on this machine: one that behaves, and one that breaks off, stalls and lies."""

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
from originals import IMAGES_FILE, LABELS, LABELS_FILE, PIXELS, error_of, idx, idx_files, md5, published_cifar, written
from torchvision.datasets import cifar, mnist

from resexp.datasets import DATASETS, DataError, Images, Source, downloads

# ---- a server that does as it is told --------------------------------------------------------------------------------


class Answering(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        self.server.answers.get(self.path, status(404))(self)

    def log_message(self, *_arguments: object) -> None: ...


Answer = Callable[[Answering], None]


class Server(ThreadingHTTPServer):
    """Answers each path as `answers` says; `asked` are the paths that were asked for."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answering)
        self.asked: list[str] = []
        self.answers: dict[str, Answer] = {}
        self.stalled, self.over = threading.Event(), threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/"

    def handle_error(self, *_arguments: object) -> None:
        """A client that goes away in the middle is no news here."""


def status(code: int, **headers: str) -> Answer:
    def answer(asked: Answering) -> None:
        asked.send_response(code)
        for name, value in headers.items():
            asked.send_header(name, value)
        asked.end_headers()

    return answer


def sends(content: bytes, promised: int | None = None) -> Answer:
    """200, the promised Content-Length (the true one by default), the content."""

    def answer(asked: Answering) -> None:
        status(200, **{"Content-Length": str(len(content) if promised is None else promised)})(asked)
        asked.wfile.write(content)

    return answer


def sends_in_chunks(content: bytes) -> Answer:
    def answer(asked: Answering) -> None:
        asked.protocol_version = "HTTP/1.1"
        status(200, **{"Transfer-Encoding": "chunked"})(asked)
        for piece in (content[:50], content[50:], b""):
            asked.wfile.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")

    return answer


def breaks_off_in_a_chunk(content: bytes) -> Answer:
    def answer(asked: Answering) -> None:
        asked.protocol_version = "HTTP/1.1"
        status(200, **{"Transfer-Encoding": "chunked"})(asked)
        asked.wfile.write(f"{len(content):x}\r\n".encode() + content[:20])
        asked.close_connection = True

    return answer


def sends_without_length(content: bytes) -> Answer:
    def answer(asked: Answering) -> None:
        status(200)(asked)
        asked.wfile.write(content)

    return answer


def stalls(content: bytes) -> Answer:
    """Sends half of it, and then nothing until the test is over."""

    def answer(asked: Answering) -> None:
        sends(content[: len(content) // 2], len(content))(asked)
        asked.wfile.flush()
        asked.server.stalled.set()
        asked.server.over.wait()

    return answer


def drips(_content: bytes) -> Answer:
    def answer(asked: Answering) -> None:
        status(200)(asked)
        while not asked.server.over.wait(0.01):
            asked.wfile.write(b"x")

    return answer


def never_ends(_content: bytes) -> Answer:
    def answer(asked: Answering) -> None:
        status(200)(asked)
        while not asked.server.over.is_set():
            asked.wfile.write(bytes(2**16))

    return answer


@pytest.fixture(autouse=True)
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that downloads waited before they tried again; none passes."""
    waited: list[float] = []
    monkeypatch.setattr(downloads, "sleep", waited.append)
    return waited


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "*")
    with Server() as running:
        threading.Thread(target=running.serve_forever, args=(0.02,), daemon=True).start()
        yield running
        running.over.set()
        running.shutdown()


# ---- small sets that torchvision takes for the published ones --------------------------------------------------------


@dataclass
class Published:
    """A set on the server: its archives by name, its files by their path under the data folder, and its first archive."""

    name: str
    title: str
    archives: dict[str, bytes]
    files: dict[str, bytes]

    @property
    def some(self) -> str:
        return list(self.archives)[-1]

    def read(self, root: Path, part: str = "train") -> Images:
        return DATASETS[self.name](Source(root, download=True), part)


def tar(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def publish(name: str, server: Server, monkeypatch: pytest.MonkeyPatch) -> Published:
    """The small set `name`, on a server that behaves."""
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
def either(request: pytest.FixtureRequest, server: Server, monkeypatch: pytest.MonkeyPatch) -> Published:
    """One set of each kind: four gzips on mirrors, and one tar."""
    return publish(request.param, server, monkeypatch)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "data"


def found(root: Path) -> dict[str, bytes]:
    """Every file under the data folder but the lock, which stays."""
    files = (path for path in root.rglob("*") if path.is_file() and path.name != ".download.lock")
    return {str(path.relative_to(root)): path.read_bytes() for path in files}


def folders(root: Path) -> set[str]:
    return {path.name for path in root.rglob("*") if path.is_dir()}


# ---- what must not change anything -----------------------------------------------------------------------------------


def test_without_download_no_server_is_asked(server: Server, published: Published, root: Path):
    error_of(lambda: DATASETS[published.name](Source(root), "train"))

    assert server.asked == []
    assert not root.exists()


def test_with_download_the_files_are_fetched_once_and_read(server: Server, published: Published, root: Path):
    training, asked = published.read(root), list(server.asked)
    test = published.read(root, "test")

    assert sorted(asked) == sorted(f"/{name}" for name in published.archives)
    assert server.asked == asked
    assert found(root) == published.files
    assert ".download" not in folders(root)
    if "mnist" in published.name:
        assert np.array_equal(training.pixels.numpy(), PIXELS[:, None])
        assert test.labels.tolist() == LABELS[:10].tolist()
    else:
        assert training.pixels[2, :, 5, 9].tolist() == [2, 5, 9]
        assert test.pixels[0, :, 31, 0].tolist() == [8, 31, 0]


def test_a_complete_set_is_not_even_locked(server: Server, published: Published, root: Path):
    for file, content in published.files.items():
        written((root / file).parent, {Path(file).name: content})
    published.read(root)

    assert server.asked == []
    assert list(root.rglob(".download*")) == []


def test_a_file_in_its_place_is_neither_fetched_again_nor_overwritten(server: Server, either: Published, root: Path):
    own, *others = either.files
    written((root / own).parent, {Path(own).name: b"somebody's own"})
    message = error_of(lambda: either.read(root))

    assert message.startswith(f"{root / own}: ")
    assert found(root) == {**either.files, own: b"somebody's own"}
    assert f"/{Path(own).name}.gz" not in server.asked
    assert len(server.asked) == (len(others) if either.name == "mnist" else 1)


def test_a_link_to_a_disk_that_is_not_there_is_not_overwritten(either: Published, root: Path):
    file = root / next(iter(either.files))
    file.parent.mkdir(parents=True)
    file.symlink_to("/a/disk/that/is/away")

    assert error_of(lambda: either.read(root)).startswith(f"{file}: a link to nothing")
    assert file.is_symlink()


def test_an_archive_that_somebody_put_there_serves_before_the_server(server: Server, either: Published, root: Path):
    written(root, either.archives)
    either.read(root)

    assert server.asked == []
    assert {file: content for file, content in found(root).items() if not file.endswith(".gz")} == either.files
    assert all((root / name).read_bytes() == content for name, content in either.archives.items())


def test_a_damaged_archive_that_somebody_put_there_does_not(server: Server, either: Published, root: Path):
    written(root, {either.some: b"damaged"})
    either.read(root)

    assert f"/{either.some}" in server.asked
    assert found(root) == {**either.files, either.some: b"damaged"}


@pytest.mark.parametrize(
    "way",
    [
        pytest.param(sends_without_length, id="no length promised"),
        pytest.param(sends_in_chunks, id="in chunks"),
        pytest.param(lambda content: sends(content, 2 * len(content)), id="more promised than there is"),
    ],
)
def test_what_arrives_whole_is_good_however_it_was_sent(
    way: Callable[[bytes], Answer], server: Server, either: Published, root: Path
):
    server.answers |= {f"/{name}": way(content) for name, content in either.archives.items()}
    either.read(root)

    assert found(root) == either.files


def test_redirects_are_followed(server: Server, either: Published, root: Path):
    server.answers |= {f"/{name}": status(302, Location=f"/1/{name}") for name in either.archives}
    server.answers |= {f"/1/{name}": status(301, Location=f"{server.url}2/{name}") for name in either.archives}
    server.answers |= {f"/2/{name}": status(307, Location=f"../3/{name}") for name in either.archives}
    server.answers |= {f"/3/{name}": sends(content) for name, content in either.archives.items()}
    either.read(root)

    assert found(root) == either.files


# ---- servers that recover ------------------------------------------------------------------------------------------------


def fails_at_first(times: int, fault: Answer, then: Answer) -> Answer:
    answers = iter([*[fault] * times, then])

    def answer(asked: Answering) -> None:
        next(answers)(asked)

    return answer


RECOVERING = {
    "a server in trouble": lambda _content: status(503),
    "a server that is busy": lambda _content: status(429),
    "a connection that breaks off": lambda content: sends(content[:20], len(content)),
    "a connection that is closed": lambda _content: lambda _asked: None,
}


@pytest.mark.parametrize("fault", RECOVERING)
def test_a_server_that_fails_twice_is_asked_again_after_growing_waits(
    fault: str, server: Server, either: Published, root: Path, waits: list[float]
):
    content = either.archives[either.some]
    path = f"/{either.some}"
    server.answers[path] = fails_at_first(2, RECOVERING[fault](content), sends(content))
    either.read(root)

    assert found(root) == either.files
    assert waits == [1.0, 3.0]
    assert server.asked.count(path) == 3


def test_other_mirrors_are_tried_before_anything_waits(
    server: Server, root: Path, waits: list[float], monkeypatch: pytest.MonkeyPatch
):
    small = publish("mnist", server, monkeypatch)
    monkeypatch.setattr(mnist.MNIST, "mirrors", [f"{server.url}bad/", server.url])
    server.answers |= {f"/bad/{name}": status(503) for name in small.archives}
    small.read(root)

    assert found(root) == small.files
    assert waits == []


def test_a_server_that_stays_in_trouble_is_asked_four_times(server: Server, either: Published, root: Path, waits: list[float]):
    server.answers[f"/{either.some}"] = status(500)
    message = error_of(lambda: either.read(root))

    assert waits == [1.0, 3.0, 9.0]
    assert "tried 4 times" in message


@pytest.mark.parametrize("code", [403, 404, 410])
def test_a_file_that_is_not_there_is_asked_for_once(
    code: int, server: Server, either: Published, root: Path, waits: list[float]
):
    server.answers[f"/{either.some}"] = status(code)
    error_of(lambda: either.read(root))

    assert waits == []
    assert server.asked.count(f"/{either.some}") == 1


# ---- servers that fail -----------------------------------------------------------------------------------------------

SOON = {"TIMEOUT": 0.3}
FAULTS = [
    pytest.param(lambda content: sends(content[:20], len(content)), {}, "20 bytes came that are not the", id="breaks off"),
    pytest.param(breaks_off_in_a_chunk, {}, "IncompleteRead", id="breaks off in a chunk"),
    pytest.param(lambda content: sends(content, 19), {}, "19 bytes came that are not the published file", id="promises less"),
    pytest.param(lambda content: sends(content[::-1]), {}, "their MD5 differs", id="sends other bytes"),
    pytest.param(lambda _: sends(b"<html>sign in</html>"), {}, "20 bytes came that are not", id="sends a web page"),
    pytest.param(lambda _: sends(b""), {}, "0 bytes came that are not the published file", id="sends nothing"),
    pytest.param(lambda _: status(404), {}, "HTTP Error 404: Not Found", id="has it no more"),
    pytest.param(lambda _: status(500), {}, "HTTP Error 500: Internal Server Error", id="is broken"),
    pytest.param(lambda _: status(302, Location="/loop"), {}, "infinite loop", id="redirects in a circle"),
    pytest.param(lambda _: status(302, Location="file:///etc/hostname"), {}, "not allowed", id="redirects into this machine"),
    pytest.param(lambda _: lambda _asked: None, {}, "closed connection", id="hangs up"),
    pytest.param(lambda _: lambda asked: asked.wfile.write(b"220 mail\r\n\r\n"), {}, "220 mail", id="speaks another language"),
    pytest.param(lambda _: lambda asked: asked.server.over.wait(), SOON, "timed out", id="never answers"),
    pytest.param(stalls, SOON, "timed out", id="stalls"),
    pytest.param(drips, {**SOON, "SLOWEST": 10**9}, "fewer than 1000000000 bytes a second came", id="drips"),
    pytest.param(never_ends, {"LARGEST": 10**6}, "more than 1000000 bytes came", id="never ends"),
]


@pytest.mark.parametrize(("fault", "limits", "reason"), FAULTS)
def test_a_server_that_fails_is_named_and_leaves_no_trap(
    fault: Callable[[bytes], Answer],
    limits: dict[str, float],
    reason: str,
    server: Server,
    either: Published,
    root: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    path = f"/{either.some}"
    server.answers |= {path: fault(either.archives[either.some]), "/loop": status(302, Location="/loop")}
    with monkeypatch.context() as patched:
        for name, value in limits.items():
            patched.setattr(downloads, name, value)
        message = error_of(lambda: either.read(root))

    assert message.startswith(f"{either.title}: download to {root} failed ({server.url[:-1]}{path}: ")
    assert reason in message
    assert message.endswith("; put the files there by hand")
    assert found(root).items() <= either.files.items()
    assert ".download" not in folders(root)

    server.answers[path] = sends(either.archives[either.some])
    either.read(root)
    assert found(root) == either.files


@pytest.mark.parametrize(("fault", "limits", "reason"), FAULTS)
def test_when_a_mirror_fails_the_next_one_serves(
    fault: Callable[[bytes], Answer],
    limits: dict[str, float],
    reason: str,
    server: Server,
    root: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    small = publish("mnist", server, monkeypatch)
    monkeypatch.setattr(mnist.MNIST, "mirrors", [f"{server.url}bad/", server.url])
    server.answers |= {f"/bad/{name}": sends(content) for name, content in small.archives.items()}
    server.answers |= {f"/bad/{small.some}": fault(small.archives[small.some]), "/loop": status(302, Location="/loop")}
    for name, value in limits.items():
        monkeypatch.setattr(downloads, name, value)
    small.read(root)

    assert found(root) == small.files
    assert [path for path in server.asked if path == f"/{small.some}"] == [f"/{small.some}"]


def test_when_all_mirrors_fail_each_is_named_with_its_fault(server: Server, root: Path, monkeypatch: pytest.MonkeyPatch):
    small = publish("mnist", server, monkeypatch)
    monkeypatch.setattr(mnist.MNIST, "mirrors", [f"{server.url}bad/", f"{server.url}worse/"])
    server.answers[f"/worse/{IMAGES_FILE}.gz"] = status(500)
    message = error_of(lambda: small.read(root))

    assert f"({server.url}bad/{IMAGES_FILE}.gz: HTTP Error 404: Not Found; {server.url}worse/{IMAGES_FILE}.gz: HTTP" in message


def test_a_wrong_checksum_says_where_to_put_the_files(server: Server, root: Path, monkeypatch: pytest.MonkeyPatch):
    small = publish("mnist", server, monkeypatch)
    server.answers[f"/{LABELS_FILE}.gz"] = sends(gzip.compress(b"not what it was"))
    message = error_of(lambda: small.read(root))

    assert message.startswith(f"MNIST: download to {root} failed")
    assert f"{LABELS_FILE}.gz" in message
    assert "by hand" in message


def test_a_server_that_does_not_answer_says_where_to_put_the_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, never listening: connections are refused
        monkeypatch.setattr(mnist.MNIST, "mirrors", [f"http://127.0.0.1:{taken.getsockname()[1]}/"])
        monkeypatch.setenv("no_proxy", "*")
        message = error_of(lambda: DATASETS["mnist"](Source(tmp_path, download=True), "train"))

    assert message.startswith(f"MNIST: download to {tmp_path} failed")
    assert "by hand" in message


@pytest.mark.parametrize(
    ("name", "archive"),
    [
        pytest.param("mnist", gzip.compress(idx(PIXELS))[:-9], id="a gzip cut short"),
        pytest.param("mnist", gzip.compress(idx(PIXELS))[:-8] + bytes(8), id="a gzip with a wrong sum"),
        pytest.param("mnist", gzip.compress(idx(PIXELS))[:10] + b"\xff" * 99, id="a gzip of nonsense"),
        pytest.param("mnist", idx(PIXELS), id="no gzip"),
        pytest.param("cifar10", tar({"cifar-10-batches-py/test_batch": bytes(999)}), id="a tar without most files"),
        pytest.param("cifar10", tar({"cifar-10-batches-py/data_batch_1": bytes(99999)})[:80], id="a tar cut short"),
        pytest.param("cifar10", gzip.compress(b"no tar" * 999), id="no tar"),
        pytest.param("cifar10", b"", id="nothing"),
    ],
)
def test_an_archive_that_was_published_broken_leaves_no_file(
    name: str, archive: bytes, server: Server, root: Path, monkeypatch: pytest.MonkeyPatch
):
    """Not even with what a killed download left."""
    small = publish(name, server, monkeypatch)
    for file in small.files:
        written((root / file).parent / ".download", {Path(file).name: b"half of it"})
    first = next(iter(small.archives))
    server.answers[f"/{first}"] = sends(archive)
    monkeypatch.setattr(cifar.CIFAR10, "tgz_md5", md5(archive))
    monkeypatch.setattr(mnist.MNIST, "resources", [(first, md5(archive)), *mnist.MNIST.resources[1:]])
    message = error_of(lambda: small.read(root))

    assert message.startswith(f"{small.title}: download to {root} failed (")
    assert found(root) == {}
    assert ".download" not in folders(root)


# ---- disks, kills, and two at once -----------------------------------------------------------------------------------


def filling_up(allowed: int, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A disk that takes `allowed` changes and then no more; the list tells the changes that were tried."""
    tried: list[str] = []

    def change(what: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def tried_on_disk(*arguments: Any, **options: Any) -> Any:
            tried.append(what)
            if len(tried) > allowed:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return function(*arguments, **options)

        return tried_on_disk

    class OnDisk(io.BufferedWriter):
        write = change("write", io.BufferedWriter.write)

    really, anew = Path.open, change("open", lambda path: OnDisk(io.FileIO(path, "wb")))
    monkeypatch.setattr(Path, "open", lambda path, mode="r", **_: anew(path) if mode == "wb" else really(path, mode))
    monkeypatch.setattr(Path, "mkdir", change("mkdir", Path.mkdir))
    monkeypatch.setattr(Path, "rename", change("rename", Path.rename))
    monkeypatch.setattr(os, "fsync", change("fsync", os.fsync))
    return tried


def test_a_disk_that_fills_up_at_any_moment_leaves_whole_files_and_then_the_rest_comes(either: Published, root: Path):
    for allowed in range(100):
        with pytest.MonkeyPatch.context() as patched:
            tried = filling_up(allowed, patched)
            try:
                either.read(root)
                break
            except DataError as error:
                message = str(error)
        assert message.startswith(f"{either.title}: download to {root} failed (")
        assert "No space left on device" in message
        assert found(root).items() <= either.files.items()
        assert ".download" not in folders(root)
        if allowed % 2:
            either.read(root)
            assert found(root) == either.files
        shutil.rmtree(root, ignore_errors=True)

    assert {"open", "write", "fsync", "mkdir", "rename"} <= set(tried)
    assert len(tried) == allowed > 15
    assert found(root) == either.files


def test_a_data_folder_that_cannot_be_made_is_named(either: Published, root: Path):
    root.write_bytes(b"a file")

    assert error_of(lambda: either.read(root)).startswith(f"{either.title}: download to {root} failed (")


def test_what_a_killed_download_left_is_cleared_away(either: Published, root: Path):
    beside = (root / next(iter(either.files))).parent / ".download"
    written(beside, {either.some: b"half of it", "data_batch_1": b"half of it", IMAGES_FILE: b"half of it"})
    either.read(root)

    assert found(root) == either.files
    assert not beside.exists()


def test_two_at_once_both_end_with_good_files_and_fetch_them_once(server: Server, published: Published, root: Path):
    together = threading.Barrier(4)

    def one(part: str) -> int:
        together.wait()
        return len(published.read(root, part))

    with ThreadPoolExecutor(4) as four:
        lengths = list(four.map(one, ["train", "test"] * 2))

    assert lengths[:2] == lengths[2:]
    assert sorted(server.asked) == sorted(f"/{name}" for name in published.archives)
    assert found(root) == published.files


PROGRAM = """
import sys
from pathlib import Path
from resexp.datasets.downloads import Archive, fetch
print("ready", flush=True)
sys.stdin.readline()
root, url, md5 = sys.argv[1:]
fetch("MNIST", Path(root), Path(root) / "raw", [Archive("labels.gz", [url], md5, ["labels"])])
"""


def test_a_download_that_is_killed_frees_the_next_one_which_starts_anew(server: Server, root: Path):
    content = idx(LABELS)
    archive = gzip.compress(content)
    answers = iter([stalls(archive), sends(archive)])

    def in_turn(asked: Answering) -> None:
        next(answers)(asked)

    server.answers["/labels.gz"] = in_turn
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
    assert found(root) == {"raw/labels": content}
    assert ".download" not in folders(root)
