"""Several experiments side by side: what is one sample, what is a pair, and what is refused."""

import fabricated
import pytest

from resexp import runs, tables
from resexp.tables.findings import findings

ONE_CELL = ("network.depth=[8]", "network.init=[he]", "network.norm=[none]", "seeds=2")


def accuracy(trial):
    return {"test_accuracy": 0.5 + 0.1 * trial.seed + (0.2 if trial.arm != "plain" else 0.0)}


def written(runs_dir, *experiments):
    """The folders of fabricated experiments, each given by its overrides beside ONE_CELL."""
    return [fabricated.experiment(runs_dir, accuracy, *ONE_CELL, *overrides)[0] for overrides in experiments]


def arms_of(results, **options):
    return {(tuple(cell.label.values()), arm.name): arm for cell in tables.cells(results, **options) for arm in cell.arms}


# ---- what is no mismatch ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(["question=Another?"], id="the question"),
        pytest.param(["gradients.every=7"], id="how often gradients are read"),
        pytest.param(["training.checkpoint_every=5"], id="checkpoints"),
        pytest.param(["data.root=/elsewhere"], id="where the images lie"),
        pytest.param(["compare.margin=0.2"], id="what compare is to confirm"),
        pytest.param(["network.plain_width=parameters"], id="which controls were asked for"),
    ],
)
def test_what_never_changes_a_trial_keeps_a_pair_a_pair(tmp_path, other):
    one = ["name=one", "network.shortcut=[plain]"]
    folders = written(tmp_path, one, ["name=two", "network.shortcut=[identity]", "network.plain=false", *other])
    (cell,) = tables.cells(runs.read_results(folders))

    assert [arm.name for arm in cell.arms] == ["plain", "identity"]
    assert cell.arms[1].unmatched == ()
    assert cell.arms[1].difference.mean == pytest.approx(0.2)


def test_a_trial_that_stands_in_two_folders_is_counted_once(tmp_path):
    results = runs.read_results(written(tmp_path, ["name=one"], ["name=two", "seeds=3"]))
    (cell,) = tables.cells(results)

    assert results.repeated == 4
    assert [arm.summary.n for arm in cell.arms] == [3, 3]
    assert "4 trials stand in more than one folder and are counted once" in tables.TABLES["table"](results)


def test_seeds_from_two_folders_are_one_sample(tmp_path):
    (cell,) = tables.cells(runs.read_results(written(tmp_path, ["name=one"], ["name=two", "seeds=[2,3]"])))

    assert [arm.summary.n for arm in cell.arms] == [4, 4]
    assert cell.arms[1].difference.n == 4


def test_two_whole_experiments_of_another_recipe_are_cells_of_their_own(tmp_path):
    results = runs.read_results(written(tmp_path, ["name=one"], ["name=two", "training.epochs=3"]))
    found = tables.cells(results)

    assert [cell.label["training.epochs"] for cell in found] == ["20", "3"]
    assert all(arm.unmatched == () for cell in found for arm in cell.arms)
    assert results.name == "one + two"
    assert tables.best_against_best(results) == []


# ---- what is refused ----------------------------------------------------------------------------------------------------

RESIDUAL = ["name=two", "network.shortcut=[identity]", "network.plain=false"]


@pytest.mark.parametrize(
    ("other", "words"),
    [
        pytest.param(["training.epochs=3"], ("training.epochs 20 and 3",), id="epochs"),
        pytest.param(["training.lr=0.1"], ("lr 0.001 and 0.1",), id="learning rate"),
        pytest.param(["data.limit=100"], ("data.limit default and 100",), id="limit"),
        pytest.param(["data.name=mnist"], ("data.name digits and mnist",), id="data"),
        pytest.param(["precision=float64"], ("precision float32 and float64",), id="precision"),
        pytest.param(["training.cohort=1"], ("training.cohort auto and 1",), id="grouping"),
        pytest.param(["seeds=3"], ("seeds 0, 1 and 0, 1, 2",), id="more seeds"),
        pytest.param(["seeds=[5,6]"], ("seeds 0, 1 and 5, 6",), id="other seeds"),
        pytest.param(["network.depth=[16]", "training.lr=0.1"], ("depth 8 and 16", "lr 0.001 and 0.1"), id="two keys"),
    ],
)
def test_arms_that_differ_in_more_than_the_shortcut_have_no_difference_and_are_told_what(tmp_path, other, words):
    results = runs.read_results(written(tmp_path, ["name=one", "network.shortcut=[plain]"], [*RESIDUAL, *other]))
    (refused,) = [arm for arm in arms_of(results).values() if arm.name == "identity"]
    (allowed,) = [arm for arm in arms_of(results, unmatched=True).values() if arm.name == "identity"]
    text = " ".join(tables.TABLES["table"](results).split())

    assert refused.unmatched == allowed.unmatched == words
    assert refused.difference is None
    assert (allowed.difference is None) == ("5, 6" in words[0])  # without a common seed nothing can be paired
    assert f"no difference: the nearest plain arm differs in {'; '.join(words)}" in text


@pytest.mark.parametrize(
    ("file", "change", "words"),
    [
        pytest.param("plan.json", ('"device": "cpu"', '"device": "cuda:0"'), ("device cpu and cuda:0",), id="device"),
        pytest.param("environment.json", ("0" * 64, "f" * 64), (f"images {'0' * 12} and {'f' * 12}",), id="other images"),
    ],
)
def test_what_a_run_stood_on_belongs_to_a_pair_as_well(tmp_path, file, change, words):
    folders = written(tmp_path, ["name=one", "network.shortcut=[plain]"], RESIDUAL)
    (folders[1] / file).write_text((folders[1] / file).read_text().replace(*change))
    (identity,) = [arm for arm in arms_of(runs.read_results(folders)).values() if arm.name == "identity"]

    assert identity.unmatched == words


def test_of_several_plain_arms_the_nearest_is_named(tmp_path):
    plain = ["name=one", "network.shortcut=[plain]", "network.depth=[8,16]"]
    results = runs.read_results(written(tmp_path, plain, [*RESIDUAL, "network.depth=[16]", "training.lr=0.1"]))
    (identity,) = [arm for arm in arms_of(results).values() if arm.name == "identity"]

    assert identity.unmatched == ("lr 0.001 and 0.1",)


# ---- the second control ---------------------------------------------------------------------------------------------------


def test_a_residual_arm_is_compared_with_its_twin_and_with_the_plain_net_of_its_size(tmp_path):
    def values(trial):
        wide = trial.parameters_of is not None
        return {"test_accuracy": (0.6 if wide else 0.5 if trial.arm == "plain" else 0.8) + 0.01 * trial.seed}

    overrides = ["network.depth=[8]", "network.init=he", "network.norm=none", "seeds=3"]
    overrides += ["network.shortcut=[projection-all]", "network.plain_width=parameters"]
    results = fabricated.results(tmp_path, values, *overrides)
    ((cell),) = tables.cells(results)
    plain, control, residual = cell.arms

    assert [arm.name for arm in cell.arms] == ["plain", "plain-as-projection-all", "projection-all"]
    assert [arm.control for arm in cell.arms] == [False, True, False]
    assert control.difference.mean == pytest.approx(0.1)
    assert residual.difference.mean == pytest.approx(0.3)
    assert residual.beyond_width.mean == pytest.approx(0.2)
    assert plain.beyond_width is control.beyond_width is None
    assert "+20.0 [+20.0, +20.0] with equal parameters" in tables.TABLES["table"](results)
    assert len(findings(tables.cells(results))) == 1
