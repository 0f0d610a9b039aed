"""A Ray cluster of two nodes on this machine: after deaths of nodes and drivers, the files equal those of one machine."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from commands import Answer, Program, files

from resexp import config, executors, runs
from resexp.executors import cluster

GRID = ("network.depth=[4,16]", "seeds=2", "training.steps=600", "training.checkpoint_every=10", "data.limit=512")


# ---- without a cluster ------------------------------------------------------------------------------------------------------


def test_without_ray_one_line_names_the_extra(tiny_file: Path, call: Program, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "ray", None)

    message = "resexp: --executor ray: ray is not installed; pip install 'resexp[ray]'\n"
    assert call("train", tiny_file, "--executor=ray") == Answer(2, "", message)


def test_keepalive_settings_of_ray_have_shorter_defaults_that_the_user_can_override(monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("ray")
    user_set, unset = (f"RAY_grpc_client_keepalive_{name}_ms" for name in ("time", "timeout"))
    monkeypatch.setenv(user_set, "7")
    monkeypatch.setenv(unset, "")  # so that it is removed after the test
    monkeypatch.delenv(unset)
    cluster._ray()

    assert (os.environ[user_set], os.environ[unset]) == ("7", "30000")


def test_without_a_cluster_at_the_address_the_error_is_one_line(tiny_file: Path, call: Program):
    pytest.importorskip("ray")
    address = f"127.0.0.1:{free_port()}"

    refused = f"resexp: --address: no Ray cluster at {address}: Connection refused; start one with: ray start --head\n"
    assert call("train", tiny_file, "--executor=ray", f"--address={address}") == Answer(2, "", refused)


@pytest.mark.parametrize("option", ["--jobs=2", "--shard=1/2"])
def test_options_that_ray_decides_are_refused(option: str, tiny_file: Path, call: Program):
    answer = call("train", tiny_file, "--executor=ray", option)

    assert answer.code == 2
    assert "has no effect with Ray" in answer.err


def test_an_unknown_executor_is_refused(tiny_file: Path, call: Program):
    answer = call("train", tiny_file, "--executor=dask")

    assert answer.code == 2
    assert "'dask' is not one of local, ray" in answer.err


def test_a_node_that_reads_the_folder_replies_with_the_token_and_another_one_with_the_reason(tmp_path: Path):
    (tmp_path / ".probe.7").write_text("7")
    here, elsewhere = (cluster.check_node(folder / ".probe.7", "7", "n1") for folder in (tmp_path, tmp_path / "other"))

    assert here[0] == "7"
    assert (tmp_path / ".probe.n1.7").read_text() == "7"
    runs.remove_temporary_files(tmp_path)  # as after a driver that was killed
    assert list(tmp_path.iterdir()) == []
    assert elsewhere[0] == "FileNotFoundError: No such file or directory"
    assert cluster.mismatch_message("10.0.0.7", tmp_path, "7", elsewhere) == (
        f"node 10.0.0.7 does not share {tmp_path} (FileNotFoundError: No such file or directory); "
        "--runs must be on storage that all nodes share, at the same path"
    )
    other = ["7", here[1], "1.0", here[3]]
    assert cluster.mismatch_message("10.0.0.7", tmp_path, "7", other).startswith("node 10.0.0.7 has torch 1.0, not")


def test_if_the_ray_node_of_the_driver_dies_the_cluster_is_lost_and_no_stack_fails():
    exceptions = pytest.importorskip("ray").exceptions

    def get(_reference: Any) -> None:
        raise exceptions.LocalRayletDiedError

    def wait(_references: Any, **_options: Any) -> None:
        raise exceptions.RaySystemError("no answer")

    executor = object.__new__(cluster.Cluster)
    executor.ray, executor.stopping = SimpleNamespace(get=get, wait=wait, exceptions=exceptions), threading.Event()
    executor._refused, executor._stacks, executor._stopped_at = [], {"a reference": None}, None
    raised = executor._raised("a reference")

    assert isinstance(raised, OSError)  # ends training, which can be continued
    assert str(raised).startswith("lost the connection to the cluster: LocalRayletDiedError")
    with pytest.raises(OSError, match=r"lost the connection to the cluster: RaySystemError: .*no answer"):
        executor.wait(0.0)


def test_a_task_checks_for_the_stop_file_once_a_second(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny: Any):
    stop_functions: list[Any] = []
    monkeypatch.setattr(cluster.workers, "train_fenced", lambda *arguments: stop_functions.append(arguments[-1]) or "finished")
    clock = [100.0]
    monkeypatch.setattr(cluster.time, "monotonic", lambda: clock[0])
    experiment = tiny()
    stack = config.make_plan(experiment, "cpu", 1).stacks[0]
    (tmp_path / "plan.json").touch()
    cluster._train(runs.Lease(tmp_path, "lock.json", "w"), stack, experiment.trials, "cpu", ".stop.x", cluster.versions())
    (stop,) = stop_functions

    assert not stop()
    (tmp_path / ".stop.x").touch()
    assert not stop()  # checked less than a second ago
    clock[0] += 1.5
    assert stop()


# ---- two nodes --------------------------------------------------------------------------------------------------------------


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


class Nodes:
    """Ray nodes in separate process groups, with one processor each."""

    def __init__(self) -> None:
        self.address = f"127.0.0.1:{free_port()}"
        self.environment = {**os.environ, "RAY_AUTH_MODE": "disabled", "RAY_ADDRESS": self.address, "OMP_NUM_THREADS": "1"}
        self.groups: list[subprocess.Popen[bytes]] = []
        self.start("--head", f"--port={self.address.partition(':')[2]}", "--include-dashboard=false")
        self.wait()

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        ray = str(Path(sys.executable).with_name("ray"))
        command = [ray, "start", *arguments, "--num-cpus=1", "--disable-usage-stats", "--block"]
        process = subprocess.Popen(
            command, env=self.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        self.groups.append(process)
        return process

    def another(self) -> subprocess.Popen[bytes]:
        return self.start(f"--address={self.address}")

    def wait(self) -> None:
        """Waits until the head node answers."""
        host, _, port = self.address.partition(":")
        for _ in range(600):
            with suppress(OSError), socket.create_connection((host, int(port))):
                return
            time.sleep(0.1)
        raise AssertionError("the head node has not started")

    def kill(self, group: subprocess.Popen[bytes]) -> None:
        os.killpg(group.pid, signal.SIGKILL)
        group.wait()

    def end(self) -> None:
        for group in self.groups:
            if group.poll() is None:
                self.kill(group)


@pytest.fixture(scope="module")
def nodes() -> Iterator[Nodes]:
    """A cluster of one node, to which a test adds others."""
    pytest.importorskip("ray")
    cluster_nodes = Nodes()
    yield cluster_nodes
    cluster_nodes.end()


def test_a_folder_that_the_nodes_do_not_share_is_refused_with_the_node(
    nodes: Nodes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    for name in ("RAY_AUTH_MODE", "RAY_ADDRESS"):
        monkeypatch.setenv(name, nodes.environment[name])
    monkeypatch.setattr(cluster, "check_node", lambda _path, _token, _node: ["another token", "0", "0", "0"])
    with executors.Cluster() as executor, pytest.raises(runs.RunsError, match=r"node .* does not share"):
        executor.check_shared(tmp_path)

    assert list(tmp_path.glob(".probe*")) == []


def token_in(path: Path) -> str:
    try:
        return path.read_text()
    except FileNotFoundError:  # its attempt has finished
        return "another"


def supersede(folder: Path) -> bool:
    """Writes tokens as an older attempt that starts late would; whether a superseded attempt was then retried.

    An attempt that has just finished is not retried.
    """
    tokens = [token for token in folder.glob("checkpoints/.*.attempt") if token_in(token) != "another"]
    for token in tokens:
        token.write_text("another")
    for _ in range(50):
        if any(token_in(token) != "another" for token in tokens):
            return True
        time.sleep(0.1)
    return False


def test_after_superseded_attempts_and_a_killed_node_and_driver_the_files_equal_those_of_one_machine(
    nodes: Nodes, tiny_file: Path, tiny_runs: Callable[..., Path], tmp_path: Path, request: pytest.FixtureRequest
):
    command, expected = (
        [sys.executable, "-m", "resexp", "train", str(tiny_file), *GRID, "--quiet"],
        files(tiny_runs(*GRID) / "tiny"),
    )
    second = nodes.another()
    for number in range(request.config.getoption("--cluster-kills")):
        on_ray, folder = [*command, "--runs", str(tmp_path / str(number)), "--executor", "ray"], tmp_path / str(number) / "tiny"
        driver = subprocess.Popen(on_ray, env=nodes.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        started = time.monotonic()
        while not list(folder.glob("checkpoints/*.pt")) and time.monotonic() - started < 120:
            time.sleep(0.1)
        time.sleep(0.1 * number)
        timings = {path: path.read_bytes() for path in folder.glob("trials/*/timing.csv")}
        retried = any(supersede(folder) for _ in range(20))
        nodes.kill(second)
        second = nodes.another()
        time.sleep(2)
        driver.kill()
        driver.communicate()
        resumed = subprocess.run(on_ray, env=nodes.environment, capture_output=True, text=True, timeout=240, check=False)

        assert retried
        assert resumed.returncode == 0, resumed.stderr
        assert resumed.stdout == ""
        assert files(folder) == expected
        assert sum(name.endswith("result.json") for name in files(folder)) == 8
        assert timings
        for path, before in timings.items():  # steps before a checkpoint were not trained again
            assert path.read_bytes().split(b"\n")[1] == before.split(b"\n")[1]
