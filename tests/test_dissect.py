"""Ablations of trained networks: altered networks equal networks that are built directly; the experiment does not change."""

import copy
import json
import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import fabricated
import pytest
import torch
from commands import Program
from torch import Tensor
from torch.nn import functional

import resexp
from resexp import config, dissect, runs, tables, training
from resexp.cli import dissecting
from resexp.config import Experiment
from resexp.datasets import DATASETS
from resexp.figures import FIGURES, FigureData, available_figures
from resexp.networks import Network, build_network, initialize
from resexp.shortcuts import SHORTCUTS
from resexp.tables import ablation

pytestmark = pytest.mark.usefixtures("torch_state")

IMAGE, CLASSES = (1, 8, 8), 10
X = torch.randn(64, *IMAGE, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(64) % CLASSES


def network(family: str = "mlp", shortcut: Any = "identity", depth: int = 8, **more: Any) -> Network:
    model = build_network(family, depth=depth, width=8, shortcut=shortcut, input_shape=IMAGE, classes=CLASSES, **more)
    initialize(model, 0, "he")
    return model.eval()


def logits(model: Network) -> Tensor:
    """Logits of X in eval mode; restores the mode."""
    mode = model.training
    with torch.no_grad():
        outputs: Tensor = model.eval()(X)
    model.train(mode)
    return outputs


def measure(model: Network) -> tuple[float, float]:
    outputs = logits(model).double()
    return functional.cross_entropy(outputs, LABELS).item(), (outputs.argmax(1) != LABELS).double().mean().item()


# ---- the network does not change ------------------------------------------------------------------------------------

PARTS: dict[str, Callable[[Network], object]] = {
    "lesion": lambda model: dissect.lesion(model, measure, X[:1]),
    "scale": lambda model: dissect.shortcut_scale(model, measure, X[:1]),
    "surface": lambda model: dissect.surface(model, measure, 0, 3, 1),
}


@pytest.mark.parametrize("mode", ["training", "evaluating"])
@pytest.mark.parametrize("part", PARTS)
def test_ablations_do_not_change_weights_buffers_gradients_mode_or_random_state(part: str, mode: str):
    model = network("cnn", norm="batch")
    functional.cross_entropy(model(X), LABELS).backward()
    model.train(mode == "training")
    before, gradients = copy.deepcopy(model.state_dict()), [parameter.grad.clone() for parameter in model.parameters()]
    modules, random = list(model.modules()), torch.get_rng_state()
    PARTS[part](model)

    assert all(torch.equal(model.state_dict()[name], value) for name, value in before.items())
    assert all(torch.equal(p.grad, grad) for p, grad in zip(model.parameters(), gradients, strict=True))
    assert [id(module) for module in model.modules()] == [id(module) for module in modules]
    assert {module.training for module in model.modules()} == {mode == "training"}
    assert torch.equal(torch.get_rng_state(), random)


# ---- lesion ---------------------------------------------------------------------------------------------------------


def shorter(model: Network, index: int, shortcut: str, **more: Any) -> Network:
    """A network that is built without block `index`, with the weights of the other blocks."""
    state_dict: dict[str, Tensor] = {}
    for name, value in model.state_dict().items():
        part, _, rest = name.partition(".")
        number, _, rest = rest.partition(".") if part == "blocks" else ("", "", rest)
        if number != str(index):
            state_dict[f"blocks.{int(number) - (int(number) > index)}.{rest}" if number else name] = value
    short_model = network(shortcut=shortcut, depth=6, **more)
    short_model.load_state_dict(state_dict)
    return short_model


@pytest.mark.parametrize("index", [0, 1, 2])
@pytest.mark.parametrize("norm", ["none", "layer", "batch"])
@pytest.mark.parametrize("shortcut", ["plain", "identity", "rezero", "stochastic-depth"])
def test_an_mlp_without_a_block_equals_one_built_without_it(shortcut: str, norm: str, index: int):
    model = network(shortcut=shortcut, norm=norm)
    expected = shorter(model, index, shortcut, norm=norm)
    if shortcut == "stochastic-depth":  # probabilities depend on the index in the full network
        for block, position in zip(expected.blocks, [n for n in range(3) if n != index], strict=True):
            block.shortcut.probability = model.blocks[position].shortcut.probability

    assert torch.equal(logits(dissect.without_branch(model, index)), logits(expected))


@pytest.mark.parametrize("index", [1, 2])
@pytest.mark.parametrize("shortcut", ["plain", "identity"])
def test_a_pre_activation_mlp_without_a_block_equals_one_built_without_it(shortcut: str, index: int):
    model = network(shortcut=shortcut, placement="pre", norm="layer")

    assert torch.equal(
        logits(dissect.without_branch(model, index)), logits(shorter(model, index, shortcut, placement="pre", norm="layer"))
    )


@pytest.mark.parametrize("shortcut", ["plain", "identity"])
def test_without_the_first_pre_activation_block_its_activation_remains(shortcut: str):
    model = network(shortcut=shortcut, placement="pre", norm="layer")
    with torch.no_grad():
        x = model.blocks[0].before(model.stem(X))
        expected = model.classifier(model.tail(model.blocks[2](model.blocks[1](x))))

    assert torch.equal(logits(dissect.without_branch(model, 0)), expected)


def test_a_block_that_changes_shape_becomes_its_map():
    model = network("cnn", shortcut="projection", norm="batch")
    boundaries: list[Tensor] = []
    with torch.no_grad():
        model(X, boundaries)
        x = torch.relu(model.blocks[1].shortcut.norm(model.blocks[1].shortcut.map(boundaries[1])))
        expected = model.classifier(model.tail(model.blocks[2](x)))

    assert torch.equal(logits(dissect.without_branch(model, 1)), expected)


@pytest.mark.parametrize(
    ("family", "shortcut", "without"),
    [
        ("mlp", "plain", ["identity"] * 3),
        ("mlp", "identity", ["shortcut"] * 3),
        ("cnn", "plain", ["identity", "nothing", "nothing"]),
        ("cnn", "identity", ["shortcut"] * 3),
        ("cnn", "gate", ["shortcut"] * 3),
    ],
)
def test_lesion_rows_state_what_each_block_becomes_and_its_effect(family: str, shortcut: str, without: list[str]):
    model = network(family, shortcut)
    unaltered, *rows = dissect.lesion(model, measure, X[:1])

    assert unaltered == (0, "none", "all", *measure(model), 0.0)
    assert [row[:3] for row in rows] == [(n + 1, f"blocks.{n}", remainder) for n, remainder in enumerate(without)]
    for n, (_, _, remainder, loss, error, increase) in enumerate(rows):
        expected = (math.nan, math.nan) if remainder == "nothing" else measure(dissect.without_branch(model, n))
        assert (loss, error) == pytest.approx(expected, abs=0, nan_ok=True)
        assert increase == pytest.approx(error - unaltered[4], abs=0, nan_ok=True)


# ---- shortcut scaling -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("placement", ["post", "pre"])
@pytest.mark.parametrize("shortcut", SHORTCUTS)
def test_scale_1_gives_the_trained_network_bit_for_bit(shortcut: str, placement: str):
    model = network("cnn", shortcut, norm="batch", placement=placement)

    assert torch.equal(logits(dissect.with_scaled_shortcuts(model, 1.0)), logits(model))


@pytest.mark.parametrize("placement", ["post", "pre", "branch"])
def test_scale_0_gives_the_plain_network_with_the_same_weights(placement: str):
    model = network(placement=placement, norm="layer")
    plain = network(shortcut="plain", placement=placement, norm="layer")
    plain.load_state_dict(model.state_dict())

    assert torch.equal(logits(dissect.with_scaled_shortcuts(model, 0.0)), logits(plain))


def test_scale_between_0_and_1_gives_the_network_with_a_scaled_shortcut():
    model = network()
    scaled = network(shortcut={"scaled": {"scale": 0.3, "branch": 1.0}})
    scaled.load_state_dict(model.state_dict())

    assert torch.equal(logits(dissect.with_scaled_shortcuts(model, 0.3)), logits(scaled))
    assert dissect.shortcut_scale(model, measure, X[:1])[7] == (0.3, *measure(scaled))


def test_scaling_the_shortcut_does_not_change_the_factor_of_the_branch():
    model = network(shortcut="skipinit")
    plain = network(shortcut="plain")
    plain.load_state_dict({name: value for name, value in model.state_dict().items() if "shortcut" not in name})
    with torch.no_grad():  # a = 1 / sqrt(3), applied to the last layer of the branch
        for block in plain.blocks:
            for parameter in block.branch.layer2.parameters():
                parameter.mul_(3**-0.5)

    assert torch.allclose(logits(dissect.with_scaled_shortcuts(model, 0.0)), logits(plain), atol=1e-6)


def test_scales_are_1_to_0_and_a_plain_network_has_no_rows():
    assert [row[0] for row in dissect.shortcut_scale(network(), measure, X[:1])] == [
        1,
        0.9,
        0.8,
        0.7,
        0.6,
        0.5,
        0.4,
        0.3,
        0.2,
        0.1,
        0,
    ]
    assert dissect.shortcut_scale(network(shortcut="plain"), measure, X[:1]) == []


# ---- loss surface ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", ["mlp", "cnn"])
def test_a_direction_has_the_norm_of_each_filter_and_is_0_for_other_parameters(family: str):
    model = network(family, "gate", norm="batch" if family == "cnn" else "none")
    direction = dissect.direction(model, 0, "alpha")
    weights = [name for name, value in model.named_parameters() if value.ndim in (2, 4)]

    assert list(direction) == [name for name, _ in model.named_parameters()]
    for name, value in model.named_parameters():
        if name in weights:
            assert torch.allclose(direction[name].flatten(1).norm(dim=1), value.detach().flatten(1).norm(dim=1), rtol=1e-5)
        else:
            assert not direction[name].any()


def test_a_filter_of_zeros_has_a_direction_of_zeros():
    model = network()
    with torch.no_grad():
        model.blocks[0].branch.layer2.weight[3] = 0

    assert not dissect.direction(model, 0, "alpha")["blocks.0.branch.layer2.weight"][3].any()


def test_pairs_share_directions_and_axes_and_seeds_differ():
    plain, gate = (network(shortcut=shortcut) for shortcut in ("plain", "gate"))
    plain_direction, gate_direction = dissect.direction(plain, 0, "alpha"), dissect.direction(gate, 0, "alpha")

    assert all(torch.equal(plain_direction[name], gate_direction[name]) for name in plain_direction)
    for seed, axis in ((0, "beta"), (1, "alpha")):
        assert not torch.equal(plain_direction["stem.layer.weight"], dissect.direction(plain, seed, axis)["stem.layer.weight"])


def test_a_surface_has_the_loss_of_shifted_weights_and_its_center_that_of_the_trained_weights():
    model = network(norm="layer")
    rows = [row for line in range(5) for row in dissect.surface(model, measure, 0, 5, line)]
    first, second = dissect.direction(model, 0, "alpha"), dissect.direction(model, 0, "beta")

    assert [row[:2] for row in rows] == [(a, b) for a in (-1, -0.5, 0, 0.5, 1) for b in (-1, -0.5, 0, 0.5, 1)]
    assert rows[12][2:] == measure(model)
    for row in rows[::6]:
        shifted = network(norm="layer")
        shifted.load_state_dict({n: v + row[0] * first[n] + row[1] * second[n] for n, v in model.state_dict().items()})
        assert row[2:] == measure(shifted)


# ---- the command ----------------------------------------------------------------------------------------------------


@pytest.fixture
def call(in_process: None, call: Program) -> Program:
    """The program with its workers in this process."""
    return call


@pytest.fixture(scope="module")
def trained(tiny_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """tiny.yaml with two seeds, trained one trial at a time."""
    return resexp.train(tiny_file, "seeds=2", "training.stack=1", runs_dir=tmp_path_factory.mktemp("runs"))


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    """A copy of the trained experiment that a test may change."""
    for path in trained.rglob("*"):
        if path.is_file():
            target = tmp_path / "tiny" / path.relative_to(trained)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
    return tmp_path / "tiny"


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


ALL = ("--parts", "surface,lesion,scale", "--grid", "3")


def test_dissect_writes_the_same_tables_twice_and_changes_no_other_file(call: Program, run: Path):
    before = content(run)
    code, out, err = call("dissect", run, *ALL)
    after = content(run)
    call("dissect", run, *ALL)

    assert code == 0
    assert content(run) == after
    assert {name: after[name] for name in before} == before
    expected = {"identity": ("scale", "lesion", "surface"), "plain": ("lesion", "surface")}
    assert after.keys() - before.keys() == {
        f"trials/{arm}-d4-s{seed}/{runs.ABLATION_FILES[part]}"
        for arm, parts in expected.items()
        for part in parts
        for seed in (0, 1)
    }
    assert max(map(len, out.splitlines())) <= 80
    assert "plain: nothing to scale, S is 0" in out
    # 4 networks: 1 block and the unaltered network each; 11 scales of the 2 residual networks; 9 points each
    assert f"lesion, scale, surface of 4 trials: {4 * 2 + 2 * 11 + 4 * 9} evaluations, about 0:0" in err
    assert "scale of plain" not in err


def test_the_unaltered_network_has_the_validation_loss_of_the_last_epoch(call: Program, run: Path):
    call("dissect", run, *ALL, "--quiet")
    for folder in (run / "trials").iterdir():
        last = runs.read_rows(folder / "metrics.csv")[-1]
        lesion, shortcut_scale = (runs.read_rows(folder / runs.ABLATION_FILES[part])[:1] for part in ("lesion", "scale"))
        center = runs.read_rows(folder / "surface.csv")[4]
        expected = (last["val_loss"], runs.format_cell(1 - float(last["val_accuracy"])))

        assert all(
            (row["val_loss"], float(row["val_error"])) == (expected[0], pytest.approx(float(expected[1]))) for row in lesion
        )
        assert [row["val_loss"] for row in (*shortcut_scale, center)] == [expected[0]] * (len(shortcut_scale) + 1)


def test_ablations_use_the_validation_set_and_never_read_the_test_set(trained: Path, monkeypatch: pytest.MonkeyPatch):
    trial = runs.read_experiment(trained).trials[0]
    read = DATASETS["digits"]
    monkeypatch.setitem(DATASETS, "digits", lambda source, split: read(source, {"train": "train"}[split]))
    training.load_training_data.cache_clear()
    folder = runs.trial_folder(trained, trial.name)
    model, training_data = dissect.load(folder, trial, "cpu")
    ((_, _, _, loss, error, _), *_) = dissect.dissect(folder, trial, "cpu", "lesion")
    ((expected, accuracy),) = training.evaluate(model, training_data.validation, training_data)

    assert (loss, error) == (expected, 1 - accuracy)


def test_doctor_and_compare_ignore_the_tables(call: Program, run: Path):
    comparison = call("compare", run)
    call("dissect", run, "--quiet")

    assert call("compare", run) == comparison
    code, out, _ = call("doctor", run)
    assert code == 0
    assert "0 damaged" in out or "nothing damaged" in out


def test_a_trial_and_a_part_can_be_selected(call: Program, run: Path):
    code, out, err = call("dissect", run, "--trial", "identity-d4-s1", "--parts", "scale")

    assert code == 0
    assert [str(path.relative_to(run)) for path in run.rglob("shortcut_scale.csv")] == [
        "trials/identity-d4-s1/shortcut_scale.csv"
    ]
    assert not list(run.rglob("lesion.csv"))
    assert "plain" not in out
    assert err.splitlines()[1:] == ["scale of identity-d4-s1"]
    assert call("dissect", run, "--trial", "identity-d4-s1", "--quiet")[2] == ""


def corrupt(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1] + b"x")


@pytest.mark.parametrize(("damage", "word"), [(corrupt, "damaged"), (Path.unlink, "missing")])
def test_damaged_weights_are_reported_and_other_trials_dissected(damage: Any, word: str, call: Program, run: Path):
    weights = run / "trials" / "identity-d4-s0" / "weights.pt"
    damage(weights)
    code, out, err = call("dissect", run)

    assert code == 1
    assert f"left out: {weights}: {word}" in err.splitlines()[-1]
    assert "Traceback" not in err
    assert "identity: +" in out or "identity: -" in out
    assert sorted(path.parent.name for path in run.rglob("lesion.csv")) == ["identity-d4-s1", "plain-d4-s0", "plain-d4-s1"]


def test_load_refuses_damaged_weights_and_unfinished_trials(run: Path):
    trial = runs.read_experiment(run).trials[0]
    folder = runs.trial_folder(run, trial.name)
    corrupt(folder / "weights.pt")
    with pytest.raises(runs.RunsError, match="changed after its trial had finished"):
        dissect.load(folder, trial, "cpu")
    (folder / "result.json").unlink()
    with pytest.raises(runs.RunsError, match="not finished"):
        dissect.load(folder, trial, "cpu")


def rewrite(result: Path, **values: Any) -> None:
    content = {**json.loads(result.read_text()), **values}
    runs.write_json(result, {**content, "seal": runs.json_digest(content)})


@pytest.mark.parametrize("part", ["lesion", "scale", "surface"])
def test_an_error_other_than_the_recorded_one_is_a_warning(part: str, call: Program, run: Path):
    arguments = ("dissect", run, "--trial", "identity-d4-s0", "--parts", part, "--grid", "3")
    before = call(*arguments)[2]
    rewrite(run / "trials" / "identity-d4-s0" / "result.json", val_accuracy=0.99)
    after = call(*arguments)[2]

    assert "same images" not in before
    assert "% now, 1.0% after training; are these the same images?" in after


def test_diverged_and_unfinished_trials_are_reported_and_left_out(call: Program, run: Path):
    folder = run / "trials" / "plain-d4-s0"
    rewrite(folder / "result.json", outcome="diverged")
    (run / "trials" / "identity-d4-s0" / "result.json").unlink()
    code, _, err = call("dissect", run)

    assert code == 0
    assert err.splitlines()[:2] == ["left out: plain-d4-s0 diverged at step 6", "left out: 1 not finished"]
    assert sorted(path.parent.name for path in run.rglob("lesion.csv")) == ["identity-d4-s1", "plain-d4-s1"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--parts", "lesion,doze"), "--parts: 'doze' is not one of lesion, scale, surface"),
        (("--grid", "4"), "--grid: 4 is even, so no grid point would be the trained weights; write 5"),
        (("--trial", "identity-d4-s7"), "--trial: 'identity-d4-s7' is not a trial of tiny"),
        (("--device", "cuda:9"), "device: cuda:9 is not on this machine"),
    ],
)
def test_a_usage_error_is_one_line(arguments: tuple[str, ...], message: str, call: Program, run: Path):
    code, out, err = call("dissect", run, *arguments)

    assert (code, out) == (2, "")
    assert err.startswith(f"resexp: {message}")
    assert len(err.splitlines()) == 1


