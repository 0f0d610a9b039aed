"""Results of several experiments: samples, pairs, and comparisons that are refused."""

import csv
import io
import json
from itertools import permutations
from pathlib import Path

import fabricated
import pytest

from resexp import comparison, runs, tables
from resexp.tables.findings import findings, headline

ONE_CELL = ("network.depth=[8]", "network.init=[he]", "network.norm=[none]", "seeds=2")


def accuracy(trial):
    return {"test_accuracy": 0.5 + 0.1 * trial.seed + (0.2 if trial.arm != "plain" else 0.0)}


def written(runs_dir, *experiments):
    """The folders of fabricated experiments, each given by its overrides in addition to ONE_CELL."""
    return [fabricated.experiment(runs_dir, accuracy, *ONE_CELL, *overrides)[0] for overrides in experiments]


def arms_of(results, **options):
    return {(tuple(cell.label.values()), arm.name): arm for cell in comparison.cells(results, **options) for arm in cell.arms}


# ---- differences that do not matter -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(["question=Another?"], id="question"),
        pytest.param(["gradients.every=7"], id="logging interval of gradients"),
        pytest.param(["training.checkpoint_every=5"], id="checkpoint interval"),
        pytest.param(["data.root=/elsewhere"], id="folder of the images"),
        pytest.param(["compare.margin=0.2"], id="margin"),
    ],
)
def test_settings_that_affect_no_result_do_not_prevent_a_pair(tmp_path, other):
    one = ["name=one", "network.shortcut=[plain]"]
    folders = written(tmp_path, one, ["name=two", "network.shortcut=[identity]", "network.plain=false", *other])
    (cell,) = comparison.cells(runs.read_results(folders))

    assert [arm.name for arm in cell.arms] == ["plain", "identity"]
    assert cell.arms[1].unmatched == ()
    assert cell.arms[1].difference.mean == pytest.approx(0.2)


def test_a_trial_in_two_folders_is_counted_once(tmp_path):
    results = runs.read_results(written(tmp_path, ["name=one"], ["name=two", "seeds=3"]))
    (cell,) = comparison.cells(results)

    assert results.repeated == 4
    assert [arm.summary.n for arm in cell.arms] == [3, 3]
    assert "4 trials are in more than one folder and are counted once" in tables.FORMATS["table"](
        comparison.compare_results(results)
    )


def test_parameter_matched_baselines_change_no_other_trial(tmp_path):
    arms = ["network.shortcut=[gate]", "seeds=2"]
    results = runs.read_results(written(tmp_path, ["name=one", *arms], ["name=two", *arms, "network.plain_width=parameters"]))

    assert [[arm.name for arm in cell.arms] for cell in comparison.cells(results)] == [["plain", "gate", "plain-as-gate"]]
    assert results.repeated == 4


def test_a_trial_in_three_folders_counts_as_one_repeated_trial(tmp_path):
    results = runs.read_results(written(tmp_path, ["name=one"], ["name=two"], ["name=three", "seeds=1"]))

    assert results.repeated == 4  # two arms of two seeds
    assert len(results.records) == 4


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_the_finished_copy_of_a_trial_is_used(tmp_path, order):
    (whole,) = written(tmp_path, ["name=whole"])
    half, _ = fabricated.experiment(tmp_path, lambda _trial: {}, *ONE_CELL, "name=half")
    folders = (whole, half)
    (cell,) = comparison.cells(runs.read_results([folders[index] for index in order]))

    assert [(arm.summary.n, arm.missing) for arm in cell.arms] == [(2, {}), (2, {})]


def test_a_folder_that_is_given_twice_is_read_once(tmp_path, monkeypatch):
    (folder,) = written(tmp_path, ["name=one"])
    (tmp_path / "linked").symlink_to(folder, target_is_directory=True)
    monkeypatch.chdir(tmp_path)
    results = runs.read_results([folder, Path("one"), tmp_path / "linked", folder / ".." / "one"])

    assert len(results.sources) == 1
    assert (results.name, results.repeated) == ("one", 0)


