"""The heat map over depth and init_scale: cells, predicted limit, sentences; predicted gradients at initialization."""

import json
import math

import fabricated
import pandas as pd
import pytest

from resexp import figures, runs
from resexp.figures import FIGURES, FigureData
from resexp.tables.frames import initial_gradients, read_frames
from resexp.tables.planes import boundaries, edges, plane
from resexp.tables.theory_bands import bands

MAP = ("network.depth=[4,8,16]", "network.norm=none", "network.init=he", "network.init_scale=[0.5,1,2]", "seeds=2")


def values(trial):
    """The accuracy of plain is 0.9 up to a depth of 8 times the init_scale, otherwise 0.1; that of identity is 0.8."""
    network = trial.settings.network
    trains = network.shortcut == "identity" or network.depth <= 8 * network.init_scale
    return {"test_accuracy": 0.8 if network.shortcut == "identity" else 0.9 if trains else 0.1}


@pytest.fixture(scope="module")
def heat_map(tmp_path_factory):
    return fabricated.results(tmp_path_factory.mktemp("runs"), values, *MAP)


def reach(limits, arm, init_scale, region="all"):
    rows = limits[(limits["arm"] == arm) & (limits["region"] == region) & (limits["init_scale"] == init_scale)]
    return rows["reach"].item()


# ---- cells --------------------------------------------------------------------------------------------------------------


def test_cells_meet_at_geometric_means():
    assert edges([1, 4, 16]) == {1: (0.5, 2.0), 4: (2.0, 8.0), 16: (8.0, 32.0)}
    lower, upper = zip(*edges([0.25, 1 / 3, 3]).values(), strict=True)
    assert lower[1:] == upper[:-1]


def test_a_cell_has_the_median_over_seeds_and_the_difference_from_plain(heat_map):
    cells = plane(read_frames(heat_map).results).set_index(["arm", "depth", "init_scale"])

    assert len(cells) == 2 * 3 * 3
    assert cells.loc[("plain", 16, 1.0), "accuracy"] == 0.1
    assert cells.loc[("identity", 16, 1.0), "difference"] == pytest.approx(0.7)
    assert cells.loc[("identity", 8, 1.0), "difference"] == pytest.approx(-0.1)
    assert set(cells["n"]) == {2}


# ---- predicted trainability limit -------------------------------------------------------------------------------------


@pytest.mark.parametrize("init_scale", [0.5, 1.0])
def test_the_predicted_limit_of_plain_networks_is_six_depth_scales(heat_map, init_scale):
    # |dL/dx|^2 falls by init_scale / 2 a layer in the mean over weights, by e^(-5 / 2n) more in the mean of its logarithm
    rate = (-math.log(init_scale / 2) + (-math.log(init_scale / 2) + 5 / (2 * 64))) / 2

    assert reach(boundaries(heat_map), "plain", init_scale) == pytest.approx(2 + 6 / rate)


def test_orthogonal_plain_networks_have_no_limit_at_init_scale_2_and_6_depth_scales_at_others(tmp_path):
    limits = boundaries(fabricated.results(tmp_path, values, *MAP[:2], "network.init=orthogonal", *MAP[3:]))

    assert reach(limits, "plain", 2.0) == pytest.approx(2 + 6 / (3 / (4 * 64)))  # width 64: 3 / n per layer
    assert reach(limits, "plain", 0.5) == pytest.approx(2 + 6 / (math.log(4) + 3 / (4 * 64)))


def test_the_limit_is_16_depth_scales_with_batch_norm_at_any_init_scale_and_far_with_layer_norm(tmp_path):
    limits = boundaries(fabricated.results(tmp_path, values, MAP[0], "network.norm=[batch,layer]", *MAP[2:]))
    high = math.log(math.pi / (math.pi - 1) * 62 / 61)
    low = high + math.log(1.42 / 1.467)

    for init_scale in (0.5, 2.0):
        assert reach(limits, "plain", init_scale, "batch norm") == pytest.approx(2 + 16 / ((low + high) / 2), rel=1e-3)
        assert reach(limits, "plain", init_scale, "layer norm") == pytest.approx(2 + 6 / (5 / (4 * 64)))
        assert reach(limits, "identity", init_scale, "layer norm") == math.inf


def test_a_limit_covers_the_whole_heat_map_and_other_experiments_have_none(heat_map, tmp_path):
    init_scales = boundaries(heat_map)["init_scale"]
    two_scales = fabricated.results(tmp_path, values, *MAP[:3], "network.init_scale=[1,2]", "seeds=2")

    assert (init_scales.min(), init_scales.max()) == (pytest.approx(0.5 / math.sqrt(2)), pytest.approx(2 * math.sqrt(2)))
    assert boundaries(two_scales).empty


