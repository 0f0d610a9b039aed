"""Simulated coverage of intervals, and false-positive rates of verdicts; writes docs/statistics.md.

    python benchmarks/coverage.py [draws]
    python benchmarks/coverage.py claims [draws]
    python benchmarks/coverage.py levels [draws]
    python benchmarks/coverage.py correlations [draws]

`resexp.inference` computes the intervals of the first table. The other tables use vectorized rules, which are checked against
`resexp.inference` on some draws of every cell. Random numbers are from numpy with a fixed seed.
"""

import math
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.special import stdtrit
from tables import publish, table

from resexp.inference import (
    ALPHA,
    LEVEL,
    SELECTED_LEVEL,
    DegradationVerdict,
    cross_fitted,
    degradation,
    holm,
    p_below,
    paired_difference,
    rank_correlation,
    sd_interval,
    seeds_for,
    sign_flip,
)
from resexp.inference.degradation import RANK_ALPHA

DOCUMENT = Path(__file__).parent.parent / "docs" / "statistics.md"
SEEDS = (3, 5, 10)
DEPTHS = (2, 3, 4, 6, 8)
CHANCE, PLAIN, RESIDUAL, SD = 0.1, 0.95, 0.96, 0.01  # accuracies
RESAMPLES = 1000
MARGIN = 0.01
MIN_INTERVALS = 200  # for a share to be printed
CHECKED = 20  # draws of each cell that are checked against resexp.inference
Row = Sequence[str]


def main() -> None:
    if sys.argv[1:2] == ["claims"]:
        publish_claims(int(sys.argv[2]) if len(sys.argv) > 2 else 10_000)
        return
    if sys.argv[1:2] == ["levels"]:
        publish_levels(int(sys.argv[2]) if len(sys.argv) > 2 else 100_000)
        return
    if sys.argv[1:2] == ["correlations"]:
        publish_correlations(int(sys.argv[2]) if len(sys.argv) > 2 else 1_000)
        return
    draws = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    generator = np.random.default_rng(20_261_126)
    means = ("mean of all", "mean if none collapses", "mean given outcomes")
    coverage = ("differences", "n", "no interval", *means, "t over all", "bootstrap over all")
    over = [f"{depths} depths" for depths in DEPTHS]
    half_widths = ("half-width, other seeds", "half-width, same seeds")
    selecting = ("accuracies", "settings", "n", "same seeds", "bias", "other seeds", "bias", *half_widths)
    sections = [
        table("Coverage of 95% intervals, in %", list(intervals(draws, generator)), coverage),
        table(
            "Verdicts without degradation: degrades / does not degrade / inconclusive, in %", list(flat(draws, generator)),
            ("errors", "n", *over),
        ),
        table(
            "Verdicts with degradation: degrades / does not degrade / inconclusive, in %", list(rising(draws, generator)),
            ("errors", "n", *over),
        ),
        table("Each at its best setting: coverage in %, bias in points", list(selected(draws, generator)), selecting),
        table(
            "Repeated looks: coverage at the last look, in %", list(repeated(draws, generator)),
            ("first n", *(f"{looks} look{'s' if looks > 1 else ''}" for looks in LOOKS)),
        ),
        table(
            "Seeds for a given half-width, estimated from n", list(budgets(draws, generator)),
            ("n", "needed", "95% of estimates", "coverage of the interval, %", "median interval"),
        ),
        table(
            "Contrast with the selected depth: coverage of its 95% interval, in %",
            list(contrasts(draws, generator)), ("errors", "n", *over),
        ),
        table("Smallest attainable p-value of a sign-flip test", [smallest_p()], ["n", *map(str, range(3, 11))]),
    ]  # fmt: skip
    publish("coverage", f"python benchmarks/coverage.py {draws}", "\n".join(sections), DOCUMENT)


def percent(share: float) -> str:
    return "-" if math.isnan(share) else f"{100 * share:.1f}"


# ---- intervals ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Pairs:
    """Differences of (draws, n) pairs, collapsed networks of each arm, and the true mean difference of all networks."""

    differences: np.ndarray
    collapsed: np.ndarray  # (2, draws, n)
    truth: float

    @property
    def has_no_interval(self) -> np.ndarray:
        """(draws,): whether some but not all networks of an arm collapsed."""
        return (self.collapsed.any(-1) & ~self.collapsed.all(-1)).any(0)


DrawPairs = Callable[[tuple[int, int], np.random.Generator], Pairs]