def test_two_experiments_with_one_name_are_distinguished_by_their_folders(tmp_path):
    folders = [written(tmp_path / seed, ["name=one", f"seeds=[{seed}]"])[0] for seed in "12"]

    assert runs.read_results(folders).name == f"one ({folders[0]}) + one ({folders[1]})"


def test_many_experiments_are_counted_in_the_title_instead_of_listed(tmp_path):
    folders = [
        fabricated.experiment(tmp_path / str(number), accuracy, *ONE_CELL, "name=one", f"seeds=[{seed}]")[0]
        for number, seed in enumerate((0, 1, 2, 3, 1))
    ]
    results = runs.read_results(folders)

    assert results.repeated > 0
    assert results.name == f"one (5 folders, 4 seeds, {results.repeated} trials given twice)"
    assert runs.read_results(folders[:4]).name == "one (4 folders, 4 seeds)"
    assert max(map(len, tables.FORMATS["table"](comparison.compare_results(runs.read_results(folders))).splitlines())) <= 80


WARM = "training.warmup={steps: 4, factor: 0.1}"


@pytest.mark.parametrize(
    "recipes",
    [
        pytest.param([[WARM], [], ["training.warmup={steps: 8, factor: 0.1}"]], id="an optional section"),
        pytest.param([["training.lr=0.1"], ["precision=float64"], []], id="different keys"),
        pytest.param(
            [["training.schedule=step", "training.milestones=[5]", "training.gamma=0.5"], [], ["seeds=4"]], id="lists"
        ),
    ],
)
def test_the_order_of_the_folders_has_no_effect(tmp_path, recipes):
    experiments = [[f"name=e{number}", *recipe] for number, recipe in enumerate(recipes)]
    unpaired = ["name=unpaired", "network.shortcut=[plain]", "network.depth=[16]"]
    arms = [arms_of(runs.read_results(order)) for order in permutations(written(tmp_path, *experiments, unpaired))]

    assert all(others == arms[0] for others in arms)


def test_a_warm_up_makes_another_cell_in_either_order(tmp_path):
    one, two = written(tmp_path, ["name=warm", WARM], ["name=cold"])

    for folders in ([one, two], [two, one]):
        cells = comparison.cells(runs.read_results(folders))
        assert {cell.label["training.warmup"] for cell in cells} == {"default", "steps 4 factor 0.1"}
        assert [arm.summary.n for cell in cells for arm in cell.arms] == [2, 2, 2, 2]


# ---- best settings ------------------------------------------------------------------------------------------------------


def test_settings_that_differ_only_between_experiments_are_not_selected_from(tmp_path):
    slow, fast = ["name=slow", "training.lr=0.001"], ["name=fast", "training.lr=0.003"]
    both = ["name=both", "training.lr=[0.001, 0.003]"]
    folders = written(tmp_path, slow, fast, both)

    assert comparison.best_settings(runs.read_results(folders[:2])) == []
    assert len(comparison.best_settings(runs.read_results(folders[2:]))) == 1


def test_best_settings_with_other_seeds_have_no_difference_and_the_reason_is_given(tmp_path):
    lr = "training.lr=[0.001, 0.003]"
    plain = ["name=plain", "network.shortcut=[plain]", lr]
    results = runs.read_results(written(tmp_path, plain, [*RESIDUAL, lr, "seeds=[1,2]"]))
    (best,) = comparison.best_settings(results)

    assert best.difference is None
    assert best.unmatched == ("seeds 0, 1 and 1, 2",)
    assert "no difference: seeds 0, 1 and 1, 2" in tables.FORMATS["table"](comparison.compare_results(results))


def test_seeds_from_two_folders_are_one_sample(tmp_path):
    (cell,) = comparison.cells(runs.read_results(written(tmp_path, ["name=one"], ["name=two", "seeds=[2,3]"])))

    assert [arm.summary.n for arm in cell.arms] == [4, 4]
    assert cell.arms[1].difference.n == 4


