"""Stacks on a Ray cluster: tasks with declared processors, accelerators and memory, which write to a shared folder.

Ray schedules, retries and recovers; there is no queue here. A file in the shared folder signals all nodes to stop.
"""

import os
import platform
import socket
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout, suppress
from importlib.metadata import version
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any, Self

import resexp
from resexp import runs
from resexp.config import ConfigError, Experiment, Plan, Stack, Trial
from resexp.executors import workers
from resexp.executors.pool import Announce, set_variables, silently
from resexp.executors.workers import OutOfMemoryError

RETRIES = 20  # of a stack whose node or process died
CONNECT_SECONDS = 10.0  # timeout of a connection to the head node
KEEPALIVE_SECONDS = 30.0  # interval and timeout of Ray's keepalive messages
SAVE_SECONDS = 60.0  # timeout for tasks to save their state before the driver ends
POLL_SECONDS = 1.0  # interval of checks for the stop file
FORWARDED_ENV = ("RESEXP_DATA", "RESEXP_IMPORT", *workers.VARIABLES)
HEADROOM = 1 << 30  # bytes of a process in addition to its networks: torch itself, and the images


def _ray() -> ModuleType:
    for name in ("time", "timeout"):  # Ray reads them on import; its default of 7 minutes is long for a node that is cut off
        os.environ.setdefault(f"RAY_grpc_client_keepalive_{name}_ms", str(int(1000 * KEEPALIVE_SECONDS)))
    try:
        import ray  # noqa: PLC0415 - an extra
    except ImportError:
        raise ConfigError("ray is not installed; pip install 'resexp[ray]'", where="--executor ray") from None
    return ray


def _check_connection(address: str | None) -> None:
    """Raises ConfigError if there is no connection to host:port; Ray itself would retry for minutes."""
    host, colon, port = (address or "").removeprefix("ray://").rpartition(":")
    if colon and port.isdecimal():
        try:
            socket.create_connection((host, int(port)), timeout=CONNECT_SECONDS).close()
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or error
            raise ConfigError(
                f"no Ray cluster at {address}: {reason}; start one with: ray start --head", where="--address"
            ) from None