def without_collapse(differences: np.ndarray, truth: float) -> Pairs:
    return Pairs(differences, np.zeros((2, *differences.shape), dtype=bool), truth)


def collapsing(plain: float, residual: float) -> DrawPairs:
    """Networks that collapse to chance at these rates; the accuracy of the others has mean PLAIN or RESIDUAL and SD 0.01."""
    rates, trained = np.reshape((plain, residual), (2, 1, 1)), np.reshape((PLAIN, RESIDUAL), (2, 1, 1))
    arms = ((1 - rates) * trained + rates * CHANCE).ravel()

    def draw(shape: tuple[int, int], generator: np.random.Generator) -> Pairs:
        collapsed = generator.random((2, *shape)) < rates
        accuracy = generator.normal(np.where(collapsed, CHANCE, trained), SD)
        return Pairs(accuracy[1] - accuracy[0], collapsed, float(arms[1] - arms[0]))

    return draw


DRAWS: dict[str, DrawPairs] = {
    "normal": lambda shape, generator: without_collapse(generator.normal(0.01, SD, shape), 0.01),
    "exponential": lambda shape, generator: without_collapse(generator.exponential(SD, shape), SD),
    "lognormal, sigma 1": lambda shape, generator: without_collapse(generator.lognormal(0, 1, shape), math.exp(0.5)),
    **{f"plain collapses, {rate:.0%}": collapsing(rate, 0) for rate in (0.1, 0.2, 0.4)},
    **{f"both collapse, {rate:.0%} each": collapsing(rate, rate) for rate in (0.1, 0.2, 0.4)},
}


def intervals(draws: int, generator: np.random.Generator) -> Iterator[Row]:
    for name, draw in DRAWS.items():
        for n in SEEDS:
            yield name, str(n), *coverages(draw((draws, n), generator), generator)


def coverages(pairs: Pairs, generator: np.random.Generator) -> Iterator[str]:
    """Share without an interval, and coverage of the printed intervals and of methods that are not used."""
    differences = [paired_difference(row) for row in pairs.differences.tolist()]
    low, high = (np.array([getattr(difference, end) for difference in differences]) for end in ("low", "high"))
    shown = ~pairs.has_no_interval
    means = np.where(pairs.collapsed.all(-1), CHANCE, np.reshape((PLAIN, RESIDUAL), (2, 1)))
    yield percent(float(pairs.has_no_interval.mean()))
    yield percent(coverage_of(low[shown], high[shown], pairs.truth))
    if pairs.collapsed.any():
        yield percent(coverage_of(low[shown], high[shown], RESIDUAL - PLAIN))
        yield percent(coverage_of(low[shown], high[shown], (means[1] - means[0])[shown]))
    else:
        yield from ("", "")
    yield percent(coverage_of(low, high, pairs.truth))
    yield percent(coverage_of(*bootstrap(pairs.differences, generator), pairs.truth))


def coverage_of(low: np.ndarray, high: np.ndarray, truth: np.ndarray | float) -> float:
    return float(((low <= truth) & (truth <= high)).mean()) if len(low) >= MIN_INTERVALS else math.nan


