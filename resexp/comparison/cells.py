"""Results -> cells: each arm of each cell summarised, and paired with its plain twin."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from resexp import config, statistics
from resexp.comparison.groups import (
    Group,
    Label,
    difference,
    groups,
    minus,
    other_seeds,
    pairs,
    seeds,
    summary,
    values,
)
from resexp.comparison.images import over_test_images
from resexp.runs import Results, State
from resexp.statistics import Difference, Pairing, Summary


@dataclass(frozen=True)
class Contrast:
    """An arm against its plain twin: more than the difference and its interval, over the seeds that both finished.

    outcomes: exact p of the counts `trained k of n` of all that have finished, where networks ended differently and there is no
    interval. sign_flip, and
    holm over all contrasts of the table: exact p of no difference; least: the smallest that so many seeds allow. images:
    half-width of the 95 % interval over other test images.
    """

    outcomes: float | None = None
    pairing: Pairing | None = None
    sign_flip: float | None = None
    holm: float | None = None
    least: float | None = None
    images: float | None = None


@dataclass(frozen=True)
class Arm:
    """One arm of a cell: figures in [0, 1] where they are shares, mean slopes in decades per block.

    `difference` is this arm minus its plain twin; `beyond_width` a residual arm minus its `control`, the plain network that is
    as wide as it takes to have at least as many parameters. A control that is no wider than plain is plain once more
    (`same_as_plain`) and is compared with nothing. `unmatched` says in what the plain arm that an arm is compared with differs
    beside the shortcut: without consent there is no difference then. `diverged` are (seed, step) of the trials that did.
    `dead_layers` are (seed, names) of the layers whose weight gradient was exactly 0 at every logging step.
    """

    name: str
    summary: Summary
    missing: dict[str, int]
    slope_start: float | None
    slope_end: float | None
    parameters: int | None
    difference: Difference | None
    beyond_width: Difference | None = None
    unmatched: tuple[str, ...] = ()
    control: bool = False
    same_as_plain: bool = False
    contrast: Contrast = Contrast()
    diverged: tuple[tuple[int, int], ...] = ()
    dead_layers: tuple[tuple[int, tuple[str, ...]], ...] = ()


@dataclass(frozen=True)
class Cell:
    """All arms that share a network but for the shortcut, plain first."""

    label: Label
    arms: list[Arm]


def cells(results: Results, metric: str = "test_accuracy", *, unmatched: bool = False, images: bool = False) -> list[Cell]:
    """Every cell with its arms, compared by a figure of their results; arms that are no pair only if `unmatched`.

    images: with the uncertainty of the test images, from predictions.csv.gz.

    Raises:
        RunsError: damaged predictions.
    """
    found = groups(results)
    everybody = [(label, arms["plain"]) for label, arms in found if "plain" in arms]
    made = [
        Cell(label, [_arm(label, name, arms, everybody, metric, unmatched=unmatched, images=images) for name in arms])
        for label, arms in found
    ]
    return _corrected(made)


def _corrected(made: Sequence[Cell]) -> list[Cell]:
    """With the sign-flip p of all contrasts corrected together."""
    flips = [arm.contrast.sign_flip for cell in made for arm in cell.arms if arm.contrast.sign_flip is not None]
    holm = iter(statistics.holm(flips))

    def corrected(arm: Arm) -> Arm:
        none = arm.contrast.sign_flip is None
        return arm if none else replace(arm, contrast=replace(arm.contrast, holm=next(holm)))

    return [Cell(cell.label, [corrected(arm) for arm in cell.arms]) for cell in made]


def _arm(
    label: Label, name: str, arms: Group, everybody: Sequence[tuple[Label, list[State]]], metric: str, *, unmatched: bool,
    images: bool,
) -> Arm:  # fmt: skip
    states = arms[name]
    results = [state.result for state in states if state.result]
    missing = [state.state for state in states if not state.result]
    plain, differing = _twin(label, states, arms.get("plain"), everybody) if name != "plain" else ([], ())
    control = arms.get(config.control_arm(name), [])
    again = _is_plain(states, arms)
    compared = not again and (unmatched or not differing)
    uneven = seeds(control) != seeds(states)
    return Arm(
        name=name,
        summary=summary(states, metric),
        missing={state: missing.count(state) for state in dict.fromkeys(missing)},
        slope_start=_mean([r["slope_start"] for r in results]),
        slope_end=_mean([r["slope_end"] for r in results]),
        parameters=_parameters(states),
        difference=difference(plain, states, metric) if compared else None,
        beyond_width=None if _is_plain(control, arms) or (uneven and not unmatched) else difference(control, states, metric),
        unmatched=differing,
        control=_is_control(states),
        same_as_plain=again,
        contrast=_contrast(plain, states, metric, images=images) if compared else Contrast(),
        diverged=tuple((state.trial.seed, state.diverged_at) for state in states if state.diverged_at is not None),
        dead_layers=tuple(
            (state.trial.seed, tuple(layers)) for state in states if (layers := (state.result or {}).get("dead_layers"))
        ),
    )


def _contrast(plain: Sequence[State], states: Sequence[State], metric: str, *, images: bool) -> Contrast:
    figures = values(plain, states, metric)
    if figures is None:
        return Contrast(outcomes=_of_outcomes(plain, states))
    each = minus(*figures)
    flip = statistics.sign_flip(each) if len(each) <= statistics.MOST_PAIRS else None
    least = statistics.smallest_sign_flip(len(each))
    over = over_test_images(pairs(plain, states)) if images and metric == "test_accuracy" else None
    return Contrast(pairing=statistics.pairing(*figures), sign_flip=flip, least=least, images=over)


def _of_outcomes(plain: Sequence[State], residual: Sequence[State]) -> float | None:
    """Exact p of the counts of trained networks, all that have finished; None where all ended alike, or an arm has none."""
    ended = [[state.result["outcome"] for state in arm if state.result] for arm in (plain, residual)]
    if not all(ended) or len({outcome for arm in ended for outcome in arm}) < 2:
        return None
    first, second = ((arm.count("trained"), len(arm)) for arm in ended)
    return statistics.fisher(first, second)


def _is_control(states: Sequence[State]) -> bool:
    return any(state.trial.parameters_of is not None for state in states)


def _is_plain(states: Sequence[State], arms: Group) -> bool:
    """Whether an arm is a second control that came out no wider than the plain twin, for want of parameters to match."""
    return _is_control(states) and _parameters(states) == _parameters(arms.get("plain", [])) is not None


def _parameters(states: Sequence[State]) -> int | None:
    return next((state.result["parameters"] for state in states if state.result), None)


def _twin(
    label: Label, states: Sequence[State], plain: list[State] | None, everybody: Sequence[tuple[Label, list[State]]]
) -> tuple[list[State], tuple[str, ...]]:
    """(plain trials, what they differ in beside the shortcut): those of the cell, else those that differ least."""
    if plain is None and not everybody:
        return [], ()
    # of equally near ones the first by label, whatever the order of the folders
    nearness = [(len(_unequal(label, other)), list(other.values()), place) for place, (other, _) in enumerate(everybody)]
    there, nearest = (label, plain) if plain else everybody[min(nearness)[2]]
    differing = [f"{key} {there[key]} and {label[key]}" for key in _unequal(label, there)]
    return nearest, (*differing, *other_seeds(nearest, states))


def _unequal(label: Label, other: Label) -> list[str]:
    return [key for key in label if label[key] != other[key]]


def _mean(found: Sequence[float | None]) -> float | None:
    present = [value for value in found if value is not None and math.isfinite(value)]
    return math.fsum(present) / len(present) if present else None