# ---- the chart and its sentences --------------------------------------------------------------------------------------------


def test_the_heat_map_replaces_all_other_figures_and_has_a_panel_for_each_arm_and_each_difference(heat_map):
    data = FigureData(heat_map)
    drawn = json.dumps(FIGURES["atlas"].chart(data).to_dict())

    assert figures.available_figures(data) == ["atlas"]
    assert [drawn.count(f'"text": "{title}"') for title in ("plain", "identity", "identity - plain")] == [1, 1, 1]
    assert drawn.count('"type": "rect"') == 3
    assert drawn.count('"type": "line"') == 2 * (1 + 1 + 2)  # each line has a halo; the difference shows both


def test_the_sentences_count_cells_with_higher_and_lower_accuracy_and_compare_both_sides_of_the_limit(heat_map):
    assert FIGURES["atlas"].sentences(FigureData(heat_map)) == [
        # plain trains where depth <= 8 init_scale; 6 scales reach to 6.2 layers at init_scale 0.5, 10.2 at 1, 155 at 2
        (
            "plain: within the predicted limit: 6 configurations, median accuracy 90.0% (range 90.0% to 90.0%); "
            "beyond it: 3 configurations, median accuracy 10.0% (range 10.0% to 10.0%)."
        ),
        (
            "plain: 9 of 9 configurations are on the predicted side of the limit (9 with the limit of the gradient alone, "
            "6 with that of the cosine distance); a configuration trains with at least 90% of the arm's highest median "
            "accuracy."
        ),
        "identity: at least 5 points above plain in 3 of 9 configurations, at least 5 below in 6 (range -10.0 to +70.0).",
        # 2.05 to 2.40 a block at init_scale 2: 2 + 12 / ln 2.2 = 17 layers
        "identity: no limit is predicted in this range: 9 configurations, median accuracy 80.0% (range 80.0% to 80.0%).",
    ]


# ---- at initialization ------------------------------------------------------------------------------------------------------


def test_the_predicted_band_is_the_profile_and_two_sds_over_seeds(heat_map):
    band = bands(heat_map).query("arm == 'plain' and condition == 'init_scale 2' and depth == 8").set_index("index")
    spread = [math.sqrt(5 * 2 / 64 * blocks) / math.log(10) for blocks in (3, 2, 1, 0)]  # 2 sd of the norm

    assert list(band["high"]) == pytest.approx(spread)
    assert list(band["low"]) == pytest.approx([-5 / 64 / 2 / math.log(10) * (3 - at) - spread[at] for at in range(4)])


def test_the_chart_at_initialization_has_all_seeds_and_the_bands_of_measured_networks(tmp_path):
    steep = {"test_accuracy": 0.5, "flow": 0.1}
    results = fabricated.results(tmp_path, lambda trial: steep if trial.settings.network.depth < 16 else {}, *MAP)
    rows = initial_gradients(read_frames(results)).query("arm == 'plain' and condition == 'init_scale 1'")

    assert set(rows["depth"]) == {4, 8}
    assert rows.dropna(subset=["relative"]).groupby("index")["relative"].agg(list).to_dict() == {
        index: pytest.approx([index - 3.0] * 4) for index in range(4)
    }
    assert list(rows.dropna(subset=["low"]).groupby("depth").size()) == [2, 4]


def test_an_arm_without_a_formula_has_no_band(tmp_path):
    results = fabricated.results(
        tmp_path,
        values,
        "network.depth=8",
        "network.norm=layer",
        "network.init=he",
        "network.init_scale=1",
        "network.shortcut=gate",
    )

    assert set(bands(results)["arm"]) == {"plain"}
    assert pd.isna(initial_gradients(read_frames(results)).query("arm == 'gate'")["low"]).all()


# ---- diverged networks and missing cells ------------------------------------------------------------------------------------


def test_diverged_networks_count_in_the_median_and_in_the_sentences(tmp_path):
    def some(trial):
        network = trial.settings.network
        diverges = network.shortcut == "identity" and (network.depth, network.init_scale) in {(16, 2.0), (8, 2.0)}
        return {"outcome": "diverged"} if diverges and (trial.seed or network.depth == 16) else {"test_accuracy": 0.8}

    results = fabricated.results(tmp_path, some, *MAP)
    cells = plane(read_frames(results).results).query("arm == 'identity' and init_scale == 2").set_index("depth")

    assert cells["n"].to_dict() == {4: 2, 8: 2, 16: 2}
    assert cells["accuracy"].isna().to_dict() == {4: False, 8: True, 16: True}
    assert cells["mark"].to_dict() == {4: "", 8: "outcomes differ", 16: "all diverged"}
    assert FIGURES["atlas"].sentences(FigureData(results))[-1] == (
        "identity: outcomes differ across seeds in 1 of 9 configurations (circles), 3 of 18 networks diverged, "
        "2 configurations are blank because their median network diverged."
    )