class Cluster:
    """An executor that trains on a Ray cluster: see `experiment.Executor`.

    address: of the head node; if None, $RAY_ADDRESS. Without either, Ray starts on this machine only.

    Raises:
        ConfigError: Ray is not installed, or there is no cluster at that address.
    """

    def __init__(self, address: str | None = None, announce: Announce = silently) -> None:
        self._announce = announce
        address = address or os.environ.get("RAY_ADDRESS")
        announce(f"connecting to the Ray cluster at {address}" if address else "starting Ray on this machine")
        self.ray = _ray()
        set_variables()
        variables = {name: os.environ[name] for name in FORWARDED_ENV if name in os.environ}
        _check_connection(address)
        environment, dashboard = {"env_vars": variables}, None if address else False
        try:
            self.ray.init(
                address=address or "local",
                runtime_env=environment,
                log_to_driver=False,
                include_dashboard=dashboard,
                logging_level="ERROR",
            )
        except (ConnectionError, ValueError, RuntimeError, OSError, self.ray.exceptions.RayError) as error:
            raise ConfigError(f"no Ray cluster at {address or 'this machine'}: {_message(error)}", where="--address") from None
        self.stopping = threading.Event()
        self._stop_file = f".stop.{uuid.uuid4().int}"
        self._folder: Path | None = None
        self._memory: dict[str, int] = {}
        self._stacks: dict[Any, Stack] = {}
        self._refused: list[tuple[Stack, BaseException | None]] = []
        self._stopped_at: float | None = None  # when the tasks were signaled to stop

    # ---- before training ----

    def prepare(self, experiment: Experiment, existing: Plan | None) -> dict[str, Any]:
        """Prepares on a node and returns its `cores`; in addition `memory`, the bytes that each trial will need."""
        device = existing.device if existing else experiment.shared.device
        gpus = 1 if device.startswith(("auto", "cuda")) and self.ray.cluster_resources().get("GPU", 0) else 0
        self._announce(f"reading {experiment.shared.data.name} and measuring the pairs at initialization on a node")
        prepared: dict[str, Any] = self._run(_prepare, experiment, existing, num_cpus=1, num_gpus=gpus)
        return prepared

    def forecast(self, experiment: Experiment, plan: Plan) -> dict[str, Any]:
        gpus = 1 if plan.device.startswith("cuda") else 0
        self._announce("timing a few steps of each arm on a node")
        prediction: dict[str, Any] = self._run(workers.forecast, experiment, plan, 1, num_cpus=plan.threads, num_gpus=gpus)
        return prediction

    def _run(self, function: Callable[..., Any], *arguments: Any, **resources: float) -> Any:
        try:
            return self.ray.get(self.ray.remote(**resources)(function).remote(*arguments))
        except self.ray.exceptions.RayTaskError as error:
            cause = _cause(error)
            if isinstance(cause, RuntimeError | MemoryError | ImportError):
                raise ChildProcessError(f"before training: {_message(cause)}") from None
            raise cause from None
        except self.ray.exceptions.RayError as error:
            raise ChildProcessError(f"before training: {_message(error)}") from None

    def check_shared(self, folder: Path) -> None:
        """Checks that every node reads and writes the same folder and has the same versions.

        Raises:
            RunsError: names the address of a node that does not.
        """
        token = str(uuid.uuid4().int)
        path = folder / f".probe.{token}"
        runs.write_text(path, token)
        alive = [node for node in self.ray.nodes() if node["Alive"]]
        try:
            for node, reference in [(node, self._start_check(node, path, token)) for node in alive]:
                address = node["NodeManagerAddress"]
                try:
                    reply = self.ray.get(reference)
                except (self.ray.exceptions.TaskUnschedulableError, self.ray.exceptions.NodeDiedError):
                    continue  # the node died before it could answer, so nothing will be trained on it
                except self.ray.exceptions.RayError as error:
                    raise runs.RunsError(f"node {address}: {_message(error)}") from None
                if reply != [token, *versions()]:
                    raise runs.RunsError(mismatch_message(address, folder, token, reply))
                if not reply_path(path, node["NodeID"]).is_file():
                    raise runs.RunsError(f"node {address} writes to another {folder}; --runs must be on shared storage")
        finally:
            for probe in folder.glob(f".probe.*{token}"):
                probe.unlink()

    def _start_check(self, node: dict[str, Any], path: Path, token: str) -> Any:
        strategy = self.ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        task = self.ray.remote(num_cpus=0)(check_node).options(scheduling_strategy=strategy)
        return task.remote(path.resolve(), token, node["NodeID"])

    # ---- stacks ----

    def attach(self, folder: Path, plan: Plan, prepared: dict[str, Any]) -> None:  # noqa: ARG002 - Ray uses the resources of each task
        self.check_shared(folder)
        self._folder, self._memory = folder.resolve(), prepared["memory"]

    @property
    def running(self) -> int:
        return len(self._stacks) + len(self._refused)

    def has_capacity(self) -> bool:
        return True  # Ray has a queue, by which an autoscaling cluster decides how far to grow

    def start(self, lease: runs.Lease, stack: Stack, members: Sequence[Trial], device: str) -> None:
        on_gpu = device.startswith("cuda")
        task = self.ray.remote(
            max_retries=RETRIES,
            retry_exceptions=[runs.SupersededError],  # superseded by an attempt that Ray had given up but that started late
            max_calls=1 if on_gpu else 0,  # a process keeps its GPU memory until it ends
        )(_train)
        declared = {
            "num_cpus": stack.threads,
            "num_gpus": int(on_gpu),
            "memory": HEADROOM + (0 if on_gpu else sum(self._memory.get(name, 0) for name in stack.trials)),
        }
        if error := self._shortage(declared):
            self._refused.append((stack, error))
            return
        absolute = lease._replace(folder=lease.folder.resolve())
        arguments = (absolute, stack, list(members), device, self._stop_file, versions())
        self._stacks[task.options(**declared, name=f"resexp {stack.name}").remote(*arguments)] = stack

    def wait(self, seconds: float) -> list[tuple[Stack, BaseException | None]]:
        if self.stopping.is_set():
            self._stop()
        refused, self._refused = self._refused, []
        if self._stopped_at is not None and time.monotonic() - self._stopped_at > SAVE_SECONDS:  # tasks that are still queued
            refused += [(stack, None) for stack in self._stacks.values()]
            self._stacks.clear()
        if refused or not self._stacks:
            return refused
        try:
            done, _ = self.ray.wait(list(self._stacks), timeout=seconds, num_returns=1)
        except self.ray.exceptions.RayError as error:
            raise _lost(error) from None
        return [(self._stacks.pop(reference), self._raised(reference)) for reference in done]

    def _shortage(self, declared: dict[str, int]) -> BaseException | None:
        """The exception for a stack that no node has the resources to train, for which Ray would wait; None if one has."""
        names = {"num_cpus": "CPU", "num_gpus": "GPU", "memory": "memory"}
        resources = [node["Resources"] for node in self.ray.nodes() if node["Alive"]]
        largest = {key: max((node.get(name, 0) for node in resources), default=0) for key, name in names.items()}
        if declared["num_cpus"] > largest["num_cpus"] or declared["num_gpus"] > largest["num_gpus"]:
            return runs.RunsError(f"needs {declared['num_cpus']} CPU(s) and {declared['num_gpus']} GPU(s), which no node has")
        if declared["memory"] > largest["memory"]:
            return OutOfMemoryError(
                f"needs {declared['memory'] / 1e9:.1f} GB of memory, and no node has more than {largest['memory'] / 1e9:.1f} GB"
            )
        return None

    def _stop(self) -> None:
        """Signals the tasks to stop: running ones save their state, queued ones return when they start."""
        if self._folder is not None and self._stopped_at is None:
            (self._folder / self._stop_file).touch()
            self._stopped_at = time.monotonic()

    def _raised(self, reference: Any) -> BaseException | None:
        try:
            self.ray.get(reference)
        except self.ray.exceptions.OutOfMemoryError as error:
            return OutOfMemoryError(_message(error))
        except self.ray.exceptions.RayTaskError as error:
            return _cause(error)
        except self.ray.exceptions.LocalRayletDiedError as error:
            return _lost(error)
        except self.ray.exceptions.RayError as error:
            return runs.RunsError(f"its task died, {RETRIES} retries included: {_message(error)}")
        return None

    def kill(self) -> None:
        """Kills the tasks; checkpoints and logs stay valid."""
        self.ray.shutdown()
        if self._folder is not None:
            with suppress(OSError):
                (self._folder / self._stop_file).unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if error is not None and self._stacks:
            self._stop()
            with suppress(self.ray.exceptions.RayError):  # the cluster may no longer exist
                self.ray.wait(list(self._stacks), num_returns=len(self._stacks), timeout=SAVE_SECONDS)
        with Path(os.devnull).open("w") as devnull, redirect_stdout(devnull):  # Ray prints buffered logs of its threads
            self.ray.shutdown()
        if self._folder is not None:
            (self._folder / self._stop_file).unlink(missing_ok=True)


