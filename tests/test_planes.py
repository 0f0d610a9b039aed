"""The map over first weights and depth: its fields, theory's line on it, the sentences under it; theory at the start."""

import json
import math

import fabricated
import pandas as pd
import pytest

from resexp import figures, runs
from resexp.tables.frames import at_start, read_frames
from resexp.tables.planes import boundaries, edges, plane
from resexp.tables.theory_bands import bands
from resexp.tables.words import words

MAP = ("network.depth=[4,8,16]", "network.norm=none", "network.init=he", "network.init_scale=[0.5,1,2]", "seeds=2")


def values(trial):
    """Plain is worth 0.9 but where depth exceeds 4 times the init_scale in halves; identity is always worth 0.8."""
    network = trial.settings.network
    trains = network.shortcut == "identity" or network.depth <= 8 * network.init_scale
    return {"test_accuracy": 0.8 if network.shortcut == "identity" else 0.9 if trains else 0.1}


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    return fabricated.results(tmp_path_factory.mktemp("runs"), values, *MAP)


def reach(of, arm, init_scale, region="all"):
    rows = of[(of["arm"] == arm) & (of["region"] == region) & (of["init_scale"] == init_scale)]
    return rows["reach"].item()


# ---- fields -------------------------------------------------------------------------------------------------------------


def test_fields_meet_at_geometric_means():
    assert edges([1, 4, 16]) == {1: (0.5, 2.0), 4: (2.0, 8.0), 16: (8.0, 32.0)}
    lower, upper = zip(*edges([0.25, 1 / 3, 3]).values(), strict=True)
    assert lower[1:] == upper[:-1]


def test_a_field_has_the_median_over_seeds_and_the_difference_to_its_plain_twin(found):
    fields = plane(read_frames(found).results).set_index(["arm", "depth", "init_scale"])

    assert len(fields) == 2 * 3 * 3
    assert fields.loc[("plain", 16, 1.0), "accuracy"] == 0.1
    assert fields.loc[("identity", 16, 1.0), "difference"] == pytest.approx(0.7)
    assert fields.loc[("identity", 8, 1.0), "difference"] == pytest.approx(-0.1)
    assert set(fields["n"]) == {2}


# ---- where theory sees the end of training ------------------------------------------------------------------------------


@pytest.mark.parametrize("init_scale", [0.5, 1.0])
def test_plains_line_lies_at_six_depth_scales(found, init_scale):
    # |dL/dx|^2 falls by init_scale / 2 a layer in the mean over weights, by e^(-5 / 2n) more in the mean of its logarithm
    rate = (-math.log(init_scale / 2) + (-math.log(init_scale / 2) + 5 / (2 * 64))) / 2

    assert reach(boundaries(found), "plain", init_scale) == pytest.approx(2 + 6 / rate)


def test_without_fluctuations_hes_plain_networks_have_no_end_and_others_6_over_the_logarithm(tmp_path):
    lines = boundaries(fabricated.results(tmp_path, values, *MAP[:2], "network.init=orthogonal", *MAP[3:]))

    assert reach(lines, "plain", 2.0) == math.inf
    assert reach(lines, "plain", 0.5) == pytest.approx(2 + 6 / math.log(4))


def test_with_batch_norm_the_line_lies_at_16_depth_scales_whatever_the_gain_and_with_layer_norm_nowhere(tmp_path):
    lines = boundaries(fabricated.results(tmp_path, values, MAP[0], "network.norm=[batch,layer]", *MAP[2:]))
    low, high = math.log(1.42), math.log(math.pi / (math.pi - 1) * 62 / 61)

    for init_scale in (0.5, 2.0):
        assert reach(lines, "plain", init_scale, "norm batch") == pytest.approx(2 + 16 / ((low + high) / 2))
        assert reach(lines, "plain", init_scale, "norm layer") == math.inf
    assert lines[(lines["arm"] == "identity") & (lines["region"] == "norm layer")].empty  # no formula is known


def test_a_line_goes_from_edge_to_edge_and_an_experiment_without_a_map_has_none(found, tmp_path):
    init_scales = boundaries(found)["init_scale"]
    few = fabricated.results(tmp_path, values, *MAP[:3], "network.init_scale=[1,2]", "seeds=2")

    assert (init_scales.min(), init_scales.max()) == (pytest.approx(0.5 / math.sqrt(2)), pytest.approx(2 * math.sqrt(2)))
    assert boundaries(few).empty


