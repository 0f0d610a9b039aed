"""Weight gradients from backward() to the page, paired differences, and figures that are added from outside."""

import itertools
import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import altair as alt
import fabricated
import numpy as np
import pytest
from commands import Program

import resexp
from resexp import networks, report, runs, tables, training
from resexp.comparison import LayerLog, Moment, compare_results, layer_gradients, layer_logs
from resexp.config import Experiment, Trial
from resexp.figures import FIGURES, Figure, FigureData, Section, available_figures
from resexp.report.content import collect
from resexp.tables.frames import layer_frame

Rows = list[dict[str, Any]]
SMALL = ("network.depth=[8,64]", "network.norm=[none]", "network.init=he", "seeds=3")


def better(trial: Trial) -> dict[str, Any]:
    gain = 0.0 if trial.arm == "plain" else 0.1 + 0.001 * trial.seed * trial.settings.network.depth
    return {"test_accuracy": 0.5 + 0.01 * trial.seed + gain, "flow": 10.0 if trial.arm == "plain" else 1.0}


def chart_rows(name: str, results: runs.Results) -> Rows:
    return [row for rows in FIGURES[name].chart(FigureData(results)).to_dict()["datasets"].values() for row in rows]


def page_rows(html: str, name: str) -> Rows:
    """The rows of a chart as the page unpacks them: names by index, and runs of equal values."""

    def unpacked(column: Any) -> list[Any]:
        if isinstance(column, list):
            return column
        if "names" in column:
            return [column["names"][index] for index in unpacked(column["at"])]
        return [value for value, count in zip(column["values"], column["counts"], strict=True) for _ in range(count)]

    (specs,) = re.findall(r"const specs = (\{.*\});\n", html)
    rows: Rows = []
    for columns in json.loads(specs)[name]["datasets"].values():
        values = {key: unpacked(column) for key, column in columns.items()}
        rows += [dict(zip(values, row, strict=True)) for row in zip(*values.values(), strict=True)]
    return rows


def gradients_file(folder: Path, experiment: Experiment, number: int = 0) -> Path:
    return runs.trial_folder(folder, experiment.trials[number].name) / "gradients.csv"


# ---- from backward() to the page --------------------------------------------------------------------------------------------


def by_hand(trial: Trial, folder: Path) -> tuple[dict[str, float], list[float]]:
    """|dL/dW| and distances of the first batch at initialization, in float64, for an MLP of one block without normalization.

    x_0 = relu(x W0^T + b0); z = x_0 W1^T + b1; x_1 = relu(relu(z) W2^T + b2 + s x_0), s = 0 if plain; logits = x_1 V^T + c
    """
    state = training.initial_state([trial], folder, "by-hand", "cpu")
    images, labels = next(state.batches(0))
    tensors = {name: value.numpy().astype(np.float64) for name, value in state.single_state_dict.items()}
    layers = ("stem.layer", "blocks.0.branch.layer1", "blocks.0.branch.layer2", "classifier")
    (w0, b0), (w1, b1), (w2, b2), (v, c) = ((tensors[f"{name}.weight"], tensors[f"{name}.bias"]) for name in layers)
    x, s = images.flatten(1).numpy().astype(np.float64), float(trial.arm == "identity")
    a0 = x @ w0.T + b0
    x0 = np.maximum(a0, 0)
    z = x0 @ w1.T + b1
    a1 = np.maximum(z, 0) @ w2.T + b2 + s * x0
    x1 = np.maximum(a1, 0)
    logits = x1 @ v.T + c
    shares = np.exp(logits - logits.max(1, keepdims=True))
    d_logits = (shares / shares.sum(1, keepdims=True) - np.eye(logits.shape[1])[labels.numpy()]) / len(x)
    d_a1 = (d_logits @ v) * (a1 > 0)
    d_z = (d_a1 @ w2) * (z > 0)
    d_a0 = (d_z @ w1 + s * d_a1) * (a0 > 0)
    gradients = {
        "stem": d_a0.T @ x,
        "blocks.0.layer1": d_z.T @ x0,
        "blocks.0.layer2": d_a1.T @ np.maximum(z, 0),
        "classifier": d_logits.T @ x1,
    }
    norms = {name: math.sqrt((gradient**2).sum()) for name, gradient in gradients.items()}
    return norms, [mean_distance(activations) for activations in (x0, x1)]


