"""Comparisons, checked against scipy, numpy and manual counts: metrics, exact tests, uncertainty of the test images."""

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


def residual_arm(tmp_path, values=accuracy, *overrides):
    """The residual arm of the only cell."""
    (cell,) = comparison.cells(fabricated.results(tmp_path, values, *ONE_CELL, *overrides))
    return cell.arms[1]


def with_outcomes(*outcomes):
    """Outcome letters by arm, one per seed; a space is a trial that has not finished."""
    words = {"t": "above_chance", "s": "at_chance", "d": "diverged"}
    accuracies = {"t": 0.9, "s": 0.1, "d": None}
    plain, residual = outcomes

    def values(trial):
        letter = (plain if trial.arm == "plain" else residual)[trial.seed]
        return {"outcome": words[letter], "test_accuracy": accuracies[letter]} if letter in words else {}

    return values


# ---- metrics ----------------------------------------------------------------------------------------------------------------


def test_final_weights_are_compared_by_the_values_of_their_results(tmp_path):
    results = fabricated.results(tmp_path, accuracy, *ONE_CELL)
    same, key, metric = comparison.select_metric(results, "test_accuracy", "last")

    assert same is results
    assert (key, metric.percent, metric.better) == ("test_accuracy", True, 1)
    assert comparison.compare_results(results).cells == comparison.cells(results)


def test_at_a_step_the_values_are_those_of_the_log(tmp_path):
    def values(trial):
        return {**accuracy(trial), "val_accuracy": PLAIN[trial.seed], "train_loss": 9.0}

    compared = comparison.compare_results(fabricated.results(tmp_path, values, *ONE_CELL), "train_loss", "step:20")

    assert compared.cells[0].arms[0].summary.mean == pytest.approx(2 / 21, rel=1e-8)  # from the fabricated log
    assert compared.metric.label == "training loss at step 20"


@pytest.mark.parametrize(
    ("name", "at", "words"),
    [
        pytest.param("test_accuracy", "first", "'first' is not one of last, best, step:N", id="unknown at"),
        pytest.param("test_accuracy", "step:", "'step:' is not one of last", id="no step number"),
        pytest.param("test_accuracy", "step:-1", "'step:-1' is not one of last", id="negative step"),
        pytest.param("test_accuracy", "step:20", "the test set is evaluated once, after training", id="test metric at a step"),
        pytest.param("train_loss", "best", "'best_train_loss' is not one of", id="metric not measured for the best weights"),
        pytest.param(
            "train_loss",
            "step:7",
            "plain-d8-norm-none-init-he-s0 has no row for step 7; it has 0, 20",
            id="step that was not logged",
        ),
    ],
)
def test_a_metric_that_was_not_measured_is_refused_in_one_line(tmp_path, name, at, words):
    results = fabricated.results(tmp_path, accuracy, *ONE_CELL)

    with pytest.raises(ConfigError, match=re.escape(words)) as error:
        comparison.compare_results(results, name, at)
    assert "\n" not in str(error.value)


def test_a_step_of_a_missing_log_is_refused(tmp_path):
    results = fabricated.results(tmp_path, accuracy, *ONE_CELL)
    (results.records[0].folder / "metrics.csv").unlink()

    with pytest.raises(ConfigError, match="has no row for step 20; it has none"):
        comparison.compare_results(results, "train_loss", "step:20")


def test_a_network_that_diverged_before_the_step_has_no_value(tmp_path):
    results = fabricated.results(tmp_path, with_outcomes("dddd", "tttt"), *ONE_CELL)
    for record in results.records:
        if record.trial.arm == "plain":
            path = record.folder / "metrics.csv"
            path.write_text("\n".join(path.read_text().splitlines()[:2]) + "\n")
    compared = comparison.compare_results(results, "train_loss", "step:20")

    assert [arm.summary.mean is None for arm in compared.cells[0].arms] == [True, False]


