"""Best learning rates over depth: constructed results whose exponent is known, and the table and measure that print it."""

import csv
import io
import itertools
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fabricated
import numpy as np
import pytest
from claimed import judgments
from scipy import stats

from resexp import comparison, config, runs, tables
from resexp.claims import Verdict
from resexp.comparison import RateTransfer, rate_transfers
from resexp.tables.learning_rate_transfer import SENTENCES, learning_rate_transfer
from resexp.tables.writers import csv_text, json_rows

DEPTHS = (4, 10, 34)  # 1, 4 and 16 blocks
RATES = tuple(0.001 * 2.0**power for power in range(-6, 4))
GRID = (
    f"network.depth={list(DEPTHS)}", f"training.lr={list(RATES)}", "network.init=he", "network.norm=none", "seeds=3"
)  # fmt: skip
SMALL = ("network.depth=[4,10,34]", "training.lr=[0.001,0.002,0.004]", *GRID[2:])


def best_at(rate: Callable[[config.Trial, int], float]) -> Callable[[config.Trial], dict[str, Any]]:
    """Validation accuracy that falls with the distance of log(lr) from that of rate(trial, blocks)."""

    def values(trial: config.Trial) -> dict[str, Any]:
        blocks = (trial.settings.network.depth - 2) // 2
        distance = abs(math.log2(trial.settings.training.lr / rate(trial, blocks)))
        return {"test_accuracy": 0.9, "val_accuracy": 0.9 - 0.01 * distance}

    return values


def power_law(trial: config.Trial, blocks: int) -> float:
    """0.004 / blocks^1.5 without and 0.004 with the shortcut; seed 1 of identity falls like 1 / sqrt(blocks)."""
    exponent = -1.5 if trial.arm == "plain" else -0.5 if trial.seed == 1 else 0.0
    return 0.004 * blocks**exponent


def transfers(results: runs.Results) -> dict[str, RateTransfer]:
    return {transfer.arm: transfer for transfer in rate_transfers(results)}


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> runs.Results:
    return fabricated.results(tmp_path_factory.mktemp("rates"), best_at(power_law), *GRID)


def test_the_exponent_of_a_power_law_is_found_for_each_seed(results: runs.Results):
    plain, identity = transfers(results)["plain"], transfers(results)["identity"]

    assert plain.rates == pytest.approx({4: 0.004, 10: 0.0005, 34: 0.0000625})
    assert plain.exponents == pytest.approx({0: -1.5, 1: -1.5, 2: -1.5})
    assert identity.exponents == pytest.approx({0: 0.0, 1: -0.5, 2: 0.0}, abs=1e-12)
    assert identity.rates[34] == pytest.approx(0.004 * 4 ** (-1 / 3))  # geometric mean over seeds


def test_the_interval_is_the_t_interval_over_seeds_extended_by_the_resolution(results: runs.Results):
    plain, identity = transfers(results)["plain"], transfers(results)["identity"]
    low, high = stats.t.interval(0.95, 2, np.mean([0, -0.5, 0]), stats.sem([0, -0.5, 0]))

    assert identity.interval == pytest.approx((low - identity.resolution, high + identity.resolution))
    assert plain.interval == pytest.approx((-1.5 - plain.resolution, -1.5 + plain.resolution))


def test_the_resolution_is_the_largest_change_of_the_slope_from_half_a_step(results: runs.Results):
    x, half = np.log([1, 4, 16]), math.log(2) / 2
    changes = [np.polyfit(x, half * np.array(signs), 1)[0] for signs in itertools.product((-1, 0, 1), repeat=3)]

    assert transfers(results)["plain"].resolution == pytest.approx(max(changes))


def test_rates_at_the_edge_of_the_grid_are_marked_by_depth(tmp_path: Path):
    edges = fabricated.results(tmp_path, best_at(lambda _, blocks: 0.004 if blocks == 16 else 0.002), *SMALL)

    assert transfers(edges)["plain"].edges == (34,)


def test_equally_good_rates_count_with_their_geometric_mean(tmp_path: Path):
    ties = fabricated.results(tmp_path, lambda _: {"test_accuracy": 0.9, "val_accuracy": 0.8}, *SMALL)
    plain = transfers(ties)["plain"]

    assert plain.rates == pytest.approx(dict.fromkeys(DEPTHS, 0.002))
    assert plain.exponents == pytest.approx(dict.fromkeys(range(3), 0.0), abs=1e-12)
    assert plain.edges == DEPTHS


