"""What predicts trainability: correlations and intervals against scipy and a bootstrap in loops, on fabricated results."""

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

from resexp import api, claims, comparison, config, inference, report, runs, tables
from resexp.claims import Verdict
from resexp.figures import FIGURES, FigureData, available_figures
from resexp.inference.ranks import RESAMPLES, STREAM, spearman

GRID = ("network.depth=[8, 16, 32, 64]", "network.init=[he, pytorch]", "network.norm=[none]", "seeds=2")  # 16 arms
LEVEL = 0.9


def rank(trial: config.Trial) -> int:
    """A different number for each arm of `GRID`."""
    network = trial.settings.network
    return 4 * (8, 16, 32, 64).index(network.depth) + 2 * (network.init == "he") + (trial.arm == "plain")


def distance_decides(trial: config.Trial) -> dict[str, Any]:
    """Accuracy follows distance; growth and loss are scattered."""
    number = rank(trial)
    return {
        "train_accuracy": 0.1 + number / 20 + trial.seed / 1000,
        "distance_start": 10.0 ** (number - 16),
        "slope_start": -0.01 * math.sqrt((7 * number) % 16),
        "loss": 2.0 + (5 * number + 3) % 16,
    }


@pytest.fixture(scope="module")
def decided(tmp_path_factory: pytest.TempPathFactory) -> runs.Results:
    return fabricated.results(tmp_path_factory.mktemp("decided"), distance_decides, *GRID)


@pytest.fixture
def sample() -> tuple[np.ndarray, np.ndarray, np.ndarray, list[int]]:
    """Outcome with ties, two predictors, and configurations of one to three arms."""
    generator = np.random.default_rng(0)
    configurations = [number for number in range(9) for _ in range(1 + number % 3)]
    outcome = generator.integers(0, 6, len(configurations)) / 5
    return outcome, outcome + generator.normal(size=len(outcome)), generator.normal(size=len(outcome)), configurations


# ---- rank correlation -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(20))
def test_the_correlation_is_that_of_scipy_with_ties_and_infinite_values(seed: int):
    generator = np.random.default_rng(seed)
    first, second = generator.integers(0, 5, 30).astype(float), generator.normal(size=30).round(1)
    first[generator.integers(30)] = math.inf

    assert spearman(first, second, np.ones((1, 30)))[0] == pytest.approx(stats.spearmanr(first, second).statistic, abs=1e-12)


def test_a_weight_is_the_number_of_copies_of_an_arm():
    generator = np.random.default_rng(1)
    first, second = generator.integers(0, 9, 12), generator.integers(0, 9, 12)
    weights = generator.integers(0, 4, (10, 12))
    copies = [stats.spearmanr(np.repeat(first, row), np.repeat(second, row)).statistic for row in weights]

    assert spearman(first, second, weights) == pytest.approx(copies, abs=1e-12)


def resampled(configurations: list[int], *columns: np.ndarray) -> list[list[np.ndarray]]:
    """The columns of each resample, drawn with the same random numbers, configuration by configuration."""
    n = len(set(configurations))
    members = [[index for index, other in enumerate(configurations) if other == number] for number in range(n)]
    generator = np.random.default_rng(list(STREAM.encode()))
    draws = generator.integers(n, size=(RESAMPLES, n))
    chosen = [[index for number in draw for index in members[number]] for draw in draws]
    return [[column[indices] for column in columns] for indices in chosen]


@pytest.mark.parametrize("is_difference", [False, True])
def test_the_interval_is_that_of_a_bootstrap_of_configurations_with_all_their_arms(sample, is_difference):
    outcome, predictor, other, configurations = sample
    correlation = inference.rank_correlation(
        predictor, outcome, configurations, minus=other if is_difference else None, level=LEVEL
    )
    expected = []
    for y, first, second in resampled(configurations, outcome, predictor, other):
        subtracted = stats.spearmanr(second, y).statistic if is_difference else 0.0
        expected.append(stats.spearmanr(first, y).statistic - subtracted)

    assert correlation is not None
    assert (correlation.low, correlation.high) == pytest.approx(np.quantile(expected, [0.05, 0.95]), abs=1e-12)
    subtracted = stats.spearmanr(other, outcome).statistic if is_difference else 0.0
    assert correlation.value == pytest.approx(stats.spearmanr(predictor, outcome).statistic - subtracted)
    assert (correlation.arms, correlation.configurations) == (len(outcome), 9)


