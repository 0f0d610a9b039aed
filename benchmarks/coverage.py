"""Simulated coverage of printed intervals, and how often flat curves are called degrading; in Markdown.

    python benchmarks/coverage.py [draws]
    python benchmarks/coverage.py claims [draws]
    python benchmarks/coverage.py levels [draws]

Intervals of the first table are computed by `resexp.inference`. The other tables count over arrays, and the rules are checked
against `resexp.inference` on some of the draws of every cell. The draws are numpy's, from a fixed seed.
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
FEWEST = 200  # intervals for which a share is printed
CHECKED = 20  # draws of each cell whose verdict or choice is computed by resexp.inference, too
Row = Sequence[str]


def main() -> None:
    if sys.argv[1:2] == ["claims"]:
        publish_claims(int(sys.argv[2]) if len(sys.argv) > 2 else 10_000)
        return
    if sys.argv[1:2] == ["levels"]:
        publish_levels(int(sys.argv[2]) if len(sys.argv) > 2 else 100_000)
        return
    draws = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    generator = np.random.default_rng(20_261_126)
    printed = ("differences", "n", "refused", "printed", "if none collapses", "as they ended", "t of all", "bootstrap of all")
    over = [f"{depths} depths" for depths in DEPTHS]
    selecting = ("accuracies", "settings", "n", "same seeds", "bias", "other seeds", "bias", "half-width", "of same seeds")
    parts = [
        table("95% intervals: how often they cover the truth, in %", list(intervals(draws, generator)), printed),
        table(
            "No degradation: degrades / does not degrade / inconclusive, in %", list(flat(draws, generator)),
            ("errors", "n", *over),
        ),
        table("Degradation: the same", list(rising(draws, generator)), ("errors", "n", *over)),
        table("Each at its best setting: coverage in %, bias in points", list(selected(draws, generator)), selecting),
        table(
            "Repeated looks: coverage in % at the look at which one stops", list(repeated(draws, generator)),
            ("first n", *(f"{looks} look{'s' if looks > 1 else ''}" for looks in LOOKS)),
        ),
        table(
            "Seeds for a given half-width, estimated from n", list(budgets(draws, generator)),
            ("n", "needed", "estimates, 95% of them", "interval covers, in %", "median interval"),
        ),
        table(
            "Contrast with the selected depth: how often its 95% interval covers the truth, in %",
            list(contrasts(draws, generator)), ("errors", "n", *over),
        ),
        table("The smallest p of a sign-flip test", [least()], ["n", *map(str, range(3, 11))]),
    ]  # fmt: skip
    publish("coverage", f"python benchmarks/coverage.py {draws}", "\n".join(parts), DOCUMENT)


def percent(share: float) -> str:
    return "-" if math.isnan(share) else f"{100 * share:.1f}"


# ---- intervals ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Pairs:
    """Differences of (draws, n) pairs, which of each arm's networks collapsed, and the mean difference of all there can be."""

    differences: np.ndarray
    collapsed: np.ndarray  # (2, draws, n)
    truth: float

    @property
    def refused(self) -> np.ndarray:
        """(draws,) where an arm has both networks that collapsed and networks that trained."""
        return (self.collapsed.any(-1) & ~self.collapsed.all(-1)).any(0)


Noise = Callable[[tuple[int, int], np.random.Generator], Pairs]


def whole(differences: np.ndarray, truth: float) -> Pairs:
    return Pairs(differences, np.zeros((2, *differences.shape), dtype=bool), truth)


def collapsing(plain: float, residual: float) -> Noise:
    """Networks of either arm that collapse to chance at these rates, and are the arm's accuracy +- its sd otherwise."""
    rates, trained = np.reshape((plain, residual), (2, 1, 1)), np.reshape((PLAIN, RESIDUAL), (2, 1, 1))
    arms = ((1 - rates) * trained + rates * CHANCE).ravel()

    def draw(shape: tuple[int, int], generator: np.random.Generator) -> Pairs:
        collapsed = generator.random((2, *shape)) < rates
        accuracy = generator.normal(np.where(collapsed, CHANCE, trained), SD)
        return Pairs(accuracy[1] - accuracy[0], collapsed, float(arms[1] - arms[0]))

    return draw


