"""`resexp probe`: what it measures is what training logs at step 0, beside what theory says; nothing is written."""

import csv
import io
import json
import math
import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from commands import Program
from fabricated import results

from resexp import config, initial_diagnostics, probes, runs, tables, theory, training
from resexp.config import Experiment
from resexp.tables import InitDiagnostics
from resexp.tables.probe_lines import measured_text

pytestmark = pytest.mark.usefixtures("torch_state")


def measured(experiment: Experiment, batches: int = 1) -> list[InitDiagnostics]:
    return tables.init_diagnostics(
        experiment, [asdict(reading) for reading in initial_diagnostics.measure(experiment, "cpu", batches)]
    )


def levels(arm: InitDiagnostics, name: str = "activation_grad_norm") -> list[float]:
    return [10**of.mean if of.mean is not None else math.nan for of in arm.spreads[name]]


# ---- what is measured -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "overrides",
    [
        ("seeds=2",),
        ("network.depth=[4, 8]", "network.shortcut=[identity, gate, rezero]"),
        ("network.shortcut=[dropout, stochastic-depth]", "network.norm=batch", "network.depth=8"),
        ("network.family=cnn", "network.depth=8", "network.norm=group", "network.width=8"),
        ("network.shortcut=gate", "network.plain_width=parameters", "training.label_smoothing=0.1"),
    ],
    ids=str,
)
def test_a_probe_is_the_first_reading_of_a_training(overrides: tuple[str, ...], tiny: Any, tmp_path: Path):
    experiment = tiny(*overrides)
    found = {reading.trial: reading for reading in initial_diagnostics.measure(experiment, "cpu")}

    for trial in experiment.trials:
        training.train_stack([trial], tmp_path, trial.name, "cpu")
        place = runs.trial_folder(tmp_path, trial.name)
        signals, gradients = (
            [row for row in runs.read_rows(place / name) if row["step"] == "0"] for name in ("signals.csv", "gradients.csv")
        )
        reading = found[trial.name]

        assert [row["block"] for row in signals] == list(reading.blocks)
        assert [row["layer"] for row in gradients] == list(reading.layers)
        for name in ("activation_rms", "activation_grad_norm"):
            assert getattr(reading, name) == pytest.approx([float(row[name]) for row in signals], rel=1e-4)
        assert reading.weight_grad_norm == pytest.approx([float(row["weight_grad_norm"]) for row in gradients], rel=1e-4)


def test_a_second_batch_is_that_of_the_second_step(tiny: Any, monkeypatch: pytest.MonkeyPatch):
    experiment = tiny("network.plain=false")
    run = training.begin(experiment.trials, Path("absent"), "x", "cpu")
    stream = training.batches(run.trials, run.training_data, run.step_counts.per_epoch, 0)
    seen: list[torch.Tensor] = []
    forward = type(run.network).forward
    monkeypatch.setattr(type(run.network), "forward", lambda self, x, *rest: (seen.append(x), forward(self, x, *rest))[1])
    readings = initial_diagnostics.measure(experiment, "cpu", batches=2)

    assert [reading.batch for reading in readings] == [0, 1]
    assert all(torch.equal(x, next(stream)[0]) for x in seen[-2:])
    assert readings[0].activation_grad_norm != readings[1].activation_grad_norm