@pytest.mark.parametrize(
    ("metric", "resolution"),
    [("test_accuracy", 1 / 359), ("val_accuracy", 1 / 144), ("train_accuracy", 1 / 1294), ("test_loss", None)],
)
def test_the_resolution_is_one_image_of_the_data_set(tmp_path, metric, resolution):
    assert comparison.compare_results(fabricated.results(tmp_path, accuracy, *ONE_CELL), metric).resolution == resolution


def test_the_resolution_is_that_of_the_smallest_data_set_or_of_the_training_sample(tmp_path):
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


def test_cells_are_sorted_and_labeled_by_the_given_keys_first(tmp_path):
    results = fabricated.results(tmp_path, accuracy, "network.depth=[64,8]", "network.init=[he,pytorch]", *ONE_CELL[2:])

    for keys in (["init"], ["init", "init"]):
        labels = [list(cell.label.items()) for cell in comparison.cells(comparison.order_by(results, keys))]
        assert labels == [[("init", init), ("depth", depth)] for init in ("he", "pytorch") for depth in ("64", "8")]
    table = comparison.compare_results(comparison.order_by(results, ["init", "init"]))
    assert all(None not in (*row, *row.values()) for row in csv.DictReader(io.StringIO(tables.FORMATS["csv"](table))))
    with pytest.raises(ConfigError, match="'norm' does not vary here; keys that vary: depth, init"):
        comparison.order_by(results, ["norm"])


# ---- plain counterparts ---------------------------------------------------------------------------------------------------


def test_a_contrast_has_the_sign_flip_test_of_scipy_and_the_correlation_of_numpy(tmp_path):
    arm = residual_arm(tmp_path)
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

    assert (first.sign_flip, first.holm) == (1 / 8, 2 / 8)  # the smaller of two is doubled
    assert second.holm == second.sign_flip > 1 / 8


def test_two_arms_with_equal_means_have_a_difference_of_zero_and_no_star(tmp_path):
    results = fabricated.results(
        tmp_path, lambda t: {"test_accuracy": PLAIN[t.seed if t.arm == "plain" else 3 - t.seed]}, *ONE_CELL
    )
    (cell,) = comparison.cells(results)
    interval = stats.ttest_rel(PLAIN[::-1], PLAIN).confidence_interval(0.95)

    assert cell.arms[1].difference.mean == pytest.approx(0.0, abs=1e-12)
    assert cell.arms[1].difference.high == pytest.approx(interval.high)
    assert "*" not in tables.FORMATS["table"](comparison.compare_results(results))


def test_differences_that_are_unequal_only_by_rounding_to_nine_digits_are_equal(tmp_path):
    def values(trial):
        return {"test_accuracy": (300 + 10 * trial.seed + (trial.arm != "plain")) / 359}

    results = fabricated.results(tmp_path, values, *ONE_CELL[:3], "seeds=3")
    compared = comparison.compare_results(results)

    assert compared.cells[0].arms[1].difference.sd == 0.0
    assert comparison.seed_budget(compared) is None
    assert "+0.3 (1 image: 0.28)" in tables.FORMATS["table"](compared)


@pytest.mark.parametrize("step", ["9" * 17, "9" * 5000])
def test_an_impossibly_large_step_is_refused_in_one_line(tmp_path, step):
    with pytest.raises(ConfigError, match=r"--at: 'step:9+' is not one of last, best, step:N"):
        comparison.compare_results(fabricated.results(tmp_path, lambda _: {}, *ONE_CELL), "val_accuracy", f"step:{step}")


def test_a_missing_step_is_refused_with_the_nearest_steps(tmp_path):
    folder, experiment = fabricated.experiment(tmp_path, lambda _: {"test_accuracy": 0.5}, *ONE_CELL)
    rows = [(step, 0, 0.1, 1.0, 0.5, 1.0, 0.5) for step in range(40, 1040, 20)]
    for trial in experiment.trials:
        runs.append(runs.trial_folder(folder, trial.name) / "metrics.csv", rows)

    with pytest.raises(ConfigError, match=r"no row for step 105; it has 60, 80, 100, 120, 140, 160 and 46 others$"):
        comparison.compare_results(runs.results_of(folder, experiment), "val_accuracy", "step:105")