def mean_distance(activations: np.ndarray) -> float:
    """The mean of 1 - cos(x_i, x_j) over all pairs, one after another."""
    units = [example / math.sqrt((example**2).sum()) for example in activations]
    return float(np.mean([1 - (a * b).sum() for a, b in itertools.combinations(units, 2)]))


@pytest.fixture(scope="module")
def trained(tiny_runs: Callable[..., Path]) -> tuple[Path, str]:
    """The folder of tiny.yaml after training, and its report."""
    folder = tiny_runs() / "tiny"
    return folder, report.html(runs.read_results([folder]))


def test_a_weight_gradient_that_is_computed_by_hand_is_on_the_page_and_in_the_json_output(
    tiny: Callable[..., Experiment], trained: tuple[Path, str], tmp_path: Path, call: Program, torch_state: None
):
    folder, html = trained
    answer = call("compare", folder, "--by-layer", "--format", "json")
    by_layer = [row for row in json.loads(answer.out)["by_layer"] if row["moment"] == Moment.START]
    on_page = [row for row in page_rows(html, "weight-gradient") if row["moment"] == Moment.START]

    assert answer.code == 0
    for trial in tiny().trials:
        expected = pytest.approx(by_hand(trial, tmp_path)[0], rel=1e-5)
        assert {row["layer"]: row["value"] for row in on_page if row["arm"] == trial.arm} == expected
        assert [row["norms"] for row in by_layer if row["arm"] == trial.arm] == [expected]
    assert len({row["arm"] for row in on_page}) == len(by_layer) == 2


def test_distances_that_are_computed_pair_by_pair_are_on_the_page_and_in_the_json_output(
    tiny: Callable[..., Experiment], trained: tuple[Path, str], tmp_path: Path, call: Program, torch_state: None
):
    folder, html = trained
    on_page = page_rows(html, "distance-profile")
    (cell,) = json.loads(call("compare", folder, "--format", "json").out)["cells"]
    probed = {arm["arm"]: arm for arm in json.loads(call("probe", folder, "--json").out)["arms"]}
    (summary,) = runs.pair_summaries(folder)

    for trial in tiny().trials:
        expected = pytest.approx(by_hand(trial, tmp_path)[1], rel=1e-4)
        last = pytest.approx(expected.expected[-1], rel=1e-4)
        rows = [row for row in on_page if row["arm"] == trial.arm]
        assert [row["distance"] for row in rows if row["distance"] is not None] == expected
        assert len([row for row in rows if row["low"] is not None and row["low"] <= row["high"]]) == 2
        assert [arm["distance_start"] for arm in cell["arms"] if arm["name"] == trial.arm] == [last]
        assert [10 ** spread["mean"] for spread in probed[trial.arm]["spreads"]["activation_cosine_distance"]] == expected
        assert (probed[trial.arm]["distance"], summary.at_start[trial.arm].distance) == (last, last)


# ---- weight gradients by layer ----------------------------------------------------------------------------------------------


def test_growth_is_the_change_of_log10_from_the_last_to_the_first_layer_with_its_interval(tmp_path: Path):
    results = fabricated.results(tmp_path, better, *SMALL)
    rows = layer_gradients(results, layer_logs(results))
    plain = next(row for row in rows if row.arm == "plain" and row.label["depth"] == "64" and row.moment == Moment.END)

    assert plain.norms == pytest.approx({"stem": 1e3, "blocks.0.layer1": 1e2, "classifier": 10.0})
    assert plain.ends == pytest.approx((1e3, 10.0))
    assert (plain.step, plain.n, plain.growth.mean, plain.growth.low, plain.growth.high) == pytest.approx((20, 3, 2, 2, 2))


