"""Results -> cells: each arm of each cell summarized, and paired with its plain counterpart."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from resexp import config, inference
from resexp.comparison.gradients import mean_growth
from resexp.comparison.groups import (
    Group,
    Label,
    difference,
    differing_seeds,
    gap_difference,
    groups,
    paired_differences,
    seed_pairs,
    seeds,
    summary,
    value,
    values,
)
from resexp.comparison.image_uncertainty import image_error, over_test_images
from resexp.comparison.metrics import metric_of, resolution
from resexp.inference import Difference, Pairing, Summary
from resexp.runs import Outcome, Results, TrialRecord


@dataclass(frozen=True)
class Ranks:
    """Exact rank test (Mann-Whitney) of all finished networks of two arms whose outcomes differ; a diverged network ranks last.

    p: two-sided p-value; least: the smallest attainable. above: share of pairs of networks in which the residual one is above
    the plain one; ties count half. lowest, highest: range of the paired differences; None without a pair of values.
    """

    p: float
    least: float
    above: float
    lowest: float | None
    highest: float | None


@dataclass(frozen=True)
class Contrast:
    """Tests of an arm against its plain counterpart, in addition to the difference and its interval over seeds.

    outcomes: Fisher's exact p-value of the counts above chance, if outcomes differ and there is no interval; `ranks`: rank test
    of the same networks. sign_flip: exact p-value of no difference; holm: corrected over all contrasts of the table; least: the
    smallest attainable. images: half-width of the 95% interval over other test images.

    p: p-value of the interval over seeds and test images together, otherwise of the ranks; None below 3 seeds. p_table: the
    same with Holm's correction over the table. half: half-width of the 95% interval over both sources; over_images: whether it
    includes the test images, which requires the predictions of every network.
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
        """Whether a difference is shown: p_table <= 0.01 (0.05 by ranks)."""
        return inference.is_significant(self.p_table, ranks=self.ranks is not None)


@dataclass(frozen=True)
class Arm:
    """One arm of a cell: shares in [0, 1], mean slopes in orders of magnitude per block, mean distances.

    difference: this arm minus its plain counterpart. beyond_width: a residual arm minus its parameter-matched plain baseline;
    control: whether this arm is such a baseline. A baseline that is not wider than plain is the plain network (same_as_plain)
    and is not compared. unmatched: everything except the shortcut in which the plain arm differs; there is no difference then,
    unless unmatched arms are allowed.

    train_error: error on the training set, final weights. training, gap: the two parts of the difference in test accuracy,
    that of training accuracy and that of test minus training accuracy. growth_start, growth_end: mean slopes times the number
    of blocks, at initialization and at the end of the first epoch. diverged: (seed, step) of the diverged trials. dead_layers:
    (seed, names) of the layers whose weight gradient was exactly 0 at every logging step.
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
    distance_start: float | None = None


@dataclass(frozen=True)
class Cell:
    """All arms that differ in the shortcut only; plain comes first."""

    label: Label
    arms: list[Arm]


@dataclass(frozen=True)
class _Measure:
    """The metric of a comparison, and the arm that others are compared with.

    better: as in `Metric`; one_image: the smallest possible difference; strict: predictions are required.
    """

    metric: str
    baseline: str
    better: int
    one_image: float
    strict: bool


def cells(results: Results, metric: str = "test_accuracy", *, unmatched: bool = False, images: bool = False) -> list[Cell]:
    """All cells with their arms, compared by a metric of their results; unmatched arms are compared only if `unmatched`.

    images: adds the half-width over other test images, which needs predictions.csv.gz.

    Raises:
        RunsError: missing or damaged predictions, with `images`.
    """
    grouped = groups(results)
    chosen, baseline = metric_of(results, metric), results.baseline
    measure = _Measure(metric, baseline, chosen.better, resolution(results, chosen) or 0.0, strict=images)
    plain_arms = [(label, arms[baseline]) for label, arms in grouped if baseline in arms]
    return _corrected(
        [
            Cell(label, [_arm(label, name, arms, plain_arms, measure, unmatched=unmatched) for name in arms])
            for label, arms in grouped
        ]
    )


def _corrected(table: Sequence[Cell]) -> list[Cell]:
    """The same cells, with Holm's correction over all contrasts of the table."""
    contrasts = [arm.contrast for cell in table for arm in cell.arms]
    holm = iter(inference.holm([contrast.sign_flip for contrast in contrasts if contrast.sign_flip is not None]))
    p_table = iter(inference.holm([contrast.p for contrast in contrasts if contrast.p is not None]))

    def corrected(arm: Arm) -> Arm:
        contrast = arm.contrast
        flip = None if contrast.sign_flip is None else next(holm)
        return replace(arm, contrast=replace(contrast, holm=flip, p_table=None if contrast.p is None else next(p_table)))

    return [Cell(cell.label, [corrected(arm) for arm in cell.arms]) for cell in table]