@pytest.mark.parametrize("gain", [0, 1, 72])
def test_an_equal_difference_at_every_seed_is_printed_with_the_value_of_one_image(tmp_path, gain):
    def values(trial):
        correct = 100 + 37 * trial.seed + (gain if trial.arm != "plain" else 0)
        return {"test_accuracy": correct / 359}  # differences are equal only up to rounding

    results = fabricated.results(tmp_path, values, *ONE_CELL)
    text = tables.FORMATS["table"](comparison.compare_results(results))

    assert residual_arm(tmp_path / "again", values).difference.sd == 0.0
    assert f"{100 * gain / 359:+.1f} (1 image: 0.28)" in text
    assert "nan" not in text


@pytest.mark.parametrize(
    ("plain", "residual", "p"),
    [
        pytest.param("tttt", "tttt", None, id="all above chance"),
        pytest.param("ssss", "tttt", None, id="one outcome per arm: means are compared"),
        pytest.param("sstt", "tttt", stats.fisher_exact([[2, 2], [4, 0]]).pvalue, id="one arm is mixed"),
        pytest.param("sdts", "tttd", stats.fisher_exact([[1, 3], [3, 1]]).pvalue, id="both arms are mixed"),
        pytest.param("dddd", "tttt", stats.fisher_exact([[0, 4], [4, 0]]).pvalue, id="one arm diverged: no mean"),
        pytest.param("dddd", "dddd", None, id="both diverged"),
        pytest.param("tts ", "tttt", stats.fisher_exact([[2, 1], [4, 0]]).pvalue, id="one trial is missing"),
        pytest.param(
            "ttts", "ttt ", stats.fisher_exact([[3, 1], [3, 0]]).pvalue, id="the trial at chance has no plain counterpart"
        ),
        pytest.param("    ", "ttts", None, id="no plain counterpart has finished"),
    ],
)
def test_if_outcomes_differ_counts_are_compared_instead_of_means(tmp_path, plain, residual, p):
    arm = residual_arm(tmp_path, with_outcomes(plain, residual))

    assert arm.contrast.outcomes == (None if p is None else pytest.approx(p))
    assert (arm.difference is None) == (p is not None or "t" not in residual or plain.isspace())
    assert arm.contrast.sign_flip is None or arm.difference


def test_a_very_small_p_value_of_counts_is_printed_as_a_bound(tmp_path):
    results = fabricated.results(tmp_path, with_outcomes("s" * 9 + "t", "t" * 10), *ONE_CELL[:3], "seeds=10")

    assert "counts: p < 0.001" in tables.FORMATS["table"](comparison.compare_results(results))


def test_the_difference_from_the_parameter_matched_baseline_has_the_unit_of_the_metric(tmp_path):
    def values(trial):
        wide = trial.parameters_of is not None
        loss = (1.0 if wide else 2.0 if trial.arm == "plain" else 0.5) * (1 + trial.seed)
        return {"test_accuracy": 0.5, "test_loss": loss, "parameters": 300 if wide else 100}

    overrides = ["network.shortcut=[gate]", "network.plain_width=parameters"]
    compared = comparison.compare_results(fabricated.results(tmp_path, values, *ONE_CELL, *overrides), "test_loss")
    low, high = stats.t.interval(0.95, 3, -1.25, stats.sem([0.5, 1.0, 1.5, 2.0]))

    for form in ("table", "md"):
        assert f"-1.25 [{low:+.4g}, {high:+.4g}]" in tables.FORMATS[form](compared)
    assert "-125.0" not in tables.FORMATS["table"](compared)


# ---- uncertainty of the test images ------------------------------------------------------------------------------------------

