"""Measures other than accuracy: degradation, costs, counts, steps to a loss, gradient growth."""

import math
from pathlib import Path
from typing import Any

import fabricated
import pytest
from claimed import ONE_CELL, TWO_CELLS, helps_only_deep, identity_is_better, judgments
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from resexp import claims, config, runs
from resexp.claims import Verdict


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> runs.Results:
    return fabricated.results(tmp_path_factory.mktemp("one"), identity_is_better, *ONE_CELL)


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> runs.Results:
    return fabricated.results(tmp_path_factory.mktemp("two"), helps_only_deep, *TWO_CELLS)


# ---- degradation -------------------------------------------------------------------------------------------------------------


def test_degradation_is_the_rise_of_the_training_error_from_the_shallowest_to_the_deepest_network(two: runs.Results):
    # plain rises by 10 points at every seed, identity by 6
    assert judgments("degradation: identity < plain @ 95%", two).verdict == Verdict.SUPPORTED
    assert judgments("degradation: plain <= 0.1", two).verdict == Verdict.SUPPORTED
    assert judgments("degradation: plain > 0.1", two).verdict == Verdict.NOT_SUPPORTED
    assert judgments("degradation: identity >= 0.06 at depth=deepest", two).verdict == Verdict.SUPPORTED
    assert judgments("degradation: identity > 0.06", two).scope == "not supported in 1 of 1 configuration of digits, n = 4"


def test_degradation_requires_two_depths(one: runs.Results):
    assert judgments("degradation: identity < plain", one).verdict == Verdict.NOT_TESTED


def test_divergence_at_the_deepest_depth_is_the_largest_rise_and_at_the_shallowest_there_is_no_rise(tmp_path: Path):
    def diverging(depth: int) -> Any:
        diverged = {("plain", depth)}
        return lambda t: {"outcome": "diverged"} if (t.arm, t.settings.network.depth) in diverged else {"test_accuracy": 0.9}

    deep, shallow = (fabricated.results(tmp_path / str(depth), diverging(depth), *TWO_CELLS) for depth in (64, 16))

    assert judgments("degradation: identity < plain @ 95%", deep).verdict == Verdict.SUPPORTED
    assert judgments("degradation: identity < plain", shallow).verdict == Verdict.UNDECIDED


def test_rises_between_different_depths_are_not_compared(tmp_path: Path):
    def values(trial: config.Trial) -> dict[str, Any]:
        return {"test_accuracy": 0.9 - trial.settings.network.depth / 1000}

    deeper = ("name=deeper", "network.plain=false", "network.depth=[16, 128]", *ONE_CELL[1:])
    folders = [fabricated.experiment(tmp_path, values, *overrides)[0] for overrides in (TWO_CELLS, deeper)]
    results = runs.read_results(folders)

    assert judgments("degradation: plain > 0.04", results).verdict == Verdict.SUPPORTED  # from 16 to 64
    assert judgments("degradation: identity > 0.1", results).verdict == Verdict.SUPPORTED  # from 16 to 128
    judgment = judgments("degradation: identity > plain", results)
    assert (judgment.verdict, judgment.cells[0].evidence) == (Verdict.UNDECIDED, "between depths 16 and 128, and 16 and 64")


# ---- costs ----------------------------------------------------------------------------------------------------------------


def write_costs(folder: Path, **steps: tuple[float, float, float]) -> None:
    """Writes cost.csv with (low, median, high) seconds per step of each arm; 50 steps per epoch, memory proportional."""
    rows = [
        ("d64 norm-none init-he", arm, 100, 90, 1000 * middle, 2000 * middle, middle, low, high, 50 * middle, 1.0)
        for arm, (low, middle, high) in steps.items()
    ]
    runs.write_rows(folder / "cost.csv", rows)


@pytest.fixture(scope="module")
def timed_results(tmp_path_factory: pytest.TempPathFactory) -> runs.Results:
    return fabricated.results(tmp_path_factory.mktemp("timed"), identity_is_better, *ONE_CELL)


