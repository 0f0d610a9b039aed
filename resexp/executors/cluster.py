"""Cohorts on a Ray cluster: tasks with declared processors, accelerators and memory, that write to a folder all nodes share.

Ray schedules, retries and recovers; nothing here queues. Stopping is a file in that folder, because every node sees it.
"""

import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any, Self

import resexp
from resexp import runs
from resexp.config import Cohort, ConfigError, Experiment, Plan, Trial
from resexp.executors import workers
from resexp.executors.machine import cores
from resexp.executors.workers import OutOfMemoryError

RETRIES = 20  # of a cohort whose node or process died
ANSWER_SECONDS = 10.0  # for the head to accept a connection
LOOK_SECONDS = 1.0  # between two looks for the file that says stop
PASSED_ON = ("RESEXP_DATA", "OMP_WAIT_POLICY", "CUBLAS_WORKSPACE_CONFIG")
HEADROOM = 1 << 30  # bytes of a process beside its networks: torch itself, and the images


def _ray() -> ModuleType:
    try:
        import ray  # noqa: PLC0415 - an extra
    except ImportError:
        raise ConfigError("ray is not installed; pip install 'resexp[ray]'", where="--executor ray") from None
    return ray


def _check_answers(address: str | None) -> None:
    """Raises ConfigError where nobody answers at host:port: Ray itself would try for minutes."""
    host, colon, port = (address or "").removeprefix("ray://").rpartition(":")
    if colon and port.isdecimal():
        try:
            socket.create_connection((host, int(port)), timeout=ANSWER_SECONDS).close()
        except (OSError, OverflowError) as error:
            words = getattr(error, "strerror", None) or error
            raise ConfigError(f"no Ray cluster at {address}: {words}; ray start --head starts one", where="--address") from None


class Cluster:
    """A Ray cluster as a place to train: see `cohorts.Places`.

    address: of its head, RAY_ADDRESS where it is None; without either Ray starts on this machine alone.

    Raises:
        ConfigError: no Ray, or no cluster at that address.
    """

    def __init__(self, address: str | None = None) -> None:
        self.ray = _ray()
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        variables = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
        where = address or os.environ.get("RAY_ADDRESS")
        _check_answers(where)
        environment, dashboard = {"env_vars": variables}, None if where else False
        try:
            self.ray.init(
                address=where, runtime_env=environment, log_to_driver=False, include_dashboard=dashboard, logging_level="ERROR"
            )
        except (ConnectionError, ValueError, RuntimeError, OSError, self.ray.exceptions.RayError) as error:
            raise ConfigError(f"no Ray cluster at {where or 'this machine'}: {_words(error)}", where="--address") from None
        self.stopping = threading.Event()
        self._flag = f".stop.{uuid.uuid4().hex}"
        self._folder: Path | None = None
        self._memory: dict[str, int] = {}
        self._cohorts: dict[Any, Cohort] = {}

    # ---- before training ----

    def prepare(self, experiment: Experiment, existing: Plan | None) -> dict[str, Any]:
        """As `pool.prepare`, on a node; `cores` are those of that node, and `memory` what each cohort will need, in bytes.

        Raises:
            DataError, DeviceError: as raised on the node.
            ChildProcessError: no node could do it.
        """
        wanted = existing.device if existing else experiment.shared.device
        gpus = 1 if wanted.startswith(("auto", "cuda")) and self.ray.cluster_resources().get("GPU", 0) else 0
        found: dict[str, Any] = self._ask(_prepare, experiment, existing, num_cpus=1, num_gpus=gpus)
        return found

    def forecast(self, experiment: Experiment, plan: Plan) -> dict[str, Any]:
        """What the plan will take, timed on a node: see `costs.Forecast`."""
        gpus = 1 if plan.device.startswith("cuda") else 0
        found: dict[str, Any] = self._ask(workers.forecast, experiment, plan, 1, num_cpus=plan.threads, num_gpus=gpus)
        return found

    def _ask(self, function: Callable[..., Any], *arguments: Any, **resources: float) -> Any:
        try:
            return self.ray.get(self.ray.remote(**resources)(function).remote(*arguments))
        except self.ray.exceptions.RayTaskError as error:
            raise _cause(error) from None
        except self.ray.exceptions.RayError as error:
            raise ChildProcessError(f"before training: {_words(error)}") from None

    def check_shared(self, folder: Path) -> None:
        """Proves that every node reads and writes this very folder, and runs the same versions.

        Raises:
            RunsError: a node that does not, by address.
        """
        word = uuid.uuid4().hex
        place = folder / f".probe.{word}"
        runs.write_text(place, word)
        strategy = self.ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy
        alive = [node for node in self.ray.nodes() if node["Alive"]]
        try:
            asked = {
                node["NodeManagerAddress"]: self.ray.remote(num_cpus=0)(_probe)
                .options(scheduling_strategy=strategy(node["NodeID"], soft=False))
                .remote(place.resolve(), word)
                for node in alive
            }
            for address, reference in asked.items():
                try:
                    told = self.ray.get(reference)
                except (self.ray.exceptions.TaskUnschedulableError, self.ray.exceptions.NodeDiedError):
                    continue  # it died before it could be asked, and is no place to train at
                except self.ray.exceptions.RayError as error:
                    raise runs.RunsError(f"node {address}: {_words(error)}") from None
                if told != [word, *_versions()]:
                    raise runs.RunsError(_unlike(address, folder, word, told))
                if not place.with_name(f"{place.name}.back").is_file():
                    raise runs.RunsError(f"node {address} writes to another {folder}; --runs must lie on shared storage")
                place.with_name(f"{place.name}.back").unlink()
        finally:
            for left in folder.glob(f".probe.{word}*"):
                left.unlink()

    # ---- cohorts ----

    def expect(self, folder: Path, memory: dict[str, int]) -> None:
        """Where the cohorts will be trained, and the memory that each needs."""
        self._folder, self._memory = folder.resolve(), memory

    @property
    def running(self) -> int:
        return len(self._cohorts)

    def room(self) -> bool:
        return True  # Ray queues, and a cluster that grows wants to see what waits

    def start(self, folder: Path, cohort: Cohort, members: Sequence[Trial], device: str) -> None:
        task = self.ray.remote(max_retries=RETRIES, max_calls=0)(_train)
        declared = {
            "num_cpus": cohort.threads,
            "num_gpus": 1 if device.startswith("cuda") else 0,
            "memory": sum(self._memory.get(name, 0) for name in cohort.trials) + HEADROOM,
        }
        arguments = (folder.resolve(), cohort, list(members), device, self._flag)
        self._cohorts[task.options(**declared, name=f"resexp {cohort.name}").remote(*arguments)] = cohort

    def finished(self, seconds: float) -> list[tuple[Cohort, BaseException | None]]:
        if self.stopping.is_set() and self._folder is not None:
            (self._folder / self._flag).touch()
        done, _ = self.ray.wait(list(self._cohorts), timeout=seconds, num_returns=1) if self._cohorts else ([], [])
        return [(self._cohorts.pop(reference), self._raised(reference)) for reference in done]

    def _raised(self, reference: Any) -> BaseException | None:
        try:
            self.ray.get(reference)
        except self.ray.exceptions.OutOfMemoryError as error:
            return OutOfMemoryError(_words(error))
        except self.ray.exceptions.RayTaskError as error:
            return _cause(error)
        except self.ray.exceptions.RayError as error:
            return ChildProcessError(f"its task died {RETRIES} times: {_words(error)}")
        return None

    def kill(self) -> None:
        """Ends the tasks where they are; checkpoints and logs stay valid."""
        self.ray.shutdown()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere):  # it prints what its threads have kept
            self.ray.shutdown()
        if self._folder is not None:
            (self._folder / self._flag).unlink(missing_ok=True)