DRAWS: dict[str, Noise] = {
    "normal": lambda shape, generator: whole(generator.normal(0.01, SD, shape), 0.01),
    "exponential": lambda shape, generator: whole(generator.exponential(SD, shape), SD),
    "lognormal, sigma 1": lambda shape, generator: whole(generator.lognormal(0, 1, shape), math.exp(0.5)),
    **{f"plain collapses, {rate:.0%}": collapsing(rate, 0) for rate in (0.1, 0.2, 0.4)},
    **{f"both collapse, {rate:.0%} each": collapsing(rate, rate) for rate in (0.1, 0.2, 0.4)},
}


def intervals(draws: int, generator: np.random.Generator) -> Iterator[Row]:
    for name, draw in DRAWS.items():
        for n in SEEDS:
            yield name, str(n), *measured(draw((draws, n), generator), generator)


def measured(pairs: Pairs, generator: np.random.Generator) -> Iterator[str]:
    """Share refused; shares that cover the truth, of printed intervals and of those that are not used."""
    found = [paired_difference(row) for row in pairs.differences.tolist()]
    low, high = (np.array([getattr(one, end) for one in found]) for end in ("low", "high"))
    shown = ~pairs.refused
    alike = np.where(pairs.collapsed.all(-1), CHANCE, np.reshape((PLAIN, RESIDUAL), (2, 1)))
    yield percent(float(pairs.refused.mean()))
    yield percent(lease(low[shown], high[shown], pairs.truth))
    if pairs.collapsed.any():
        yield percent(lease(low[shown], high[shown], RESIDUAL - PLAIN))
        yield percent(lease(low[shown], high[shown], (alike[1] - alike[0])[shown]))
    else:
        yield from ("", "")
    yield percent(lease(low, high, pairs.truth))
    yield percent(lease(*bootstrap(pairs.differences, generator), pairs.truth))


def lease(low: np.ndarray, high: np.ndarray, truth: np.ndarray | float) -> float:
    return float(((low <= truth) & (truth <= high)).mean()) if len(low) >= FEWEST else math.nan