@pytest.mark.parametrize("outcome", ["at_chance", "diverged"])
def test_networks_that_are_not_above_chance_have_no_best_rate(outcome: str, tmp_path: Path):
    def values(trial: config.Trial) -> dict[str, Any]:
        failed = trial.settings.training.lr == 0.004 or (trial.arm == "plain" and trial.settings.network.depth == 34)
        accuracy = None if failed and outcome == "diverged" else 0.99 if failed else 0.9 - trial.settings.training.lr
        return {"val_accuracy": accuracy, "outcome": outcome if failed else "above_chance"}

    plain, identity = transfers(fabricated.results(tmp_path, values, *SMALL)).values()

    assert set(plain.rates) == {4, 10}
    assert (plain.exponent, plain.exponents) == (None, {})
    assert identity.rates == pytest.approx(dict.fromkeys(DEPTHS, 0.001))


def test_a_seed_with_an_unfinished_rate_has_no_best_rate_at_that_depth(tmp_path: Path):
    def values(trial: config.Trial) -> dict[str, Any]:
        settings = trial.settings
        waiting = (trial.seed, settings.network.depth, settings.training.lr) == (2, 10, 0.001)
        return {} if waiting else best_at(power_law)(trial)

    assert transfers(fabricated.results(tmp_path, values, *SMALL))["identity"].exponents.keys() == {0, 1}


@pytest.mark.parametrize(
    "overrides",
    [
        pytest.param(("network.depth=[4,10]", *SMALL[1:]), id="two depths"),
        pytest.param((SMALL[0], "training.lr=[0.001]", *SMALL[2:]), id="one learning rate"),
    ],
)
def test_no_exponent_is_given(overrides: tuple[str, ...], tmp_path: Path):
    assert rate_transfers(fabricated.results(tmp_path, best_at(power_law), *overrides)) == []


# ---- where it is printed ----------------------------------------------------------------------------------------------------


def test_the_table_contains_exponents_only_if_the_learning_rate_is_tuned(results: runs.Results):
    tuned, depths = (comparison.compare_results(results, tune=keys) for keys in (["lr"], ["depth"]))
    table = learning_rate_transfer(tuned)
    rows = list(csv.DictReader(io.StringIO(csv_text(table))))

    assert [row["arm"] for row in rows] == ["plain", "identity"]
    assert [float(row["exponent"]) for row in rows] == pytest.approx([-1.5, -1 / 6])
    assert json_rows(table)[1]["exponents"] == transfers(results)["identity"].exponents
    assert not learning_rate_transfer(depths).rows
    assert not learning_rate_transfer(depths).notes
    assert SENTENCES["published"].text in table.notes
    assert SENTENCES["none"].text not in table.notes


@pytest.mark.parametrize("form", ["table", "md", "tex"])
def test_every_document_prints_the_table(form: str, results: runs.Results):
    title = learning_rate_transfer(comparison.compare_results(results, tune=["lr"])).title

    assert title in tables.FORMATS[form](comparison.compare_results(results, tune=["lr"]))
    assert title not in tables.FORMATS[form](comparison.compare_results(results))


def test_json_contains_the_table(results: runs.Results):
    document = json.loads(tables.FORMATS["json"](comparison.compare_results(results, tune=["lr"])))

    assert [row["exponent"] for row in document["tables"]["learning_rate_transfer"]] == pytest.approx([-1.5, -1 / 6])


def test_hypotheses_can_be_about_the_exponent(results: runs.Results):
    assert judgments("lr_exponent: plain < -1 @ 95%", results).verdict == Verdict.SUPPORTED
    assert judgments("lr_exponent: -0.5 < identity < 0.5", results).verdict == Verdict.SUPPORTED
    assert judgments("lr_exponent: identity > plain @ 95%", results).verdict == Verdict.SUPPORTED
    assert judgments("lr_exponent: identity < 0 @ 95%", results).verdict == Verdict.UNDECIDED
    assert judgments("lr_exponent: identity > 0.1", results).scope == "not supported in 1 of 1 configuration of digits, n = 3"


def test_a_verdict_that_depends_on_the_steps_between_rates_is_undecided(results: runs.Results):
    judgment = judgments("lr_exponent: plain < -1.4 @ 95%", results)

    assert judgment.verdict == Verdict.UNDECIDED
    assert judgment.cells[0].evidence.endswith("undecided within the steps between learning rates")
