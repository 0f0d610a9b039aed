"""Verdicts on hypotheses: results are fabricated, and verdicts are checked by hand or with scipy."""

from pathlib import Path
from typing import Any

import fabricated
import pytest
from claimed import ONE_CELL, PLAIN, RESIDUAL, TWO_CELLS, helps_only_deep, identity_is_better, judgments
from scipy import stats

from resexp import claims, config, runs
from resexp.claims import Verdict


def verdicts(text: str, results: runs.Results) -> dict[str | None, str]:
    return {judgment.arm: judgment.verdict for judgment in claims.judge(config.parse_expectation(text), results)}


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> runs.Results:
    return fabricated.results(tmp_path_factory.mktemp("one"), identity_is_better, *ONE_CELL)


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> runs.Results:
    return fabricated.results(tmp_path_factory.mktemp("two"), helps_only_deep, *TWO_CELLS)


# ---- one cell -----------------------------------------------------------------------------------------------------------


def test_judging_changes_no_file(tmp_path: Path):
    folder, experiment = fabricated.experiment(tmp_path, identity_is_better, *ONE_CELL)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    for name in claims.shipped():
        for claim in claims.read(name):
            claims.judge(claim.expectation, runs.results_of(folder, experiment))

    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    ("text", "verdict"),
    [  # differences 0.11, 0.06, 0.13, 0.06, mean 0.09
        ("identity > plain", Verdict.SUPPORTED),
        ("plain < identity", Verdict.SUPPORTED),
        ("plain > identity", Verdict.NOT_SUPPORTED),
        ("identity > plain + 0.08", Verdict.SUPPORTED),
        ("identity > plain + 0.1", Verdict.NOT_SUPPORTED),
        ("identity - 0.1 < plain", Verdict.SUPPORTED),
        ("identity > plain + 0.09", Verdict.NOT_SUPPORTED),  # equal except for rounding
        ("identity >= plain + 0.09", Verdict.SUPPORTED),
        ("identity > 0.69", Verdict.SUPPORTED),  # mean 0.7
        ("0.71 < identity", Verdict.NOT_SUPPORTED),
        ("0.69 < identity < 0.71", Verdict.SUPPORTED),
        ("0.69 < identity < 0.7", Verdict.NOT_SUPPORTED),
        ("0.69 < identity <= 0.7", Verdict.SUPPORTED),
        ("plain <= plain <= plain", Verdict.SUPPORTED),
        ("plain < plain", Verdict.NOT_SUPPORTED),
        ("gate > plain", Verdict.NOT_TESTED),
    ],
)
def test_without_a_level_the_mean_decides(one: runs.Results, text: str, verdict: str):
    assert judgments(f"test_accuracy: {text}", one).verdict == verdict


@pytest.mark.parametrize("level", [50, 80, 95, 99, 99.9])
@pytest.mark.parametrize("shift", [0.0, 0.03, 0.04, 0.08, 0.1, 0.15, 0.2])
def test_with_a_level_the_interval_of_the_paired_t_test_decides(one: runs.Results, level: float, shift: float):
    interval = stats.ttest_rel(RESIDUAL, PLAIN).confidence_interval(level / 100)
    expected = (
        Verdict.SUPPORTED if interval.low > shift else Verdict.NOT_SUPPORTED if interval.high < shift else Verdict.UNDECIDED
    )
    judgment = judgments(f"test_accuracy: identity > plain + {shift} @ {level}%", one)

    assert judgment.verdict == expected
    ends = f"{100 * interval.low:+.4g}, {100 * interval.high:+.4g}"
    assert judgment.cells[0].evidence == f"+9 points [{ends}], margin {100 * shift:.4g}"
    assert judgments(f"test_accuracy: plain + {shift} < identity @ {level}%", one).verdict == expected


