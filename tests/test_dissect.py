"""Trained networks taken apart: each altered network is one built by hand, and nothing of the run is touched."""

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
from resexp import config, dissect, runs, training
from resexp.cli import dissecting
from resexp.config import Experiment
from resexp.figures.dissection import DISSECTION_FIGURES, read_dissection
from resexp.networks import Network, build_network, initialize
from resexp.shortcuts import SHORTCUTS
from resexp.tables import ablation

pytestmark = pytest.mark.usefixtures("torch_state")

IMAGE, CLASSES = (1, 8, 8), 10
X = torch.randn(64, *IMAGE, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(64) % CLASSES


def network(family: str = "mlp", shortcut: Any = "identity", depth: int = 8, **more: Any) -> Network:
    made = build_network(family, depth=depth, width=8, shortcut=shortcut, input_shape=IMAGE, classes=CLASSES, **more)
    initialize(made, 0, "he")
    return made.eval()


def logits(of: Network) -> Tensor:
    """In eval mode; the mode is restored."""
    mode = of.training
    with torch.no_grad():
        found: Tensor = of.eval()(X)
    of.train(mode)
    return found


def measure(of: Network) -> tuple[float, float]:
    found = logits(of).double()
    return functional.cross_entropy(found, LABELS).item(), (found.argmax(1) != LABELS).double().mean().item()


# ---- what must not change -------------------------------------------------------------------------------------------

PARTS: dict[str, Callable[[Network], object]] = {
    "lesion": lambda of: dissect.lesion(of, measure, X[:1]),
    "scale": lambda of: dissect.shortcut_scale(of, measure, X[:1]),
    "surface": lambda of: dissect.surface(of, measure, 0, 3, 1),
}


@pytest.mark.parametrize("mode", ["training", "evaluating"])
@pytest.mark.parametrize("part", PARTS)
def test_weights_buffers_gradients_mode_and_random_state_stay_as_they_were(part: str, mode: str):
    of = network("cnn", norm="batch")
    functional.cross_entropy(of(X), LABELS).backward()
    of.train(mode == "training")
    before, gradients = copy.deepcopy(of.state_dict()), [parameter.grad.clone() for parameter in of.parameters()]
    modules, random = list(of.modules()), torch.get_rng_state()
    PARTS[part](of)

    assert all(torch.equal(of.state_dict()[name], value) for name, value in before.items())
    assert all(torch.equal(p.grad, grad) for p, grad in zip(of.parameters(), gradients, strict=True))
    assert [id(module) for module in of.modules()] == [id(module) for module in modules]
    assert {module.training for module in of.modules()} == {mode == "training"}
    assert torch.equal(torch.get_rng_state(), random)


# ---- lesion ---------------------------------------------------------------------------------------------------------


def shorter(of: Network, index: int, shortcut: str, **more: Any) -> Network:
    """A network of its own that was built without block `index`, with the weights of all the others."""
    kept: dict[str, Tensor] = {}
    for name, value in of.state_dict().items():
        part, _, rest = name.partition(".")
        number, _, rest = rest.partition(".") if part == "blocks" else ("", "", rest)
        if number != str(index):
            kept[f"blocks.{int(number) - (int(number) > index)}.{rest}" if number else name] = value
    made = network(shortcut=shortcut, depth=6, **more)
    made.load_state_dict(kept)
    return made


@pytest.mark.parametrize("index", [0, 1, 2])
@pytest.mark.parametrize("norm", ["none", "layer", "batch"])
@pytest.mark.parametrize("shortcut", ["plain", "identity", "rezero", "stochastic-depth"])
def test_without_a_block_an_mlp_is_the_one_that_was_built_without_it(shortcut: str, norm: str, index: int):
    of = network(shortcut=shortcut, norm=norm)
    expected = shorter(of, index, shortcut, norm=norm)
    if shortcut == "stochastic-depth":  # its probabilities go by the place in the whole network
        for block, place in zip(expected.blocks, [n for n in range(3) if n != index], strict=True):
            block.shortcut.probability = of.blocks[place].shortcut.probability

    assert torch.equal(logits(dissect.without(of, index)), logits(expected))


@pytest.mark.parametrize("index", [1, 2])
@pytest.mark.parametrize("shortcut", ["plain", "identity"])
def test_so_is_a_pre_activated_one(shortcut: str, index: int):
    of = network(shortcut=shortcut, placement="pre", norm="layer")

    assert torch.equal(logits(dissect.without(of, index)), logits(shorter(of, index, shortcut, placement="pre", norm="layer")))


@pytest.mark.parametrize("shortcut", ["plain", "identity"])
def test_without_the_first_pre_activated_block_its_activation_stays(shortcut: str):
    of = network(shortcut=shortcut, placement="pre", norm="layer")
    with torch.no_grad():
        x = of.blocks[0].before(of.stem(X))
        expected = of.classifier(of.tail(of.blocks[2](of.blocks[1](x))))

    assert torch.equal(logits(dissect.without(of, 0)), expected)


def test_what_is_left_of_a_block_that_changes_shapes_is_its_map():
    of = network("cnn", shortcut="projection", norm="batch")
    entering: list[Tensor] = []
    with torch.no_grad():
        of(X, entering)
        x = torch.relu(of.blocks[1].shortcut.norm(of.blocks[1].shortcut.map(entering[1])))
        expected = of.classifier(of.tail(of.blocks[2](x)))

    assert torch.equal(logits(dissect.without(of, 1)), expected)


@pytest.mark.parametrize(
    ("family", "shortcut", "left"),
    [
        ("mlp", "plain", ["identity"] * 3),
        ("mlp", "identity", ["shortcut"] * 3),
        ("cnn", "plain", ["identity", "nothing", "nothing"]),
        ("cnn", "identity", ["shortcut"] * 3),
        ("cnn", "gate", ["shortcut"] * 3),
    ],
)
def test_the_rows_say_what_is_left_of_each_block_and_what_that_does(family: str, shortcut: str, left: list[str]):
    of = network(family, shortcut)
    whole, *rows = dissect.lesion(of, measure, X[:1])

    assert whole == (0, "none", "all", *measure(of), 0.0)
    assert [row[:3] for row in rows] == [(n + 1, f"blocks.{n}", stays) for n, stays in enumerate(left)]
    for n, (_, _, stays, loss, error, increase) in enumerate(rows):
        expected = (math.nan, math.nan) if stays == "nothing" else measure(dissect.without(of, n))
        assert (loss, error) == pytest.approx(expected, abs=0, nan_ok=True)
        assert increase == pytest.approx(error - whole[4], abs=0, nan_ok=True)


# ---- dose-response --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("placement", ["post", "pre"])
@pytest.mark.parametrize("shortcut", SHORTCUTS)
def test_at_dose_1_it_is_the_trained_network_bit_for_bit(shortcut: str, placement: str):
    of = network("cnn", shortcut, norm="batch", placement=placement)

    assert torch.equal(logits(dissect.weakened(of, 1.0)), logits(of))


@pytest.mark.parametrize("placement", ["post", "pre", "branch"])
def test_at_dose_0_it_is_the_plain_network_of_the_same_weights(placement: str):
    of = network(placement=placement, norm="layer")
    plain = network(shortcut="plain", placement=placement, norm="layer")
    plain.load_state_dict(of.state_dict())

    assert torch.equal(logits(dissect.weakened(of, 0.0)), logits(plain))


def test_between_them_it_is_the_network_with_a_scaled_shortcut():
    of = network()
    scaled = network(shortcut={"scaled": {"scale": 0.3, "branch": 1.0}})
    scaled.load_state_dict(of.state_dict())

    assert torch.equal(logits(dissect.weakened(of, 0.3)), logits(scaled))
    assert dissect.shortcut_scale(of, measure, X[:1])[7] == (0.3, *measure(scaled))


def test_a_branch_keeps_its_own_factor():
    of = network(shortcut="skipinit")
    plain = network(shortcut="plain")
    plain.load_state_dict({name: value for name, value in of.state_dict().items() if "shortcut" not in name})
    with torch.no_grad():  # a = 1 / sqrt(3), on the branch's last layer instead
        for block in plain.blocks:
            for parameter in block.branch.layer2.parameters():
                parameter.mul_(3**-0.5)

    assert torch.allclose(logits(dissect.weakened(of, 0.0)), logits(plain), atol=1e-6)


def test_doses_go_from_1_to_0_and_a_plain_network_has_none():
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


# ---- surface --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", ["mlp", "cnn"])
def test_a_direction_has_the_norm_of_each_filter_and_is_0_for_all_else(family: str):
    of = network(family, "gate", norm="batch" if family == "cnn" else "none")
    found = dissect.direction(of, 0, "alpha")
    weights = [name for name, value in of.named_parameters() if value.ndim in (2, 4)]

    assert list(found) == [name for name, _ in of.named_parameters()]
    for name, value in of.named_parameters():
        if name in weights:
            assert torch.allclose(found[name].flatten(1).norm(dim=1), value.detach().flatten(1).norm(dim=1), rtol=1e-5)
        else:
            assert not found[name].any()


def test_a_filter_of_zeros_stays_one():
    of = network()
    with torch.no_grad():
        of.blocks[0].branch.layer2.weight[3] = 0

    assert not dissect.direction(of, 0, "alpha")["blocks.0.branch.layer2.weight"][3].any()


def test_twins_share_their_directions_and_axes_and_seeds_do_not():
    plain, gate = (network(shortcut=shortcut) for shortcut in ("plain", "gate"))
    mine, other = dissect.direction(plain, 0, "alpha"), dissect.direction(gate, 0, "alpha")

    assert all(torch.equal(mine[name], other[name]) for name in mine)
    for seed, axis in ((0, "beta"), (1, "alpha")):
        assert not torch.equal(mine["stem.layer.weight"], dissect.direction(plain, seed, axis)["stem.layer.weight"])


def test_a_surface_is_the_loss_of_the_moved_weights_and_its_centre_that_of_the_trained_ones():
    of = network(norm="layer")
    rows = [row for line in range(5) for row in dissect.surface(of, measure, 0, 5, line)]
    first, second = dissect.direction(of, 0, "alpha"), dissect.direction(of, 0, "beta")

    assert [row[:2] for row in rows] == [(a, b) for a in (-1, -0.5, 0, 0.5, 1) for b in (-1, -0.5, 0, 0.5, 1)]
    assert rows[12][2:] == measure(of)
    for row in rows[::6]:
        moved = network(norm="layer")
        moved.load_state_dict({n: v + row[0] * first[n] + row[1] * second[n] for n, v in of.state_dict().items()})
        assert row[2:] == measure(moved)


# ---- a run ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def call(in_process: None, call: Program) -> Program:
    """The program in this process, workers included."""
    return call


@pytest.fixture(scope="module")
def trained(tiny_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """tiny.yaml with two seeds, trained one trial at a time."""
    return resexp.train(tiny_file, "seeds=2", "training.stack=1", runs_dir=tmp_path_factory.mktemp("runs"))


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    """A copy of it, to be spoilt."""
    for path in trained.rglob("*"):
        if path.is_file():
            target = tmp_path / "tiny" / path.relative_to(trained)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
    return tmp_path / "tiny"


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


ALL = ("--parts", "surface,lesion,scale", "--grid", "3")


def test_a_run_gains_its_tables_twice_the_same_and_nothing_else_changes(call: Program, run: Path):
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
    # 4 networks: 1 block and the whole of each; 11 doses of the 2 residual ones; 9 points of each
    assert f"lesion, scale, surface of 4 trials: {4 * 2 + 2 * 11 + 4 * 9} evaluations, about 0:0" in err
    assert "scale of plain" not in err


def test_the_whole_network_is_as_it_was_trained(call: Program, run: Path):
    call("dissect", run, *ALL, "--quiet")
    for place in (run / "trials").iterdir():
        last = runs.read_rows(place / "metrics.csv")[-1]
        lesion, shortcut_scale = (runs.read_rows(place / runs.ABLATION_FILES[part])[:1] for part in ("lesion", "scale"))
        centre = runs.read_rows(place / "surface.csv")[4]
        expected = (last["val_loss"], runs.format_cell(1 - float(last["val_accuracy"])))

        assert all(
            (row["val_loss"], float(row["val_error"])) == (expected[0], pytest.approx(float(expected[1]))) for row in lesion
        )
        assert [row["val_loss"] for row in (*shortcut_scale, centre)] == [expected[0]] * (len(shortcut_scale) + 1)


def test_it_measures_the_validation_part_and_never_reads_the_test_part(trained: Path, monkeypatch: pytest.MonkeyPatch):
    trial = runs.read_experiment(trained).trials[0]
    monkeypatch.setattr(training.evaluation, "test_images", pytest.fail)
    place = runs.trial_folder(trained, trial.name)
    of, found = dissect.load(place, trial, "cpu")
    ((_, _, _, loss, error, _), *_) = dissect.dissect(place, trial, "cpu", "lesion")
    ((expected, accuracy),) = training.evaluate(of, found.validation, found)

    assert (loss, error) == (expected, 1 - accuracy)


def test_doctor_and_compare_do_not_mind(call: Program, run: Path):
    compare_results = call("compare", run)
    call("dissect", run, "--quiet")

    assert call("compare", run) == compare_results
    assert "0 damaged" in (found := call("doctor", run))[1] or "nothing damaged" in found[1]
    assert found[0] == 0


def test_a_trial_and_a_part_can_be_chosen(call: Program, run: Path):
    code, out, err = call("dissect", run, "--trial", "identity-d4-s1", "--parts", "scale")

    assert code == 0
    assert [str(path.relative_to(run)) for path in run.rglob("shortcut_scale.csv")] == [
        "trials/identity-d4-s1/shortcut_scale.csv"
    ]
    assert not list(run.rglob("lesion.csv"))
    assert "plain" not in out
    assert err.splitlines()[1:] == ["scale of identity-d4-s1"]
    assert call("dissect", run, "--trial", "identity-d4-s1", "--quiet")[2] == ""


def spoil(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1] + b"x")


@pytest.mark.parametrize(("harm", "word"), [(spoil, "damaged"), (Path.unlink, "missing")])
def test_damaged_weights_are_named_and_the_others_dissected(harm: Any, word: str, call: Program, run: Path):
    weights = run / "trials" / "identity-d4-s0" / "weights.pt"
    harm(weights)
    code, out, err = call("dissect", run)

    assert code == 1
    assert f"left out: {weights}: {word}" in err.splitlines()[-1]
    assert "Traceback" not in err
    assert "changes the error by" in out
    assert sorted(path.parent.name for path in run.rglob("lesion.csv")) == ["identity-d4-s1", "plain-d4-s0", "plain-d4-s1"]


def test_weights_are_refused_by_the_lab_too(run: Path):
    trial = runs.read_experiment(run).trials[0]
    place = runs.trial_folder(run, trial.name)
    spoil(place / "weights.pt")
    with pytest.raises(runs.RunsError, match="changed after its trial had finished"):
        dissect.load(place, trial, "cpu")
    (place / "result.json").unlink()
    with pytest.raises(runs.RunsError, match="not finished"):
        dissect.load(place, trial, "cpu")


def rewrite(result: Path, **values: Any) -> None:
    done = {**json.loads(result.read_text()), **values}
    runs.write_json(result, {**done, "seal": runs.json_digest(done)})


@pytest.mark.parametrize("part", ["lesion", "scale", "surface"])
def test_a_network_that_errs_otherwise_than_when_it_was_trained_is_doubted(part: str, call: Program, run: Path):
    arguments = ("dissect", run, "--trial", "identity-d4-s0", "--parts", part, "--grid", "3")
    before = call(*arguments)[2]
    rewrite(run / "trials" / "identity-d4-s0" / "result.json", val_accuracy=0.99)
    after = call(*arguments)[2]

    assert "same images" not in before
    assert "% here, 1.0 % when trained; are these the same images?" in after


def test_a_diverged_and_an_unfinished_trial_are_named_and_left_out(call: Program, run: Path):
    place = run / "trials" / "plain-d4-s0"
    rewrite(place / "result.json", outcome="diverged")
    (run / "trials" / "identity-d4-s0" / "result.json").unlink()
    code, _, err = call("dissect", run)

    assert code == 0
    assert err.splitlines()[:2] == ["left out: plain-d4-s0 diverged at step 6", "left out: 1 not finished"]
    assert sorted(path.parent.name for path in run.rglob("lesion.csv")) == ["identity-d4-s1", "plain-d4-s1"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--parts", "lesion,doze"), "--parts: 'doze' is not one of lesion, scale, surface"),
        (("--grid", "4"), "--grid: 4 is even: the trained weights would not be a point of it; take 5"),
        (("--trial", "identity-d4-s7"), "--trial: 'identity-d4-s7' is no trial of tiny"),
        (("--device", "cuda:9"), "device: cuda:9 is not on this machine"),
    ],
)
def test_a_mistake_is_one_line(arguments: tuple[str, ...], message: str, call: Program, run: Path):
    code, out, err = call("dissect", run, *arguments)

    assert (code, out) == (2, "")
    assert err.startswith(f"resexp: {message}")
    assert len(err.splitlines()) == 1


