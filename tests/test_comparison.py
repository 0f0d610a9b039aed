"""What a comparison computes, against scipy, numpy and counting by hand: figures, exact tests, the luck of the images."""

import csv
import gzip
import io
import json
import re

import fabricated
import numpy as np
import pytest
from scipy import stats

from resexp import comparison, runs, tables
from resexp.comparison.image_uncertainty import over_test_images
from resexp.config import ConfigError
from resexp.runs import RunsError

ONE_CELL = ("network.depth=[8]", "network.init=[he]", "network.norm=[none]", "seeds=4")
TWO_DEPTHS = ("network.depth=[8,64]", *ONE_CELL[1:])
TUNED = ("network.depth=[8]", "network.init=he", "network.norm=none", "seeds=2")
PLAIN, RESIDUAL = (0.50, 0.60, 0.70, 0.64), (0.61, 0.66, 0.83, 0.70)
DIFFERENCES = np.subtract(RESIDUAL, PLAIN)


def accuracy(trial):
    return {"test_accuracy": (PLAIN if trial.arm == "plain" else RESIDUAL)[trial.seed], "slope_start": -0.5}


def one(tmp_path, values=accuracy, *overrides):
    """The residual arm of the only cell."""
    (cell,) = comparison.cells(fabricated.results(tmp_path, values, *ONE_CELL, *overrides))
    return cell.arms[1]


def ended(*outcomes):
    """Values by arm: the outcome of each seed, '' for a trial that has not finished."""
    words = {"t": "above_chance", "s": "at_chance", "d": "diverged"}
    accuracies = {"t": 0.9, "s": 0.1, "d": None}
    plain, residual = outcomes

    def values(trial):
        letter = (plain if trial.arm == "plain" else residual)[trial.seed]
        return {"outcome": words[letter], "test_accuracy": accuracies[letter]} if letter in words else {}

    return values


# ---- figures ----------------------------------------------------------------------------------------------------------------


def test_the_last_weights_are_compared_by_what_their_result_says(tmp_path):
    results = fabricated.results(tmp_path, accuracy, *ONE_CELL)
    same, key, metric = comparison.select_metric(results, "test_accuracy", "last")

    assert same is results
    assert (key, metric.percent, metric.better) == ("test_accuracy", True, 1)
    assert comparison.compare_results(results).cells == comparison.cells(results)


def test_at_a_step_the_figures_are_those_of_the_log(tmp_path):
    def values(trial):
        return {**accuracy(trial), "val_accuracy": PLAIN[trial.seed], "train_loss": 9.0}

    found = comparison.compare_results(fabricated.results(tmp_path, values, *ONE_CELL), "train_loss", "step:20")

    assert found.cells[0].arms[0].summary.mean == pytest.approx(2 / 21, rel=1e-8)  # as fabricated logs have it
    assert found.metric.label == "training loss at step 20"


@pytest.mark.parametrize(
    ("name", "at", "words"),
    [
        pytest.param("test_accuracy", "first", "'first' is not one of last, best, step:N", id="a place"),
        pytest.param("test_accuracy", "step:", "'step:' is not one of last", id="no step"),
        pytest.param("test_accuracy", "step:-1", "'step:-1' is not one of last", id="before the start"),
        pytest.param("test_accuracy", "step:20", "the test set is evaluated once, after training", id="test figures at a step"),
        pytest.param("train_loss", "best", "'best_train_loss' is not one of", id="never measured"),
        pytest.param("train_loss", "step:7", "plain-d8-norm-none-init-he-s0 has no row for step 7; it has 0, 20", id="between"),
    ],
)
def test_a_figure_that_is_measured_nowhere_is_refused_in_one_line(tmp_path, name, at, words):
    results = fabricated.results(tmp_path, accuracy, *ONE_CELL)

    with pytest.raises(ConfigError, match=re.escape(words)) as error:
        comparison.compare_results(results, name, at)
    assert "\n" not in str(error.value)


def test_a_step_of_a_log_that_is_gone_is_refused(tmp_path):
    results = fabricated.results(tmp_path, accuracy, *ONE_CELL)
    (results.records[0].folder / "metrics.csv").unlink()

    with pytest.raises(ConfigError, match="has no row for step 20; it has none"):
        comparison.compare_results(results, "train_loss", "step:20")


def test_a_network_that_diverged_before_the_step_has_no_figure_there(tmp_path):
    results = fabricated.results(tmp_path, ended("dddd", "tttt"), *ONE_CELL)
    for state in results.records:
        if state.trial.arm == "plain":
            path = state.folder / "metrics.csv"
            path.write_text("\n".join(path.read_text().splitlines()[:2]) + "\n")
    found = comparison.compare_results(results, "train_loss", "step:20")

    assert [arm.summary.mean is None for arm in found.cells[0].arms] == [True, False]