def test_two_complete_experiments_with_different_recipes_are_separate_cells(tmp_path):
    results = runs.read_results(written(tmp_path, ["name=one"], ["name=two", "training.epochs=3"]))
    cells = comparison.cells(results)

    assert [cell.label["training.epochs"] for cell in cells] == ["20", "3"]
    assert all(arm.unmatched == () for cell in cells for arm in cell.arms)
    assert results.name == "one + two"
    assert comparison.best_settings(results) == []


# ---- refused comparisons ------------------------------------------------------------------------------------------------

RESIDUAL = ["name=two", "network.shortcut=[identity]", "network.plain=false"]


@pytest.mark.parametrize(
    ("other", "words"),
    [
        pytest.param(["training.epochs=3"], ("training.epochs 20 and 3",), id="epochs"),
        pytest.param(["training.lr=0.1"], ("lr 0.001 and 0.1",), id="learning rate"),
        pytest.param(["data.limit=100"], ("data.limit default and 100",), id="number of images"),
        pytest.param(["data.name=mnist"], ("data.name digits and mnist",), id="data"),
        pytest.param(["precision=float64"], ("precision float32 and float64",), id="precision"),
        pytest.param(["training.stack=1"], ("training.stack auto and 1",), id="grouping"),
        pytest.param(["seeds=3"], ("seeds 0, 1 and 0, 1, 2",), id="more seeds"),
        pytest.param(["seeds=[5,6]"], ("seeds 0, 1 and 5, 6",), id="other seeds"),
        pytest.param(["network.depth=[16]", "training.lr=0.1"], ("depth 8 and 16", "lr 0.001 and 0.1"), id="two keys"),
    ],
)
def test_arms_that_differ_in_more_than_the_shortcut_have_no_difference_and_the_keys_are_named(tmp_path, other, words):
    results = runs.read_results(written(tmp_path, ["name=one", "network.shortcut=[plain]"], [*RESIDUAL, *other]))
    (refused,) = [arm for arm in arms_of(results).values() if arm.name == "identity"]
    (allowed,) = [arm for arm in arms_of(results, unmatched=True).values() if arm.name == "identity"]
    text = " ".join(tables.FORMATS["table"](comparison.compare_results(results)).split())

    assert refused.unmatched == allowed.unmatched == words
    assert refused.difference is None
    assert (allowed.difference is None) == ("5, 6" in words[0])  # without a common seed nothing can be paired
    assert f"not compared: the closest plain arm differs in {'; '.join(words)}" in text


@pytest.mark.parametrize("allowed", [False, True])
def test_csv_json_and_markdown_give_the_difference_of_unmatched_arms_only_on_request(tmp_path, allowed):
    results = runs.read_results(written(tmp_path, ["name=one", "network.shortcut=[plain]"], [*RESIDUAL, "training.lr=0.1"]))
    text, data, table = (
        tables.FORMATS[form](comparison.compare_results(results, unmatched=allowed)) for form in ("csv", "json", "md")
    )
    (row,) = [row for row in csv.DictReader(io.StringIO(text)) if row["arm"] == "identity"]
    (arm,) = [arm for cell in json.loads(data)["cells"] for arm in cell["arms"] if arm["name"] == "identity"]
    (line,) = [line for line in table.splitlines() if "| identity |" in line]

    assert row["difference"] == ("0.2" if allowed else "")
    assert (arm["difference"] is not None) is allowed
    assert ("+20.0" in line) is allowed
    assert row["unmatched"] == "lr 0.001 and 0.1" == "; ".join(arm["unmatched"])
    assert line.endswith(" differs in lr 0.001 and 0.1 |")