SEEDS = {  # accuracies of seeds (None: diverged) -> median with a diverged network below all others
    (0.9, 0.8): 0.85,
    (0.9, 0.8, 0.1): 0.8,
    (0.9, 0.8, None): 0.8,
    (0.9, None, 0.8, None, 0.7): 0.7,
    (0.9, None): None,
    (0.9, None, None): None,
    (None, None, None): None,
}


@pytest.mark.parametrize("accuracies", SEEDS, ids=str)
def test_the_median_of_a_cell_ranks_diverged_networks_below_all_others(accuracies):
    rows = [
        {"region": "all", "arm": arm, "depth": depth, "init_scale": init_scale, "test_accuracy": accuracy,
         "outcome": "diverged" if accuracy is None else "at_chance" if accuracy < 0.2 else "above_chance"}
        for arm in ("plain", "identity") for depth in (4, 8) for init_scale in (1.0, 2.0)
        for accuracy in (accuracies if (arm, depth, init_scale) == ("plain", 8, 2.0) else (0.5,) * len(accuracies))
    ]  # fmt: skip
    cells = plane(pd.DataFrame(rows)).set_index(["arm", "depth", "init_scale"])
    cell, expected = cells.loc[("plain", 8, 2.0)], SEEDS[accuracies]
    ranked = sorted(-1.0 if accuracy is None else accuracy for accuracy in accuracies)  # an independent median
    middle = {ranked[(len(ranked) - 1) // 2], ranked[len(ranked) // 2]}

    assert (expected is None) == (-1.0 in middle)
    assert math.isnan(cell["accuracy"]) if expected is None else cell["accuracy"] == pytest.approx(expected)
    assert cells.loc[("identity", 8, 2.0), "difference"] == pytest.approx(0.5 - expected if expected else math.nan, nan_ok=True)
    assert cell["n"] == len(accuracies)


def test_cells_with_mixed_outcomes_or_only_diverged_networks_are_marked_in_their_arm_and_in_the_difference(heat_map, tmp_path):
    def some(trial):
        network = trial.settings.network
        is_affected = network.shortcut == "plain" and network.init_scale == 2.0
        if is_affected and (network.depth == 16 or (network.depth == 8 and trial.seed == 0)):
            return {"outcome": "diverged"}
        return {"test_accuracy": 0.8}

    def marks(results):
        drawn = FIGURES["atlas"].chart(FigureData(results)).to_dict()
        panels = [panel for row in drawn["vconcat"][0]["hconcat"] for panel in row["hconcat"]]
        return {
            panel["title"]["text"]: sorted(
                (row["depth"], row["init_scale"], row["mark"])
                for layer in panel["layer"] if layer["mark"]["type"] == "point" and layer["mark"]["color"] == "black"
                for row in drawn["datasets"][layer["data"]["name"]]
            )
            for panel in panels
        }  # fmt: skip

    expected = [(8, 2.0, "outcomes differ"), (16, 2.0, "all diverged")]
    assert marks(heat_map) == {"plain": [], "identity": [], "identity - plain": []}
    assert marks(fabricated.results(tmp_path, some, *MAP)) == {
        "plain": expected, "identity": [], "identity - plain": expected,
    }  # fmt: skip


def test_too_few_depths_with_an_accuracy_give_no_heat_map(tmp_path):
    data = FigureData(
        fabricated.results(
            tmp_path, lambda t: {"test_accuracy": 0.9} if t.settings.network.depth == 4 else {"outcome": "diverged"}, *MAP
        )
    )

    assert "atlas" not in figures.available_figures(data)
    assert {"accuracy", "gradient-at-start"} <= set(figures.available_figures(data))


def test_without_plain_networks_there_is_no_panel_of_differences(tmp_path):
    data = FigureData(fabricated.results(tmp_path, values, *MAP, "network.plain=false"))
    drawn = json.dumps(FIGURES["atlas"].chart(data).to_dict())

    assert drawn.count('"type": "rect"') == 1
    assert "identity - plain" not in drawn


def test_networks_without_an_init_scale_have_the_other_figures_next_to_a_heat_map(tmp_path):
    folders = [
        fabricated.experiment(tmp_path, values, *MAP)[0],
        fabricated.experiment(tmp_path, lambda _: {"test_accuracy": 0.7}, "network.norm=none", "name=other")[0],
    ]
    data = FigureData(runs.read_results(folders))

    assert figures.available_figures(data) == [
        name for name in FIGURES if name not in ("overview", "trainability", *runs.ABLATION_FILES)
    ]
    assert FIGURES["atlas"].sentences(data)[0].startswith("He init, plain: within the predicted limit: 6 configurations")
