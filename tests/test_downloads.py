"""Published files, fetched from a server on this machine that behaves, and from one that does not."""

import gzip
import hashlib
import socket
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from originals import LABELS, LABELS_FILE, PIXELS, error_of, idx_files, written
from torchvision.datasets import mnist

from resexp.datasets import DATASETS, Source

# ---- downloads: a server on this machine -----------------------------------------------------------------------------


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Serves the small IDX files gzipped as MNIST's mirror; gives the paths that were asked for."""
    asked: list[str] = []

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *_arguments: object) -> None:
            if self.command == "GET":
                asked.append(self.path)

    files = {f"{name}.gz": gzip.compress(content, mtime=0) for name, content in idx_files().items()}
    folder = written(tmp_path / "server", files)
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        monkeypatch.setattr(mnist.MNIST, "mirrors", [f"http://127.0.0.1:{server.server_port}/"])
        sums = [(name, hashlib.md5(content, usedforsecurity=False).hexdigest()) for name, content in files.items()]
        monkeypatch.setattr(mnist.MNIST, "resources", sums)
        monkeypatch.setenv("no_proxy", "*")
        yield asked
        server.shutdown()


def test_without_download_no_server_is_asked(mirror: list[str], tmp_path: Path):
    error_of(lambda: DATASETS["mnist"](Source(tmp_path / "data"), "train"))

    assert not mirror
    assert not (tmp_path / "data").exists()


def test_with_download_the_files_are_fetched_once_and_read(mirror: list[str], tmp_path: Path):
    source = Source(tmp_path / "data", download=True)
    training = DATASETS["mnist"](source, "train")
    asked = list(mirror)
    test = DATASETS["mnist"](source, "test")

    assert np.array_equal(training.pixels.numpy(), PIXELS[:, None])
    assert test.labels.tolist() == LABELS[:10].tolist()
    assert set(asked) == {f"/{name}.gz" for name in idx_files()}
    assert mirror == asked


def test_a_wrong_checksum_says_where_to_put_the_files(mirror: list[str], tmp_path: Path):
    (tmp_path / "server" / f"{LABELS_FILE}.gz").write_bytes(gzip.compress(b"not what it was"))
    message = error_of(lambda: DATASETS["mnist"](Source(tmp_path / "data", download=True), "train"))

    assert message.startswith(f"MNIST: download to {tmp_path / 'data'} failed")
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