def test_with_a_level_a_range_must_contain_the_whole_interval(one: runs.Results):
    low, high = stats.ttest_1samp(RESIDUAL, 0).confidence_interval(0.95)

    assert judgments(f"test_accuracy: {low - 0.001} < identity < {high + 0.001} @ 95%", one).verdict == Verdict.SUPPORTED
    assert judgments(f"test_accuracy: {low + 0.001} < identity < {high + 0.001} @ 95%", one).verdict == Verdict.UNDECIDED
    judgment = judgments("test_accuracy: 0.1 < identity < 0.2 @ 95%", one)
    assert judgment.verdict == Verdict.NOT_SUPPORTED
    assert (
        judgment.cells[0].evidence == f"{100 * sum(RESIDUAL) / len(RESIDUAL):.4g}% [{100 * low:.4g}, {100 * high:.4g}]"
    )  # once, measured


def test_an_error_is_one_minus_the_accuracy_and_rounding_does_not_affect_the_verdict(tmp_path: Path):
    results = fabricated.results(tmp_path, lambda _: {"test_accuracy": 0.92}, *ONE_CELL)  # 1 - 0.92 < 0.08

    assert judgments("test_error: 0.08 <= identity <= 0.08", results).verdict == Verdict.SUPPORTED
    assert judgments("test_error: 0.08 <= identity <= 0.08 @ 95%", results).verdict == Verdict.SUPPORTED
    assert judgments("test_error: identity < 0.08", results).verdict == Verdict.NOT_SUPPORTED


@pytest.mark.parametrize(("level", "verdict"), [("", Verdict.SUPPORTED), (" @ 95%", Verdict.UNDECIDED)])
def test_one_seed_has_a_mean_and_no_interval(tmp_path: Path, level: str, verdict: str):
    judgment = judgments(
        f"test_accuracy: identity > plain{level}", fabricated.results(tmp_path, identity_is_better, *ONE_CELL[:3], "seeds=1")
    )

    assert (judgment.verdict, judgment.cells[0].n) == (verdict, 1)
    assert judgment.cells[0].evidence == "+11 points, margin 0" + ("; one seed has no interval" if level else "")


def test_seeds_that_one_arm_has_not_finished_are_left_out(tmp_path: Path):
    def values(trial: config.Trial) -> dict[str, Any]:
        return {} if (trial.arm, trial.seed) in (("plain", 2), ("identity", 0)) else identity_is_better(trial)

    (cell,) = judgments("test_accuracy: identity > plain", fabricated.results(tmp_path, values, *ONE_CELL)).cells

    assert (cell.n, cell.evidence[:9]) == (2, "+6 points")


def test_arms_without_a_seed_in_common_are_undecided(tmp_path: Path):
    results = fabricated.results(
        tmp_path, lambda t: identity_is_better(t) if (t.seed < 2) == (t.arm == "plain") else {}, *ONE_CELL
    )

    assert judgments("test_accuracy: identity > plain", results).verdict == Verdict.UNDECIDED
    assert judgments("test_accuracy: identity > plain", results).cells[0].evidence == "no seed in common"


# ---- outcomes --------------------------------------------------------------------------------------------------------------


def with_outcomes(**outcomes: str) -> Any:
    """Outcomes by seed of plain and identity: t (above chance), s (at chance), d (diverged)."""
    names = {"t": "above_chance", "s": "at_chance", "d": "diverged"}

    def values(trial: config.Trial) -> dict[str, Any]:
        outcome = names[outcomes[trial.arm][trial.seed]]
        return {"outcome": outcome, **({} if outcome == "diverged" else identity_is_better(trial))}

    return values