def test_a_norm_of_0_or_infinity_is_left_out_of_the_mean_over_seeds(tmp_path: Path):
    folder, experiment = fabricated.experiment(tmp_path, better, "network.depth=[8]", *SMALL[1:])
    plain = [number for number, trial in enumerate(experiment.trials) if trial.arm == "plain"]
    for number, norm in zip(plain, ("0", "inf", "7"), strict=True):
        path = gradients_file(folder, experiment, number)
        path.write_text(re.sub(r"^(\d+,\d+,0,stem,4),[^,]+", rf"\1,{norm}", path.read_text("utf-8"), flags=re.MULTILINE))
    results = runs.results_of(folder, experiment)
    row = layer_gradients(results, layer_logs(results))[0]

    assert row.norms["stem"] == pytest.approx(7)
    assert row.growth.n == 1
    (line,) = (line for line in tables.by_layer_lines([row]) if "at initialization" in line)
    assert line.split() == ["plain", "at", "initialization", "7.0e+00", "1.0e+01", "-0.15"]


@pytest.mark.parametrize(
    ("epochs", "moments"),
    [
        ([0], {Moment.START: 0, Moment.END: 0}),
        ([0, 0, 0], {Moment.START: 0, Moment.END: 2}),
        ([0, 0, 1, 2], {Moment.START: 0, Moment.EPOCH_1: 1, Moment.END: 3}),
        ([0, 1, 2], {Moment.START: 0, Moment.END: 2}),
    ],
)
def test_moments_are_the_first_step_the_last_of_epoch_1_and_the_last(
    tmp_path: Path, epochs: list[int], moments: dict[Moment, int]
):
    assert only_log(tmp_path, epochs).moments == moments


def only_log(folder: Path, epochs: list[int], seeds: int = 1) -> LayerLog:
    """The log of the first trial, which logs every step with these epochs."""
    results = logged(folder, [epochs] * seeds)
    return layer_logs(results)[results.records[0].folder]


def logged(folder: Path, epochs: list[list[int]]) -> runs.Results:
    """Plain networks that log two layers at every step, one for each list of epochs."""
    one_arm = ("network.depth=[8]", "network.norm=none", "network.init=he", "network.shortcut=plain", f"seeds={len(epochs)}")
    path, experiment = fabricated.experiment(folder, better, *one_arm)
    for number, trial_epochs in enumerate(epochs):
        log = gradients_file(path, experiment, number)
        log.unlink()
        for step, epoch in enumerate(trial_epochs):
            rows = [(step, epoch, n, f"l{n}", 4, 10.0**n, 1.0, 1.0, 0.01) for n in (0, 1)]
            runs.append(log, rows)
    return runs.results_of(path, experiment)


@pytest.mark.parametrize(("count", "steps"), [(16, 16), (17, 9), (40, 10), (640, 10)])
def test_a_heat_map_has_at_most_16_steps(tmp_path: Path, count: int, steps: int):
    results = logged(tmp_path, [[0] * count])
    frame = layer_frame(results, layer_logs(results))

    assert frame[frame["shown"]]["step"].nunique() == steps
    assert set(frame[frame["moment"] == Moment.END]["step"]) == {count - 1}


def test_a_diverged_trial_with_a_shorter_log_is_on_the_heat_map_at_the_steps_of_the_others(tmp_path: Path):
    results = logged(tmp_path, [[0] * 40, [0] * 10])
    frame = layer_frame(results, layer_logs(results))
    shown = {seed: set(rows["step"]) for seed, rows in frame[frame["shown"]].groupby("seed")}

    assert shown == {0: set(range(0, 40, 4)), 1: {0, 4, 8}}


def test_without_weight_gradients_there_is_no_figure_and_a_line_that_names_the_probe(tmp_path: Path):
    folder, experiment = fabricated.experiment(tmp_path, better, *SMALL)
    for log in folder.glob("trials/*/gradients.csv"):
        log.unlink()
    results = runs.results_of(folder, experiment)

    assert not {"weight-gradient", "weight-gradient-map", "relative-update"} & set(available_figures(FigureData(results)))
    assert "gradient_norm" in "".join(tables.by_layer_lines(layer_gradients(results, layer_logs(results))))


@pytest.mark.parametrize(
    ("pattern", "replacement"),
    [("^step", "stop"), ("^20,1,", "x,1,"), ("^20,1,0,stem,4,[^,]+", "20,1,0,stem,4,x"), (",0.01$", ""), (",0.01$", ",a")],
)
def test_a_damaged_log_of_gradients_is_an_error_that_names_the_file(tmp_path: Path, pattern: str, replacement: str):
    folder, experiment = fabricated.experiment(tmp_path, better, *SMALL)
    path = gradients_file(folder, experiment, 3)
    path.write_text(re.sub(pattern, replacement, path.read_text("utf-8"), count=1, flags=re.MULTILINE), "utf-8")

    with pytest.raises(runs.RunsError, match=re.escape(f"{path}: damaged")):
        report.markdown(runs.results_of(folder, experiment))