def test_a_run_without_validation_or_without_results_is_refused(call: Program, tmp_path: Path):
    for overrides, message in (((), "no trained network"), (("data.validation=0",), "data.validation is 0")):
        folder, _ = fabricated.experiment(tmp_path / str(len(overrides)), lambda _: {}, *overrides)
        code, _, err = call("dissect", folder)

        assert code == 2
        assert message in err


def test_a_real_worker_does_it(run: Path):
    command = [sys.executable, "-m", "resexp", "dissect", str(run)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)

    assert (done.returncode, len(list(run.rglob("lesion.csv")))) == (0, 4)


# ---- what is said and drawn -----------------------------------------------------------------------------------------

ERRORS = {"plain": (0.5, 0.9), "identity": (0.1, 0.1)}  # of the whole network, and without its last block


@pytest.fixture
def dissected(tmp_path: Path) -> tuple[Path, Experiment]:
    """Tables made by hand: plain is stuck; a block of identity's counts for 0, 1 and 20 points on average."""

    def values(trial: config.Trial) -> dict[str, Any]:
        return {"outcome": "at_chance" if trial.arm == "plain" else "above_chance", "test_accuracy": 0.5}

    small = ("network.depth=[8]", "network.norm=[none]", "network.init=[he]", "seeds=2")
    folder, found = fabricated.experiment(tmp_path, values, *small)
    for trial in found.trials:
        place, plain = runs.trial_folder(folder, trial.name), trial.arm == "plain"
        left, rise = ("identity", 0.0) if plain else ("shortcut", 0.1 * trial.seed)
        rows = [(n, f"blocks.{n - 1}", left, 1.0, 0.1 + of, of) for n, of in ((1, 0.0), (2, 0.01), (3, 0.15 + rise))]
        rows[1] = (2, "blocks.1", "nothing", math.nan, math.nan, math.nan) if plain else rows[1]
        runs.write_rows(place / "lesion.csv", [(0, "none", "all", 1.0, 0.1, 0.0), *rows])
        if not plain:
            runs.write_rows(place / "shortcut_scale.csv", [(s / 10, 1.0, 0.1 if s > 5 else 0.8) for s in range(10, -1, -1)])
        grid = [(a, b, 0.5 + a * a + b * b if a < 1 else math.nan, 0.1) for a in (-1.0, 0.0, 1.0) for b in (-1.0, 0.0, 1.0)]
        runs.write_rows(place / "surface.csv", grid)
    return folder, found