@pytest.mark.parametrize(
    ("metric", "least"),
    [("test_accuracy", 1 / 359), ("val_accuracy", 1 / 144), ("train_accuracy", 1 / 1294), ("test_loss", None)],
)
def test_the_least_difference_is_one_image_of_the_part(tmp_path, metric, least):
    assert comparison.compare_results(fabricated.results(tmp_path, accuracy, *ONE_CELL), metric).resolution == least


def test_of_several_experiments_the_smallest_part_counts_and_of_many_images_the_sample(tmp_path):
    folders = [fabricated.experiment(tmp_path, accuracy, *ONE_CELL, f"name={name}")[0] for name in "ab"]
    for folder, images in zip(folders, ("60000,\n   5000,\n   10000", "50000,\n   100,\n   20000"), strict=True):
        path = folder / "environment.json"
        start = json.loads(path.read_text())
        start[-1]["images"] = [int(count) for count in images.split(",")]
        path.write_text(json.dumps(start))
    results = runs.read_results(folders)
    measured = {
        name: comparison.compare_results(results, name).resolution
        for name in ("test_accuracy", "val_accuracy", "train_accuracy")
    }

    assert measured == {"test_accuracy": 1 / 10_000, "val_accuracy": 1 / 100, "train_accuracy": 1 / 10_000}


def test_cells_are_ordered_and_named_by_the_keys_that_were_asked_for(tmp_path):
    results = fabricated.results(tmp_path, accuracy, "network.depth=[64,8]", "network.init=[he,pytorch]", *ONE_CELL[2:])

    for keys in (["init"], ["init", "init"]):
        labels = [list(cell.label.items()) for cell in comparison.cells(comparison.order_by(results, keys))]
        assert labels == [[("init", of), ("depth", depth)] for of in ("he", "pytorch") for depth in ("64", "8")]
    table = comparison.compare_results(comparison.order_by(results, ["init", "init"]))
    assert all(None not in (*row, *row.values()) for row in csv.DictReader(io.StringIO(tables.TABLES["csv"](table))))
    with pytest.raises(ConfigError, match="'norm' does not vary here; keys that vary: depth, init"):
        comparison.order_by(results, ["norm"])


# ---- an arm and its twin ----------------------------------------------------------------------------------------------------


def test_a_contrast_is_scipys_sign_flip_and_numpys_correlation(tmp_path):
    arm = one(tmp_path)
    flips = stats.permutation_test((DIFFERENCES,), np.mean, permutation_type="samples", n_resamples=np.inf)

    assert arm.contrast.sign_flip == pytest.approx(flips.pvalue)
    assert (arm.contrast.holm, arm.contrast.least) == (arm.contrast.sign_flip, 2 / 2**4)
    assert arm.contrast.pairing.correlation == pytest.approx(np.corrcoef(PLAIN, RESIDUAL)[0, 1])
    assert arm.contrast.pairing.paired == pytest.approx(np.std(DIFFERENCES, ddof=1))
    assert arm.contrast.pairing.unpaired == pytest.approx(np.sqrt(np.var(PLAIN, ddof=1) + np.var(RESIDUAL, ddof=1)))
    assert arm.contrast.outcomes is arm.contrast.images is None


def test_holm_corrects_over_all_contrasts_of_the_table(tmp_path):
    def values(trial):
        flipped = trial.settings.network.depth == 64 and trial.seed == 0 and trial.arm != "plain"
        return {"test_accuracy": 0.1 if flipped else accuracy(trial)["test_accuracy"]}

    results = fabricated.results(tmp_path, values, *TWO_DEPTHS)
    first, second = (cell.arms[1].contrast for cell in comparison.cells(results))

    assert (first.sign_flip, first.holm) == (1 / 8, 2 / 8)  # the least of two is doubled
    assert second.holm == second.sign_flip > 1 / 8


def test_two_arms_with_equal_means_differ_by_nothing_and_neither_is_best(tmp_path):
    results = fabricated.results(
        tmp_path, lambda t: {"test_accuracy": PLAIN[t.seed if t.arm == "plain" else 3 - t.seed]}, *ONE_CELL
    )
    ((cell),) = comparison.cells(results)
    interval = stats.ttest_rel(PLAIN[::-1], PLAIN).confidence_interval(0.95)

    assert cell.arms[1].difference.mean == pytest.approx(0.0, abs=1e-12)
    assert cell.arms[1].difference.high == pytest.approx(interval.high)
    assert "*" not in tables.TABLES["table"](comparison.compare_results(results))