def test_equal_accuracies_have_no_correlation_and_one_configuration_has_no_interval():
    values = [float(number) for number in range(8)]
    correlation = inference.rank_correlation(values, values, [0] * 8)

    assert inference.rank_correlation(values, [0.1] * 8, range(8)) is None
    assert correlation == inference.RankCorrelation(1.0, None, None, 8, 1)


# ---- arms of an experiment --------------------------------------------------------------------------------------------------


def test_a_correlation_is_over_the_arms_with_means_over_seeds(decided: runs.Results):
    arms = comparison.trainability(decided).arms
    numbers = np.arange(16)
    correlations = comparison.trainability(decided).correlations()

    assert [arm.n for arm in arms] == [2] * 16
    assert sorted(arm.train_accuracy for arm in arms) == pytest.approx(0.1005 + numbers / 20)
    assert correlations["distance"].value == 1
    assert correlations["loss"].value == pytest.approx(-stats.spearmanr(numbers, (5 * numbers + 3) % 16).statistic)
    blocks = np.repeat([3, 7, 15, 31], 4)
    growth = blocks * np.sqrt((7 * numbers) % 16)
    assert correlations["growth"].value == pytest.approx(-stats.spearmanr(numbers, growth).statistic)
    assert {(entry.arms, entry.configurations) for entry in correlations.values()} == {(16, 8)}


def changed(**others: Callable[[config.Trial], Any]) -> Callable[[config.Trial], dict[str, Any]]:
    return lambda trial: {**distance_decides(trial), **{key: value(trial) for key, value in others.items()}}


def test_a_diverged_network_counts_with_the_accuracy_of_guessing(tmp_path: Path):
    def values(trial: config.Trial) -> dict[str, Any]:
        diverges = rank(trial) == 3 and trial.seed == 1
        return {**distance_decides(trial), **({"outcome": "diverged", "train_accuracy": None} if diverges else {})}

    accuracies = [arm.train_accuracy for arm in comparison.trainability(fabricated.results(tmp_path, values, *GRID)).arms]

    assert (0.25 + 0.1) / 2 in [pytest.approx(accuracy) for accuracy in accuracies]


def test_a_loss_that_is_not_finite_is_the_largest(tmp_path: Path):
    results = fabricated.results(
        tmp_path, changed(loss=lambda trial: math.nan if rank(trial) == 5 else 2.0 + rank(trial)), *GRID
    )
    expected = [99 if number == 5 else number for number in range(16)]

    correlation = comparison.trainability(results).correlation("loss")
    assert correlation is not None
    assert correlation.value == pytest.approx(-stats.spearmanr(expected, range(16)).statistic)
    assert FIGURES["trainability"].chart(FigureData(results)).to_dict()


def test_a_difference_is_over_the_arms_that_have_both_predictors(tmp_path: Path):
    results = fabricated.results(tmp_path, changed(slope_start=lambda trial: math.nan if rank(trial) < 3 else -0.1), *GRID)
    arms = comparison.trainability(results)

    both, distance, growth = arms.correlation("distance", "growth"), arms.correlation("distance"), arms.correlation("growth")
    assert both is not None
    assert distance is not None
    assert growth is not None
    assert (both.arms, distance.arms, growth.arms) == (13, 16, 13)


def test_experiments_without_a_logged_distance_have_the_other_correlations(tmp_path: Path):
    results = fabricated.results(tmp_path, changed(distance_start=lambda _: None), *GRID)

    assert list(comparison.trainability(results).correlations()) == ["growth", "loss"]
    assert judgments("trainability: distance > growth", results).verdict == Verdict.NOT_TESTED
    assert judgments("trainability: growth > -1", results).verdict == Verdict.SUPPORTED


def test_fewer_than_eight_arms_have_no_correlation_and_no_figure(tmp_path: Path):
    results = fabricated.results(tmp_path, distance_decides, "network.depth=[8, 16, 32]", *GRID[1:2], "network.norm=[none]")
    seven = fabricated.results(tmp_path / "seven", lambda trial: distance_decides(trial) if rank(trial) < 7 else {}, *GRID)

    assert comparison.trainability(results).correlations()
    assert comparison.trainability(seven).correlations() == {}
    assert "trainability" in available_figures(FigureData(results))
    assert "trainability" not in available_figures(FigureData(seven))
    assert judgments("trainability: distance > 0.5 @ 95%", seven).verdict == Verdict.NOT_TESTED