def test_by_layer_prints_a_table_of_80_columns_and_is_refused_for_other_formats(tmp_path: Path, call: Program):
    folder, experiment = fabricated.experiment(tmp_path, better, *SMALL)
    answer = call("compare", folder, "--by-layer")
    _, table = answer.out.split("Weight gradients by layer\n")

    assert [line.split()[-1] for line in table.splitlines() if "at the end" in line] == ["+2.00]", "+0.00]"] * 2
    assert max(map(len, answer.out.splitlines())) <= 80
    assert "Weight gradients" not in call("compare", folder).out
    assert call("compare", folder, "--by-layer", "--format", "csv").code == 2
    assert "Weight gradients by layer" in report.markdown(runs.results_of(folder, experiment))


# ---- paired differences -----------------------------------------------------------------------------------------------------


def test_paired_differences_are_those_of_the_comparison_in_points(tmp_path: Path):
    results = fabricated.results(tmp_path, better, *SMALL)
    arms = {cell.label["depth"]: arm for cell in compare_results(results).cells for arm in cell.arms if arm.difference}
    rows = chart_rows("paired-differences", results)

    assert {str(row["depth"]): row["arm"] for row in rows} == {"8": "identity", "64": "identity"}
    for row in rows:
        difference = arms[str(row["depth"])].difference
        expected = [100 * value for value in (difference.mean, difference.low, difference.high)]
        assert [row["difference"], row["low"], row["high"]] == pytest.approx(expected, abs=1e-3)
    assert FIGURES["paired-differences"].sentences(FigureData(results)) == [
        "identity: the 95% CI is above 0 in 2 of 2 configurations and below 0 in 0."
    ]


def test_a_pair_whose_outcomes_differ_has_no_interval_and_is_counted(tmp_path: Path):
    def mixed(trial: Trial) -> dict[str, Any]:
        fails = trial.arm != "plain" and trial.settings.network.depth == 64 and trial.seed == 0
        return {**better(trial), **({"test_accuracy": 0.1, "outcome": "at_chance"} if fails else {})}

    results = fabricated.results(tmp_path, mixed, *SMALL)

    assert {row["depth"] for row in chart_rows("paired-differences", results)} == {8}
    (line,) = FIGURES["paired-differences"].sentences(FigureData(results))
    assert "1 of 1" in line
    assert "; 1 others" in line


def test_without_a_pair_there_are_no_paired_differences(tmp_path: Path):
    results = fabricated.results(tmp_path, better, *SMALL, "network.shortcut=plain")

    assert "paired-differences" not in available_figures(FigureData(results))


# ---- figures from outside ---------------------------------------------------------------------------------------------------


def test_a_figure_that_is_added_from_outside_is_in_the_page_and_among_the_files(
    tmp_path: Path, call: Program, monkeypatch: pytest.MonkeyPatch
):
    def steps(data: FigureData) -> alt.FacetChart:
        bars = alt.Chart(data.frames.results[["condition", "arm", "steps"]]).mark_bar()
        return bars.encode(x="mean(steps):Q", y="arm:N").facet("condition:N")

    added = Figure(
        section=Section.CONDITIONS,
        question="How long was training?",
        caption="Steps of training.",
        chart=steps,
        sentences=lambda data: [f"{len(data.frames.results)} networks were trained."],
    )
    monkeypatch.setitem(resexp.FIGURES, "steps", added)
    monkeypatch.setitem(resexp.FIGURES, "absent", Figure(Section.ERROR, "?", "", steps, condition=lambda _: False))
    folder, _ = fabricated.experiment(tmp_path, better, *SMALL)
    answer = call("report", folder, "-o", tmp_path / "report.html", "--figures", "svg")
    html = (tmp_path / "report.html").read_text("utf-8")

    assert answer.code == 0
    assert page_rows(html, "steps")
    for text in ("How long was training?", "Steps of training.", "12 networks were trained."):
        assert text in html.partition("<script>")[0].partition('<section id="conditions"')[2]
    assert (tmp_path / "figures" / "steps.svg").is_file()
    assert not (tmp_path / "figures" / "absent.svg").exists()