@pytest.mark.parametrize(
    ("plain", "identity", "verdict"),
    [
        ((1.0, 2.0, 3.0), (4.0, 5.0, 6.0), Verdict.SUPPORTED),
        ((4.0, 5.0, 6.0), (1.0, 2.0, 3.0), Verdict.NOT_SUPPORTED),
        ((1.0, 2.0, 3.5), (3.0, 4.0, 5.0), Verdict.UNDECIDED),
        ((1.0, 2.0, 3.0), (3.0, 4.0, 5.0), Verdict.UNDECIDED),
        ((3.0, 4.0, 5.0), (1.0, 2.0, 3.5), Verdict.UNDECIDED),
    ],
)
def test_times_differ_if_their_quartiles_do_not_overlap(timed_results: runs.Results, plain: Any, identity: Any, verdict: str):
    write_costs(timed_results.sources[0][0], plain=plain, identity=identity)
    for record in timed_results.records:  # every step is logged, so steps have no range
        path = record.folder / "metrics.csv"
        path.unlink(missing_ok=True)
        runs.append(path, [(step, 0, 0.001, 2.0 if step < 20 else 0.4, 0.5, 2.0, 0.5) for step in range(21)])

    for measure in ("step_seconds", "epoch_seconds", "time_to_loss(0.5)"):
        assert judgments(f"{measure}: identity > plain", timed_results).verdict == verdict


def test_costs_are_read_from_cost_csv_only_and_counts_from_results(tmp_path: Path):
    def values(trial: config.Trial) -> dict[str, Any]:
        return {**identity_is_better(trial), "parameters": 100 + 10 * (trial.arm != "plain")}

    folder, experiment = fabricated.experiment(tmp_path, values, *ONE_CELL)
    for measure in ("step_seconds", "epoch_seconds", "memory_bytes", "activation_bytes", "time_to_loss(0.5)"):
        assert judgments(f"{measure}: identity > 0", runs.results_of(folder, experiment)).verdict == Verdict.NOT_TESTED
    write_costs(folder, identity=(1.0, 2.0, 3.0))
    results = runs.results_of(folder, experiment)

    assert judgments("step_seconds: identity > plain", results).verdict == Verdict.NOT_TESTED
    assert judgments("step_seconds: 0.9 < identity < 3.1", results).verdict == Verdict.SUPPORTED
    assert judgments("epoch_seconds: 49 < identity < 151", results).verdict == Verdict.SUPPORTED
    assert judgments("epoch_seconds: identity > 51", results).verdict == Verdict.UNDECIDED
    assert judgments("activation_bytes: 2000 <= identity <= 2000", results).verdict == Verdict.SUPPORTED
    assert judgments("memory_bytes: identity < 4000", results).verdict == Verdict.NOT_SUPPORTED
    assert judgments("multiply_adds: plain <= identity <= plain", results).verdict == Verdict.SUPPORTED
    assert judgments("parameters: identity > plain + 9", results).verdict == Verdict.SUPPORTED
    assert judgments("parameters: identity > plain + 10", results).cells[0].evidence == "110 and 100"
    assert (
        judgments("time_to_loss(0.5): 0.9 < identity < 61", results).verdict == Verdict.SUPPORTED
    )  # 1 to 20 steps of 1 to 3 s


# ---- steps to a loss ------------------------------------------------------------------------------------------------------


def write_losses(folder: Path, trial: config.Trial, *values: float) -> None:
    """Writes metrics.csv with these training losses at steps 0, 10, 20, ..."""
    path = runs.trial_folder(folder, trial.name) / "metrics.csv"
    path.unlink()
    runs.append(path, [(10 * index, index, 0.001, loss, 0.5, 2.0, 0.5) for index, loss in enumerate(values)])