# ---- hypotheses --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ("distance > 0.5 @ 95%", Verdict.SUPPORTED),
        ("0.5 < distance <= 1 @ 95%", Verdict.SUPPORTED),
        ("distance < 0.9 @ 95%", Verdict.NOT_SUPPORTED),
        ("distance > growth @ 95%", Verdict.SUPPORTED),
        ("growth > distance @ 95%", Verdict.NOT_SUPPORTED),
        ("distance > loss + 0.1 @ 95%", Verdict.SUPPORTED),
        ("loss < 0 @ 95%", Verdict.UNDECIDED),
        ("distance >= 1", Verdict.SUPPORTED),
        ("distance > 1", Verdict.NOT_SUPPORTED),
        ("0.5 < distance @ 95% at depth=8", Verdict.NOT_TESTED),  # four arms
        ("distance > 0.5 @ 95% at init=he", Verdict.SUPPORTED),
    ],
)
def test_one_verdict_covers_all_configurations(decided: runs.Results, text: str, verdict: Verdict):
    judgment = judgments(f"trainability: {text}", decided)

    assert judgment.verdict == verdict
    configurations = {Verdict.NOT_TESTED: None}.get(verdict, 4 if "init=he" in text else 8)
    assert judgment.over == configurations


def test_the_level_of_a_hypothesis_is_that_of_its_interval(decided: runs.Results):
    correlation = comparison.trainability(decided).correlation("growth", "loss", 0.8)
    judgment = judgments("trainability: growth > loss @ 80%", decided)

    assert correlation is not None
    interval = f"[{correlation.low:+.2f}, {correlation.high:+.2f}]"
    assert judgment.cells[0].evidence == f"correlation {correlation.value:+.2f} {interval}, 16 arms"
    assert judgment.scope == "over 8 configurations of digits, n = 2"


def test_the_primary_hypothesis_and_the_shipped_claims_can_be_about_predictors(tmp_path: Path):
    primary = "compare.primary=trainability: distance > 0.5 @ 95%"
    results = fabricated.results(tmp_path, distance_decides, *GRID, primary)

    assert [judgment.verdict for judgment in claims.primaries(results)] == [Verdict.SUPPORTED]
    shipped = [claims.judge(claim.expectation, results)[0].verdict for claim in claims.read("trainability")]
    assert shipped == [Verdict.SUPPORTED] * 3


# ---- table and figure ---------------------------------------------------------------------------------------------------


def test_json_and_python_have_a_row_for_each_predictor(decided: runs.Results):
    compared = comparison.compare_results(decided)
    rows = json.loads(tables.FORMATS["json"](compared))["trainability"]
    correlations = compared.trainability.correlations()

    assert [row.pop("predictor") for row in rows] == list(correlations)
    assert [tuple(row.values()) for row in rows] == [
        (entry.value, entry.low, entry.high, entry.arms, entry.configurations) for entry in correlations.values()
    ]
    frame = api.ComparisonView(decided, compared).trainability
    assert list(frame["spearman"]) == [entry.value for entry in correlations.values()]


@pytest.mark.parametrize("write", [report.html, report.markdown, report.text])
def test_every_report_has_the_table(decided: runs.Results, write: Callable[[runs.Results], str]):
    correlation = comparison.trainability(decided).correlations()["growth"]
    text = write(decided)

    assert "What predicts trainability?" in text
    assert f"[{correlation.low:.2f}, {correlation.high:.2f}]" in text


def test_the_figure_has_a_panel_for_each_predictor_and_a_dot_for_each_arm(decided: runs.Results):
    chart = FIGURES["trainability"].chart(FigureData(decided)).to_dict()
    (row,) = chart["vconcat"]

    assert [panel["encoding"]["x"]["field"] for panel in row["hconcat"]] == list(config.PREDICTORS)
    assert [panel["encoding"]["x"]["scale"]["type"] for panel in row["hconcat"]] == ["log", "linear", "log"]
    assert [len(rows) for rows in chart["datasets"].values()] == [16] * 3


def test_the_figure_is_also_drawn_beside_a_heat_map(tmp_path: Path):
    grid = ("network.depth=[8, 16, 32]", "network.init=[he]", "network.init_scale=[1, 2, 3]", "network.norm=[none]", "seeds=1")
    results = fabricated.results(tmp_path, lambda trial: {**distance_decides(trial), "test_accuracy": 0.5}, *grid)

    assert available_figures(FigureData(results)) == ["atlas", "trainability"]