def _arm(
    label: Label,
    name: str,
    arms: Group,
    plain_arms: Sequence[tuple[Label, list[TrialRecord]]],
    measure: _Measure,
    *,
    unmatched: bool,
) -> Arm:
    records, metric = arms[name], measure.metric
    results = [record.result for record in records if record.result]
    missing = [record.state for record in records if not record.result]
    baseline = arms.get(measure.baseline)
    plain, differing = _counterpart(label, records, baseline, plain_arms) if name != measure.baseline else ([], ())
    control = arms.get(config.control_arm(name), [])
    is_plain = _is_plain(records, arms)
    compared = not is_plain and (unmatched or not differing)
    unequal_seeds = seeds(control) != seeds(records)
    return Arm(
        name=name,
        summary=summary(records, metric),
        missing={state: missing.count(state) for state in dict.fromkeys(missing)},
        slope_start=_mean([result.slope_start for result in results]),
        slope_end=_mean([result.slope_end for result in results]),
        parameters=_parameters(records),
        difference=difference(plain, records, metric) if compared else None,
        beyond_width=None
        if _is_plain(control, arms) or (unequal_seeds and not unmatched)
        else difference(control, records, metric),
        unmatched=differing,
        control=_is_control(records),
        same_as_plain=is_plain,
        contrast=_contrast(plain, records, measure) if compared else Contrast(),
        train_error=summary(records, "train_accuracy", as_error=True),
        training=difference(plain, records, "train_accuracy") if compared else None,
        gap=gap_difference(plain, records) if compared else None,
        growth_start=mean_growth(records, "slope_start"),
        growth_end=mean_growth(records, "slope_end"),
        diverged=tuple((record.trial.seed, record.diverged_at) for record in records if record.diverged_at is not None),
        dead_layers=tuple(
            (record.trial.seed, record.result.dead_layers) for record in records if record.result and record.result.dead_layers
        ),
        distance_start=_mean([result.distance_start for result in results]),
    )


def _contrast(plain: Sequence[TrialRecord], records: Sequence[TrialRecord], measure: _Measure) -> Contrast:
    paired_values = values(plain, records, measure.metric)
    if paired_values is None:
        ranks = _ranks(plain, records, measure)
        enough = ranks and min(_finished(plain), _finished(records)) >= inference.MIN_SEEDS
        return Contrast(outcomes=_fisher_p(plain, records), ranks=ranks, p=ranks.p if ranks and enough else None)
    differences = paired_differences(*paired_values)
    n, mean = len(differences), math.fsum(differences) / len(differences)
    flip = inference.sign_flip(differences) if n <= inference.MAX_PAIRS else None
    half_images = over_test_images(seed_pairs(plain, records)) if measure.strict and measure.metric == "test_accuracy" else None
    contrast = Contrast(
        pairing=inference.pairing(*paired_values),
        sign_flip=flip,
        least=inference.smallest_sign_flip(n),
        images=half_images,
    )
    if n < inference.MIN_SEEDS:
        return contrast
    # If all differences are equal, their resolution of one image replaces the standard deviation.
    seeds_error = (inference.standard_deviation(differences) or measure.one_image) / math.sqrt(n), n
    images = image_error(seed_pairs(plain, records)) if measure.metric == "test_accuracy" else None
    half, p = inference.half_width(seeds_error, images), inference.p_of_mean(mean, seeds_error, images)
    return replace(contrast, half=half, over_images=images is not None, p=p)


