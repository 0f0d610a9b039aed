"""Results -> cells: each arm of each cell summarised, and paired with its plain counterpart."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from resexp import config, inference
from resexp.comparison.gradients import mean_growth
from resexp.comparison.groups import (
    Group,
    Label,
    difference,
    error_summary,
    gap_difference,
    groups,
    other_seeds,
    paired_differences,
    pairs,
    seeds,
    summary,
    value,
    values,
)
from resexp.comparison.image_uncertainty import image_error, over_test_images
from resexp.comparison.metrics import ANYWHERE, resolution
from resexp.inference import Difference, Pairing, Summary
from resexp.runs import Outcome, Results, TrialRecord


@dataclass(frozen=True)
class Ranks:
    """Exact rank test (Mann-Whitney) of all finished networks of two arms whose outcomes differ; a diverged one ranks worst.

    p: two-sided; least: the smallest attainable. above: the share of pairs of networks in which the residual one is above the
    plain one, ties counted half. lowest, highest: the range of the paired differences; None without a pair of values.
    """

    p: float
    least: float
    above: float
    lowest: float | None
    highest: float | None


@dataclass(frozen=True)
class Contrast:
    """An arm against its plain counterpart: more than the difference and its interval over seeds.

    outcomes: Fisher's exact p of the counts above chance, where outcomes differ and there is no interval; `ranks` of the same
    networks. sign_flip, and holm over all contrasts of the table: exact p of no difference; least: the smallest attainable.
    images: half-width of the 95% interval over other test images.

    p: the evidence for a difference, from the interval over seeds and test images together, else from the ranks; None below 3
    seeds. p_table: the same with Holm's correction over the table. half: half-width of the 95% interval over both sources;
    over_images: whether it counts the test images, which takes the predictions of every network.
    """

    outcomes: float | None = None
    ranks: Ranks | None = None
    pairing: Pairing | None = None
    sign_flip: float | None = None
    holm: float | None = None
    least: float | None = None
    images: float | None = None
    half: float | None = None
    over_images: bool = False
    p: float | None = None
    p_table: float | None = None

    @property
    def shown(self) -> bool:
        """Whether there is a difference at 1% (5% by ranks), both sources of uncertainty and the whole table considered."""
        return inference.is_significant(self.p_table, ranks=self.ranks is not None)


@dataclass(frozen=True)
class Arm:
    """One arm of a cell: shares in [0, 1], mean slopes in orders of magnitude per block.

    `difference` is this arm minus its plain counterpart; `beyond_width` a residual arm minus its `control`, the plain network
    that is wide enough to have at least as many parameters. A control that is not wider than plain is the plain network
    (`same_as_plain`) and is compared with nothing. `unmatched` says in what the plain arm that an arm is compared with differs
    beside the shortcut: without consent there is no difference then.

    train_error: error on the training set, final weights. training, gap: the difference of test accuracy from plain in two
    parts, that of the training accuracy and that of test minus training accuracy. growth_start, growth_end: mean slopes times
    the number of blocks, at initialization and at the end of the first epoch. diverged: (seed, step) of the trials that did.
    dead_layers: (seed, names) of the layers whose weight gradient was exactly 0 at every logging step.
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
    train_error: Summary | None = None
    training: Difference | None = None
    gap: Difference | None = None
    growth_start: float | None = None
    growth_end: float | None = None
    diverged: tuple[tuple[int, int], ...] = ()
    dead_layers: tuple[tuple[int, tuple[str, ...]], ...] = ()


@dataclass(frozen=True)
class Cell:
    """All arms that share a network but for the shortcut, plain first."""

    label: Label
    arms: list[Arm]


@dataclass(frozen=True)
class _Measure:
    """What cells are compared by; `grain`: the least by which two values can differ; `strict`: predictions must be there."""

    metric: str
    grain: float
    strict: bool


