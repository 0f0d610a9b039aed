"""The JSON files of runs/: their keys, validated on reading, and how to repair damaged ones. No torch."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from resexp import config, renamed
from resexp.config import Experiment, Plan
from resexp.runs.files import RunsError, json_digest


class Outcome(StrEnum):
    """Result category of a trial: above chance or at chance on the training sample, or diverged (non-finite training loss)."""

    ABOVE_CHANCE = "above_chance"
    AT_CHANCE = "at_chance"
    DIVERGED = "diverged"


class Record(BaseModel):
    """A JSON object: its keys in their order in the file, with their types. Other keys are kept."""

    model_config = ConfigDict(strict=True, extra="allow", frozen=True)

    @property
    def content(self) -> dict[str, Any]:
        """The keys and values that were read or set, without defaults, as plain values for JSON."""
        return self.model_dump(mode="json", exclude_unset=True)


class Status(Record):
    """status.json. diverged: the step at which the trial diverged, while other trials of its stack still train."""

    state: Literal["waiting", "running", "finished", "interrupted", "failed"]
    process: int = 0
    time: float = 0.0
    step: int = 0
    steps: int = 0
    diverged: int | None = None
    reason: str = ""


class Result(Record):
    """result.json.

    Numbers are None if the trial diverged, if gradients were not logged, or if no validation images were held out.
    """

    trial: str = ""
    arm: str = ""
    seed: int = 0
    status: str = "finished"
    outcome: Outcome
    test_accuracy: float | None
    test_loss: float | None
    best_test_accuracy: float | None
    best_test_loss: float | None
    best_epoch: int | None
    train_accuracy: float | None
    train_loss: float | None = None
    val_accuracy: float | None
    slope_start: float | None
    slope_end: float | None
    distance_start: float | None = None  # missing in earlier releases, and if `signal` was not logged
    dead_layers: tuple[str, ...] = ()  # missing in early releases, and if no gradient norms were logged
    parameters: int
    multiply_adds: int
    steps: int
    sha256: dict[str, str]
    seal: str

    @property
    def diverged_at(self) -> int | None:
        """The step of the first non-finite loss; None if training did not diverge."""
        return self.steps if self.outcome is Outcome.DIVERGED else None


class Holder(Record):
    """lock.json: the process that trains an experiment or a shard."""

    host: str
    process: int
    time: str
    token: str = ""


class ImportRecord(Record):
    """A file, module or entry point of a user that was imported before training: its name and the digest of its file."""

    name: str
    sha256: str


class Launch(Record):
    """An entry of environment.json: one start of training. images: numbers of training, validation and test images."""

    time: str
    command: tuple[str, ...]
    resexp: str
    revision: str | None = None
    python: str
    packages: dict[str, str]
    system: str
    processor: str
    cores: int | None
    host: str = ""
    device: str
    accelerator: str
    kernels: str = ""  # missing in earlier releases
    data_sha256: str
    images: tuple[int, int, int]
    classes: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
    imports: tuple[ImportRecord, ...] = ()  # missing without --import and entry points
    experiment_sha256: str | None = None  # of experiment.yaml; missing in early releases


class Equalities(Record):
    """What the networks of a pair have in common. weights: number of shared tensors; None if the widths differ."""

    weights: int
    weights_bit_equal: bool | None
    first_batch: bool
    recipe: bool


class ExtraCost(Record):
    """The cost of the residual network minus that of the plain one; bytes and multiply-adds are per image."""

    parameters: int
    multiply_adds: int
    activation_bytes: int

    @property
    def is_none(self) -> bool:
        return not (self.parameters or self.multiply_adds or self.activation_bytes)


class AtStart(Record):
    """One network of a pair at initialization. precision_gap: see `pairs.precision_gap`."""

    loss: float | None
    output_rms: float | None
    slope: float | None
    distance: float | None = None  # missing in earlier releases
    parameters: int
    multiply_adds: int
    activation_bytes: int
    precision_gap: float | None = None


class Round(Record):
    """The seeds that were added to an experiment at one time."""

    round: int
    seeds: tuple[int, ...]


StartDifference = Literal["zero_init_residual", "fixup"]


class PairSummary(Record):
    """An entry of pairs.json. width, at_start: by arm. rounds: a pair whose seeds were added later has several."""

    cell: str
    plain: str
    residual: str
    seed: int = 0
    equal: Equalities
    start_differs: tuple[StartDifference, ...]
    same_function_class: bool
    nothing_to_skip: bool
    same_as_plain: bool
    padded_channels_dead: bool = False
    precision: str = "float32"  # written if it is coarser
    width: dict[str, int]
    beyond: ExtraCost
    at_start: dict[str, AtStart]
    rounds: tuple[Round, ...] = ()


class GuessKind(StrEnum):
    """What a guess is about: whether plain networks train, how their gradients change, what a shortcut changes."""

    ABOVE_CHANCE = "above_chance"
    GRADIENTS = "gradients"
    DIFFERENCE = "difference"


class Guess(Record):
    """An entry of guesses.json: a question about one configuration, and its answer by a person before training.

    cell: as in pairs.json. arm: of the residual network. guess: one of the choices, or a number of points.
    """

    kind: GuessKind
    cell: str
    arm: str
    question: str
    guess: str | float


# ---- reading ----------------------------------------------------------------------------------------------------------

Content = TypeVar("Content")
TRAIN_AGAIN = "train again to rewrite it"


@dataclass(frozen=True)
class JsonFile(Generic[Content]):
    """The content of a JSON file, and the remedy if it is damaged."""

    content: TypeAdapter[Content]
    remedy: str


STATUS = JsonFile(TypeAdapter(Status), "delete it to retrain its trial")
RESULT = JsonFile(TypeAdapter(Result), "delete it to retrain its trial")
HOLDER = JsonFile(TypeAdapter(Holder), "delete it if no process is training there")
PLAN = JsonFile(TypeAdapter(Plan), f"delete it and {TRAIN_AGAIN}")
LAUNCHES = JsonFile[list[Launch]](TypeAdapter(Annotated[list[Launch], Field(min_length=1)]), TRAIN_AGAIN)
PAIR_SUMMARIES = JsonFile(TypeAdapter(list[PairSummary]), TRAIN_AGAIN)
GUESSES = JsonFile(TypeAdapter(list[Guess]), "delete it to leave the guesses out")


def read_record(path: Path, file: JsonFile[Content]) -> Content | None:
    """The content of a JSON file of runs/; None if it does not exist.

    Raises:
        RunsError: damaged, or written by an older resexp: names the key and the remedy.
    """
    try:
        raw = path.read_bytes()
        stored = _parsed(raw)
        translated = renamed.record(path.name, stored)
        content = file.content.validate_json(raw if translated is stored else json.dumps(translated))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except ValidationError as error:
        raise RunsError(f"{path}: damaged ({first_fault(error)}); {file.remedy}") from None
    if isinstance(content, Result) and content.seal != json_digest(stored):
        raise RunsError(f"{path}: damaged (does not match its own checksum); {file.remedy}")
    return content


def _parsed(raw: bytes) -> Any:
    """The value of a JSON text; None if the text is not JSON."""
    try:
        return json.loads(raw)
    except (ValueError, RecursionError):
        return None


def first_fault(error: ValidationError) -> str:
    """The first fault of a value, in one line: 'stacks.0.name: field required'."""
    first = error.errors()[0]
    return ": ".join(part for part in (".".join(map(str, first["loc"])), first["msg"].lower()) if part)


def read_present(path: Path, file: JsonFile[Content]) -> Content:
    """The content of a JSON file that every start of training writes.

    Raises:
        RunsError: damaged or missing.
    """
    content = read_record(path, file)
    if content is None:
        raise RunsError(f"{path}: missing; {TRAIN_AGAIN}")
    return content


def launches(folder: Path) -> list[Launch]:
    """environment.json: versions and hardware of each start of training."""
    return read_present(folder / "environment.json", LAUNCHES)


def pair_summaries(folder: Path) -> list[PairSummary]:
    """pairs.json: the summary of every pair."""
    return read_present(folder / "pairs.json", PAIR_SUMMARIES)


def guesses(folder: Path) -> list[Guess]:
    """guesses.json: the guesses that were made before training; [] if there are none."""
    return read_record(folder / "guesses.json", GUESSES) or []


def with_rounds(summaries: Sequence[PairSummary], experiment: Experiment, plan: Plan) -> list[PairSummary]:
    """The pair summaries with the seeds of each round, see `Stack.round`."""
    round_of_trial = {trial: stack.round for stack in plan.stacks for trial in stack.trials}
    seeds_of_pair: dict[tuple[str, str, str], dict[int, list[int]]] = {}
    for plain, residual in config.pairs(experiment.trials, experiment.axes):
        pair = (" ".join(config.cell_label(plain.settings, experiment.axes)), plain.arm, residual.arm)
        pair_round = max(round_of_trial[trial.name] for trial in (plain, residual))
        seeds_of_pair.setdefault(pair, {}).setdefault(pair_round, []).append(residual.seed)
    rounds = [
        tuple(
            Round(round=number, seeds=tuple(seeds))
            for number, seeds in sorted(seeds_of_pair.get((summary.cell, summary.plain, summary.residual), {}).items())
        )
        for summary in summaries
    ]
    return [summary.model_copy(update={"rounds": pair_rounds}) for summary, pair_rounds in zip(summaries, rounds, strict=True)]