def bootstrap(differences: np.ndarray, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """2.5 and 97.5 % of the means of samples drawn again from each sample."""
    n = differences.shape[1]
    weights = generator.multinomial(n, [1 / n] * n, RESAMPLES) / n
    low, high = np.quantile(differences @ weights.T, (0.025, 0.975), axis=1)
    return low, high


# ---- verdicts -------------------------------------------------------------------------------------------------------------

KINDS = (
    "normal",
    "exponential",
    "sd grows fourfold",
    "sd falls fourfold",
    "sd five margins",
    "exponential at the shallowest",
    "exponential at the shallowest, sd five margins",
    "collapses, 10%",
    "collapses, 20%",
    "collapses, 40%",
    "collapses, 20%, sd grows",
)


def curves(
    kind: str, shape: tuple[int, int, int], profile: np.ndarray, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Training errors (draws, n, depths) around 0.05, sd 0.01, and which networks collapsed; `profile` in sd at each depth."""
    errors = generator.normal(0.05, SD, shape)
    collapsed = np.zeros(shape, dtype=bool)
    if kind == "exponential":
        errors = 0.04 + generator.exponential(SD, shape)
    elif kind == "sd grows fourfold":
        errors = 0.05 + (errors - 0.05) * np.geomspace(0.5, 2, shape[2])
    elif kind == "sd falls fourfold":
        errors = 0.05 + (errors - 0.05) * np.geomspace(2, 0.5, shape[2])
    elif kind == "sd five margins":
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


def halves_choose(costs: np.ndarray) -> np.ndarray:
    """(draws, n): the option of each seed by the mean cost (draws, n, options) of the other half of the seeds."""
    middle = costs.shape[1] // 2
    first, second = (half.sum(1).argmin(1)[:, None] for half in (costs[:, :middle], costs[:, middle:]))
    chosen = np.repeat(np.concatenate([second, first], 1), (middle, costs.shape[1] - middle), 1)
    for rows, options in zip(costs[:CHECKED].tolist(), chosen.tolist(), strict=False):
        assert cross_fitted(rows) == options
    return chosen


def at(values: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    return np.take_along_axis(values, chosen[:, :, None], 2)[:, :, 0]


def half_width(differences: np.ndarray, level: float = LEVEL) -> np.ndarray:
    """Half-width of Student's interval of the mean over axis 1, (draws, n, ...)."""
    n = differences.shape[1]
    return np.asarray(stdtrit(n - 1, (1 + level) / 2) * differences.std(1, ddof=1) / math.sqrt(n))


def rank_limit(n: int, depths: int) -> int:
    """The smallest sum over n seeds of the deepest network's ranks that is significant."""
    chances = np.ones(1)
    for _ in range(n):
        chances = np.convolve(chances, np.full(depths, 1 / depths))
    above = chances[::-1].cumsum()[::-1]  # of a sum of n, n + 1, ...
    return n + int(np.argmax(np.append(above, 0.0) <= RANK_ALPHA + 1e-12))


def judgments(errors: np.ndarray, collapsed: np.ndarray) -> list[DegradationVerdict]:
    """The verdict on each curve, checked against `degradation` on some."""
    mixed = collapsed.any(1) & ~collapsed.all(1)
    chosen = halves_choose(errors[:, :, :-1])
    no_interval = mixed[:, -1] | np.take_along_axis(mixed, chosen, 1).any(1)
    contrast = errors[:, :, -1] - at(errors[:, :, :-1], chosen)
    mean, half = contrast.mean(1), half_width(contrast)
    each = errors[:, :, -1:] - errors[:, :, :-1]
    most = np.where(mixed[:, :-1], -math.inf, each.mean(1) + half_width(each)).max(1)
    medians = np.median(errors, 1)
    ranks = 1 + (errors[:, :, :-1] < errors[:, :, -1:]).sum(2)
    high = (ranks.sum(1) >= rank_limit(*errors.shape[1:])) & (medians[:, -1] - medians[:, :-1].min(1) >= MARGIN)
    degrades = np.where(no_interval, high, (mean - half > 0) & (mean >= MARGIN))
    not_so = ~no_interval & (np.maximum(most, mean + half) < MARGIN)
    verdicts = [
        DegradationVerdict.DEGRADES if yes else DegradationVerdict.DOES_NOT_DEGRADE if no else DegradationVerdict.INCONCLUSIVE
        for yes, no in zip(degrades, not_so, strict=True)
    ]
    for verdict, rows, depths in zip(verdicts[:CHECKED], errors.transpose(0, 2, 1).tolist(), mixed, strict=False):
        curve = {depth: dict(enumerate(row)) for depth, row in enumerate(rows)}
        checked = degradation(curve, MARGIN, set(np.flatnonzero(depths).tolist()))
        assert checked is not None
        assert checked.verdict == verdict
    return verdicts


def verdicts(kind: str, n: int, profile: np.ndarray, draws: int, generator: np.random.Generator) -> str:
    reached = judgments(*curves(kind, (draws, n, len(profile)), profile, generator))
    shown = (DegradationVerdict.DEGRADES, DegradationVerdict.DOES_NOT_DEGRADE, DegradationVerdict.INCONCLUSIVE)
    return " / ".join(percent(reached.count(verdict) / draws) for verdict in shown)


def flat(draws: int, generator: np.random.Generator) -> Iterator[Row]:
    for kind in KINDS:
        for n in SEEDS:
            yield kind, str(n), *(verdicts(kind, n, np.zeros(depths), draws, generator) for depths in DEPTHS)
    for n in SEEDS:
        falls = (np.array([3.0] + [0.0] * (depths - 1)) for depths in DEPTHS)
        yield "normal, falls by 3 sd first", str(n), *(verdicts("normal", n, profile, draws, generator) for profile in falls)


def falling_first(start: float, depths: int) -> np.ndarray:
    """The first of more than two depths is worse than the next; the deepest is 3 sd above the best."""
    return np.array([start, *[0.0] * (depths - 2), 3.0]) if depths > 2 else np.array([0.0, 3.0])


RISES: dict[str, tuple[str, Callable[[int], np.ndarray]]] = {
    "linear by 1 sd": ("normal", lambda depths: np.linspace(0, 1, depths)),
    "linear by 3 sd": ("normal", lambda depths: np.linspace(0, 3, depths)),
    "exponential, linear by 3 sd": ("exponential", lambda depths: np.linspace(0, 3, depths)),
    "deepest alone by 3 sd": ("normal", lambda depths: np.array([0.0] * (depths - 1) + [3.0])),
    "falls by 2, then rises by 3 sd": ("normal", lambda depths: falling_first(2, depths)),
    "falls by 3, then rises by 3 sd": ("normal", lambda depths: falling_first(3, depths)),
    "collapses, 20%, linear by 3 sd": ("collapses, 20%", lambda depths: np.linspace(0, 3, depths)),
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
        ("flat, sd falls fourfold", "sd falls fourfold", 0),
        ("linear by 3 sd", "normal", 3),
    ):
        for n in SEEDS:
            covered = []
            for depths in DEPTHS:
                profile = np.linspace(0, rise, depths)
                errors, _ = curves(kind, (draws, n, depths), profile, generator)
                chosen = halves_choose(errors[:, :, :-1])
                contrast = errors[:, :, -1] - at(errors[:, :, :-1], chosen)
                truth = SD * (profile[-1] - profile[chosen].mean(1))
                covered.append(percent(float((abs(contrast.mean(1) - truth) <= half_width(contrast)).mean())))
            yield name, str(n), *covered


# ---- selected settings ------------------------------------------------------------------------------------------------------

SETTINGS = (3, 12)
# name: sd over seeds of plain and residual, sd of the true means of their settings, correlation of validation and test noise
SELECTIONS = {
    "sd 10 and 0.5, settings equal, validation is test": ((10, 0.5), (0, 0), 1.0),
    "sd 10 and 0.5, settings equal, correlation 0.8": ((10, 0.5), (0, 0), 0.8),
    "sd 10 and 0.5, settings differ by 5 and 1": ((10, 0.5), (5, 1), 0.8),
    "sd 1 and 1, settings equal, validation is test": ((1, 1), (0, 0), 1.0),
    "sd 1 and 1, settings differ by 2 and 2": ((1, 1), (2, 2), 0.8),
}


def selected(draws: int, generator: np.random.Generator) -> Iterator[Row]:
    for name, (spreads, between, correlation) in SELECTIONS.items():
        for settings in SETTINGS:
            for n in (2, *SEEDS):
                arms = [
                    arm((draws, n, settings), spread, differ, correlation, generator)
                    for spread, differ in zip(spreads, between, strict=True)
                ]
                yield name, str(settings), str(n), *compare_results(arms)


def arm(
    shape: tuple[int, int, int], spread: float, differ: float, correlation: float, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(validation, test, true means), each (draws, n, settings) in points."""
    truth = np.broadcast_to(generator.normal(0, differ, (shape[0], 1, shape[2])), shape)
    common, other = generator.normal(0, spread, (2, *shape))
    return truth + correlation * common + math.sqrt(1 - correlation**2) * other, truth + common, truth


def compare_results(arms: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> Iterator[str]:
    """Coverage and bias at the settings that all seeds select and that the other half selects; median half-widths in points."""
    n = arms[0][0].shape[1]
    same = [np.repeat(validation.mean(1).argmax(1)[:, None], n, 1) for validation, _, _ in arms]
    other = [halves_choose(-validation) for validation, _, _ in arms]
    widths = []
    for chosen, level in ((same, LEVEL), (other, SELECTED_LEVEL)):
        (plain, plain_truth), (residual, truth) = (
            (at(test, option), at(true, option).mean(1)) for (_, test, true), option in zip(arms, chosen, strict=True)
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
    """Coverage if you look at n seeds, 2 n, 4 n, ... and stop at the first interval that excludes 0, the true value."""
    for n in SEEDS:
        values = generator.normal(0, 1, (draws, n * 2 ** (max(LOOKS) - 1)))
        looks = [values[:, : n * 2**look] for look in range(max(LOOKS))]
        missed = [abs(seen.mean(1)) > half_width(seen) for seen in looks]
        yield str(n), *(percent(float(1 - np.any(missed[:looks], axis=0).mean())) for looks in LOOKS)


def budgets(draws: int, generator: np.random.Generator) -> Iterator[Row]:
    """Estimates from n seeds of the seeds for a half-width (true number: 18), and the interval of that number."""
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


def least() -> Row:
    return ["p", *(f"{sign_flip([1.0] * n):.4f}" for n in range(3, 11))]


# ---- claims over many configurations --------------------------------------------------------------------------------------

CONFIGURATIONS = (4, 12, 96)
CLAIM_LEVEL = 0.95
VIOLATION = 3  # SD by which one configuration violates the claim


def publish_claims(draws: int) -> None:
    generator = np.random.default_rng(20_261_129)
    head = ("configurations", "n", "false, uncorrected", "false, Holm", "found, uncorrected", "found, Holm")
    text = table("Claims at 95% that are not supported, in %", list(contradictions(draws, generator)), head)
    publish("claims", f"python benchmarks/coverage.py claims {draws}", text, DOCUMENT)


def contradictions(draws: int, generator: np.random.Generator) -> Iterator[Row]:
    """How often `a > b @ 95%` is not supported: where a equals b everywhere, and where one configuration violates it."""
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
    """(draws, configurations, 2): whether each speaks against the claim, uncorrected and with Holm's correction."""
    draws, configurations, n = differences.shape
    means, sds = differences.mean(-1), differences.std(-1, ddof=1)
    p = np.array([p_below(*of, n) for of in zip(means.ravel().tolist(), sds.ravel().tolist(), strict=True)])
    rows = p.reshape(draws, configurations)
    corrected = np.array([holm(row) for row in rows.tolist()])
    return np.stack([rows, corrected], -1) <= (1 - CLAIM_LEVEL) / 2


# ---- the level of a verdict ----------------------------------------------------------------------------------------------

EFFECTS = (0, 2, 4, 8, 40)  # true differences, in SD of the paired differences
PAIRS = 12  # of the table: Holm's correction of the smallest p-value, the strictest
LEVELS = (0.05, ALPHA, 0.005)


def publish_levels(draws: int) -> None:
    generator = np.random.default_rng(20_261_130)
    head = ("difference, SD", "n", *(f"{what} at {level:.1%}" for what in ("verdict", "change") for level in LEVELS))
    title = "Verdicts on one of 12 differences, and how often two trainings have different ones, in %"
    text = table(title, list(at_levels(draws, generator)), head)
    publish("levels", f"python benchmarks/coverage.py levels {draws}", text, DOCUMENT)


def at_levels(draws: int, generator: np.random.Generator) -> Iterator[Row]:
    """How often an interval excludes 0 with Holm's correction, and how often one of two does, of trainings with other noise."""
    for effect in EFFECTS:
        for n in SEEDS:
            both = [generator.normal(effect, 1, (draws, n)) for _ in range(2)]
            exclusions = [[excludes_zero(each, level) for each in both] for level in LEVELS]
            verdicts_in = (percent(float(first.mean())) for first, _ in exclusions)
            yield str(effect), str(n), *verdicts_in, *(percent(float((first != second).mean())) for first, second in exclusions)


def excludes_zero(differences: np.ndarray, level: float) -> np.ndarray:
    """(draws,) whether Student's interval excludes 0 at this level, divided by the number of pairs."""
    return np.asarray(abs(differences.mean(1)) > half_width(differences, 1 - level / PAIRS))


if __name__ == "__main__":
    main()