def _lost(error: BaseException) -> ChildProcessError:
    return ChildProcessError(f"lost the connection to the cluster: {_message(error)}")


def _cause(error: Any) -> BaseException:
    cause = error.cause
    return cause if isinstance(cause, BaseException) else ChildProcessError(_message(error))


def _message(error: BaseException) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {' '.join(lines[-1].split()) if lines else ''}"[:300]


# ---- on a node --------------------------------------------------------------------------------------------------------------


def _prepare(experiment: Experiment, existing: Plan | None) -> dict[str, Any]:
    from resexp import costs  # noqa: PLC0415 - torch belongs to the workers

    workers.set_up(1, experiment.shared)
    prepared = workers.prepare_with_pairs(experiment, existing)
    return {**prepared, "memory": costs.memory(experiment, prepared["device"])}


def versions() -> list[str]:
    return [resexp.__version__, version("torch"), platform.python_version()]


def reply_path(path: Path, node: str) -> Path:
    """The path of a node's reply: .probe.<node>.<token> next to .probe.<token>."""
    return path.with_name(f"{path.stem}.{node}{path.suffix}")


def check_node(path: Path, token: str, node: str) -> list[str]:
    """What this node reads from the file, and its versions; writes its reply next to the file."""
    try:
        content = path.read_text(encoding="utf-8")
        if content == token:
            reply_path(path, node).write_text(token, encoding="utf-8")
    except OSError as error:
        content = f"{type(error).__name__}: {error.strerror}"
    return [content, *versions()]


def mismatch_message(address: str, folder: Path, token: str, reply: Sequence[str]) -> str:
    if reply[0] != token:
        advice = "--runs must be on storage that all nodes share, at the same path"
        return f"node {address} does not share {folder} ({reply[0]}); {advice}"
    pairs = zip(("resexp", "torch", "Python"), reply[1:], versions(), strict=True)
    differing = [f"{name} {there}, not {here}" for name, there, here in pairs if there != here]
    return f"node {address} has {' and '.join(differing)}"


def _train(
    lease: runs.Lease, stack: Stack, members: Sequence[Trial], device: str, stop_file: str, expected: Sequence[str]
) -> str:
    """Trains a stack; first repeats the checks of `check_shared`, because the node may have joined later."""
    folder = lease.folder
    if (folder / stop_file).exists():
        return "interrupted"
    if not (folder / "plan.json").is_file():
        raise runs.RunsError(f"node {platform.node()} does not share {folder}; --runs must be on storage that all nodes share")
    if versions() != list(expected):
        raise runs.RunsError(mismatch_message(platform.node(), folder, "", ["", *versions()]))
    checked_at, stopped = 0.0, False

    def stop() -> bool:
        nonlocal checked_at, stopped
        if time.monotonic() - checked_at > POLL_SECONDS:
            checked_at, stopped = time.monotonic(), (folder / stop_file).exists()
        return stopped

    return workers.train_fenced(lease, stack, members, device, stop)