def test_what_it_says_is_what_the_tables_hold(dissected: Any, call: Program, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(dissecting, "_measure", lambda *_arguments, **_options: None)
    code, out, _ = call("dissect", dissected[0], "--parts", "lesion,scale,surface")
    said = " ".join(out.split())

    assert code == 0
    for words in (
        "identity: removing one block changes the error by +0.0 (blocks.0) to +20.0 points (blocks.2), median +1.0",
        "plain: removing one block changes the error by +0.0 (blocks.0) to +15.0 points (blocks.2), median +7.5; blocks.1",
        "blocks.1 cannot be removed: shapes change and S is 0; S is 0, so the identity took the block's place",
        "plain: 2 of 2 stuck at the most frequent class: no change there says anything",
        "blocks.2 25.0 (+15.0) 30.0 (+20.0)",
        "blocks.1 - 11.0 (+1.0)",
        "identity: error 10.0 as trained, more than a point above that from s = 0.5 on, 80.0 at s = 0",
        "identity 0.5 0.5 2.5 33 %",
        "identity: in 2 of 2 the loss is lowest at the trained weights",
    ):
        assert words in said
    assert "identity: 2 of 2 stuck" not in said
    assert max(map(len, out.splitlines())) <= 80


@pytest.mark.parametrize(
    ("errors", "expected"),
    [
        ((10.0, 10.5, 10.9), "more than a point above that nowhere, 10.9 at s = 0"),
        ((10.0, 12.0, 30.0), "more than a point above that from s = 0.5 on, 30.0 at s = 0"),
        ((10.0, 12.0, 10.5), "more than a point above that first at s = 0.5, 10.5 at s = 0"),
    ],
    ids=str,
)
def test_an_error_that_comes_down_again_is_not_above_from_there_on(errors: tuple[float, ...], expected: str):
    told = ablation._scale_sentence(dict(zip(("1", "0.5", "0"), errors, strict=True)))

    assert told == f"error 10.0 as trained, {expected}"


def test_many_arms_stand_in_tables_below_each_other():
    names = [f"arm-with-a-long-name-{n}" for n in range(7)]
    lines = ablation._columns("without", names, [("none", ["1.0"] * 7)])

    assert max(map(len, lines)) <= 80
    assert [name for line in lines for name in line.split() if name.startswith("arm")] == names


@pytest.mark.parametrize("part", DISSECTION_FIGURES)
def test_a_chart_has_every_row_that_was_measured(part: str, dissected: Any):
    frame = read_dissection(runs.results_of(*dissected), part)
    spec = DISSECTION_FIGURES[part](frame).to_dict()
    (rows,) = spec["datasets"].values()
    arms = {"lesion": {"plain", "identity"}, "scale": {"identity"}, "surface": {"plain", "identity"}}
    counts = {"lesion": 4 * 4, "scale": 2 * 11, "surface": 2 * 9}  # of a surface one seed is drawn

    assert {row["arm"] for row in rows} == arms[part]
    assert len(rows) == counts[part]


def test_of_a_surface_the_first_seed_is_drawn(dissected: Any):
    frame = read_dissection(runs.results_of(*dissected), "surface")
    frame.loc[frame["seed"] == 1, "val_loss"] = 7.0
    (rows,) = DISSECTION_FIGURES["surface"](frame).to_dict()["datasets"].values()

    assert "0.5" in {row["val_loss"] for row in rows}
    assert "7" not in {row["val_loss"] for row in rows}


def test_what_is_timed_on_some_images_is_told_for_all_of_them(run: Path, monkeypatch: pytest.MonkeyPatch):
    trial = runs.read_experiment(run).trials[0]
    place = runs.trial_folder(run, trial.name)
    count = len(dissect.load(place, trial, "cpu")[1].validation)
    monkeypatch.setattr(dissect, "TIMED_IMAGES", 5)
    monkeypatch.setattr(dissect, "time", SimpleNamespace(perf_counter=iter(range(6)).__next__))  # each takes a second

    assert dissect.cost(place, trial, "cpu")[0] == pytest.approx(count / 5)


def test_where_nothing_was_dissected_there_are_no_rows(tmp_path: Path):
    results = fabricated.results(tmp_path, lambda _: {"test_accuracy": 0.5}, "network.depth=[8]", "seeds=1")

    assert all(read_dissection(results, part).empty for part in DISSECTION_FIGURES)