@pytest.mark.parametrize(
    ("experiments", "words"),
    [
        pytest.param(
            [["name=one", "network.shortcut=[plain]"], [*RESIDUAL, "training.lr=0.1"]],
            "The arms are not a pair: they differ in more than the shortcut",
            id="another recipe",
        ),
        pytest.param(
            [["name=one", "network.shortcut=[plain]"], [*RESIDUAL, "seeds=3"]],
            "The arms are not a pair: they differ in more than the shortcut",
            id="other seeds",
        ),
        pytest.param([RESIDUAL], "The arms are not a pair: a pair requires a plain and a residual arm", id="no plain arm"),
        pytest.param([["name=one"]], "Results by condition (at a rate)", id="a pair"),
    ],
)
def test_without_a_pair_there_are_no_findings_and_the_headline_gives_the_reason(tmp_path, experiments, words):
    cells = comparison.cells(runs.read_results(written(tmp_path, *experiments)))
    sentences = findings(cells)

    assert headline(cells, sentences, "at a rate") == words
    assert bool(sentences) is words.startswith("Results")


def test_a_pair_with_a_waiting_trial_has_not_finished(tmp_path):
    def values(trial):
        return {} if trial.arm == "plain" else accuracy(trial)

    cells = comparison.cells(fabricated.results(tmp_path, values, *ONE_CELL))

    assert headline(cells, findings(cells), "at a rate") == "No pair has finished yet"


@pytest.mark.parametrize(
    ("file", "change", "words"),
    [
        pytest.param("plan.json", ('"device": "cpu"', '"device": "cuda:0"'), ("device cpu and cuda:0",), id="device"),
        pytest.param("environment.json", ("0" * 64, "f" * 64), (f"images {'0' * 12} and {'f' * 12}",), id="other images"),
    ],
)
def test_device_and_images_must_match_in_a_pair(tmp_path, file, change, words):
    folders = written(tmp_path, ["name=one", "network.shortcut=[plain]"], RESIDUAL)
    (folders[1] / file).write_text((folders[1] / file).read_text().replace(*change))
    (identity,) = [arm for arm in arms_of(runs.read_results(folders)).values() if arm.name == "identity"]

    assert identity.unmatched == words


def test_differences_from_the_closest_plain_arm_are_named(tmp_path):
    plain = ["name=one", "network.shortcut=[plain]", "network.depth=[8,16]"]
    results = runs.read_results(written(tmp_path, plain, [*RESIDUAL, "network.depth=[16]", "training.lr=0.1"]))
    (identity,) = [arm for arm in arms_of(results).values() if arm.name == "identity"]

    assert identity.unmatched == ("lr 0.001 and 0.1",)


def test_among_equally_close_plain_arms_the_choice_does_not_depend_on_the_order(tmp_path):
    plain = [
        ["name=a", "network.shortcut=[plain]", "training.lr=0.01"],
        ["name=b", "network.shortcut=[plain]", "training.lr=1"],
    ]
    folders = written(tmp_path, *plain, RESIDUAL)

    for order in permutations(folders):
        (identity,) = [arm for arm in arms_of(runs.read_results(order)).values() if arm.name == "identity"]
        assert identity.unmatched == ("lr 0.01 and 0.001",)


# ---- the parameter-matched baseline ---------------------------------------------------------------------------------------


def test_a_residual_arm_is_compared_with_its_plain_counterpart_and_its_parameter_matched_baseline(tmp_path):
    def values(trial):
        wide = trial.parameters_of is not None
        value = (0.6 if wide else 0.5 if trial.arm == "plain" else 0.8) + 0.01 * trial.seed
        return {"test_accuracy": value, "parameters": 42_832 if wide else 100}

    overrides = ["network.depth=[8]", "network.init=he", "network.norm=none", "seeds=3"]
    overrides += ["network.shortcut=[projection-all]", "network.plain_width=parameters"]
    results = fabricated.results(tmp_path, values, *overrides)
    ((cell),) = comparison.cells(results)
    plain, control, residual = cell.arms

    assert [arm.name for arm in cell.arms] == ["plain", "plain-as-projection-all", "projection-all"]
    assert [arm.control for arm in cell.arms] == [False, True, False]
    assert control.difference.mean == pytest.approx(0.1)
    assert residual.difference.mean == pytest.approx(0.3)
    assert residual.beyond_width.mean == pytest.approx(0.2)
    assert plain.beyond_width is control.beyond_width is None
    line = "+20.0 (1 image: 0.28) beyond width (plain-as-projection-all, 42,832 parameters)"
    assert line in tables.FORMATS["table"](comparison.compare_results(results))
    assert len(findings(comparison.cells(results))) == 1
    row = list(csv.DictReader(io.StringIO(tables.FORMATS["csv"](comparison.compare_results(results)))))[2]
    assert [round(float(row[f"beyond_width{end}"]), 6) for end in ("", "_low", "_high")] == [0.2, 0.2, 0.2]
    assert "| +30.0 (1 image: 0.28)\\* | +20.0 (1 image: 0.28) |" in tables.FORMATS["md"](comparison.compare_results(results))


