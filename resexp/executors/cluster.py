"""Stacks on a Ray cluster: tasks with declared processors, accelerators and memory, that write to a folder all nodes share.

Ray schedules, retries and recovers; nothing here queues. Stopping is a file in that folder, because every node sees it.
"""

import os
import platform
import socket
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout, suppress
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any, Self

from resexp import runs
from resexp.config import ConfigError, Experiment, Plan, Stack, Trial
from resexp.executors import nodes, workers
from resexp.executors.machine import VARIABLES, cores, set_variables
from resexp.executors.pool import Announce, silently
from resexp.executors.workers import OutOfMemoryError

RETRIES = 20  # of a stack whose node or process died
ANSWER_SECONDS = 10.0  # for the head to accept a connection
SILENT_SECONDS = 30.0  # between two questions to a node whether it is there, and for its answer
LAST_SECONDS = 60.0  # for tasks to save when the driver ends with an error
LOOK_SECONDS = 1.0  # between two looks for the file that says stop
FORWARDED_ENV = ("RESEXP_DATA", *VARIABLES)
HEADROOM = 1 << 30  # bytes of a process beside its networks: torch itself, and the images


def _ray() -> ModuleType:
    for name in ("time", "timeout"):  # Ray reads them as it is imported; its own 7 minutes are long for a node that is cut off
        os.environ.setdefault(f"RAY_grpc_client_keepalive_{name}_ms", str(int(1000 * SILENT_SECONDS)))
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
    """A Ray cluster as a place to train: see `stacks.Places`.

    address: of its head, RAY_ADDRESS where it is None; without either Ray starts on this machine alone.

    Raises:
        ConfigError: no Ray, or no cluster at that address.
    """

    def __init__(self, address: str | None = None, announce: Announce = silently) -> None:
        self._announce = announce
        where = address or os.environ.get("RAY_ADDRESS")
        announce(f"connecting to the Ray cluster at {where}" if where else "starting Ray on this machine")
        self.ray = _ray()
        set_variables()
        variables = {name: os.environ[name] for name in FORWARDED_ENV if name in os.environ}
        _check_answers(where)
        environment, dashboard = {"env_vars": variables}, None if where else False
        try:
            self.ray.init(
                address=where or "local",
                runtime_env=environment,
                log_to_driver=False,
                include_dashboard=dashboard,
                logging_level="ERROR",
            )
        except (ConnectionError, ValueError, RuntimeError, OSError, self.ray.exceptions.RayError) as error:
            raise ConfigError(f"no Ray cluster at {where or 'this machine'}: {_words(error)}", where="--address") from None
        self.stopping = threading.Event()
        self._flag = f".stop.{uuid.uuid4().int}"
        self._folder: Path | None = None
        self._memory: dict[str, int] = {}
        self._stacks: dict[Any, Stack] = {}
        self._refused: list[tuple[Stack, BaseException | None]] = []
        self._told: float | None = None  # when the tasks were told to stop

    # ---- before training ----

    def prepare(self, experiment: Experiment, existing: Plan | None) -> dict[str, Any]:
        """On a node, whose `cores` it gives; and `memory`, what each trial will need, in bytes."""
        wanted = existing.device if existing else experiment.shared.device
        gpus = 1 if wanted.startswith(("auto", "cuda")) and self.ray.cluster_resources().get("GPU", 0) else 0
        self._announce(f"reading {experiment.shared.data.name} and measuring the pairs at initialization on a node")
        found: dict[str, Any] = self._ask(_prepare, experiment, existing, num_cpus=1, num_gpus=gpus)
        return found

    def forecast(self, experiment: Experiment, plan: Plan) -> dict[str, Any]:
        gpus = 1 if plan.device.startswith("cuda") else 0
        self._announce("timing a few steps of each arm on a node")
        found: dict[str, Any] = self._ask(workers.forecast, experiment, plan, 1, num_cpus=plan.threads, num_gpus=gpus)
        return found

    def _ask(self, function: Callable[..., Any], *arguments: Any, **resources: float) -> Any:
        try:
            return self.ray.get(self.ray.remote(**resources)(function).remote(*arguments))
        except self.ray.exceptions.RayTaskError as error:
            cause = _cause(error)
            if isinstance(cause, RuntimeError | MemoryError | ImportError):
                raise ChildProcessError(f"before training: {_words(cause)}") from None
            raise cause from None
        except self.ray.exceptions.RayError as error:
            raise ChildProcessError(f"before training: {_words(error)}") from None

    def check_shared(self, folder: Path) -> None:
        """Proves that every node reads and writes this very folder, and runs the same versions.

        Raises:
            RunsError: a node that does not, by address.
        """
        word = str(uuid.uuid4().int)
        place = folder / f".probe.{word}"
        runs.write_text(place, word)
        alive = [node for node in self.ray.nodes() if node["Alive"]]
        try:
            for node, reference in [(node, self._probe_of(node, place, word)) for node in alive]:
                address = node["NodeManagerAddress"]
                try:
                    told = self.ray.get(reference)
                except (self.ray.exceptions.TaskUnschedulableError, self.ray.exceptions.NodeDiedError):
                    continue  # it died before it could be asked, and is no place to train at
                except self.ray.exceptions.RayError as error:
                    raise runs.RunsError(f"node {address}: {_words(error)}") from None
                if told != [word, *nodes.versions()]:
                    raise runs.RunsError(nodes.mismatch_message(address, folder, word, told))
                if not nodes.answer(place, node["NodeID"]).is_file():
                    raise runs.RunsError(f"node {address} writes to another {folder}; --runs must lie on shared storage")
        finally:
            for left in folder.glob(f".probe.*{word}"):
                left.unlink()

    def _probe_of(self, node: dict[str, Any], place: Path, word: str) -> Any:
        there = self.ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        task = self.ray.remote(num_cpus=0)(nodes.probe).options(scheduling_strategy=there)
        return task.remote(place.resolve(), word, node["NodeID"])

    # ---- stacks ----

    def attach(self, folder: Path, plan: Plan, prepared: dict[str, Any]) -> None:  # noqa: ARG002 - Ray asks each task for itself
        self.check_shared(folder)
        self._folder, self._memory = folder.resolve(), prepared["memory"]

    @property
    def running(self) -> int:
        return len(self._stacks) + len(self._refused)

    def has_capacity(self) -> bool:
        return True  # Ray queues, and a cluster that grows wants to see what waits

    def start(self, lease: runs.Lease, stack: Stack, members: Sequence[Trial], device: str) -> None:
        on_card = device.startswith("cuda")
        task = self.ray.remote(
            max_retries=RETRIES,
            retry_exceptions=[runs.SupersededError],  # by an attempt that was given up, but was only slow to begin
            max_calls=1 if on_card else 0,  # a process keeps what it has of a card
        )(_train)
        declared = {
            "num_cpus": stack.threads,
            "num_gpus": int(on_card),
            "memory": HEADROOM + (0 if on_card else sum(self._memory.get(name, 0) for name in stack.trials)),
        }
        if too_much := self._unfit(declared):
            self._refused.append((stack, too_much))
            return
        there = lease._replace(folder=lease.folder.resolve())
        arguments = (there, stack, list(members), device, self._flag, nodes.versions())
        self._stacks[task.options(**declared, name=f"resexp {stack.name}").remote(*arguments)] = stack

    def wait(self, seconds: float) -> list[tuple[Stack, BaseException | None]]:
        if self.stopping.is_set():
            self._stop()
        refused, self._refused = self._refused, []
        if self._told is not None and time.monotonic() - self._told > LAST_SECONDS:  # what waits for a node that will not come
            refused += [(stack, None) for stack in self._stacks.values()]
            self._stacks.clear()
        if refused or not self._stacks:
            return refused
        try:
            done, _ = self.ray.wait(list(self._stacks), timeout=seconds, num_returns=1)
        except self.ray.exceptions.RayError as error:
            raise _lost(error) from None
        return [(self._stacks.pop(reference), self._raised(reference)) for reference in done]

    def _unfit(self, declared: dict[str, int]) -> BaseException | None:
        """Why no node of this cluster could ever train it; Ray itself would wait."""
        names = {"num_cpus": "CPU", "num_gpus": "GPU", "memory": "memory"}
        has = [node["Resources"] for node in self.ray.nodes() if node["Alive"]]
        most = {key: max((of.get(name, 0) for of in has), default=0) for key, name in names.items()}
        if declared["num_cpus"] > most["num_cpus"] or declared["num_gpus"] > most["num_gpus"]:
            return runs.RunsError(
                f"no node has {declared['num_cpus']} processors and {declared['num_gpus']} accelerators for it"
            )
        if declared["memory"] > most["memory"]:
            return OutOfMemoryError(
                f"needs {declared['memory'] / 1e9:.1f} GB, and no node has more than {most['memory'] / 1e9:.1f}"
            )
        return None

    def _stop(self) -> None:
        """Tells the tasks: those that train save, those that still wait return as soon as they come."""
        if self._folder is not None and self._told is None:
            (self._folder / self._flag).touch()
            self._told = time.monotonic()

    def _raised(self, reference: Any) -> BaseException | None:
        try:
            self.ray.get(reference)
        except self.ray.exceptions.OutOfMemoryError as error:
            return OutOfMemoryError(_words(error))
        except self.ray.exceptions.RayTaskError as error:
            return _cause(error)
        except self.ray.exceptions.LocalRayletDiedError as error:
            return _lost(error)
        except self.ray.exceptions.RayError as error:
            return runs.RunsError(f"its task died, {RETRIES} retries included: {_words(error)}")
        return None

    def kill(self) -> None:
        """Ends the tasks where they are; checkpoints and logs stay valid."""
        self.ray.shutdown()
        if self._folder is not None:
            with suppress(OSError):
                (self._folder / self._flag).unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if error is not None and self._stacks:
            self._stop()
            with suppress(self.ray.exceptions.RayError):  # there may be no cluster any more
                self.ray.wait(list(self._stacks), num_returns=len(self._stacks), timeout=LAST_SECONDS)
        with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere):  # it prints what its threads have kept
            self.ray.shutdown()
        if self._folder is not None:
            (self._folder / self._flag).unlink(missing_ok=True)