def test_measuring_leaves_nothing_behind(tiny: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(torch.nn.Module, "compile", lambda *_, **__: pytest.fail("takes longer than all there is to measure"))
    initial_diagnostics.measure(tiny("seeds=2", "compile=true"), "cpu")

    assert list(tmp_path.iterdir()) == []


def test_a_plain_network_of_depth_80_lies_on_the_line_of_its_start(tiny: Any):
    shape = ("network.depth=80", "network.width=64", "network.block_layers=1", "network.init=pytorch", "training.batch_size=64")
    (single,), (double,) = (
        [arm for arm in measured(tiny(*shape, f"precision={of}", "seeds=5")) if arm.arm == "plain"]
        for of in ("float32", "float64")
    )
    first = levels(single, "weight_grad_norm")[0]

    assert 0 < first < 1e-25
    assert first == pytest.approx(levels(double, "weight_grad_norm")[0], rel=0.01)
    assert levels(single) == pytest.approx(levels(double), rel=0.01)
    assert single.slope is not None
    assert 10**single.slope.mean == pytest.approx(1 / math.sqrt(6), rel=0.03)  # 0.408 per layer, and the drift at width 64
    lowest, highest = single.prediction.slope() or (math.nan, math.nan)
    assert lowest - 0.005 <= single.slope.mean <= highest + 0.005


# ---- measured beside predicted ----------------------------------------------------------------------------------------------


WIDE = ("network.width=256", "network.depth=22", "network.block_layers=1", "seeds=5", "training.batch_size=64")


@pytest.mark.parametrize(
    ("overrides", "arm", "expected"),
    [
        (("network.init=he",), "plain", 1.0),
        (("network.init=xavier",), "plain", 0.5),
        (("network.init=pytorch",), "plain", 1 / 6),
        (("network.init=orthogonal", "network.init_scale=1.5"), "plain", 0.75),
        (("network.init=pytorch", "network.activation=tanh"), "plain", 1 / 3),
        (("network.init=he", "network.activation=tanh", "network.depth=42"), "plain", 1.106),
        (("network.init=he", "network.placement=pre"), "identity", 2.0),
        (("network.init=he", "network.norm=layer"), "plain", 1.0),
    ],
    ids=str,
)
def test_networks_as_they_are_built_grow_as_the_formulas_say(overrides: tuple[str, ...], arm: str, expected: float, tiny: Any):
    (found,) = [of for of in measured(tiny(*WIDE, *overrides)) if of.arm == arm]

    assert found.slope is not None
    assert 100**found.slope.mean == pytest.approx(expected, rel=0.05)
    assert found.ratio == pytest.approx(1.0, rel=0.05)


@pytest.mark.parametrize(
    ("overrides", "arm", "low", "high"),
    [
        (("network.block_layers=2", "network.init=he"), "identity", 2.0, 2.25),
        (("network.norm=batch", "network.init=he", "data.limit=512", "training.batch_size=256"), "plain", 1.42, 1.47),
    ],
    ids=str,
)
def test_ranges_hold_in_networks_as_they_are_built(overrides: tuple[str, ...], arm: str, low: float, high: float, tiny: Any):
    (found,) = [of for of in measured(tiny(*WIDE, *overrides)) if of.arm == arm]
    expected = found.prediction.slope()

    assert found.slope is not None
    assert expected is not None
    assert low <= 100**found.slope.mean <= high
    assert expected[0] - 0.01 <= found.slope.mean <= expected[1] + 0.01


@pytest.mark.parametrize(
    ("overrides", "arm"),
    [
        (("network.shortcut={scaled: {scale: 0.5, branch: 0.5}}",), "scaled-scale0.5-branch0.5"),
        (("network.shortcut={scaled: {scale: 0.5, branch: 0.5}}", "network.placement=pre"), "scaled-scale0.5-branch0.5"),
        (("network.norm=batch", "network.placement=pre"), "identity"),
        (("network.norm=batch", "network.placement=branch"), "identity"),
        (
            ("network.norm=batch", "network.placement=branch", "network.shortcut={scaled: {scale: 1, branch: 0.3}}"),
            "scaled-scale1-branch0.3",
        ),
        (("network.shortcut=skipinit", "network.placement=pre"), "skipinit"),
    ],
    ids=str,
)
def test_the_settings_of_shortcuts_reach_the_formulas(overrides: tuple[str, ...], arm: str, tiny: Any):
    wide = ("network.width=192", "network.depth=22", "network.init=he", "network.block_layers=2", "seeds=3")
    found = measured(tiny(*wide, "training.batch_size=128", "data.limit=512", *overrides, "network.plain=false"))[0]
    low, high = found.prediction.slope() or (math.nan, math.nan)

    assert found.arm == arm
    assert found.slope is not None
    assert low - 0.006 <= found.slope.mean <= high + 0.006


@pytest.mark.parametrize(
    ("overrides", "arms"),
    [
        (("network.norm=layer",), ["plain"]),
        (("network.placement=pre",), ["plain", "identity"]),
        (("network.placement=post",), ["plain", "identity"]),
    ],
    ids=str,
)
def test_signals_grow_as_they_are_predicted_to(overrides: tuple[str, ...], arms: list[str], tiny: Any):
    known = {arm.arm: arm for arm in measured(tiny(*WIDE, "network.init=he", *overrides)) if arm.prediction.forward}

    assert list(known) == arms
    for arm in known.values():
        seen = [math.log10(level) for level in levels(arm, "activation_rms")]
        assert seen[-1] - seen[0] == pytest.approx(sum(arm.prediction.forward or ()), abs=0.25)


def test_the_prediction_of_a_second_control_is_of_its_own_width(tiny: Any):
    experiment = tiny("network.depth=8", "network.shortcut=gate", "network.plain_width=parameters", "seeds=2")
    (control,) = [arm for arm in measured(experiment) if arm.arm == "plain-as-gate"]
    trial = next(trial for trial in experiment.trials if trial.arm == "plain-as-gate")
    alone = training.begin([trial], Path("absent"), "x", "cpu").network
    width = alone.classifier.weight.shape[1]

    assert width > trial.settings.network.width
    assert control.prediction.variance == pytest.approx(5 * trial.settings.network.block_layers / width)


def test_spreads_are_of_logarithms_over_seeds_and_batches(tiny: Any):
    experiment = tiny("seeds=3")
    readings = [asdict(of) for of in initial_diagnostics.measure(experiment, "cpu", 2)]
    arm = tables.init_diagnostics(experiment, readings)[0]
    names = {trial.name for trial in experiment.trials if trial.arm == "plain"}
    logs = torch.tensor([of["activation_grad_norm"] for of in readings if of["trial"] in names], dtype=torch.float64).log10()

    assert len(logs) == 6
    assert [of.mean for of in arm.spreads["activation_grad_norm"]] == pytest.approx(logs.mean(0).tolist())
    assert [of.sd for of in arm.spreads["activation_grad_norm"]] == pytest.approx(logs.std(0).tolist())


def test_the_slopes_interval_is_over_seeds_not_over_batches(tiny: Any):
    experiment = tiny("seeds=3", "network.depth=8", "network.plain=false")
    readings = [asdict(of) for of in initial_diagnostics.measure(experiment, "cpu", 2)]
    (arm,) = tables.init_diagnostics(experiment, readings)
    slopes = torch.tensor([of["slope"] for of in readings]).view(2, 3).mean(0)

    assert arm.slope is not None
    assert arm.slope.n == 3
    assert arm.slope.mean == pytest.approx(slopes.mean().item())
    assert arm.slope.high == pytest.approx((slopes.mean() + 4.302653 * slopes.std() / math.sqrt(3)).item(), rel=1e-4)


def test_the_report_gets_the_same_rows_from_a_run(tmp_path: Path):
    flow = 10**-0.8
    run = results(
        tmp_path,
        lambda trial: {"test_accuracy": 0.5, "flow": flow, "slope_start": math.log10(flow)} if trial.seed < 2 else {},
        "network.depth=8", "network.norm=none", "network.init=pytorch", "seeds=3",
    )  # fmt: skip
    for log in tmp_path.rglob("signals.csv"):  # what comes after step 0 is not looked at
        log.write_text(re.sub(r"(?m)^(20,.*),[^,]*$", r"\1,9.0", log.read_text(encoding="utf-8")), encoding="utf-8")
    found = tables.logged_init_diagnostics(run)

    assert [arm.arm for arm in found] == ["plain", "identity"]
    assert levels(found[0]) == pytest.approx([flow**3, flow**2, flow, 1.0])
    assert found[0].slope is not None
    assert (found[0].slope.mean, found[0].slope.n) == (pytest.approx(-0.8), 2)
    assert found[0].prediction.slope() == theory.predict(config.Network(depth=8, shortcut="plain"), 64).slope()
    assert "weight_grad_norm" not in found[0].spreads


# ---- what is said -----------------------------------------------------------------------------------------------------------


def lines(found: list[InitDiagnostics]) -> str:
    return "\n".join(tables.probe_lines("tiny", found, 1, 16))


def test_every_arm_has_a_row_and_a_chart_within_80_columns(tiny: Any):
    found = measured(tiny("network.depth=[4, 22]", "network.shortcut=[identity, stochastic-depth]", "seeds=3"))
    text = lines(found)

    assert max(map(len, text.splitlines())) <= 80
    assert len(re.findall(r"^  (plain|identity) .*[▁-█]$", text, flags=re.MULTILINE)) == 4
    assert text.count("\n  stochastic-depth\n") == 2
    assert "no formula is known for the shortcut stochastic-depth" in text
    assert "- (too few blocks)" in text


def test_what_is_tiny_is_printed_as_it_is_and_what_underflowed_is_named(tiny: Any):
    deep = ("network.depth=162", "network.width=16", "network.plain=true", "seeds=2")
    single, double = (measured(tiny(*deep, f"precision={of}")) for of in ("float32", "float64"))
    smallest = levels(double[0])[0]

    assert 1e-80 < smallest < 1e-50
    assert re.search(r"dL/dx \d\.\de-[5-7]\d to", lines(double))
    assert "is 0 at" not in lines(double)
    assert "dL/dx 0 to" in lines(single)
    said = " ".join(lines(single).split())
    assert re.search(r"activation_grad_norm is 0 at \d+ of 81 places \(< 1e-38 in float32; precision=float64 shows it", said)
    assert json.loads(tables.probe_json(double))[0]["spreads"]["activation_grad_norm"][0]["mean"] == math.log10(smallest)


def test_exact_zeros_are_named_without_a_cure(tiny: Any):
    found = measured(tiny("network.shortcut=rezero", "network.plain=false"))
    text = lines(found)

    assert "weight_grad_norm is 0 at 2 of 4 places\n" in text
    assert "float64" not in text
    assert json.loads(tables.probe_json(found), parse_constant=pytest.fail)[0]["prediction"]["depth_scale"] == [None, None]


def test_of_a_gradient_of_0_there_is_no_slope_whatever_the_number_of_blocks(tiny: Any):
    found = measured(tiny("network.depth=[4, 22]", "network.init=fixup", "network.plain=false"))

    assert [measured_text(arm) for arm in found] == ["- (too few blocks)", "- (0 or not finite)"]


@pytest.mark.parametrize(
    ("norm", "shown"), [(0.99, "9.9e-1"), (0.996, "1.0e0"), (1.0, "1.0e0"), (9.96e-80, "1.0e-79"), (2.345e7, "2.3e7")]
)
def test_a_level_has_one_figure_before_the_point(norm: float, shown: str, tiny: Any):
    reading = asdict(initial_diagnostics.measure(tiny("network.plain=false"), "cpu")[0])
    found = tables.init_diagnostics(tiny("network.plain=false"), [{**reading, "activation_rms": [norm, norm]}])

    assert f", x {shown} to {shown}, " in lines(found)


def test_what_overflowed_is_named(tiny: Any):
    found = measured(tiny("network.depth=42", "network.init_scale=1e5", "network.plain=false"))

    assert "is not finite at" in lines(found)
    json.loads(tables.probe_json(found), parse_constant=pytest.fail)


def test_csv_has_a_row_for_every_arm_quantity_and_place(tiny: Any):
    found = measured(tiny("network.depth=8", "seeds=2"))
    rows = list(csv.DictReader(io.StringIO(tables.probe_csv(found))))
    gradient = [row for row in rows if row["arm"] == "plain" and row["quantity"] == "activation_grad_norm"]

    assert len(rows) == 2 * (4 + 4 + 8)
    assert [row["place"] for row in gradient] == ["stem", "blocks.0", "blocks.1", "blocks.2"]
    assert gradient[-1]["predicted_high"] == gradient[-1]["log10_mean"]
    assert float(gradient[0]["predicted_high"]) - float(gradient[-1]["predicted_high"]) == pytest.approx(-1.5 * math.log10(36))


# ---- the command ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def call(in_process: None, call: Program) -> Program:
    return lambda *arguments: call("probe", *arguments)


def test_the_command_prints_and_writes_nothing(call: Program, tiny_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    code, out, err = call(tiny_file, "network.depth=8", "seeds=2", "--batches", 2)
    _, as_json, _ = call(tiny_file, "network.depth=8", "seeds=2", "--batches", 2, "--json")
    _, as_csv, _ = call(tiny_file, "network.depth=8", "seeds=2", "--batches", 2, "--csv")
    plain = json.loads(as_json)[0]

    assert (code, err) == (0, "")
    assert out.startswith("tiny: at initialisation, 2 seed(s), 2 batch(es) of 16, nothing trained\n")
    assert f"{plain['slope']['mean']:+.3f}" in out
    assert plain["prediction"]["slope"][1] == pytest.approx(-math.log10(6))
    assert plain["ratio"] == pytest.approx(10 ** (plain["slope"]["mean"] - sum(plain["prediction"]["slope"]) / 2))
    assert as_csv.startswith("cell,arm,quantity,index,place,log10_mean,")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [(["--json", "--csv"], "--csv: choose one of --json and --csv"), (["network.depht=8"], "depht")],
)
def test_a_mistake_is_one_line(call: Program, tiny_file: Path, arguments: list[str], words: str):
    code, out, err = call(tiny_file, *arguments)

    assert (code, out, len(err.splitlines())) == (2, "", 1)
    assert words in err


def test_probes_of_a_probe_are_known():
    assert set(initial_diagnostics.PROBES) <= set(probes.PROBES)
