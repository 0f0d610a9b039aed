"""How often printed intervals hold the truth, and flat curves are called degrading: simulated, as tables in Markdown.

    python benchmarks/coverage.py [draws]
    python benchmarks/coverage.py claims [draws]

Every interval and every verdict is computed by `resexp.statistics`; the draws are numpy's, from a fixed seed.
"""

import math
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tables import publish, table

from resexp.statistics import VERDICTS, degradation, holm, p_below, paired, sign_flip

DOCUMENT = Path(__file__).parent.parent / "docs" / "statistics.md"
SEEDS = (3, 5, 10)
DEPTHS = (2, 3, 4, 6)
CHANCE, PLAIN, RESIDUAL, SD = 0.1, 0.95, 0.96, 0.01  # accuracies
RESAMPLES = 1000
MARGIN = 0.01
FEWEST = 200  # intervals of which a share is told
Row = Sequence[str]


def main() -> None:
    if sys.argv[1:2] == ["claims"]:
        publish_claims(int(sys.argv[2]) if len(sys.argv) > 2 else 10_000)
        return
    draws = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    generator = np.random.default_rng(20_261_126)
    printed = ("differences", "n", "refused", "printed", "if none collapses", "as they ended", "t of all", "bootstrap of all")
    over = [f"{depths} depths" for depths in DEPTHS]
    parts = [
        table("Intervals of 95 %: how often they hold the truth, in %", list(intervals(draws, generator)), printed),
        table(
            "Flat curves: degrades / does not degrade / cannot tell, in %", list(flat(draws, generator)), ("errors", "n", *over)
        ),
        table("Rising curves: the same", list(rising(draws, generator)), ("errors", "rise", "n", *over)),
        table("The least p of a sign-flip test", [least()], ["n", *map(str, range(3, 11))]),
    ]
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


Draw = Callable[[tuple[int, int], np.random.Generator], Pairs]


def whole(differences: np.ndarray, truth: float) -> Pairs:
    return Pairs(differences, np.zeros((2, *differences.shape), dtype=bool), truth)


def collapsing(plain: float, residual: float) -> Draw:
    """Networks of either arm that collapse to chance at these rates, and are the arm's accuracy +- its sd otherwise."""
    rates, trained = np.reshape((plain, residual), (2, 1, 1)), np.reshape((PLAIN, RESIDUAL), (2, 1, 1))
    arms = ((1 - rates) * trained + rates * CHANCE).ravel()

    def draw(shape: tuple[int, int], generator: np.random.Generator) -> Pairs:
        collapsed = generator.random((2, *shape)) < rates
        accuracy = generator.normal(np.where(collapsed, CHANCE, trained), SD)
        return Pairs(accuracy[1] - accuracy[0], collapsed, float(arms[1] - arms[0]))

    return draw


DRAWS: dict[str, Draw] = {
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
    """Share refused; shares that hold the truth, of printed intervals and of those that are not used."""
    found = [paired(row) for row in pairs.differences.tolist()]
    low, high = (np.array([getattr(one, end) for one in found]) for end in ("low", "high"))
    shown = ~pairs.refused
    alike = np.where(pairs.collapsed.all(-1), CHANCE, np.reshape((PLAIN, RESIDUAL), (2, 1)))
    yield percent(float(pairs.refused.mean()))
    yield percent(hold(low[shown], high[shown], pairs.truth))
    if pairs.collapsed.any():
        yield percent(hold(low[shown], high[shown], RESIDUAL - PLAIN))
        yield percent(hold(low[shown], high[shown], (alike[1] - alike[0])[shown]))
    else:
        yield from ("", "")
    yield percent(hold(low, high, pairs.truth))
    yield percent(hold(*bootstrap(pairs.differences, generator), pairs.truth))


def hold(low: np.ndarray, high: np.ndarray, truth: np.ndarray | float) -> float:
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
    "exponential at the shallowest",
    "collapses, 10%",
    "collapses, 20%",
    "collapses, 40%",
)


def curves(
    kind: str, shape: tuple[int, int, int], rise: float, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Training errors (draws, n, depths) around 0.05, sd 0.01, and which networks collapsed; `rise` in sd over all depths."""
    errors = generator.normal(0.05, SD, shape)
    collapsed = np.zeros(shape, dtype=bool)
    if kind == "exponential":
        errors = 0.04 + generator.exponential(SD, shape)
    elif kind == "sd grows fourfold":
        errors = 0.05 + (errors - 0.05) * np.geomspace(0.5, 2, shape[2])
    elif kind == "exponential at the shallowest":
        errors = 0.05 + (errors - 0.05) / 4
        errors[:, :, 0] = 0.04 + generator.exponential(SD, shape[:2])
    elif kind != "normal":
        collapsed = generator.random(shape) < float(kind.split()[1].rstrip("%")) / 100
    errors += rise * SD * np.linspace(0, 1, shape[2])
    return np.where(collapsed, generator.normal(1 - CHANCE, SD, shape), errors), collapsed


def verdicts(kind: str, n: int, depths: int, rise: float, draws: int, generator: np.random.Generator) -> str:
    errors, collapsed = curves(kind, (draws, n, depths), rise, generator)
    ends = collapsed[:, :, [0, -1]]
    mixed = (ends.any(1) & ~ends.all(1)).any(1)
    counts: Counter[str] = Counter()
    for rows, of in zip(errors.transpose(0, 2, 1).tolist(), mixed.tolist(), strict=True):
        found = degradation({depth: dict(enumerate(row)) for depth, row in enumerate(rows)}, MARGIN, mixed=of, falling=False)
        counts[found.verdict if found else ""] += 1
    return " / ".join(percent(counts[of] / draws) for of in VERDICTS if of != "slower, not shown worse")


def flat(draws: int, generator: np.random.Generator) -> Iterator[Row]:
    for kind in KINDS:
        for n in SEEDS:
            yield kind, str(n), *(verdicts(kind, n, depths, 0, draws, generator) for depths in DEPTHS)


def rising(draws: int, generator: np.random.Generator) -> Iterator[Row]:
    for kind in ("normal", "exponential", "collapses, 20%"):
        for rise in (1, 3):
            for n in SEEDS:
                found = (verdicts(kind, n, depths, rise, draws, generator) for depths in DEPTHS)
                yield kind, f"{rise} sd", str(n), *found


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
            false, found = contradicted(equal).any(1), contradicted(violated)[:, 0]
            yield str(configurations), str(n), *(percent(float(share)) for of in (false, found) for share in of.mean(0))


def contradicted(differences: np.ndarray) -> np.ndarray:
    """(draws, configurations, 2): whether each speaks against the claim, uncorrected and with Holm's correction."""
    draws, configurations, n = differences.shape
    means, sds = differences.mean(-1), differences.std(-1, ddof=1)
    p = np.array([p_below(*of, n) for of in zip(means.ravel().tolist(), sds.ravel().tolist(), strict=True)])
    rows = p.reshape(draws, configurations)
    corrected = np.array([holm(row) for row in rows.tolist()])
    return np.stack([rows, corrected], -1) <= (1 - CLAIM_LEVEL) / 2


if __name__ == "__main__":
    main()