# ---- the picture and its sentences ------------------------------------------------------------------------------------------


def test_the_map_takes_the_place_of_all_other_figures_and_has_a_panel_for_each_arm_and_each_difference(found):
    frames = read_frames(found)
    drawn = json.dumps(figures.FIGURES["atlas"](frames).to_dict())

    assert figures.chosen(frames) == ["atlas"]
    assert [drawn.count(f'"text": "{title}"') for title in ("plain", "identity", "identity - plain")] == [1, 1, 1]
    assert drawn.count('"type": "rect"') == 3
    assert drawn.count('"type": "line"') == 2 * (1 + 1 + 2)  # each line on its halo; the difference shows both


def test_the_map_is_told_by_fields_gained_and_lost_and_by_both_sides_of_theorys_line(found):
    assert words("atlas", read_frames(found)) == [
        # plain trains where depth <= 8 init_scale; 6 scales reach to 6.2 layers at init_scale 0.5, 10.2 at 1, 155 at 2
        (
            "plain: within the predicted limit 6 configurations with accuracies from 90.0% to 90.0% (median 90.0%), "
            "beyond it 3 configurations with accuracies from 10.0% to 10.0% (median 10.0%)."
        ),
        "identity: 5 points or more above plain in 3 of 9 configurations, below it in 6; from -10.0 to +70.0 points.",
        # 2.05 to 2.40 a block at init_scale 2: 2 + 12 / ln 2.2 = 17 layers
        "identity: no limit is predicted: 9 configurations with accuracies from 80.0% to 80.0% (median 80.0%).",
    ]


# ---- before the first step --------------------------------------------------------------------------------------------------


def test_theorys_band_is_its_profile_and_two_deviations_over_seeds(found):
    band = bands(found).query("arm == 'plain' and condition == 'init_scale 2' and depth == 8").set_index("index")
    spread = [math.sqrt(5 * 2 / 64 * blocks) / math.log(10) for blocks in (3, 2, 1, 0)]  # 2 sd of the norm

    assert list(band["high"]) == pytest.approx(spread)
    assert list(band["low"]) == pytest.approx([-5 / 64 / 2 / math.log(10) * (3 - at) - spread[at] for at in range(4)])


def test_at_the_start_stand_the_seeds_as_measured_and_the_bands_of_the_networks_measured(tmp_path):
    steep = {"test_accuracy": 0.5, "flow": 0.1}
    found = fabricated.results(tmp_path, lambda trial: steep if trial.settings.network.depth < 16 else {}, *MAP)
    rows = at_start(read_frames(found)).query("arm == 'plain' and condition == 'init_scale 1'")

    assert set(rows["depth"]) == {4, 8}
    assert rows.dropna(subset=["relative"]).groupby("index")["relative"].agg(list).to_dict() == {
        index: pytest.approx([index - 3.0] * 4) for index in range(4)
    }
    assert list(rows.dropna(subset=["low"]).groupby("depth").size()) == [2, 4]


def test_an_arm_without_a_formula_has_no_band(tmp_path):
    found = fabricated.results(
        tmp_path,
        values,
        "network.depth=8",
        "network.norm=layer",
        "network.init=he",
        "network.init_scale=1",
        "network.shortcut=gate",
    )

    assert set(bands(found)["arm"]) == {"plain"}
    assert pd.isna(at_start(read_frames(found)).query("arm == 'gate'")["low"]).all()


# ---- what is not on the map, or not whole -----------------------------------------------------------------------------------