LABELS = np.array([0, 1, 2, 3, 4, 5])
PREDICTIONS = {
    ("plain", 0): [0, 1, 2, 0, 0, 0], ("plain", 1): [0, 1, 0, 3, 0, 0],
    ("identity", 0): [0, 1, 2, 3, 4, 0], ("identity", 1): [9, 1, 2, 3, 4, 0],
}  # fmt: skip


def results_with_predictions(tmp_path):
    results = fabricated.results(tmp_path, accuracy, *ONE_CELL[:3], "seeds=2")
    for record in results.records:
        predictions = PREDICTIONS[record.trial.arm, record.trial.seed]
        rows = [
            f"{index},{label},{prediction},0.5"
            for index, (label, prediction) in enumerate(zip(LABELS, predictions, strict=True))
        ]
        text = "\n".join(["index,label,prediction,label_probability", *rows, ""])
        (record.folder / "predictions.csv.gz").write_bytes(gzip.compress(text.encode()))
    return results


def test_the_interval_over_test_images_is_students_t_of_the_mean_differences_of_images(tmp_path):
    results = results_with_predictions(tmp_path)
    correct = {key: np.array(predictions) == LABELS for key, predictions in PREDICTIONS.items()}
    by_image = np.mean([correct["identity", seed].astype(float) - correct["plain", seed] for seed in (0, 1)], axis=0)
    half = stats.t.ppf(0.975, 5) * by_image.std(ddof=1) / np.sqrt(6)
    compared = comparison.compare_results(results, images=True)

    assert compared.cells[0].arms[1].contrast.images == pytest.approx(half)
    assert comparison.cells(results)[0].arms[1].contrast.images is None  # only on request
    for form in ("table", "md"):
        assert f"± {100 * half:.1f} over other test images" in tables.FORMATS[form](compared)
    assert rf"$\pm$ {100 * half:.1f} over other test images" in tables.FORMATS["tex"](compared)
    assert comparison.compare_results(results, "test_loss", images=True).cells[0].arms[1].contrast.images is None


def truncated(path):
    path.write_bytes(path.read_bytes()[:-12])


def relabeled(path):
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes()).replace(b"\n5,5,", b"\n5,6,")))


def shorter(path):
    path.write_bytes(gzip.compress(b"\n".join(gzip.decompress(path.read_bytes()).splitlines()[:-1]) + b"\n"))


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        pytest.param(lambda path: path.unlink(), "missing or empty; train its trial again", id="missing"),
        pytest.param(lambda path: path.write_bytes(gzip.compress(b"")), "missing or empty", id="empty"),
        pytest.param(lambda path: path.write_bytes(b"index,label"), "damaged", id="not gzip"),
        pytest.param(truncated, "damaged", id="truncated"),
        pytest.param(lambda path: path.write_bytes(gzip.compress(b"a,b\n1,2\n")), "damaged", id="other columns"),
        pytest.param(shorter, "the test images differ from those of", id="one image is missing"),
        pytest.param(relabeled, "the test images differ from those of", id="another label"),
    ],
)
@pytest.mark.parametrize("index", [1, 3], ids=["plain", "residual"])
def test_predictions_that_cannot_be_compared_are_named_in_one_line(tmp_path, damage, words, index):
    results = results_with_predictions(tmp_path)
    damaged = sorted(results.records, key=lambda record: (record.trial.arm != "plain", record.trial.seed))[index]
    damage(damaged.folder / "predictions.csv.gz")

    with pytest.raises(RunsError, match=words) as error:
        comparison.compare_results(results, images=True)
    assert "\n" not in str(error.value)
    assert str(damaged.folder / "predictions.csv.gz") in str(error.value)


def test_the_interval_over_test_images_does_not_depend_on_the_order_of_pairs(tmp_path):
    arms = comparison.groups(results_with_predictions(tmp_path))[0][1]
    seed_pairs = comparison.seed_pairs(arms["plain"], arms["identity"])

    assert over_test_images(seed_pairs) == pytest.approx(over_test_images(seed_pairs[::-1]))