def bootstrap(differences: np.ndarray, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """The 2.5% and 97.5% quantiles of the means of resamples of each sample."""
    n = differences.shape[1]
    weights = generator.multinomial(n, [1 / n] * n, RESAMPLES) / n
    low, high = np.quantile(differences @ weights.T, (0.025, 0.975), axis=1)
    return low, high


# ---- verdicts -------------------------------------------------------------------------------------------------------------

KINDS = (
    "normal",
    "exponential",
    "SD grows fourfold",
    "SD falls fourfold",
    "SD five margins",
    "exponential at the shallowest",
    "exponential at the shallowest, SD five margins",
    "collapses, 10%",
    "collapses, 20%",
    "collapses, 40%",
    "collapses, 20%, SD grows",
)


def curves(
    kind: str, shape: tuple[int, int, int], profile: np.ndarray, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Training errors (draws, n, depths) with mean 0.05 + SD * profile and SD 0.01, and which networks collapsed."""
    errors = generator.normal(0.05, SD, shape)
    collapsed = np.zeros(shape, dtype=bool)
    if kind == "exponential":
        errors = 0.04 + generator.exponential(SD, shape)
    elif kind == "SD grows fourfold":
        errors = 0.05 + (errors - 0.05) * np.geomspace(0.5, 2, shape[2])
    elif kind == "SD falls fourfold":
        errors = 0.05 + (errors - 0.05) * np.geomspace(2, 0.5, shape[2])
    elif kind == "SD five margins":
        errors = 0.05 + (errors - 0.05) * 5
    elif kind.startswith("exponential at the shallowest"):
        scale = 5 if kind.endswith("margins") else 1
        errors = 0.05 + (errors - 0.05) * scale / 4
        errors[:, :, 0] = 0.05 + scale * (generator.exponential(SD, shape[:2]) - SD)
    elif kind == "deepest collapses, 60%":
        collapsed[:, :, -1] = generator.random(shape[:2]) < 0.6
    elif kind.startswith("collapses"):
        if kind.endswith("grows"):
            errors = 0.05 + (errors - 0.05) * np.geomspace(0.5, 2, shape[2])
        collapsed = generator.random(shape) < float(kind.split()[1].rstrip("%,")) / 100
    errors += SD * profile
    return np.where(collapsed, generator.normal(1 - CHANCE, SD, shape), errors), collapsed


def cross_fitted_options(costs: np.ndarray) -> np.ndarray:
    """(draws, n): for each seed, the option with the lowest mean cost (draws, n, options) over the other half of the seeds."""
    middle = costs.shape[1] // 2
    first, second = (half.sum(1).argmin(1)[:, None] for half in (costs[:, :middle], costs[:, middle:]))
    chosen = np.repeat(np.concatenate([second, first], 1), (middle, costs.shape[1] - middle), 1)
    for rows, options in zip(costs[:CHECKED].tolist(), chosen.tolist(), strict=False):
        assert cross_fitted(rows) == options
    return chosen


def take(values: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    return np.take_along_axis(values, chosen[:, :, None], 2)[:, :, 0]


def half_width(differences: np.ndarray, level: float = LEVEL) -> np.ndarray:
    """Half-width of Student's t interval of the mean over axis 1 of (draws, n, ...)."""
    n = differences.shape[1]
    return np.asarray(stdtrit(n - 1, (1 + level) / 2) * differences.std(1, ddof=1) / math.sqrt(n))


def rank_limit(n: int, depths: int) -> int:
    """The smallest significant sum, over n seeds, of the ranks of the deepest network."""
    probabilities = np.ones(1)
    for _ in range(n):
        probabilities = np.convolve(probabilities, np.full(depths, 1 / depths))
    above = probabilities[::-1].cumsum()[::-1]  # probability of a sum of at least n, n + 1, ...
    return n + int(np.argmax(np.append(above, 0.0) <= RANK_ALPHA + 1e-12))


def judgments(errors: np.ndarray, collapsed: np.ndarray) -> list[DegradationVerdict]:
    """The verdict on each curve; some are checked against `degradation`."""
    mixed = collapsed.any(1) & ~collapsed.all(1)
    chosen = cross_fitted_options(errors[:, :, :-1])
    no_interval = mixed[:, -1] | np.take_along_axis(mixed, chosen, 1).any(1)
    contrast = errors[:, :, -1] - take(errors[:, :, :-1], chosen)
    mean, half = contrast.mean(1), half_width(contrast)
    rises = errors[:, :, -1:] - errors[:, :, :-1]
    most = np.where(mixed[:, :-1], -math.inf, rises.mean(1) + half_width(rises)).max(1)
    medians = np.median(errors, 1)
    ranks = 1 + (errors[:, :, :-1] < errors[:, :, -1:]).sum(2)
    high = (ranks.sum(1) >= rank_limit(*errors.shape[1:])) & (medians[:, -1] - medians[:, :-1].min(1) >= MARGIN)
    degrades = np.where(no_interval, high, (mean - half > 0) & (mean >= MARGIN))
    does_not = ~no_interval & (np.maximum(most, mean + half) < MARGIN)
    verdicts = [
        DegradationVerdict.DEGRADES if yes else DegradationVerdict.DOES_NOT_DEGRADE if no else DegradationVerdict.INCONCLUSIVE
        for yes, no in zip(degrades, does_not, strict=True)
    ]
    for verdict, rows, depths in zip(verdicts[:CHECKED], errors.transpose(0, 2, 1).tolist(), mixed, strict=False):
        curve = {depth: dict(enumerate(row)) for depth, row in enumerate(rows)}
        checked = degradation(curve, MARGIN, set(np.flatnonzero(depths).tolist()))
        assert checked is not None
        assert checked.verdict == verdict
    return verdicts


def verdicts(kind: str, n: int, profile: np.ndarray, draws: int, generator: np.random.Generator) -> str:
    judged = judgments(*curves(kind, (draws, n, len(profile)), profile, generator))
    shown = (DegradationVerdict.DEGRADES, DegradationVerdict.DOES_NOT_DEGRADE, DegradationVerdict.INCONCLUSIVE)
    return " / ".join(percent(judged.count(verdict) / draws) for verdict in shown)


def flat(draws: int, generator: np.random.Generator) -> Iterator[Row]:
    for kind in KINDS:
        for n in SEEDS:
            yield kind, str(n), *(verdicts(kind, n, np.zeros(depths), draws, generator) for depths in DEPTHS)
    for n in SEEDS:
        falls = (np.array([3.0] + [0.0] * (depths - 1)) for depths in DEPTHS)
        yield "normal, first falls by 3 SD", str(n), *(verdicts("normal", n, profile, draws, generator) for profile in falls)


def falling_first(start: float, depths: int) -> np.ndarray:
    """The first of more than two depths is worse than the next; the deepest is 3 SD above the best."""
    return np.array([start, *[0.0] * (depths - 2), 3.0]) if depths > 2 else np.array([0.0, 3.0])


RISES: dict[str, tuple[str, Callable[[int], np.ndarray]]] = {
    "linear by 1 SD": ("normal", lambda depths: np.linspace(0, 1, depths)),
    "linear by 3 SD": ("normal", lambda depths: np.linspace(0, 3, depths)),
    "exponential, linear by 3 SD": ("exponential", lambda depths: np.linspace(0, 3, depths)),
    "deepest only, by 3 SD": ("normal", lambda depths: np.array([0.0] * (depths - 1) + [3.0])),
    "falls by 2, then rises by 3 SD": ("normal", lambda depths: falling_first(2, depths)),
    "falls by 3, then rises by 3 SD": ("normal", lambda depths: falling_first(3, depths)),
    "collapses, 20%, linear by 3 SD": ("collapses, 20%", lambda depths: np.linspace(0, 3, depths)),
    "deepest collapses, 60%": ("deepest collapses, 60%", np.zeros),
}


def rising(draws: int, generator: np.random.Generator) -> Iterator[Row]:
    for name, (kind, profile) in RISES.items():
        for n in SEEDS:
            yield name, str(n), *(verdicts(kind, n, profile(depths), draws, generator) for depths in DEPTHS)


def contrasts(draws: int, generator: np.random.Generator) -> Iterator[Row]:
    """The true value is the difference of the true means of the depths that are compared."""
    for name, kind, rise in (
        ("flat", "normal", 0),
        ("flat, SD falls fourfold", "SD falls fourfold", 0),
        ("linear by 3 SD", "normal", 3),
    ):
        for n in SEEDS:
            covered = []
            for depths in DEPTHS:
                profile = np.linspace(0, rise, depths)
                errors, _ = curves(kind, (draws, n, depths), profile, generator)
                chosen = cross_fitted_options(errors[:, :, :-1])
                contrast = errors[:, :, -1] - take(errors[:, :, :-1], chosen)
                truth = SD * (profile[-1] - profile[chosen].mean(1))
                covered.append(percent(float((abs(contrast.mean(1) - truth) <= half_width(contrast)).mean())))
            yield name, str(n), *covered


# ---- selected settings ------------------------------------------------------------------------------------------------------

SETTINGS = (3, 12)
# name: SD over seeds of plain and residual, SD of the true means of their settings, correlation of validation and test noise
SELECTIONS = {
    "SD 10 and 0.5, settings equal, validation is test": ((10, 0.5), (0, 0), 1.0),
    "SD 10 and 0.5, settings equal, correlation 0.8": ((10, 0.5), (0, 0), 0.8),
    "SD 10 and 0.5, settings differ by 5 and 1": ((10, 0.5), (5, 1), 0.8),
    "SD 1 and 1, settings equal, validation is test": ((1, 1), (0, 0), 1.0),
    "SD 1 and 1, settings differ by 2 and 2": ((1, 1), (2, 2), 0.8),
}


def selected(draws: int, generator: np.random.Generator) -> Iterator[Row]:
    for name, (spreads, between, correlation) in SELECTIONS.items():
        for settings in SETTINGS:
            for n in (2, *SEEDS):
                arms = [
                    arm((draws, n, settings), spread, differ, correlation, generator)
                    for spread, differ in zip(spreads, between, strict=True)
                ]
                yield name, str(settings), str(n), *selection_bias(arms)


def arm(
    shape: tuple[int, int, int], spread: float, differ: float, correlation: float, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(validation, test, true means), each (draws, n, settings) in points."""
    truth = np.broadcast_to(generator.normal(0, differ, (shape[0], 1, shape[2])), shape)
    common, other = generator.normal(0, spread, (2, *shape))
    return truth + correlation * common + math.sqrt(1 - correlation**2) * other, truth + common, truth


def selection_bias(arms: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> Iterator[str]:
    """Coverage and bias for settings selected on all seeds and on the other half; median half-widths in points."""
    n = arms[0][0].shape[1]
    same = [np.repeat(validation.mean(1).argmax(1)[:, None], n, 1) for validation, _, _ in arms]
    other = [cross_fitted_options(-validation) for validation, _, _ in arms]
    widths = []
    for chosen, level in ((same, LEVEL), (other, SELECTED_LEVEL)):
        (plain, plain_truth), (residual, truth) = (
            (take(test, option), take(true, option).mean(1)) for (_, test, true), option in zip(arms, chosen, strict=True)
        )
        difference, mean = residual - plain, truth - plain_truth
        half = half_width(difference, level)
        error = difference.mean(1) - mean
        widths.append(float(np.median(half)))
        yield percent(float((abs(error) <= half).mean()))
        yield f"{error.mean():+.1f}"
    yield f"{widths[1]:.1f}"
    yield f"{widths[0]:.1f}"


# ---- repeated looks, and how many seeds -------------------------------------------------------------------------------------

LOOKS = (1, 2, 3, 4)


def repeated(draws: int, generator: np.random.Generator) -> Iterator[Row]:
    """Coverage with looks at n, 2 n, 4 n, ... seeds that stop at the first interval that excludes 0, the true value."""
    for n in SEEDS:
        values = generator.normal(0, 1, (draws, n * 2 ** (max(LOOKS) - 1)))
        looks = [values[:, : n * 2**look] for look in range(max(LOOKS))]
        missed = [abs(look.mean(1)) > half_width(look) for look in looks]
        yield str(n), *(percent(float(1 - np.any(missed[:looks], axis=0).mean())) for looks in LOOKS)


def budgets(draws: int, generator: np.random.Generator) -> Iterator[Row]:
    """Number of seeds for a half-width (true value: 18), estimated from n seeds, and the interval of that number."""
    truth = 18
    aim = float(stdtrit(truth - 1, (1 + LEVEL) / 2)) / math.sqrt(truth)
    for n in SEEDS:
        sds = generator.normal(0, 1, (draws, n)).std(1, ddof=1)
        estimates = [seeds_for(sd, aim) or math.inf for sd in sds.tolist()]
        ends = np.array([[seeds_for(end, aim) or math.inf for end in sd_interval(sd, n)] for sd in sds.tolist()])
        low, high = np.quantile(estimates, (0.025, 0.975))
        covered = ((ends[:, 0] <= truth) & (truth <= ends[:, 1])).mean()
        median = np.median(ends, 0)
        yield str(n), str(truth), f"{low:.0f} to {high:.0f}", percent(float(covered)), f"{median[0]:.0f} to {median[1]:.0f}"


def smallest_p() -> Row:
    return ["p", *(f"{sign_flip([1.0] * n):.4f}" for n in range(3, 11))]


# ---- claims over many configurations --------------------------------------------------------------------------------------

CONFIGURATIONS = (4, 12, 96)
CLAIM_LEVEL = 0.95
VIOLATION = 3  # SD by which one configuration violates the claim


def publish_claims(draws: int) -> None:
    generator = np.random.default_rng(20_261_129)
    rates = [f"{rate}, {correction}" for rate in ("false positives", "detected") for correction in ("uncorrected", "Holm")]
    text = table(
        "Claims at 95% that are not supported, in %", list(contradictions(draws, generator)), ("configurations", "n", *rates)
    )
    publish("claims", f"python benchmarks/coverage.py claims {draws}", text, DOCUMENT)


def contradictions(draws: int, generator: np.random.Generator) -> Iterator[Row]:
    """How often `a > b @ 95%` is not supported: if a equals b in all configurations, and if one configuration violates it."""
    for configurations in CONFIGURATIONS:
        for n in SEEDS:
            equal = generator.normal(0, 1, (draws, configurations, n))
            violated = generator.normal(0, 1, (draws, configurations, n))
            violated[:, 0] -= VIOLATION
            false, detected = contradicted(equal).any(1), contradicted(violated)[:, 0]
            yield (
                str(configurations),
                str(n),
                *(percent(float(share)) for shares in (false, detected) for share in shares.mean(0)),
            )


def contradicted(differences: np.ndarray) -> np.ndarray:
    """(draws, configurations, 2): whether each configuration contradicts the claim, uncorrected and with Holm's correction."""
    draws, configurations, n = differences.shape
    means, sds = differences.mean(-1), differences.std(-1, ddof=1)
    p = np.array([p_below(mean, sd, n) for mean, sd in zip(means.ravel().tolist(), sds.ravel().tolist(), strict=True)])
    rows = p.reshape(draws, configurations)
    corrected = np.array([holm(row) for row in rows.tolist()])
    return np.stack([rows, corrected], -1) <= (1 - CLAIM_LEVEL) / 2


# ---- the level of a verdict ----------------------------------------------------------------------------------------------

EFFECTS = (0, 2, 4, 8, 40)  # true differences, in SD of the paired differences
PAIRS = 12  # of the table; the correction is that of the smallest p-value, the strictest
LEVELS = (0.05, ALPHA, 0.005)


def publish_levels(draws: int) -> None:
    generator = np.random.default_rng(20_261_130)
    head = ("difference, SD", "n", *(f"{rate} at {level:.1%}" for rate in ("verdict", "change") for level in LEVELS))
    title = "Verdicts on one of 12 differences, and changes between two trainings, in %"
    text = table(title, list(at_levels(draws, generator)), head)
    publish("levels", f"python benchmarks/coverage.py levels {draws}", text, DOCUMENT)


def at_levels(draws: int, generator: np.random.Generator) -> Iterator[Row]:
    """How often an interval excludes 0 with Holm's correction, and how often only one of two independent trainings does."""
    for effect in EFFECTS:
        for n in SEEDS:
            trainings = [generator.normal(effect, 1, (draws, n)) for _ in range(2)]
            exclusions = [[excludes_zero(differences, level) for differences in trainings] for level in LEVELS]
            verdicts_in = (percent(float(first.mean())) for first, _ in exclusions)
            yield str(effect), str(n), *verdicts_in, *(percent(float((first != second).mean())) for first, second in exclusions)


def excludes_zero(differences: np.ndarray, level: float) -> np.ndarray:
    """(draws,): whether Student's t interval excludes 0 at this level divided by the number of pairs."""
    return np.asarray(abs(differences.mean(1)) > half_width(differences, 1 - level / PAIRS))


# ---- rank correlations over configurations --------------------------------------------------------------------------------

CORRELATIONS = (0.0, 0.5, 0.85)  # Spearman, of all arms
SHARED = 0.5  # share of the variance that the arms of a configuration have in common
NUMBERS_OF_CONFIGURATIONS, ARMS = (4, 8, 16, 32), 2


def publish_correlations(draws: int) -> None:
    generator = np.random.default_rng(20_261_201)
    head = ("Spearman correlation", *(f"{number} configurations" for number in NUMBERS_OF_CONFIGURATIONS))
    text = table("Coverage of 95% intervals of a rank correlation, in %", list(correlations(draws, generator)), head)
    publish("correlations", f"python benchmarks/coverage.py correlations {draws}", text, DOCUMENT)


def correlations(draws: int, generator: np.random.Generator) -> Iterator[Row]:
    """How often the interval contains the correlation, of normal values that the arms of a configuration partly share."""
    for truth in CORRELATIONS:
        pearson = 2 * math.sin(math.pi * truth / 6)
        shares = []
        for number in NUMBERS_OF_CONFIGURATIONS:
            groups = np.repeat(np.arange(number), ARMS).tolist()
            shared, own = generator.normal(size=(draws, 2, number, 1)), generator.normal(size=(draws, 2, number, ARMS))
            outcome, noise = (math.sqrt(SHARED) * shared + math.sqrt(1 - SHARED) * own).reshape(draws, 2, -1).swapaxes(0, 1)
            predictor = pearson * outcome + math.sqrt(1 - pearson**2) * noise
            intervals = [rank_correlation(x, y, groups) for x, y in zip(predictor, outcome, strict=True)]
            ends = np.array([(estimate.low, estimate.high) for estimate in intervals if estimate], dtype=float)
            shares.append(percent(coverage_of(ends[:, 0], ends[:, 1], truth)))
        yield (f"{truth:g}", *shares)


if __name__ == "__main__":
    main()