def test_diverged_networks_count_in_the_median_and_are_named(tmp_path):
    def some(trial):
        network = trial.settings.network
        gone = network.shortcut == "identity" and (network.depth, network.init_scale) in {(16, 2.0), (8, 2.0)}
        return {"outcome": "diverged"} if gone and (trial.seed or network.depth == 16) else {"test_accuracy": 0.8}

    frames = read_frames(fabricated.results(tmp_path, some, *MAP))
    fields = plane(frames.results).query("arm == 'identity' and init_scale == 2").set_index("depth")

    assert fields["n"].to_dict() == {4: 2, 8: 2, 16: 2}
    assert fields["accuracy"].isna().to_dict() == {4: False, 8: True, 16: True}
    assert fields["mark"].to_dict() == {4: "", 8: "outcomes differ", 16: "all diverged"}
    assert words("atlas", frames)[-1] == (
        "identity: seeds differ in outcome in 1 of 9 configurations (circles), 3 of 18 networks diverged, "
        "configurations left blank, as their median network diverged: 2."
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
def test_the_median_of_a_field_counts_diverged_networks_as_the_worst(accuracies):
    rows = [
        {"region": "all", "arm": arm, "depth": depth, "init_scale": init_scale, "test_accuracy": accuracy,
         "outcome": "diverged" if accuracy is None else "at_chance" if accuracy < 0.2 else "above_chance"}
        for arm in ("plain", "identity") for depth in (4, 8) for init_scale in (1.0, 2.0)
        for accuracy in (accuracies if (arm, depth, init_scale) == ("plain", 8, 2.0) else (0.5,) * len(accuracies))
    ]  # fmt: skip
    fields = plane(pd.DataFrame(rows)).set_index(["arm", "depth", "init_scale"])
    field, wanted = fields.loc[("plain", 8, 2.0)], SEEDS[accuracies]
    ranked = sorted(-1.0 if accuracy is None else accuracy for accuracy in accuracies)  # an independent median
    middle = {ranked[(len(ranked) - 1) // 2], ranked[len(ranked) // 2]}

    assert (wanted is None) == (-1.0 in middle)
    assert math.isnan(field["accuracy"]) if wanted is None else field["accuracy"] == pytest.approx(wanted)
    assert fields.loc[("identity", 8, 2.0), "difference"] == pytest.approx(0.5 - wanted if wanted else math.nan, nan_ok=True)
    assert field["n"] == len(accuracies)


def test_mixed_and_diverged_fields_are_marked_on_the_map_of_their_arm_and_on_the_difference(found, tmp_path):
    def some(trial):
        network = trial.settings.network
        here = network.shortcut == "plain" and network.init_scale == 2.0
        if here and (network.depth == 16 or (network.depth == 8 and trial.seed == 0)):
            return {"outcome": "diverged"}
        return {"test_accuracy": 0.8}

    def marks(frames):
        drawn = figures.FIGURES["atlas"](frames).to_dict()
        panels = [panel for row in drawn["vconcat"][0]["hconcat"] for panel in row["hconcat"]]
        return {
            panel["title"]["text"]: sorted(
                (row["depth"], row["init_scale"], row["mark"])
                for layer in panel["layer"] if layer["mark"]["type"] == "point" and layer["mark"]["color"] == "black"
                for row in drawn["datasets"][layer["data"]["name"]]
            )
            for panel in panels
        }  # fmt: skip

    wanted = [(8, 2.0, "outcomes differ"), (16, 2.0, "all diverged")]
    assert marks(read_frames(found)) == {"plain": [], "identity": [], "identity - plain": []}
    assert marks(read_frames(fabricated.results(tmp_path, some, *MAP))) == {
        "plain": wanted, "identity": [], "identity - plain": wanted,
    }  # fmt: skip


def test_where_too_few_depths_have_an_accuracy_there_is_no_map(tmp_path):
    frames = read_frames(
        fabricated.results(
            tmp_path, lambda t: {"test_accuracy": 0.9} if t.settings.network.depth == 4 else {"outcome": "diverged"}, *MAP
        )
    )

    assert "atlas" not in figures.chosen(frames)
    assert {"accuracy", "gradient-at-start"} <= set(figures.chosen(frames))


def test_without_plain_networks_there_is_no_map_of_differences(tmp_path):
    frames = read_frames(fabricated.results(tmp_path, values, *MAP, "network.plain=false"))
    drawn = json.dumps(figures.FIGURES["atlas"](frames).to_dict())

    assert drawn.count('"type": "rect"') == 1
    assert "identity - plain" not in drawn


def test_beside_a_map_networks_without_a_gain_keep_their_figures(tmp_path):
    here = [
        fabricated.experiment(tmp_path, values, *MAP)[0],
        fabricated.experiment(tmp_path, lambda _: {"test_accuracy": 0.7}, "network.norm=none", "name=other")[0],
    ]
    frames = read_frames(runs.read_results(here))

    assert figures.chosen(frames) == list(figures.FIGURES)
    assert words("atlas", frames)[0].startswith("init he, plain: within the predicted limit 6 configurations")
