"""A Ray cluster of two nodes on this machine: nodes and drivers die, and the files come out as those of one machine."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from commands import Answer, Program, files

from resexp import config, executors, runs
from resexp.executors import cluster
from resexp.executors import nodes as nodes_of

GRID = ("network.depth=[4,16]", "seeds=2", "training.steps=600", "training.checkpoint_every=10", "data.limit=512")


# ---- without a cluster ------------------------------------------------------------------------------------------------------


def test_without_ray_one_line_names_the_extra(tiny_file: Path, call: Program, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "ray", None)

    told = "resexp: --executor ray: ray is not installed; pip install 'resexp[ray]'\n"
    assert call("train", tiny_file, "--executor=ray") == Answer(2, "", told)


def test_a_silent_node_is_asked_for_sooner_than_ray_would_unless_the_user_says_when(monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("ray")
    said, unsaid = (f"RAY_grpc_client_keepalive_{name}_ms" for name in ("time", "timeout"))
    monkeypatch.setenv(said, "7")
    monkeypatch.setenv(unsaid, "")  # so that it is unset again in the end
    monkeypatch.delenv(unsaid)
    cluster._ray()

    assert (os.environ[said], os.environ[unsaid]) == ("7", "30000")


def test_where_no_cluster_answers_one_line_says_so_at_once(tiny_file: Path, call: Program):
    pytest.importorskip("ray")
    address = f"127.0.0.1:{free_port()}"

    refused = f"resexp: --address: no Ray cluster at {address}: Connection refused; ray start --head starts one\n"
    assert call("train", tiny_file, "--executor=ray", f"--address={address}") == Answer(2, "", refused)


@pytest.mark.parametrize("option", ["--jobs=2", "--shard=1/2"])
def test_what_ray_decides_is_not_asked_for(option: str, tiny_file: Path, call: Program):
    answer = call("train", tiny_file, "--executor=ray", option)

    assert answer.code == 2
    assert "Ray decides who trains what" in answer.err


def test_an_unknown_executor_is_refused(tiny_file: Path, call: Program):
    answer = call("train", tiny_file, "--executor=dask")

    assert answer.code == 2
    assert "'dask' is not one of local, ray" in answer.err


def test_a_node_that_reads_the_folder_answers_beside_the_word_and_one_that_does_not_says_why(tmp_path: Path):
    (tmp_path / ".probe.7").write_text("7")
    here, elsewhere = (nodes_of.probe(place / ".probe.7", "7", "n1") for place in (tmp_path, tmp_path / "other"))

    assert here[0] == "7"
    assert (tmp_path / ".probe.n1.7").read_text() == "7"
    runs.remove_temporary_files(tmp_path)  # as after a driver that was killed
    assert list(tmp_path.iterdir()) == []
    assert elsewhere[0] == "FileNotFoundError: No such file or directory"
    assert nodes_of.mismatch_message("10.0.0.7", tmp_path, "7", elsewhere) == (
        f"node 10.0.0.7 does not share {tmp_path} (FileNotFoundError: No such file or directory); "
        "--runs must lie on storage that all nodes share, at one path"
    )
    other = ["7", here[1], "1.0", here[3]]
    assert nodes_of.mismatch_message("10.0.0.7", tmp_path, "7", other).startswith("node 10.0.0.7 has torch 1.0, not")


def test_where_the_ray_node_of_the_driver_dies_no_stack_has_failed_but_the_cluster_is_lost():
    exceptions = pytest.importorskip("ray").exceptions

    def get(_reference: Any) -> None:
        raise exceptions.LocalRayletDiedError

    def wait(_references: Any, **_how: Any) -> None:
        raise exceptions.RaySystemError("no answer")

    places = object.__new__(cluster.Cluster)
    places.ray, places.stopping = SimpleNamespace(get=get, wait=wait, exceptions=exceptions), threading.Event()
    places._refused, places._stacks, places._told = [], {"a reference": None}, None
    raised = places._raised("a reference")

    assert isinstance(raised, OSError)  # at which everything ends, to be continued
    assert str(raised).startswith("the cluster is lost: LocalRayletDiedError")
    with pytest.raises(OSError, match=r"the cluster is lost: RaySystemError: .*no answer"):
        places.wait(0.0)


def test_a_task_looks_for_the_file_that_says_stop_once_a_second(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny: Any):
    asked: list[Any] = []
    monkeypatch.setattr(cluster.workers, "train_fenced", lambda *arguments: asked.append(arguments[-1]) or "finished")
    clock = [100.0]
    monkeypatch.setattr(cluster.time, "monotonic", lambda: clock[0])
    experiment = tiny()
    stack = config.make_plan(experiment, "cpu", 1).stacks[0]
    (tmp_path / "plan.json").touch()
    cluster._train(runs.Lease(tmp_path, "lock.json", "w"), stack, experiment.trials, "cpu", ".stop.x", nodes_of.versions())
    (stop,) = asked

    assert not stop()
    (tmp_path / ".stop.x").touch()
    assert not stop()  # looked just now
    clock[0] += 1.5
    assert stop()


# ---- two nodes --------------------------------------------------------------------------------------------------------------


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


class Nodes:
    """Two Ray nodes in process groups of their own, one processor each."""

    def __init__(self) -> None:
        self.address = f"127.0.0.1:{free_port()}"
        self.environment = {**os.environ, "RAY_AUTH_MODE": "disabled", "RAY_ADDRESS": self.address, "OMP_NUM_THREADS": "1"}
        self.groups: list[subprocess.Popen[bytes]] = []
        self.start("--head", f"--port={self.address.partition(':')[2]}", "--include-dashboard=false")
        self.wait_for(1)

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

    def wait_for(self, count: int) -> None:
        program = f"import ray; ray.init(log_to_driver=False); assert sum(n['Alive'] for n in ray.nodes()) >= {count}"
        command = [sys.executable, "-c", program]
        for _ in range(60):
            if subprocess.run(command, env=self.environment, capture_output=True, check=False).returncode == 0:
                return
            time.sleep(0.5)
        raise AssertionError(f"no {count} nodes came up")

    def kill(self, group: subprocess.Popen[bytes]) -> None:
        os.killpg(group.pid, signal.SIGKILL)
        group.wait()

    def end(self) -> None:
        for group in self.groups:
            if group.poll() is None:
                self.kill(group)


@pytest.fixture
def nodes() -> Iterator[Nodes]:
    pytest.importorskip("ray")
    found = Nodes()
    yield found
    found.end()


def token_in(place: Path) -> str:
    try:
        return place.read_text()
    except FileNotFoundError:  # its attempt has finished
        return "another"


def overtaken(folder: Path) -> bool:
    """Writes tokens as an older attempt does that was slow to begin; whether one that had to stop was tried again.

    One that has finished just then is not.
    """
    tokens = [token for token in folder.glob("checkpoints/.*.attempt") if token_in(token) != "another"]
    for token in tokens:
        token.write_text("another")
    for _ in range(50):
        if any(token_in(token) != "another" for token in tokens):
            return True
        time.sleep(0.1)
    return False


@pytest.mark.slow
def test_though_attempts_are_overtaken_and_a_node_and_the_driver_are_killed_the_files_are_those_of_one_machine(
    nodes: Nodes, tiny_file: Path, tmp_path: Path, request: pytest.FixtureRequest
):
    command = [sys.executable, "-m", "resexp", "train", str(tiny_file), *GRID, "--quiet"]
    subprocess.run([*command, "--runs", str(tmp_path / "local")], env=nodes.environment, check=True, timeout=240)
    second = nodes.another()
    for number in range(request.config.getoption("--cluster-kills")):
        there, folder = [*command, "--runs", str(tmp_path / str(number)), "--executor", "ray"], tmp_path / str(number) / "tiny"
        driver = subprocess.Popen(there, env=nodes.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        begun = time.monotonic()
        while not list(folder.glob("checkpoints/*.pt")) and time.monotonic() - begun < 120:
            time.sleep(0.1)
        time.sleep(0.1 * number)
        kept = {path: path.read_bytes() for path in folder.glob("trials/*/timing.csv")}
        tried_again = any(overtaken(folder) for _ in range(20))
        nodes.kill(second)
        second = nodes.another()
        time.sleep(2)
        driver.kill()
        driver.communicate()
        again = subprocess.run(there, env=nodes.environment, capture_output=True, text=True, timeout=240, check=False)

        assert tried_again
        assert again.returncode == 0, again.stderr
        assert again.stdout == ""
        assert files(folder) == files(tmp_path / "local" / "tiny")
        assert sum(name.endswith("result.json") for name in files(folder)) == 8
        assert kept
        for path, before in kept.items():  # what was trained before a checkpoint was not trained again
            assert path.read_bytes().split(b"\n")[1] == before.split(b"\n")[1]


@pytest.mark.slow
def test_a_folder_that_the_nodes_do_not_share_is_refused_by_name(nodes: Nodes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for name in ("RAY_AUTH_MODE", "RAY_ADDRESS"):
        monkeypatch.setenv(name, nodes.environment[name])
    monkeypatch.setattr(nodes_of, "probe", lambda _place, _word, _node: ["another word", "0", "0", "0"])
    with executors.Cluster() as places, pytest.raises(runs.RunsError, match=r"node .* does not share"):
        places.check_shared(tmp_path)

    assert list(tmp_path.glob(".probe*")) == []