def test_an_experiment_without_validation_or_results_is_refused(call: Program, tmp_path: Path):
    for overrides, message in (((), "no trained network"), (("data.validation=0",), "data.validation is 0")):
        folder, _ = fabricated.experiment(tmp_path / str(len(overrides)), lambda _: {}, *overrides)
        code, _, err = call("dissect", folder)

        assert code == 2
        assert message in err


def test_a_worker_process_dissects(run: Path):
    command = [sys.executable, "-m", "resexp", "dissect", str(run)]
    process = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)

    assert (process.returncode, len(list(run.rglob("lesion.csv")))) == (0, 4)


# ---- text and charts ------------------------------------------------------------------------------------------------

ERRORS = {"plain": (0.5, 0.9), "identity": (0.1, 0.1)}  # of the unaltered network, and without its last block


@pytest.fixture
def dissected(tmp_path: Path) -> tuple[Path, Experiment]:
    """Constructed tables: plain is at chance; without a block, the error of identity rises by 0, 1 and 20 points on average."""

    def values(trial: config.Trial) -> dict[str, Any]:
        return {"outcome": "at_chance" if trial.arm == "plain" else "above_chance", "test_accuracy": 0.5}

    small = ("network.depth=[8]", "network.norm=[none]", "network.init=[he]", "seeds=2")
    folder, experiment = fabricated.experiment(tmp_path, values, *small)
    for trial in experiment.trials:
        trial_folder, plain = runs.trial_folder(folder, trial.name), trial.arm == "plain"
        remainder, increase = ("identity", 0.0) if plain else ("shortcut", 0.1 * trial.seed)
        increases = ((1, 0.0), (2, 0.01), (3, 0.15 + increase))
        rows = [(n, f"blocks.{n - 1}", remainder, 1.0, 0.1 + change, change) for n, change in increases]
        rows[1] = (2, "blocks.1", "nothing", math.nan, math.nan, math.nan) if plain else rows[1]
        runs.write_rows(trial_folder / "lesion.csv", [(0, "none", "all", 1.0, 0.1, 0.0), *rows])
        if not plain:
            runs.write_rows(
                trial_folder / "shortcut_scale.csv", [(s / 10, 1.0, 0.1 if s > 5 else 0.8) for s in range(10, -1, -1)]
            )
        grid = [(a, b, 0.5 + a * a + b * b if a < 1 else math.nan, 0.1) for a in (-1.0, 0.0, 1.0) for b in (-1.0, 0.0, 1.0)]
        runs.write_rows(trial_folder / "surface.csv", grid)
    return folder, experiment


