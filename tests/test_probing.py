"""`resexp probe`: its measurements equal the logs of training at step 0, with predictions of theory; it writes nothing."""

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
    return [10**spread.mean if spread.mean is not None else math.nan for spread in arm.spreads[name]]


# ---- measurements ---------------------------------------------------------------------------------------------------------


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
def test_a_probe_measures_what_training_logs_at_step_0(overrides: tuple[str, ...], tiny: Any, tmp_path: Path):
    experiment = tiny(*overrides)
    measurements = {reading.trial: reading for reading in initial_diagnostics.measure(experiment, "cpu")}

    for trial in experiment.trials:
        training.train_stack([trial], tmp_path, trial.name, "cpu")
        folder = runs.trial_folder(tmp_path, trial.name)
        signals, gradients = (
            [row for row in runs.read_rows(folder / name) if row["step"] == "0"] for name in ("signals.csv", "gradients.csv")
        )
        reading = measurements[trial.name]

        assert [row["block"] for row in signals] == list(reading.blocks)
        assert [row["layer"] for row in gradients] == list(reading.layers)
        for name in ("activation_rms", "activation_grad_norm"):
            assert getattr(reading, name) == pytest.approx([float(row[name]) for row in signals], rel=1e-4)
        assert reading.weight_grad_norm == pytest.approx([float(row["weight_grad_norm"]) for row in gradients], rel=1e-4)


def test_the_second_batch_is_the_batch_of_the_second_step(tiny: Any, monkeypatch: pytest.MonkeyPatch):
    experiment = tiny("network.plain=false")
    run = training.initial_state(experiment.trials, Path("absent"), "x", "cpu")
    stream = run.batches(0)
    seen: list[torch.Tensor] = []
    forward = type(run.network).forward
    monkeypatch.setattr(type(run.network), "forward", lambda self, x, *rest: (seen.append(x), forward(self, x, *rest))[1])
    readings = initial_diagnostics.measure(experiment, "cpu", batches=2)

    assert [reading.batch for reading in readings] == [0, 1]
    assert all(torch.equal(x, next(stream)[0]) for x in seen[-2:])
    assert readings[0].activation_grad_norm != readings[1].activation_grad_norm