def cells(results: Results, metric: str = "test_accuracy", *, unmatched: bool = False, images: bool = False) -> list[Cell]:
    """Every cell with its arms, compared by a metric of their results; arms that are not a pair only if `unmatched`.

    images: with the half-width over other test images; it needs predictions.csv.gz, otherwise evidence covers seeds only.

    Raises:
        RunsError: missing or damaged predictions, with `images`.
    """
    found = groups(results)
    measure = _Measure(metric, resolution(results, ANYWHERE[metric]) or 0.0, strict=images)
    everybody = [(label, arms["plain"]) for label, arms in found if "plain" in arms]
    made = [
        Cell(label, [_arm(label, name, arms, everybody, measure, unmatched=unmatched) for name in arms])
        for label, arms in found
    ]
    return _corrected(made)


def _corrected(made: Sequence[Cell]) -> list[Cell]:
    """With the p-values of all contrasts of the table corrected together."""
    contrasts = [arm.contrast for cell in made for arm in cell.arms]
    holm = iter(inference.holm([contrast.sign_flip for contrast in contrasts if contrast.sign_flip is not None]))
    table = iter(inference.holm([contrast.p for contrast in contrasts if contrast.p is not None]))

    def corrected(arm: Arm) -> Arm:
        contrast = arm.contrast
        flip = None if contrast.sign_flip is None else next(holm)
        return replace(arm, contrast=replace(contrast, holm=flip, p_table=None if contrast.p is None else next(table)))

    return [Cell(cell.label, [corrected(arm) for arm in cell.arms]) for cell in made]


def _arm(
    label: Label,
    name: str,
    arms: Group,
    everybody: Sequence[tuple[Label, list[TrialRecord]]],
    measure: _Measure,
    *,
    unmatched: bool,
) -> Arm:
    records, metric = arms[name], measure.metric
    results = [record.result for record in records if record.result]
    missing = [record.state for record in records if not record.result]
    plain, differing = _twin(label, records, arms.get("plain"), everybody) if name != "plain" else ([], ())
    control = arms.get(config.control_arm(name), [])
    again = _is_plain(records, arms)
    compared = not again and (unmatched or not differing)
    uneven = seeds(control) != seeds(records)
    return Arm(
        name=name,
        summary=summary(records, metric),
        missing={record: missing.count(record) for record in dict.fromkeys(missing)},
        slope_start=_mean([r["slope_start"] for r in results]),
        slope_end=_mean([r["slope_end"] for r in results]),
        parameters=_parameters(records),
        difference=difference(plain, records, metric) if compared else None,
        beyond_width=None if _is_plain(control, arms) or (uneven and not unmatched) else difference(control, records, metric),
        unmatched=differing,
        control=_is_control(records),
        same_as_plain=again,
        contrast=_contrast(plain, records, measure) if compared else Contrast(),
        train_error=error_summary(records),
        training=difference(plain, records, "train_accuracy") if compared else None,
        gap=gap_difference(plain, records) if compared else None,
        growth_start=mean_growth(records, "slope_start"),
        growth_end=mean_growth(records, "slope_end"),
        diverged=tuple((record.trial.seed, record.diverged_at) for record in records if record.diverged_at is not None),
        dead_layers=tuple(
            (record.trial.seed, tuple(layers)) for record in records if (layers := (record.result or {}).get("dead_layers"))
        ),
    )


def _contrast(plain: Sequence[TrialRecord], records: Sequence[TrialRecord], measure: _Measure) -> Contrast:
    figures = values(plain, records, measure.metric)
    if figures is None:
        ranks = _ranks(plain, records, measure.metric)
        enough = ranks and min(_finished(plain), _finished(records)) >= inference.MIN_SEEDS
        return Contrast(outcomes=_of_outcomes(plain, records), ranks=ranks, p=ranks.p if ranks and enough else None)
    each = paired_differences(*figures)
    n, mean = len(each), math.fsum(each) / len(each)
    flip = inference.sign_flip(each) if n <= inference.MAX_PAIRS else None
    over = over_test_images(pairs(plain, records)) if measure.strict and measure.metric == "test_accuracy" else None
    contrast = Contrast(pairing=inference.pairing(*figures), sign_flip=flip, least=inference.smallest_sign_flip(n), images=over)
    if n < inference.MIN_SEEDS:
        return contrast
    seeds_error = (
        (inference.standard_deviation(each) or measure.grain) / math.sqrt(n),
        n,
    )  # equal values are known to within one image
    images = image_error(pairs(plain, records)) if measure.metric == "test_accuracy" else None
    half, p = inference.half_width(seeds_error, images), inference.p_of_mean(mean, seeds_error, images)
    return replace(contrast, half=half, over_images=images is not None, p=p)