@pytest.mark.parametrize(
    ("plain", "identity", "mean", "interval"),
    [
        ("tttt", "tttt", Verdict.SUPPORTED, Verdict.SUPPORTED),
        ("ssss", "tttt", Verdict.SUPPORTED, Verdict.SUPPORTED),
        ("ssst", "tttt", Verdict.SUPPORTED, Verdict.UNDECIDED),
        ("tttt", "tsts", Verdict.SUPPORTED, Verdict.UNDECIDED),
        ("dddt", "tttt", Verdict.UNDECIDED, Verdict.UNDECIDED),  # one seed cannot represent the others
        ("tttt", "tttd", Verdict.UNDECIDED, Verdict.UNDECIDED),
        ("dddd", "tttt", Verdict.UNDECIDED, Verdict.UNDECIDED),
    ],
)
def test_mixed_outcomes_have_no_interval_and_diverged_seeds_have_no_value(
    tmp_path: Path, plain: str, identity: str, mean: str, interval: str
):
    results = fabricated.results(tmp_path, with_outcomes(plain=plain, identity=identity), *ONE_CELL)

    assert judgments("test_accuracy: identity > plain", results).verdict == mean
    assert judgments("test_accuracy: identity > plain @ 95%", results).verdict == interval


def test_only_outcomes_of_paired_seeds_count_as_mixed(tmp_path: Path):
    def values(trial: config.Trial) -> dict[str, Any]:
        return {} if (trial.arm, trial.seed) == ("identity", 3) else with_outcomes(plain="ttts", identity="tttt")(trial)

    judgment = judgments("test_accuracy: identity > plain @ 95%", fabricated.results(tmp_path, values, *ONE_CELL))

    assert (judgment.verdict, judgment.cells[0].n) == (Verdict.SUPPORTED, 3)  # as in the table


def test_the_share_above_chance_is_a_measure(tmp_path: Path):
    results = fabricated.results(tmp_path, with_outcomes(plain="ssst", identity="tttt"), *ONE_CELL)

    assert judgments("above_chance: identity > plain", results).verdict == Verdict.SUPPORTED
    assert (
        judgments("above_chance: plain > 0.25", results).verdict == Verdict.NOT_SUPPORTED
    )  # one of four is not more than a quarter
    assert judgments("above_chance: plain >= 0.25", results).verdict == Verdict.SUPPORTED


# ---- several cells ---------------------------------------------------------------------------------------------------------


def test_a_hypothesis_must_be_supported_in_every_cell(two: runs.Results):
    assert judgments("test_accuracy: identity >= plain", two).scope == "supported in 2 of 2 configurations of digits, n = 4"
    strictly = judgments("test_accuracy: identity > plain", two)
    assert (strictly.verdict, strictly.scope) == (
        Verdict.NOT_SUPPORTED, "supported in 1, not supported in 1 of 2 configurations of digits, n = 4",
    )  # fmt: skip
    assert [(cell.label, cell.verdict) for cell in strictly.cells] == [
        ({"depth": "16"}, Verdict.NOT_SUPPORTED), ({"depth": "64"}, Verdict.SUPPORTED),
    ]  # fmt: skip


def test_a_hypothesis_that_is_undecided_in_one_cell_is_undecided(tmp_path: Path):
    def values(trial: config.Trial) -> dict[str, Any]:
        jitter = (trial.seed % 2) * 0.2 * (trial.settings.network.depth == 16)
        return {"test_accuracy": 0.5 + (0.05 + trial.seed / 1000 - jitter) * (trial.arm != "plain")}

    judgment = judgments("test_accuracy: identity > plain @ 95%", fabricated.results(tmp_path, values, *TWO_CELLS))

    assert (judgment.verdict, judgment.scope) == (
        Verdict.UNDECIDED,
        "supported in 1, undecided in 1 of 2 configurations of digits, n = 4",
    )


AGAINST = (-0.006, -0.012, -0.008, -0.016, -0.004)  # one-sided p-value of 0.0065 for identity being better
FOR = (0.05, 0.06, 0.055, 0.052, 0.058)


