"""The JSON files of runs/: their keys, validated on reading, and how to repair damaged ones. No torch."""

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from resexp import renamed
from resexp.config import Plan
from resexp.runs.files import RunsError, json_digest

Json = dict[str, Any]
PairSummary = dict[str, Any]  # an entry of pairs.json, as `_PairSummary` validates it


class Outcome(StrEnum):
    """Result category of a trial: above chance or at chance on the training sample, or diverged (non-finite training loss)."""

    ABOVE_CHANCE = "above_chance"
    AT_CHANCE = "at_chance"
    DIVERGED = "diverged"


class _Record(BaseModel):
    """The keys that are read, with their types; other keys are allowed."""

    model_config = ConfigDict(strict=True, extra="allow")


class _Status(_Record):
    state: Literal["waiting", "running", "finished", "interrupted", "failed"]
    step: int = 0
    steps: int = 0
    diverged: int | None = None


class _Result(_Record):
    """Numbers are null if the trial diverged, if gradients were not logged, or if no validation images were held out."""

    outcome: Literal["above_chance", "at_chance", "diverged"]
    test_accuracy: float | None
    test_loss: float | None
    best_test_accuracy: float | None
    best_test_loss: float | None
    best_epoch: int | None
    train_accuracy: float | None
    val_accuracy: float | None
    slope_start: float | None
    slope_end: float | None
    dead_layers: list[str] = []  # missing in early releases, and if no gradient norms were logged
    parameters: int
    multiply_adds: int
    steps: int
    sha256: dict[str, str]
    seal: str


class _Holder(_Record):
    host: str
    process: int
    time: str
    token: str = ""


class _Launch(_Record):
    time: str
    command: list[str]
    resexp: str
    python: str
    packages: dict[str, str]
    system: str
    processor: str
    cores: int | None
    device: str
    accelerator: str
    kernels: str = ""  # missing in earlier releases
    data_sha256: str
    images: Annotated[list[int], Field(min_length=3, max_length=3)]
    experiment_sha256: str | None = None  # of experiment.yaml; missing in early releases
    classes: list[str] = []
    remarks: list[str] = []


class _Equal(_Record):
    weights: int
    weights_bit_equal: bool | None
    first_batch: bool
    recipe: bool


class _Costs(_Record):
    parameters: int
    multiply_adds: int
    activation_bytes: int


class _AtStart(_Costs):
    loss: float | None
    output_rms: float | None
    slope: float | None
    precision_gap: float | None = None


class _Round(_Record):
    round: int
    seeds: list[int]


class _PairSummary(_Record):
    cell: str
    plain: str
    residual: str
    equal: _Equal
    start_differs: list[Literal["zero_init_residual", "fixup"]]
    same_function_class: bool
    nothing_to_skip: bool
    same_as_plain: bool
    width: dict[str, int]
    beyond: _Costs
    at_start: dict[str, _AtStart]
    rounds: list[_Round] = []
    padded_channels_dead: bool = False
    precision: str = "float32"  # written if it is coarser


TRAIN_AGAIN = "train again to rewrite it"
# The content of each file, and the remedy if it is damaged.
RECORDS: dict[str, tuple[TypeAdapter[Any], str]] = {
    "status.json": (TypeAdapter(_Status), "delete it to retrain its trial"),
    "result.json": (TypeAdapter(_Result), "delete it to retrain its trial"),
    "lock.json": (TypeAdapter(_Holder), "delete it if no process is training there"),
    "plan.json": (TypeAdapter(Plan), f"delete it and {TRAIN_AGAIN}"),
    "environment.json": (TypeAdapter(Annotated[list[_Launch], Field(min_length=1)]), TRAIN_AGAIN),
    "pairs.json": (TypeAdapter(list[_PairSummary]), TRAIN_AGAIN),
}


def read_record(path: Path) -> Any:
    """The content of a JSON file of runs/; None if it does not exist.

    Raises:
        RunsError: damaged, or written by an older resexp: names the key and the remedy.
    """
    kind, remedy = RECORDS["lock.json" if path.name.startswith("lock.") else path.name]  # also lock.2-of-60.json
    try:
        raw = path.read_bytes()
        stored = _parsed(raw)
        content = renamed.record(path.name, stored)
        kind.validate_json(raw if content is stored else json.dumps(content))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except ValidationError as error:
        raise RunsError(f"{path}: damaged ({first_fault(error)}); {remedy}") from None
    if path.name == "result.json" and stored["seal"] != json_digest(stored):
        raise RunsError(f"{path}: damaged (does not match its own checksum); {remedy}")
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


def read_present(path: Path) -> Any:
    """The content of a JSON file that every start of training writes.

    Raises:
        RunsError: damaged or missing.
    """
    content = read_record(path)
    if content is None:
        raise RunsError(f"{path}: missing; {TRAIN_AGAIN}")
    return content


def launches(folder: Path) -> list[Json]:
    """environment.json: versions and hardware of each start of training."""
    entries: list[Json] = read_present(folder / "environment.json")
    return entries


def pair_summaries(folder: Path) -> list[PairSummary]:
    """pairs.json: the summary of every pair."""
    summaries: list[PairSummary] = read_present(folder / "pairs.json")
    return summaries