def test_differences_that_the_nine_digits_of_results_make_unequal_are_equal(tmp_path):
    def values(trial):
        return {"test_accuracy": (300 + 10 * trial.seed + (trial.arm != "plain")) / 359}

    results = fabricated.results(tmp_path, values, *ONE_CELL[:3], "seeds=3")
    found = comparison.compare_results(results)

    assert found.cells[0].arms[1].difference.sd == 0.0
    assert comparison.seed_budget(found) is None
    assert "+0.3 (1 image: 0.28)" in tables.TABLES["table"](found)


@pytest.mark.parametrize("step", ["9" * 17, "9" * 5000])
def test_a_step_that_no_training_has_is_refused_in_one_line(tmp_path, step):
    with pytest.raises(ConfigError, match=r"--at: 'step:9+' is not one of last, best, step:N"):
        comparison.compare_results(fabricated.results(tmp_path, lambda _: {}, *ONE_CELL), "val_accuracy", f"step:{step}")


def test_of_many_steps_the_nearest_are_named(tmp_path):
    folder, found = fabricated.experiment(tmp_path, lambda _: {"test_accuracy": 0.5}, *ONE_CELL)
    rows = [(step, 0, 0.1, 1.0, 0.5, 1.0, 0.5) for step in range(40, 1040, 20)]
    for trial in found.trials:
        runs.append(runs.trial_folder(folder, trial.name) / "metrics.csv", rows)

    with pytest.raises(ConfigError, match=r"no row of step 105; it has 60, 80, 100, 120, 140, 160 and 46 others$"):
        comparison.compare_results(runs.results_of(folder, found), "val_accuracy", "step:105")


@pytest.mark.parametrize("gained", [0, 1, 72])
def test_arms_that_differ_by_the_same_images_in_every_seed_have_no_interval(tmp_path, gained):
    def values(trial):
        right = 100 + 37 * trial.seed + (gained if trial.arm != "plain" else 0)
        return {"test_accuracy": right / 359}  # of which differences are not equal, but for their rounding

    results = fabricated.results(tmp_path, values, *ONE_CELL)
    text = tables.TABLES["table"](comparison.compare_results(results))

    assert one(tmp_path / "again", values).difference.sd == 0.0
    assert f"{100 * gained / 359:+.1f} (1 image: 0.28)" in text
    assert "nan" not in text


@pytest.mark.parametrize(
    ("plain", "residual", "p"),
    [
        pytest.param("tttt", "tttt", None, id="all trained"),
        pytest.param("ssss", "tttt", None, id="each arm alike: their means are compared"),
        pytest.param("sstt", "tttt", stats.fisher_exact([[2, 2], [4, 0]]).pvalue, id="one mixes"),
        pytest.param("sdts", "tttd", stats.fisher_exact([[1, 3], [3, 1]]).pvalue, id="both mix"),
        pytest.param("dddd", "tttt", stats.fisher_exact([[0, 4], [4, 0]]).pvalue, id="one diverged: it has no mean"),
        pytest.param("dddd", "dddd", None, id="both diverged"),
        pytest.param("tts ", "tttt", stats.fisher_exact([[2, 1], [4, 0]]).pvalue, id="one is missing"),
        pytest.param("ttts", "ttt ", stats.fisher_exact([[3, 1], [3, 0]]).pvalue, id="the stuck one has no twin"),
        pytest.param("    ", "ttts", None, id="no twin has finished"),
    ],
)
def test_where_networks_end_differently_their_counts_are_compared_and_no_means(tmp_path, plain, residual, p):
    arm = one(tmp_path, ended(plain, residual))

    assert arm.contrast.outcomes == (None if p is None else pytest.approx(p))
    assert (arm.difference is None) == (p is not None or "t" not in residual or plain.isspace())
    assert arm.contrast.sign_flip is None or arm.difference


def test_a_small_p_of_counts_is_printed_once(tmp_path):
    results = fabricated.results(tmp_path, ended("s" * 9 + "t", "t" * 10), *ONE_CELL[:3], "seeds=10")

    assert "counts: p < 0.001" in tables.TABLES["table"](comparison.compare_results(results))