def test_measuring_writes_no_files(tiny: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(torch.nn.Module, "compile", lambda *_, **__: pytest.fail("takes longer than the measurement"))
    initial_diagnostics.measure(tiny("seeds=2", "compile=true"), "cpu")

    assert list(tmp_path.iterdir()) == []


def test_gradients_of_a_plain_network_of_depth_80_agree_with_the_prediction(tiny: Any):
    shape = ("network.depth=80", "network.width=64", "network.block_layers=1", "network.init=pytorch", "training.batch_size=64")
    arm = ("network.shortcut=plain", "network.plain=false", "seeds=5")
    (single,), (double,) = (measured(tiny(*shape, *arm, f"precision={precision}")) for precision in ("float32", "float64"))
    first = levels(single, "weight_grad_norm")[0]

    assert 0 < first < 1e-25
    assert first == pytest.approx(levels(double, "weight_grad_norm")[0], rel=0.01)
    assert levels(single) == pytest.approx(levels(double), rel=0.01)
    assert single.slope is not None
    assert 10**single.slope.mean == pytest.approx(1 / math.sqrt(6), rel=0.03)  # 0.408 per layer, with the drift at width 64
    lowest, highest = single.prediction.slope() or (math.nan, math.nan)
    assert lowest - 0.005 <= single.slope.mean <= highest + 0.005


# ---- measured and predicted -------------------------------------------------------------------------------------------------


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
def test_gradient_growth_of_networks_agrees_with_the_formulas(overrides: tuple[str, ...], arm: str, expected: float, tiny: Any):
    (diagnostics,) = measured(tiny(*WIDE, *overrides, f"network.shortcut={arm}", "network.plain=false"))

    assert diagnostics.slope is not None
    assert 100**diagnostics.slope.mean == pytest.approx(expected, rel=0.05)
    assert diagnostics.ratio == pytest.approx(1.0, rel=0.05)


@pytest.mark.parametrize(
    ("overrides", "arm", "low", "high"),
    [
        (("network.block_layers=2", "network.init=he"), "identity", 2.0, 2.25),
        (("network.norm=batch", "network.init=he", "data.limit=512", "training.batch_size=256"), "plain", 1.42, 1.47),
    ],
    ids=str,
)
def test_gradient_growth_of_networks_is_within_the_predicted_range(
    overrides: tuple[str, ...], arm: str, low: float, high: float, tiny: Any
):
    (diagnostics,) = measured(tiny(*WIDE, *overrides, f"network.shortcut={arm}", "network.plain=false"))
    expected = diagnostics.prediction.slope()

    assert diagnostics.slope is not None
    assert expected is not None
    assert low <= 100**diagnostics.slope.mean <= high
    assert expected[0] - 0.01 <= diagnostics.slope.mean <= expected[1] + 0.01


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
def test_formulas_use_the_settings_of_shortcuts(overrides: tuple[str, ...], arm: str, tiny: Any):
    settings = ("network.width=192", "network.depth=22", "network.init=he", "network.block_layers=2", "seeds=3")
    diagnostics = measured(tiny(*settings, "training.batch_size=128", "data.limit=512", *overrides, "network.plain=false"))[0]
    low, high = diagnostics.prediction.slope() or (math.nan, math.nan)

    assert diagnostics.arm == arm
    assert diagnostics.slope is not None
    assert low - 0.006 <= diagnostics.slope.mean <= high + 0.006


@pytest.mark.parametrize(
    ("overrides", "arms"),
    [
        (("network.norm=layer",), ["plain", "identity"]),
        (("network.placement=pre",), ["plain", "identity"]),
        (("network.placement=post",), ["plain", "identity"]),
    ],
    ids=str,
)
def test_activation_growth_agrees_with_the_prediction(overrides: tuple[str, ...], arms: list[str], tiny: Any):
    known = {arm.arm: arm for arm in measured(tiny(*WIDE, "network.init=he", *overrides)) if arm.prediction.forward}

    assert list(known) == arms
    for arm in known.values():
        logs = [math.log10(level) for level in levels(arm, "activation_rms")]
        assert logs[-1] - logs[0] == pytest.approx(sum(arm.prediction.forward or ()), abs=0.25)


def test_the_prediction_of_a_parameter_matched_baseline_uses_its_width(tiny: Any):
    experiment = tiny("network.depth=8", "network.shortcut=gate", "network.plain_width=parameters", "seeds=2")
    (baseline,) = [arm for arm in measured(experiment) if arm.arm == "plain-as-gate"]
    trial = next(trial for trial in experiment.trials if trial.arm == "plain-as-gate")
    network = training.initial_state([trial], Path("absent"), "x", "cpu").network
    width = network.classifier.weight.shape[1]

    assert width > trial.settings.network.width
    expected = 5 * trial.settings.network.block_layers / width
    assert baseline.prediction.variance == pytest.approx([expected] * baseline.blocks)


def test_spreads_are_means_and_sds_of_logarithms_over_seeds_and_batches(tiny: Any):
    experiment = tiny("seeds=3")
    readings = [asdict(reading) for reading in initial_diagnostics.measure(experiment, "cpu", 2)]
    arm = tables.init_diagnostics(experiment, readings)[0]
    names = {trial.name for trial in experiment.trials if trial.arm == "plain"}
    logs = torch.tensor(
        [reading["activation_grad_norm"] for reading in readings if reading["trial"] in names], dtype=torch.float64
    ).log10()

    assert len(logs) == 6
    assert [spread.mean for spread in arm.spreads["activation_grad_norm"]] == pytest.approx(logs.mean(0).tolist())
    assert [spread.sd for spread in arm.spreads["activation_grad_norm"]] == pytest.approx(logs.std(0).tolist())


def test_the_interval_of_the_slope_is_over_seeds_not_over_batches(tiny: Any):
    experiment = tiny("seeds=3", "network.depth=8", "network.plain=false")
    readings = [asdict(reading) for reading in initial_diagnostics.measure(experiment, "cpu", 2)]
    (arm,) = tables.init_diagnostics(experiment, readings)
    slopes = torch.tensor([reading["slope"] for reading in readings]).view(2, 3).mean(0)

    assert arm.slope is not None
    assert arm.slope.n == 3
    assert arm.slope.mean == pytest.approx(slopes.mean().item())
    assert arm.slope.high == pytest.approx((slopes.mean() + 4.302653 * slopes.std() / math.sqrt(3)).item(), rel=1e-4)


def test_diagnostics_from_logs_use_step_0_of_finished_trials(tmp_path: Path):
    flow = 10**-0.8
    experiment_results = results(
        tmp_path,
        lambda trial: {"test_accuracy": 0.5, "flow": flow, "slope_start": math.log10(flow)} if trial.seed < 2 else {},
        "network.depth=8", "network.norm=none", "network.init=pytorch", "seeds=3",
    )  # fmt: skip
    for log in tmp_path.rglob("signals.csv"):  # rows after step 0 are ignored
        log.write_text(re.sub(r"(?m)^(20,.*),[^,]*$", r"\1,9.0", log.read_text(encoding="utf-8")), encoding="utf-8")
    diagnostics = tables.logged_init_diagnostics(experiment_results)

    assert [arm.arm for arm in diagnostics] == ["plain", "identity"]
    assert levels(diagnostics[0]) == pytest.approx([flow**3, flow**2, flow, 1.0])
    assert diagnostics[0].slope is not None
    assert (diagnostics[0].slope.mean, diagnostics[0].slope.n) == (pytest.approx(-0.8), 2)
    assert diagnostics[0].prediction.slope() == theory.predict(config.NetworkSettings(depth=8, shortcut="plain"), 64).slope()
    assert "weight_grad_norm" not in diagnostics[0].spreads


# ---- printed text -----------------------------------------------------------------------------------------------------------


def lines(diagnostics: list[InitDiagnostics]) -> str:
    return tables.as_lines(tables.probe_parts("tiny", diagnostics, 1, 16))


def test_every_arm_has_a_row_and_a_chart_within_80_columns(tiny: Any):
    diagnostics = measured(tiny("network.depth=[4, 22]", "network.shortcut=[identity, gate-shortcut]", "seeds=3"))
    text = lines(diagnostics)

    assert max(map(len, text.splitlines())) <= 80
    assert len(re.findall(r"^  (plain|identity|gate-shortcut) .*[▁-█]$", text, flags=re.MULTILINE)) == 6
    assert "no formula is known for the shortcut gate-shortcut" in text
    assert "- (too few blocks)" in text


def test_tiny_norms_are_printed_and_underflow_is_reported(tiny: Any):
    deep = ("network.depth=162", "network.width=16", "network.shortcut=plain", "network.plain=false", "seeds=2")
    single, double = (measured(tiny(*deep, f"precision={precision}")) for precision in ("float32", "float64"))
    smallest = levels(double[0])[0]

    assert 1e-80 < smallest < 1e-50
    assert re.search(r"dL/dx \d\.\de-[5-7]\d to", lines(double))
    assert "is 0 at" not in lines(double)
    assert "dL/dx 0 to" in lines(single)
    text = " ".join(lines(single).split())
    assert re.search(r"activation_grad_norm is 0 at \d+ of 81 positions \(< 1e-38 in float32; use precision=float64", text)
    assert json.loads(tables.probe_json("", double))["arms"][0]["spreads"]["activation_grad_norm"][0]["mean"] == math.log10(
        smallest
    )


def test_exact_zeros_are_reported_without_advice(tiny: Any):
    diagnostics = measured(tiny("network.shortcut=rezero", "network.plain=false"))
    text = lines(diagnostics)

    assert "weight_grad_norm is 0 at 2 of 4 positions\n" in text
    assert "float64" not in text
    assert json.loads(tables.probe_json("", diagnostics), parse_constant=pytest.fail)["arms"][0]["prediction"][
        "depth_scale"
    ] == [
        None,
        None,
    ]


def test_gradients_of_0_have_no_slope_for_any_number_of_blocks(tiny: Any):
    diagnostics = measured(tiny("network.depth=[4, 22]", "network.init=fixup", "network.plain=false"))

    assert [measured_text(arm) for arm in diagnostics] == ["- (too few blocks)", "- (0 or not finite)"]


@pytest.mark.parametrize(
    ("norm", "shown"), [(0.99, "9.9e-1"), (0.996, "1.0e0"), (1.0, "1.0e0"), (9.96e-80, "1.0e-79"), (2.345e7, "2.3e7")]
)
def test_a_level_has_one_digit_before_the_decimal_point(norm: float, shown: str, tiny: Any):
    reading = asdict(initial_diagnostics.measure(tiny("network.plain=false"), "cpu")[0])
    diagnostics = tables.init_diagnostics(tiny("network.plain=false"), [{**reading, "activation_rms": [norm, norm]}])

    assert f", x {shown} to {shown}, " in lines(diagnostics)


def test_overflow_is_reported(tiny: Any):
    diagnostics = measured(tiny("network.depth=42", "network.init_scale=1e5", "network.plain=false"))

    assert "is not finite at" in lines(diagnostics)
    json.loads(tables.probe_json("", diagnostics), parse_constant=pytest.fail)


def test_csv_has_a_row_for_every_arm_quantity_and_position(tiny: Any):
    diagnostics = measured(tiny("network.depth=8", "seeds=2"))
    rows = list(csv.DictReader(io.StringIO(tables.probe_csv(diagnostics))))
    gradient = [row for row in rows if row["arm"] == "plain" and row["quantity"] == "activation_grad_norm"]

    assert len(rows) == 2 * (4 + 4 + 4 + 8)
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
    plain = json.loads(as_json)["arms"][0]

    assert (code, err) == (0, "")
    assert out.startswith("tiny: at initialization, without training; n = 2 seeds, 2 batches of 16\n")
    assert f"{plain['slope']['mean']:+.3f}" in out
    assert plain["prediction"]["slope"][1] == pytest.approx(-math.log10(6))
    assert plain["ratio"] == pytest.approx(10 ** (plain["slope"]["mean"] - sum(plain["prediction"]["slope"]) / 2))
    assert as_csv.startswith("cell,arm,quantity,index,place,log10_mean,")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [(["--json", "--csv"], "--csv: choose one of --json and --csv"), (["network.depht=8"], "depht")],
)
def test_an_error_message_has_one_line(call: Program, tiny_file: Path, arguments: list[str], words: str):
    code, out, err = call(tiny_file, *arguments)

    assert (code, out, len(err.splitlines())) == (2, "", 1)
    assert words in err


def test_the_command_uses_known_probes():
    assert set(initial_diagnostics.MEASURED) <= set(probes.PROBES)
