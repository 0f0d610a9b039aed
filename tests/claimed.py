"""Shared code of the tests of claims: fabricated accuracies, and the single verdict on a hypothesis."""

from typing import Any

from resexp import claims, config, runs
from resexp.claims import Judgment

PLAIN, RESIDUAL = (0.50, 0.60, 0.70, 0.64), (0.61, 0.66, 0.83, 0.70)
ONE_CELL = ("network.depth=[64]", "network.init=[he]", "network.norm=[none]", "seeds=4")
TWO_CELLS = ("network.depth=[16, 64]", *ONE_CELL[1:])


def both(trial: config.Trial) -> dict[str, Any]:
    return {"test_accuracy": (PLAIN if trial.arm == "plain" else RESIDUAL)[trial.seed]}


def helps_only_deep(trial: config.Trial) -> dict[str, Any]:
    """At depth 16 both arms are equal; at depth 64 both are ten points worse, but identity only by six."""
    deep = trial.settings.network.depth == 64
    return {"test_accuracy": 0.8 - 0.1 * deep + 0.04 * (deep and trial.arm != "plain") + trial.seed / 100}


def judgments(text: str, results: runs.Results) -> Judgment:
    (judgment,) = claims.judge(config.parse_expectation(text), results)
    return judgment
