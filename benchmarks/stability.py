"""Stability of the verdicts of the demo under perturbations as small as rounding errors.

    python benchmarks/stability.py [folder]

The demo, with three depths, two initializations and five seeds, is trained as shipped and under each perturbation. Some
perturbations change the stack size, and thereby the order of summation; the others move each initial weight to an adjacent
floating-point number. A verdict is stable if at most 1 of 5 perturbed trainings changes it. Existing results in the folder
are resumed, not repeated.
"""

import multiprocessing
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from unittest import mock

import torch
from tables import publish, table

import resexp
from resexp import streams
from resexp.comparison import Comparison, compare_results, effect
from resexp.config import Trial
from resexp.networks import Network
from resexp.training import build, loop

DOCUMENT = Path(__file__).parent.parent / "docs" / "statistics.md"
CONFIG, GRID = "digits", ("network.depth=[8,32,64]", "network.init=[pytorch,he]", "seeds=5")
JOBS = 2
AS_SHIPPED = "as shipped"
STACKS = {"stacks of 5": "training.stack=5", "stacks of 10": "training.stack=10"}
NOISE = {f"1 ulp, draw {draw}": draw for draw in (1, 2, 3)}
TRAININGS = (AS_SHIPPED, *NOISE, *STACKS)
COLUMNS = ("condition", "arm", "verdict on", "as shipped", "agree", "other verdicts")
MOVES = ("perturbation", "trials with a different test accuracy", "mean change, points", "largest change, points")
Verdicts = dict[tuple[str, str, str], str]  # (condition, arm, kind of verdict) -> verdict


def moved(draw: int) -> AbstractContextManager[object]:
    """Moves each initial weight up or down to the adjacent floating-point number, except zeros."""

    @torch.no_grad()
    def perturbed(trial: Trial, input_shape: tuple[int, ...], classes: int) -> Network:
        network = build(trial, input_shape, classes)
        generator = streams.generator(trial.seed, "ulp", f"{draw} {trial.name}")
        for parameter in network.parameters():
            upwards = torch.rand(parameter.shape, generator=generator) < 1 / 2
            infinity = torch.where(upwards, torch.inf, -torch.inf).to(parameter)
            parameter.copy_(torch.where(parameter == 0, parameter, torch.nextafter(parameter, infinity)))
        return network

    return mock.patch.object(loop, "build", perturbed)


def train(name: str, folder: str) -> None:
    with moved(NOISE[name]) if name in NOISE else nullcontext():
        resexp.train(CONFIG, *GRID, *([STACKS[name]] if name in STACKS else []), runs_dir=Path(folder) / name)


def load_comparison(name: str, folder: Path) -> Comparison:
    return compare_results(resexp.load(CONFIG, runs_dir=folder / name).results)


def verdicts(comparison: Comparison) -> Iterator[tuple[tuple[str, str, str], str]]:
    for row in comparison.depths:
        yield (_label_text(row.condition), row.arm, "training error over depth"), row.degradation.verdict
    for cell in comparison.cells:
        for arm in cell.arms[1:]:
            yield (_label_text(cell.label), arm.name, "test accuracy"), effect(cell.arms[0], arm)


def _label_text(label: dict[str, str]) -> str:
    return ", ".join(f"{key} {value}" for key, value in label.items())


def rows(shipped: Verdicts, perturbed: Sequence[Verdicts]) -> Iterator[Sequence[str]]:
    """Each verdict, the number of perturbed trainings that agree, and the verdicts of the others."""
    for key, verdict in shipped.items():
        others = [training[key] for training in perturbed if training[key] != verdict]
        yield *key, verdict, f"{len(perturbed) - len(others)} of {len(perturbed)}", ", ".join(others)


def summary(shipped: Verdicts, perturbed: Sequence[Verdicts]) -> str:
    changes = [sum(training[key] != verdict for training in perturbed) for key, verdict in shipped.items()]
    stable, once = changes.count(0), changes.count(1)
    return (
        f"{len(changes)} verdicts: {stable} change in none of {len(perturbed)} perturbed trainings, {once} in one, "
        f"{len(changes) - stable - once} in more."
    )


def moved_results(shipped: Comparison, perturbed: Sequence[Comparison]) -> Iterator[Sequence[str]]:
    """Over all trials: number with a different test accuracy, and mean and largest change in points."""
    before = accuracies(shipped)
    for name, comparison in zip(TRAININGS[1:], perturbed, strict=True):
        changes = [abs(value - before[trial]) for trial, value in accuracies(comparison).items()]
        moved_trials = sum(change > 0 for change in changes)
        mean, largest = 100 * sum(changes) / len(changes), 100 * max(changes)
        yield name, f"{moved_trials} of {len(changes)}", f"{mean:.1f}", f"{largest:.1f}"


def accuracies(comparison: Comparison) -> dict[str, float]:
    """Test accuracy by trial; 0 for a diverged trial."""
    records = comparison.results.records
    return {record.trial.name: record.result.test_accuracy or 0.0 for record in records if record.result}


def main() -> None:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(sys.argv[1] if len(sys.argv) > 1 else temporary)
        with multiprocessing.get_context("spawn").Pool(JOBS, maxtasksperchild=1) as pool:
            pool.starmap(train, [(name, str(folder)) for name in TRAININGS], chunksize=1)
        shipped, *perturbed = [load_comparison(name, folder) for name in TRAININGS]
    before, after = dict(verdicts(shipped)), [dict(verdicts(comparison)) for comparison in perturbed]
    text = table("Verdicts of the demo under perturbations", list(rows(before, after)), COLUMNS)
    moves = table("Changes of results under perturbations", list(moved_results(shipped, perturbed)), MOVES)
    publish("stability", "python benchmarks/stability.py", f"{text}\n{summary(before, after)}\n\n{moves}", DOCUMENT)


if __name__ == "__main__":
    main()