@pytest.mark.parametrize(
    ("depths", "verdict"),
    [
        pytest.param("[8]", Verdict.NOT_SUPPORTED, id="1 configuration: 0.0065 < 0.025"),
        pytest.param("[8, 16, 32]", Verdict.NOT_SUPPORTED, id="3: 3 x 0.0065 < 0.025"),
        pytest.param("[8, 16, 32, 64]", Verdict.UNDECIDED, id="4: 4 x 0.0065 > 0.025"),
    ],
)
def test_one_of_several_configurations_contradicts_a_claim_only_if_significant_after_holm_correction(
    tmp_path: Path, depths: str, verdict: Verdict
):
    p = stats.ttest_1samp(AGAINST, 0, alternative="less").pvalue
    assert 0.025 / 4 < p < 0.025 / 3

    def values(trial: config.Trial) -> dict[str, Any]:
        differences = AGAINST if trial.settings.network.depth == 8 else FOR
        return {"test_accuracy": 0.8 + differences[trial.seed] * (trial.arm != "plain")}

    results = fabricated.results(tmp_path, values, f"network.depth={depths}", *ONE_CELL[1:3], "seeds=5")
    judgment = judgments("test_accuracy: identity > plain @ 95%", results)

    assert judgment.verdict == judgment.cells[0].verdict == verdict
    assert {cell.verdict for cell in judgment.cells[1:]} <= {Verdict.SUPPORTED}  # support is not corrected
    assert ("after correction for 4 tests (Holm)" in judgment.cells[0].evidence) == (verdict == Verdict.UNDECIDED)
    assert (
        judgments("test_accuracy: identity > plain", results).verdict == Verdict.NOT_SUPPORTED
    )  # without a level the mean decides


@pytest.mark.parametrize(
    ("seeds", "verdicts_of_both"),
    [
        pytest.param(3, (Verdict.UNDECIDED, Verdict.UNDECIDED), id="1 of 20 orders: 0.05"),
        pytest.param(4, (Verdict.SUPPORTED, Verdict.NOT_SUPPORTED), id="1 of 70 orders: 0.014 < 0.025"),
    ],
)
def test_if_all_networks_of_one_arm_diverge_a_level_requires_enough_seeds(
    tmp_path: Path, seeds: int, verdicts_of_both: tuple[Verdict, Verdict]
):
    def values(trial: config.Trial) -> dict[str, Any]:
        is_diverged = trial.arm == "plain" and trial.settings.network.depth == 64
        return {"outcome": "diverged"} if is_diverged else {"test_accuracy": 0.9 + trial.seed / 1000}

    results = fabricated.results(tmp_path, values, *TWO_CELLS[:3], f"seeds={seeds}")

    assert tuple(judgments(f"degradation: identity {sign} plain @ 95%", results).verdict for sign in "<>") == verdicts_of_both
    assert judgments("degradation: identity < plain", results).verdict == Verdict.SUPPORTED


@pytest.mark.parametrize(
    ("cells", "verdict"),
    [
        ("depth=deepest", Verdict.SUPPORTED),
        ("depth=64", Verdict.SUPPORTED),
        ("network.depth=64.0", Verdict.SUPPORTED),
        ("depth=shallowest", Verdict.NOT_SUPPORTED),
        ("depth=16", Verdict.NOT_SUPPORTED),
        ("depth=deepest, lr=1e-3", Verdict.SUPPORTED),
        ("depth=deepest, training.lr=0.001", Verdict.SUPPORTED),
        ("depth=deepest, lr=1e-2", Verdict.NOT_TESTED),
        ("depth=deepest, zero_init_residual=false", Verdict.SUPPORTED),
        ("depth=deepest, zero_init_residual=False", Verdict.SUPPORTED),
        ("depth=deepest, zero_init_residual=true", Verdict.NOT_TESTED),
        ("depth=deepest, zero_init_residual=0", Verdict.NOT_TESTED),
        ("depth=deepest, init_scale=default", Verdict.SUPPORTED),
        ("depth=deepest, data.name=digits, precision=float32, device=cpu", Verdict.SUPPORTED),
        ("depth=deepest, data.name=mnist", Verdict.NOT_TESTED),
        ("data.name=mnist, depth=deepest", Verdict.NOT_TESTED),
        ("depth=32", Verdict.NOT_TESTED),
        ("depth=16, depth=64", Verdict.NOT_TESTED),
    ],
)
def test_conditions_accept_any_spelling_of_a_value(two: runs.Results, cells: str, verdict: str):
    judgment = judgments(f"test_accuracy: identity > plain at {cells}", two)

    assert judgment.verdict == verdict
    assert (judgment.scope == "no configuration has everything that the claim names") == (verdict == Verdict.NOT_TESTED)