def _lost(error: BaseException) -> ChildProcessError:
    return ChildProcessError(f"the cluster is lost: {_words(error)}")


def _cause(error: Any) -> BaseException:
    cause = error.cause
    return cause if isinstance(cause, BaseException) else ChildProcessError(_words(error))


def _words(error: BaseException) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {' '.join(lines[-1].split()) if lines else ''}"[:300]


# ---- on a node --------------------------------------------------------------------------------------------------------------


def _prepare(experiment: Experiment, existing: Plan | None) -> dict[str, Any]:
    found = workers.prepare(experiment, existing)
    device = found["device"]
    return {
        **found,
        "cards": workers.pair_summaries(experiment, device),
        "cores": cores(),
        "memory": workers.memory(experiment, device),
    }


def _train(lease: runs.Lease, stack: Stack, members: Sequence[Trial], device: str, flag: str, versions: Sequence[str]) -> str:
    """Trains a stack; a node that joined after the others were asked is asked here."""
    folder = lease.folder
    if (folder / flag).exists():
        return "interrupted"
    if not (folder / "plan.json").is_file():
        raise runs.RunsError(f"node {platform.node()} does not share {folder}; --runs must lie on storage that all nodes share")
    if nodes.versions() != list(versions):
        raise runs.RunsError(nodes.mismatch_message(platform.node(), folder, "", ["", *nodes.versions()]))
    looked, stopped, place = 0.0, False, folder / flag

    def stop() -> bool:
        nonlocal looked, stopped
        if time.monotonic() - looked > LOOK_SECONDS:
            looked, stopped = time.monotonic(), place.exists()
        return stopped

    return workers.train_fenced(lease, stack, members, device, stop)