def _cause(error: Any) -> BaseException:
    cause = error.cause
    return cause if isinstance(cause, BaseException) else ChildProcessError(_words(error))


def _words(error: BaseException) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {' '.join(lines[-1].split()) if lines else ''}"[:300]


# ---- on a node --------------------------------------------------------------------------------------------------------------


def _prepare(experiment: Experiment, existing: Plan | None) -> dict[str, Any]:
    found = workers.prepare(experiment, existing)
    return {**found, "cores": cores(), "memory": workers.memory(experiment, found["device"])}


def _train(folder: Path, cohort: Cohort, members: Sequence[Trial], device: str, flag: str) -> str:
    looked, stopped, place = 0.0, False, folder / flag

    def stop() -> bool:
        nonlocal looked, stopped
        if time.monotonic() - looked > LOOK_SECONDS:
            looked, stopped = time.monotonic(), place.exists()
        return stopped

    return workers.train_fenced(folder, cohort, members, device, stop)


def _versions() -> list[str]:
    import platform  # noqa: PLC0415 - needed here alone
    from importlib.metadata import version  # noqa: PLC0415 - as above

    return [resexp.__version__, version("torch"), platform.python_version()]


def _probe(place: Path, word: str) -> list[str]:
    """What this node reads there, and its versions; it answers beside what it read."""
    try:
        found = place.read_text(encoding="utf-8")
        if found == word:
            place.with_name(f"{place.name}.back").write_text(word, encoding="utf-8")
    except OSError as error:
        found = f"{type(error).__name__}: {error.strerror}"
    return [found, *_versions()]


def _unlike(address: str, folder: Path, word: str, told: Sequence[str]) -> str:
    if told[0] != word:
        advice = "--runs must lie on storage that all nodes share, at one path"
        return f"node {address} does not share {folder} ({told[0]}); {advice}"
    pairs = zip(("resexp", "torch", "Python"), told[1:], _versions(), strict=True)
    differing = [f"{name} {there}, not {here}" for name, there, here in pairs if there != here]
    return f"node {address} has {' and '.join(differing)}"