def test_what_lies_beyond_width_is_told_in_the_unit_of_the_figure(tmp_path):
    def values(trial):
        wide = trial.parameters_of is not None
        loss = (1.0 if wide else 2.0 if trial.arm == "plain" else 0.5) * (1 + trial.seed)
        return {"test_accuracy": 0.5, "test_loss": loss, "parameters": 300 if wide else 100}

    overrides = ["network.shortcut=[gate]", "network.plain_width=parameters"]
    found = comparison.compare_results(fabricated.results(tmp_path, values, *ONE_CELL, *overrides), "test_loss")
    low, high = stats.t.interval(0.95, 3, -1.25, stats.sem([0.5, 1.0, 1.5, 2.0]))

    for form in ("table", "md"):
        assert f"-1.25 [{low:+.4g}, {high:+.4g}]" in tables.TABLES[form](found)
    assert "-125.0" not in tables.TABLES["table"](found)


# ---- the luck of the test images --------------------------------------------------------------------------------------------

LABELS = np.array([0, 1, 2, 3, 4, 5])
NAMED = {
    ("plain", 0): [0, 1, 2, 0, 0, 0], ("plain", 1): [0, 1, 0, 3, 0, 0],
    ("identity", 0): [0, 1, 2, 3, 4, 0], ("identity", 1): [9, 1, 2, 3, 4, 0],
}  # fmt: skip


def predicted(tmp_path):
    results = fabricated.results(tmp_path, accuracy, *ONE_CELL[:3], "seeds=2")
    for state in results.records:
        named = NAMED[state.trial.arm, state.trial.seed]
        rows = [f"{index},{label},{of},0.5" for index, (label, of) in enumerate(zip(LABELS, named, strict=True))]
        text = "\n".join(["index,label,prediction,label_probability", *rows, ""])
        (state.folder / "predictions.csv.gz").write_bytes(gzip.compress(text.encode()))
    return results


def test_the_interval_over_other_images_is_students_of_the_images_mean_differences(tmp_path):
    results = predicted(tmp_path)
    right = {key: np.array(named) == LABELS for key, named in NAMED.items()}
    each = np.mean([right["identity", seed].astype(float) - right["plain", seed] for seed in (0, 1)], axis=0)
    half = stats.t.ppf(0.975, 5) * each.std(ddof=1) / np.sqrt(6)
    found = comparison.compare_results(results, images=True)

    assert found.cells[0].arms[1].contrast.images == pytest.approx(half)
    assert comparison.cells(results)[0].arms[1].contrast.images is None  # only where it is asked for
    for form in ("table", "md"):
        assert f"± {100 * half:.1f} over other test images" in tables.TABLES[form](found)
    assert rf"$\pm$ {100 * half:.1f} over other test images" in tables.TABLES["tex"](found)
    assert comparison.compare_results(results, "test_loss", images=True).cells[0].arms[1].contrast.images is None


def cut(path):
    path.write_bytes(path.read_bytes()[:-12])


def relabelled(path):
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes()).replace(b"\n5,5,", b"\n5,6,")))


def shorter(path):
    path.write_bytes(gzip.compress(b"\n".join(gzip.decompress(path.read_bytes()).splitlines()[:-1]) + b"\n"))


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        pytest.param(lambda path: path.unlink(), "missing or empty; train its trial again", id="missing"),
        pytest.param(lambda path: path.write_bytes(gzip.compress(b"")), "missing or empty", id="empty"),
        pytest.param(lambda path: path.write_bytes(b"index,label"), "damaged", id="no gzip"),
        pytest.param(cut, "damaged", id="truncated"),
        pytest.param(lambda path: path.write_bytes(gzip.compress(b"a,b\n1,2\n")), "damaged", id="other columns"),
        pytest.param(shorter, "the test images differ from those of", id="an image less"),
        pytest.param(relabelled, "the test images differ from those of", id="another label"),
    ],
)
@pytest.mark.parametrize("place", [1, 3], ids=["plain", "residual"])
def test_predictions_that_cannot_be_compared_are_named_in_one_line(tmp_path, damage, words, place):
    results = predicted(tmp_path)
    state = sorted(results.records, key=lambda of: (of.trial.arm != "plain", of.trial.seed))[place]
    damage(state.folder / "predictions.csv.gz")

    with pytest.raises(RunsError, match=words) as error:
        comparison.compare_results(results, images=True)
    assert "\n" not in str(error.value)
    assert str(state.folder / "predictions.csv.gz") in str(error.value)


def test_over_test_images_takes_pairs_in_any_order(tmp_path):
    arms = comparison.groups(predicted(tmp_path))[0][1]
    found = comparison.pairs(arms["plain"], arms["identity"])

    assert over_test_images(found) == pytest.approx(over_test_images(found[::-1]))