def test_a_parameter_matched_baseline_equal_to_plain_is_not_compared(tmp_path):
    overrides = ["network.shortcut=[gate]", "network.plain_width=parameters"]
    ((cell),) = comparison.cells(fabricated.results(tmp_path, accuracy, *ONE_CELL, *overrides))  # all have 100 parameters
    _, control, residual = cell.arms

    assert [arm.same_as_plain for arm in cell.arms] == [False, True, False]
    assert control.difference is None
    assert residual.difference.mean == pytest.approx(0.2)
    assert residual.beyond_width is None


def test_a_parameter_matched_baseline_with_other_seeds_is_compared_only_on_request(tmp_path):
    def values(trial):
        return {**accuracy(trial), "parameters": 300 if trial.parameters_of else 200}

    gate = [*ONE_CELL, "network.shortcut=[gate]"]
    fewer, _ = fabricated.experiment(tmp_path, values, *gate, "name=fewer", "network.plain_width=parameters")
    more, _ = fabricated.experiment(tmp_path, values, *gate, "name=more", "seeds=3")
    results = runs.read_results([fewer, more])
    refused, allowed = (
        next(arm for (_, name), arm in arms_of(results, unmatched=unmatched).items() if name == "gate")
        for unmatched in (False, True)
    )

    assert refused.difference.n == 3
    assert refused.beyond_width is None
    assert allowed.beyond_width.n == 2


def test_gates_with_different_initial_bias_share_one_parameter_matched_baseline(tmp_path):
    def values(trial):
        return {**accuracy(trial), "parameters": 300 if trial.parameters_of else 200 if trial.arm != "plain" else 100}

    overrides = ["network.shortcut=[gate, {gate: {bias: -1}}]", "network.plain_width=parameters"]
    results = fabricated.results(tmp_path, values, *ONE_CELL, *overrides)
    ((cell),) = comparison.cells(results)

    assert [(arm.name, arm.beyond_width is not None) for arm in cell.arms] == [
        ("plain", False), ("plain-as-gate", False), ("gate", True), ("gate-bias-1", True),
    ]  # fmt: skip
    assert (
        tables.FORMATS["table"](comparison.compare_results(results)).count("beyond width (plain-as-gate, 300 parameters)") == 2
    )


def test_the_parameter_matched_baseline_is_left_out_of_best_settings_and_published_values(tmp_path):
    def values(trial):
        return {"test_accuracy": 0.9 if trial.parameters_of else 0.5, "parameters": 300 if trial.parameters_of else 100}

    network = ["network.family=cnn", "network.depth=20", "network.width=16", "network.norm=batch", "network.init=he"]
    arms = ["network.shortcut=[gate]", "network.plain_width=parameters", "training.lr=[0.1, 0.01]"]
    results = fabricated.results(tmp_path, values, *network, *arms, "seeds=2")
    (best,) = comparison.best_settings(results)

    assert (best.residual.arm, best.residual.summary.mean) == ("gate", 0.5)
    assert {arm for _, arm, _, _ in tables.published_rows(results)} == {"plain", "gate"}