@pytest.mark.parametrize("cells", ["norm=layer, depth=deepest", "depth=deepest, norm=layer"])
def test_deepest_is_the_deepest_depth_that_matches_the_other_conditions(tmp_path: Path, cells: str):
    grids = [("none", "[8, 64]"), ("layer", "[8, 16]")]
    folders = [
        fabricated.experiment(tmp_path, identity_is_better, f"name={norm}", *ONE_CELL[1:2], f"network.norm=[{norm}]",
                              f"network.depth={depths}", "seeds=4")[0] for norm, depths in grids
    ]  # fmt: skip
    judgment = judgments(f"test_accuracy: identity > plain at {cells}", runs.read_results(folders))

    assert [cell.label["depth"] for cell in judgment.cells] == ["16"]


# ---- each arm with a shortcut ----------------------------------------------------------------------------------------------

ARMS = ("network.shortcut=[identity, gate, rezero]", "network.plain_width=parameters")


def by_arm(**accuracy: float) -> Any:
    return lambda trial: {"test_accuracy": mean + trial.seed / 100} if (mean := accuracy.get(trial.arm)) is not None else {}


def test_residual_means_each_arm_with_a_shortcut_but_not_the_parameter_matched_baseline(tmp_path: Path):
    accuracy = {"plain": 0.5, "identity": 0.6, "gate": 0.4, "rezero": 0.7, "plain-as-gate": 0.9}
    results = fabricated.results(tmp_path, by_arm(**accuracy), *ONE_CELL, *ARMS)

    assert verdicts("test_accuracy: residual > plain @ 95%", results) == {
        "identity": Verdict.SUPPORTED, "gate": Verdict.NOT_SUPPORTED, "rezero": Verdict.SUPPORTED,
    }  # fmt: skip
    assert {
        judgment.expectation.text for judgment in claims.judge(config.parse_expectation("test_loss: residual > plain"), results)
    } == {"test_loss: residual > plain"}


def test_residual_excludes_arms_that_the_hypothesis_names(tmp_path: Path):
    results = fabricated.results(tmp_path, by_arm(plain=0.5, identity=0.6, gate=0.4, rezero=0.7), *ONE_CELL, *ARMS)

    assert verdicts("test_accuracy: residual > identity", results) == {
        "gate": Verdict.NOT_SUPPORTED,
        "rezero": Verdict.SUPPORTED,
    }


@pytest.mark.parametrize("key", ["epochs", "validation", "depth", "momentum", "augment"])
def test_a_condition_accepts_keys_without_their_section(key: str):
    ((short, _),) = config.parse_expectation(f"test_accuracy: identity > plain at {key}=1").where

    assert short == config.SHORT[key]


def test_a_residual_arm_without_finished_trials_is_not_tested(tmp_path: Path):
    results = fabricated.results(tmp_path, by_arm(plain=0.5, identity=0.6, rezero=0.7), *ONE_CELL, *ARMS)

    assert verdicts("test_accuracy: residual > plain", results) == {
        "identity": Verdict.SUPPORTED, "gate": Verdict.NOT_TESTED, "rezero": Verdict.SUPPORTED,
    }  # fmt: skip
    assert verdicts("test_accuracy: residual > plain at depth=8", results) == {None: Verdict.NOT_TESTED}
    assert verdicts("step_seconds: residual > plain", results) == {None: Verdict.NOT_TESTED}