def _finished(records: Sequence[TrialRecord]) -> int:
    return sum(record.result is not None for record in records)


def _ranks(plain: Sequence[TrialRecord], residual: Sequence[TrialRecord], metric: str) -> Ranks | None:
    """None where all outcomes are the same, or an arm has no finished network."""
    if _of_outcomes(plain, residual) is None:
        return None
    worst = -math.inf * (ANYWHERE[metric].better or 1)
    first, second = (
        [worst if (accuracy := value(record, metric)) is None else accuracy for record in arm if record.result]
        for arm in (plain, residual)
    )
    both = [(value(a, metric), value(b, metric)) for a, b in pairs(plain, residual)]
    each = [b - a for a, b in both if a is not None and b is not None]
    wins = sum((b > a) + (b == a) / 2 for a in first for b in second)
    return Ranks(
        p=inference.mann_whitney(first, second),
        least=inference.smallest_mann_whitney(first, second),
        above=wins / (len(first) * len(second)),
        lowest=min(each, default=None),
        highest=max(each, default=None),
    )


def _of_outcomes(plain: Sequence[TrialRecord], residual: Sequence[TrialRecord]) -> float | None:
    """Exact p of the counts of trained networks, all that have finished; None where all ended alike, or an arm has none."""
    ended = [[record.result["outcome"] for record in arm if record.result] for arm in (plain, residual)]
    if not all(ended) or len({outcome for arm in ended for outcome in arm}) < 2:
        return None
    first, second = ((arm.count(Outcome.ABOVE_CHANCE), len(arm)) for arm in ended)
    return inference.fisher_exact(first, second)


def _is_control(records: Sequence[TrialRecord]) -> bool:
    return any(record.trial.parameters_of is not None for record in records)


def _is_plain(records: Sequence[TrialRecord], arms: Group) -> bool:
    """Whether an arm is a second control that came out no wider than the plain twin, for want of parameters to match."""
    return _is_control(records) and _parameters(records) == _parameters(arms.get("plain", [])) is not None


def _parameters(records: Sequence[TrialRecord]) -> int | None:
    return next((record.result["parameters"] for record in records if record.result), None)


def _twin(
    label: Label,
    records: Sequence[TrialRecord],
    plain: list[TrialRecord] | None,
    everybody: Sequence[tuple[Label, list[TrialRecord]]],
) -> tuple[list[TrialRecord], tuple[str, ...]]:
    """(plain trials, what they differ in beside the shortcut): those of the cell, else those that differ least."""
    if plain is None and not everybody:
        return [], ()
    # of equally near ones the first by label, whatever the order of the folders
    nearness = [(len(_unequal(label, other)), list(other.values()), place) for place, (other, _) in enumerate(everybody)]
    there, did_you_mean = (label, plain) if plain else everybody[min(nearness)[2]]
    differing = [f"{key} {there[key]} and {label[key]}" for key in _unequal(label, there)]
    return did_you_mean, (*differing, *other_seeds(did_you_mean, records))


def _unequal(label: Label, other: Label) -> list[str]:
    return [key for key in label if label[key] != other[key]]


def _mean(found: Sequence[float | None]) -> float | None:
    present = [value for value in found if value is not None and math.isfinite(value)]
    return math.fsum(present) / len(present) if present else None