def _finished(records: Sequence[TrialRecord]) -> int:
    return sum(record.result is not None for record in records)


def _ranks(plain: Sequence[TrialRecord], residual: Sequence[TrialRecord], measure: _Measure) -> Ranks | None:
    """None if all outcomes are the same, or an arm has no finished network."""
    if _fisher_p(plain, residual) is None:
        return None
    metric, worst = measure.metric, -math.inf * (measure.better or 1)
    first, second = (
        [worst if (accuracy := value(record, metric)) is None else accuracy for record in arm if record.result]
        for arm in (plain, residual)
    )
    paired_values = [(value(a, metric), value(b, metric)) for a, b in seed_pairs(plain, residual)]
    differences = [b - a for a, b in paired_values if a is not None and b is not None]
    wins = sum((b > a) + (b == a) / 2 for a in first for b in second)
    return Ranks(
        p=inference.mann_whitney(first, second),
        least=inference.smallest_mann_whitney(first, second),
        above=wins / (len(first) * len(second)),
        lowest=min(differences, default=None),
        highest=max(differences, default=None),
    )


def _fisher_p(plain: Sequence[TrialRecord], residual: Sequence[TrialRecord]) -> float | None:
    """Exact p-value of the counts above chance, of all finished networks; None if all outcomes are equal or an arm has none."""
    outcomes = [[record.result.outcome for record in arm if record.result] for arm in (plain, residual)]
    if not all(outcomes) or len({outcome for arm in outcomes for outcome in arm}) < 2:
        return None
    first, second = ((arm.count(Outcome.ABOVE_CHANCE), len(arm)) for arm in outcomes)
    return inference.fisher_exact(first, second)


def _is_control(records: Sequence[TrialRecord]) -> bool:
    return any(record.trial.parameters_of is not None for record in records)


def _is_plain(records: Sequence[TrialRecord], arms: Group) -> bool:
    """Whether an arm is a parameter-matched baseline that is not wider than plain, because there are no parameters to match."""
    return _is_control(records) and _parameters(records) == _parameters(arms.get("plain", [])) is not None


def _parameters(records: Sequence[TrialRecord]) -> int | None:
    return next((record.result.parameters for record in records if record.result), None)


def _counterpart(
    label: Label,
    records: Sequence[TrialRecord],
    plain: list[TrialRecord] | None,
    plain_arms: Sequence[tuple[Label, list[TrialRecord]]],
) -> tuple[list[TrialRecord], tuple[str, ...]]:
    """(plain trials, differences in addition to the shortcut): the plain arm of the cell, otherwise the closest one."""
    if plain is None and not plain_arms:
        return [], ()
    # Among equally close arms the first by label, which does not depend on the order of the folders.
    distances = [(len(_unequal_keys(label, other)), list(other.values()), index) for index, (other, _) in enumerate(plain_arms)]
    closest_label, closest = (label, plain) if plain else plain_arms[min(distances)[2]]
    differing = [f"{key} {closest_label[key]} and {label[key]}" for key in _unequal_keys(label, closest_label)]
    return closest, (*differing, *differing_seeds(closest, records))


def _unequal_keys(label: Label, other: Label) -> list[str]:
    return [key for key in label if label[key] != other[key]]


def _mean(optional: Sequence[float | None]) -> float | None:
    present = [number for number in optional if number is not None and math.isfinite(number)]
    return math.fsum(present) / len(present) if present else None