SENTENCES = (
    "identity: +0.0 (blocks.0) to +20.0 (blocks.2), median +1.0",
    "plain: +0.0 (blocks.0) to +15.0 (blocks.2), median +7.5",
    "plain: blocks.1 cannot be removed: shapes change and S is 0",
    "plain: S is 0, so the identity replaces the block",
    "plain: 2 of 2 networks are at chance, so their changes have no meaning",
    "identity: 10.0 at s = 1, 80.0 at s = 0; over 1 point higher from s = 0.5 on",
    "identity: in 2 of 2 networks the loss is lowest at the final weights",
)


def test_the_printed_text_agrees_with_the_tables(dissected: Any, call: Program, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(dissecting, "_measure", lambda *_arguments, **_options: None)
    sentences, everything = (
        call("dissect", dissected[0], "--parts", "lesion,scale,surface", *more) for more in ([], ["--all"])
    )
    text = " ".join(everything.out.split())

    assert (sentences.code, everything.code) == (0, 0)
    for words in SENTENCES:
        assert words in " ".join(sentences.out.split())
        assert words in text
    for words in ("blocks.2 25.0 (+15.0) 30.0 (+20.0)", "blocks.1 - 11.0 (+1.0)", "identity 0.5 0.5 2.5 33%"):
        assert words not in " ".join(sentences.out.split())
        assert words in text
    assert "identity: 2 of 2 networks are" not in text
    assert max(map(len, everything.out.splitlines())) <= 80


def test_equal_sentences_are_printed_once_with_their_configurations(tmp_path: Path):
    small = ("network.depth=[8,16]", "network.norm=[none,layer]", "network.init=[he]", "seeds=1")
    results = fabricated.results(tmp_path, lambda _: {"test_accuracy": 0.5}, *small)
    for record in results.records:
        increase = 0.1 if record.trial.settings.network.depth == 8 else 0.1 * (record.trial.settings.network.norm == "layer")
        rows = [(0, "none", "all", 1.0, 0.1, 0.0), (1, "blocks.0", "identity", 1.0, 0.1 + increase, increase)]
        runs.write_rows(record.folder / "lesion.csv", rows)
    text = tables.as_lines(ablation.dissection(results.records, results, ["lesion"]))

    assert text.count("plain: S is 0, so the identity replaces the block") == 1
    assert text.count("identity: +10.0 (blocks.0) to +10.0 (blocks.0), median +10.0") == 1
    assert "  depth 8, no normalization; depth 8, layer norm; depth 16, layer norm\n    plain: +10.0" in text
    assert "  depth 16, no normalization\n    plain: +0.0 (blocks.0) to +0.0" in text


@pytest.mark.parametrize(
    ("errors", "expected"),
    [
        ((10.0, 10.5, 10.9), "10.9 at s = 0; over 1 point higher never"),
        ((10.0, 12.0, 30.0), "30.0 at s = 0; over 1 point higher from s = 0.5 on"),
        ((10.0, 12.0, 10.5), "10.5 at s = 0; over 1 point higher first at s = 0.5"),
    ],
    ids=str,
)
def test_an_error_that_decreases_again_is_not_above_the_limit_from_there_on(errors: tuple[float, ...], expected: str):
    rows = [{"scale": scale, "val_error": str(error / 100)} for scale, error in zip(("1", "0.5", "0"), errors, strict=True)]

    assert ablation.scale_sentences([rows]) == [f"10.0 at s = 1, {expected}"]


def test_a_table_with_many_arms_fits_80_columns_with_all_values():
    rows = [{"block": "none", "val_error": "0.01", "error_increase": "0"}]
    arms = {f"arm-with-a-long-name-{n}": [rows] for n in range(7)}
    text = tables.as_lines([ablation.lesion_table({"depth 8": arms})])

    assert max(map(len, text.splitlines())) <= 80
    assert text.count("1.0 (+0.0)") == 7


def test_tables_of_ablations_have_the_means_over_seeds_as_data(dissected: Any):
    results = runs.results_of(*dissected)
    parts = ablation.dissection(results.records, results, list(ablation.PARTS), show_tables=True)
    written = json.loads(tables.as_json_parts(parts, "dissect", {}))

    assert [len(written[part]) for part in ablation.PARTS] == [4, 11, 2]
    assert written["lesion"][2]["plain val_error"] is None
    assert written["lesion"][3]["block"] == "blocks.2"
    assert written["lesion"][3]["identity error_increase"] == pytest.approx(0.2)
    assert written["scale"][-1] == {"configuration": "depth 8", "scale": "0", "identity val_error": 0.8}
    assert written["surface"][1]["infinite"] == pytest.approx(1 / 3)


@pytest.mark.parametrize("part", runs.ABLATION_FILES)
def test_a_chart_has_every_row_that_was_measured(part: str, dissected: Any):
    spec = FIGURES[part].chart(FigureData(runs.results_of(*dissected))).to_dict()
    (rows,) = spec["datasets"].values()
    arms = {"lesion": {"plain", "identity"}, "scale": {"identity"}, "surface": {"plain", "identity"}}
    counts = {"lesion": 4 * 4, "scale": 2 * 11, "surface": 2 * 9}  # the surface chart shows one seed

    assert {row["arm"] for row in rows} == arms[part]
    assert len(rows) == counts[part]


def test_the_surface_chart_shows_the_first_seed(dissected: Any):
    data = FigureData(runs.results_of(*dissected))
    frame = data.ablations["surface"]
    frame.loc[frame["seed"] == 1, "val_loss"] = 7.0
    (rows,) = FIGURES["surface"].chart(data).to_dict()["datasets"].values()

    assert "0.5" in {row["val_loss"] for row in rows}
    assert "7" not in {row["val_loss"] for row in rows}


def test_the_time_measured_on_some_images_is_extrapolated_to_all(run: Path, monkeypatch: pytest.MonkeyPatch):
    trial = runs.read_experiment(run).trials[0]
    folder = runs.trial_folder(run, trial.name)
    count = len(dissect.load(folder, trial, "cpu")[1].validation)
    monkeypatch.setattr(dissect, "MAX_TIMED_IMAGES", 5)
    monkeypatch.setattr(
        dissect, "time", SimpleNamespace(perf_counter=iter(range(6)).__next__)
    )  # every evaluation takes a second

    assert dissect.cost(folder, trial, "cpu")[0] == pytest.approx(count / 5)


def test_without_ablations_there_are_no_rows(tmp_path: Path):
    results = fabricated.results(tmp_path, lambda _: {"test_accuracy": 0.5}, "network.depth=[8]", "seeds=1")

    data = FigureData(results)

    assert all(rows.empty for rows in data.ablations.values())
    assert not set(runs.ABLATION_FILES) & set(available_figures(data))