@pytest.mark.parametrize(
    ("plain", "identity", "sign", "verdict", "evidence"),
    [
        ([(2, 1, 0.5)] * 2, [(2, 0.4, 0.6)] * 2, ">", Verdict.SUPPORTED, "+10 steps [+10, +10], margin 0"),  # 20 steps and 10
        # both logged at step 10, reached at steps 1 to 10
        (
            [(2, 0.5)] * 2,
            [(2, 0.4)] * 2,
            ">",
            Verdict.UNDECIDED,
            "+0 steps [+0, +0], margin 0; undecided within the logging interval",
        ),
        (
            [(2, 0.5)] * 2,
            [(2, 0.4)] * 2,
            ">=",
            Verdict.UNDECIDED,
            "+0 steps [+0, +0], margin 0; undecided within the logging interval",
        ),
        (
            [(0.5,)] * 2,
            [(0.4,)] * 2,
            ">",
            Verdict.NOT_SUPPORTED,
            "+0 steps [+0, +0], margin 0",
        ),  # both at step 0, which is exact
        ([(2, 0.5)] * 2, [(0.4,)] * 2, ">", Verdict.SUPPORTED, "+10 steps [+10, +10], margin 0"),
        ([(2, 1)] * 2, [(2, 0.4)] * 2, ">", Verdict.SUPPORTED, "one arm never reaches the loss at 2 of 2 seeds"),
        ([(2, 0.4)] * 2, [(2, math.nan)] * 2, ">", Verdict.NOT_SUPPORTED, "one arm never reaches the loss at 2 of 2 seeds"),
        ([(2, 1), (2, 0.4)], [(2, 0.4), (2, 1, 0.4)], ">", Verdict.UNDECIDED, "one arm never reaches the loss at 1 of 2 seeds"),
        ([(2, 1), (2, 0.4)], [(2, 0.4), (0.4,)], ">=", Verdict.SUPPORTED, "one arm never reaches the loss at 1 of 2 seeds"),
        ([(2, 0.4), (0.4,)], [(2, 1), (2, 0.4)], ">", Verdict.NOT_SUPPORTED, "one arm never reaches the loss at 1 of 2 seeds"),
        ([(2, 1), (2, 0.4)], [(2, 1), (2, 0.4)], ">", Verdict.UNDECIDED, "neither arm reaches the loss at 1 of 2 seeds"),
        ([(2, 1)] * 2, [(2, 1)] * 2, ">=", Verdict.UNDECIDED, "neither arm reaches the loss at 2 of 2 seeds"),
    ],
)
def test_steps_to_a_loss_are_the_step_of_the_first_row_with_it_or_infinite(
    tmp_path: Path, plain: Any, identity: Any, sign: str, verdict: str, evidence: str
):
    folder, experiment = fabricated.experiment(tmp_path, identity_is_better, *ONE_CELL[:3], "seeds=2")
    for trial in experiment.trials:
        write_losses(folder, trial, *(plain if trial.arm == "plain" else identity)[trial.seed])
    write_costs(folder, plain=(2.0, 2.0, 2.0), identity=(2.0, 2.0, 2.0))
    results = runs.results_of(folder, experiment)

    (cell,) = judgments(f"steps_to_loss(0.5): plain {sign} identity", results).cells
    assert (cell.verdict, cell.evidence) == (verdict, evidence)
    assert judgments(f"time_to_loss(0.5): plain {sign} identity", results).verdict == verdict


def test_a_difference_shorter_than_the_logging_interval_is_undecided(tmp_path: Path):
    folder, experiment = fabricated.experiment(tmp_path, identity_is_better, *ONE_CELL)

    def verdict(*, every: int) -> Verdict:
        for trial in experiment.trials:
            reached = (20 if trial.arm == "plain" else 25) + trial.seed % 2
            path = runs.trial_folder(folder, trial.name) / "metrics.csv"
            path.unlink()
            steps = [*range(0, reached, every), reached]
            runs.append(path, [(step, 0, 0.1, 2.0 if step < reached else 0.4, 0.5, 2.0, 0.5) for step in steps])
        return judgments("steps_to_loss(0.5): identity < plain @ 95%", runs.results_of(folder, experiment)).verdict

    assert verdict(every=10) == Verdict.UNDECIDED  # plain after 10 to 20, identity after 20 to 25
    assert verdict(every=1) == Verdict.NOT_SUPPORTED