def test_dicts_of_variants_are_exported_by_the_package():
    assert resexp.FIGURES is FIGURES
    assert resexp.ACTIVATIONS is networks.ACTIVATIONS


def test_every_figure_is_in_a_section_of_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    data = FigureData(fabricated.results(tmp_path, better, *SMALL))
    for section in Section:
        figure = Figure(section, "?", "", lambda _: alt.Chart().mark_bar())
        monkeypatch.setitem(FIGURES, f"in {section}", figure)
    names = [picture.name for picture in collect(data.results).pictures]

    assert {f"in {section}" for section in Section} <= set(names)
    assert all(
        figure.question.endswith("?") and (figure.caption.endswith(".") or not figure.caption) for figure in FIGURES.values()
    )


def test_the_first_picture_answers_three_questions_for_at_most_four_conditions(tmp_path: Path):
    conditions = ("network.norm=[none,layer,batch]", "network.init=[he,xavier]")
    results = fabricated.results(tmp_path, better, SMALL[0], *conditions, "seeds=3")
    data = FigureData(results)
    chart = FIGURES["overview"].chart(data).to_dict()
    gradients, inputs, errors = chart["hconcat"]
    rows = [row for rows in chart["datasets"].values() for row in rows]

    assert next(iter(FIGURES)) == "overview"
    assert len(gradients["vconcat"]) == len(inputs["vconcat"]) == len(errors["vconcat"]) == 4
    assert len({row["condition"] for row in rows}) == 4
    assert "4 of 6 conditions" in FIGURES["overview"].sentences(data)[0]
    errors_drawn = {round(row["value"], 4) for row in rows if row["x"] == 64 and row["arm"] == "plain"}
    assert errors_drawn <= {round(1 - record.result.train_accuracy, 4) for record in results.records}


# ---- cosine distance of activations -----------------------------------------------------------------------------------------


def distant(trial: Trial) -> dict[str, Any]:
    """1e-4, 1e-3 and 1e-2 for the three seeds of plain networks, 1e-20 for identity."""
    return {**better(trial), "distance_start": 10.0 ** (trial.seed - 4) if trial.arm == "plain" else 1e-20}


def test_tables_have_the_mean_distance_over_seeds(tmp_path: Path):
    results = fabricated.results(tmp_path, distant, *SMALL)
    arms = compare_results(results).cells[0].arms
    (plain, identity) = FigureData(results).at_initialization[:2]

    assert [arm.distance_start for arm in arms] == pytest.approx([3.7e-3, 1e-20])
    assert (plain.distance, identity.distance) == pytest.approx((3.7e-3, 1e-20))
    assert 0 < plain.distances.low[-1] <= plain.distances.high[-1]
    page = report.html(results)
    assert "distance at init" in page
    assert "&lt;1e-16" in page


def test_charts_of_distances_end_at_the_smallest_distance_that_they_show(tmp_path: Path):
    results = fabricated.results(tmp_path, distant, *SMALL)
    profile = [row for row in chart_rows("distance-profile", results) if row.get("seed") is not None]
    heat_map = chart_rows("distance-map", results)

    assert {row["distance"] for row in profile if row["arm"] == "plain" and row["seed"] == row["seed"]} == {1e-4, 1e-3, 1e-2}
    assert {row["distance"] for row in profile if row["arm"] == "identity" and row["seed"] == row["seed"]} == {1e-16}
    assert {(row["arm"], row["distance"]) for row in heat_map} == {("plain", -3.0), ("identity", -6.0)}


@pytest.mark.parametrize("distance", [math.nan, math.inf])
def test_without_a_finite_distance_there_is_no_figure_and_no_panel(tmp_path: Path, distance: float):
    data = FigureData(fabricated.results(tmp_path, lambda trial: {**better(trial), "distance_start": distance}, *SMALL))

    assert not {"distance-profile", "distance-map"} & set(available_figures(data))
    assert len(FIGURES["overview"].chart(data).to_dict()["hconcat"]) == 2
    assert {arm.distance_start for cell in data.comparison.cells for arm in cell.arms} == {None}
    assert "distance at init" not in report.html(data.results)