# ---- gradients -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("slope", "verdict"),
    [
        pytest.param(0.4, Verdict.SUPPORTED, id="gradients grow toward the input"),
        pytest.param(-0.02, Verdict.SUPPORTED, id="31 blocks lose 0.62 orders of magnitude"),
        pytest.param(-0.05, Verdict.NOT_SUPPORTED, id="31 blocks lose 1.55 orders of magnitude, at 0.05 per block"),
    ],
)
def test_vanishing_is_measured_over_the_whole_network_and_growth_is_not_vanishing(
    tmp_path: Path, slope: float, verdict: Verdict
):
    one_cell = ("network.depth=[64]", "network.init=[he]", "network.norm=[batch]", "seeds=4")
    results = fabricated.results(
        tmp_path, lambda t: {**identity_is_better(t), "slope_start": slope + t.seed / 10_000}, *one_cell
    )
    (claim,) = (candidate for candidate in claims.read("he2015") if "Vanishing" in candidate.text)

    assert claims.judge(claim.expectation, results)[0].verdict == verdict
    evidence = judgments("gradient_growth: plain > -1", results).cells[0].evidence
    assert evidence.startswith(f"{31 * (slope + 0.00015):.4g} orders of magnitude [")


def test_a_missing_log_is_an_error_and_not_an_unreached_loss(tmp_path: Path):
    folder, experiment = fabricated.experiment(tmp_path, identity_is_better, *ONE_CELL)
    (runs.trial_folder(folder, experiment.trials[0].name) / "metrics.csv").unlink()

    with pytest.raises(runs.RunsError, match=r"metrics\.csv: missing or empty"):
        judgments("steps_to_loss(0.5): plain > identity", runs.results_of(folder, experiment))


# ---- every measure ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def results_of_all_measures(tmp_path_factory: pytest.TempPathFactory) -> runs.Results:
    """Two depths; the deepest plain networks have all three outcomes; costs of the deepest cell."""
    outcomes = ("above_chance", "at_chance", "diverged", "above_chance")

    def values(trial: config.Trial) -> dict[str, Any]:
        mixed = trial.arm == "plain" and trial.settings.network.depth == 64
        outcome = outcomes[trial.seed] if mixed else "above_chance"
        return {"outcome": outcome, **({} if outcome == "diverged" else identity_is_better(trial))}

    results = fabricated.results(tmp_path_factory.mktemp("all"), values, *TWO_CELLS)
    write_costs(results.sources[0][0], plain=(1.0, 2.0, 3.0), identity=(2.0, 3.0, 4.0))
    return results


OPPOSITE = {
    Verdict.SUPPORTED: Verdict.NOT_SUPPORTED,
    Verdict.NOT_SUPPORTED: Verdict.SUPPORTED,
    Verdict.UNDECIDED: Verdict.UNDECIDED,
    Verdict.NOT_TESTED: Verdict.NOT_TESTED,
}
MEASURES_OF_ARMS = [name for name in config.MEASURES if name != config.TRAINABILITY]
SIDES = st.sampled_from(["plain", "identity", "identity + 0.09", "plain - 10", "gate", "0.5"])


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(MEASURES_OF_ARMS), SIDES, st.sampled_from([(">", "<="), (">=", "<")]), SIDES,
    st.sampled_from(["", "@ 95%", "@ 50%"]), st.sampled_from(["deepest", "shallowest", "8"]),
)  # fmt: skip
def test_the_verdict_on_the_opposite_hypothesis_is_the_opposite_verdict(
    results_of_all_measures: runs.Results, measure: str, left: str, signs: tuple[str, str], right: str, level: str, depth: str
):
    assume((left, right) != ("0.5", "0.5"))
    name = f"{measure}(0.5)" if measure in ("steps_to_loss", "time_to_loss") else measure
    verdicts = [
        judgments(f"{name}: {left} {sign} {right} {level} at depth={depth}", results_of_all_measures).verdict for sign in signs
    ]

    assert verdicts[1] == OPPOSITE[verdicts[0]]


def test_counts_are_printed_with_all_digits(tmp_path: Path):
    results = fabricated.results(
        tmp_path, lambda t: {**identity_is_better(t), "parameters": 1_703_258 + (t.arm == "plain")}, *ONE_CELL
    )

    assert judgments("parameters: identity < plain", results).cells[0].evidence == "1,703,258 and 1,703,259"
