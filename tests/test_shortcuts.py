"""(a, S) of every shortcut against a second computation, by hand and in numpy.

Shapes: B batch, D width; C x H x W image.
"""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import resexp
from resexp import runs
from resexp.shortcuts import SHORTCUTS, BlockSpec, join, make_shortcut, option_a

B, BLOCKS = 5, 9

PLACES = {
    "mlp": ((6,), (6,)),
    "cnn, same shape": ((4, 5, 7), (4, 5, 7)),
    "cnn, even side halved": ((4, 8, 8), (8, 4, 4)),
    "cnn, odd side halved": ((4, 7, 5), (8, 4, 3)),
    "cnn, one pixel": ((4, 1, 1), (8, 1, 1)),
}
NORMS = {"without norm": lambda _: nn.Identity(), "with batch norm": nn.BatchNorm2d}
# The place that norm layers may have, whatever the shortcut does with it.
CASES = [pytest.param(place, norm, id=f"{p}, {n}") for p, place in PLACES.items() for n, norm in NORMS.items()]


def made(name: str, place: tuple, norm) -> tuple[nn.Module, Tensor]:
    """A shortcut in float64 with weights that are not its start, and an input."""
    torch.manual_seed(0)
    shortcut = SHORTCUTS[name](BlockSpec(*place, index=2, blocks=BLOCKS, norm=norm)).double()
    with torch.no_grad():
        for parameter in shortcut.parameters():
            parameter.normal_()
    return shortcut, torch.randn(B, *place[0], dtype=torch.float64)


def halved_with_empty_channels(x: np.ndarray, place: tuple) -> np.ndarray:
    """Option A, pixel by pixel."""
    inputs, outputs = place
    out = np.zeros((B, *outputs))
    if len(inputs) == 1:
        out[:] = x
        return out
    stride = 1 if inputs == outputs else 2
    for c in range(inputs[0]):
        for h in range(outputs[1]):
            for w in range(outputs[2]):
                out[:, c, h, w] = x[:, c, stride * h, stride * w]
    return out


def mapped(shortcut: nn.Module, x: np.ndarray, place: tuple) -> np.ndarray:
    """Option C, one matrix product per pixel, and batch norm from its definition."""
    state = {key: value.numpy() for key, value in shortcut.state_dict().items()}
    matrix = state["map.weight"].reshape(place[1][0], place[0][0])
    if len(place[0]) == 1:
        return x @ matrix.T
    picked = halved_with_empty_channels(x, place)[:, : place[0][0]]
    out = np.moveaxis(np.moveaxis(picked, 1, -1) @ matrix.T, -1, 1)
    if "norm.weight" in state:
        mean, variance = out.mean((0, 2, 3), keepdims=True), out.var((0, 2, 3), keepdims=True)
        gain, shift = (state[f"norm.{key}"].reshape(1, -1, 1, 1) for key in ("weight", "bias"))
        out = gain * (out - mean) / np.sqrt(variance + 1e-5) + shift
    return out


def gates(shortcut: nn.Module, x: np.ndarray, place: tuple) -> np.ndarray:
    """g = 1 / (1 + exp(-(Ux + b))), one per element of the output."""
    bias = shortcut.bias.detach().numpy()
    return 1 / (1 + np.exp(-mapped(shortcut, x, place) - bias))


ORACLES = {
    "plain": lambda _s, _x, _place: (1.0, 0.0),
    "identity": lambda _s, x, place: (1.0, halved_with_empty_channels(x, place)),
    "projection": lambda s, x, place: (
        1.0,
        (halved_with_empty_channels(x, place) if place[0] == place[1] else mapped(s, x, place)),
    ),
    "projection-all": lambda s, x, place: (1.0, mapped(s, x, place)),
    "scaled": lambda _s, x, place: (1.0, 0.5 * halved_with_empty_channels(x, place)),
    "gate": lambda s, x, place: (gates(s, x, place), (1 - gates(s, x, place)) * halved_with_empty_channels(x, place)),
    "gate-shortcut": lambda s, x, place: (1.0, (1 - gates(s, x, place)) * halved_with_empty_channels(x, place)),
    "dropout": lambda _s, x, place: (1.0, halved_with_empty_channels(x, place)),  # in evaluation
    "rezero": lambda s, x, place: (s.alpha.item(), halved_with_empty_channels(x, place)),
    "skipinit": lambda s, x, place: (s.alpha.item(), halved_with_empty_channels(x, place)),
    "stochastic-depth": lambda _s, x, place: (1 - 3 / BLOCKS * 0.5, halved_with_empty_channels(x, place)),  # block 3 of 9
}


# ---- what costs nothing -----------------------------------------------------------------------------------------------


def test_every_shortcut_has_an_oracle_here():
    assert list(ORACLES) == list(SHORTCUTS)


def test_joining_with_the_constants_of_a_plain_block_returns_the_branch_itself():
    branch = torch.randn(3, requires_grad=True).exp()

    assert join(1.0, branch, 0.0) is branch


@pytest.mark.parametrize(
    ("a", "s", "operations"),
    [
        pytest.param(1.0, True, ["AddBackward0"], id="identity: one addition"),
        pytest.param("learned", True, ["AddBackward0", "MulBackward0"], id="skipinit: one product, one addition"),
        pytest.param("learned", 0.0, ["MulBackward0"], id="a scale without a shortcut: one product"),
        pytest.param(0.5, True, ["AddBackward0", "MulBackward0"], id="a constant scale that is not 1"),
    ],
)
def test_joining_adds_only_the_operations_that_the_formula_has(a, s, operations):
    branch = torch.randn(3, requires_grad=True).exp()
    factor = torch.tensor(0.5, requires_grad=True) if a == "learned" else a
    term = torch.randn(3) if s is True else s
    joined = join(factor, branch, term)
    found, node = [], joined.grad_fn
    while node is not branch.grad_fn:
        found.append(node.name())
        node = next(inner for inner, _ in node.next_functions if inner is not None and "Accumulate" not in inner.name())

    assert found == operations
    torch.testing.assert_close(joined, (0.5 if a != 1.0 else 1.0) * branch + term)


def test_the_identity_shortcut_passes_x_on_as_it_is():
    shortcut, x = made("identity", PLACES["cnn, same shape"], nn.BatchNorm2d)

    assert shortcut(x)[1] is x


@pytest.mark.parametrize("name", SHORTCUTS)
@pytest.mark.parametrize(("place", "norm"), CASES)
def test_a_shortcut_leaves_its_input_alone_and_repeats_itself(name, place, norm):
    shortcut, x = made(name, place, norm)
    before = x.clone()
    (a, s), (again_a, again_s) = shortcut(x), shortcut(x)

    assert torch.equal(x, before)
    assert torch.equal(torch.as_tensor(a), torch.as_tensor(again_a))
    assert torch.equal(torch.as_tensor(s), torch.as_tensor(again_s))


# ---- what each computes -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SHORTCUTS)
@pytest.mark.parametrize(("place", "norm"), CASES)
def test_a_and_s_are_what_the_paper_says(name, place, norm):
    shortcut, x = made(name, place, norm)
    a, s = shortcut(x)
    expected_a, expected_s = ORACLES[name](shortcut, x.numpy(), place)

    np.testing.assert_allclose(torch.as_tensor(a, dtype=torch.float64).detach().numpy(), expected_a, rtol=1e-12)
    np.testing.assert_allclose(torch.as_tensor(s).detach().numpy(), expected_s, rtol=1e-12, atol=1e-12)
    assert np.shape(s) in {(), (B, *place[1])}


@pytest.mark.parametrize(
    ("name", "where", "parameters"),
    [
        ("plain", "cnn, even side halved", 0),
        ("identity", "cnn, even side halved", 0),
        ("projection", "cnn, same shape", 0),
        ("projection", "cnn, even side halved", 4 * 8 + 2 * 8),
        ("projection-all", "cnn, same shape", 4 * 4 + 2 * 4),
        ("projection-all", "mlp", 6 * 6),
        ("skipinit", "mlp", 1),
        ("skipinit", "cnn, odd side halved", 1),
        ("rezero", "mlp", 1),
        ("gate", "mlp", 6 * 6 + 6),
        ("gate-shortcut", "cnn, even side halved", 4 * 8 + 8),
        ("scaled", "cnn, even side halved", 0),
        ("dropout", "cnn, even side halved", 0),
        ("stochastic-depth", "cnn, even side halved", 0),
    ],
)
def test_a_shortcut_adds_the_parameters_of_the_design_and_no_bias(name, where, parameters):
    shortcut, _ = made(name, PLACES[where], nn.BatchNorm2d)

    assert sum(p.numel() for p in shortcut.parameters()) == parameters
    assert [key for key in shortcut.state_dict() if key == "map.bias"] == []


@pytest.mark.parametrize("blocks", [1, 4, 54])
def test_skipinit_starts_at_one_over_the_root_of_the_number_of_blocks(blocks):
    shortcut = SHORTCUTS["skipinit"](BlockSpec((3,), (3,), 0, blocks, lambda _: nn.Identity()))

    assert shortcut(torch.ones(1, 3))[0].item() == pytest.approx(1 / math.sqrt(blocks), rel=1e-7)
    assert shortcut.alpha.requires_grad


# ---- parameters of shortcuts ------------------------------------------------------------------------------------------


def at(name: str, place: tuple = PLACES["mlp"], index: int = 2, **parameters) -> nn.Module:
    return SHORTCUTS[name](BlockSpec(*place, index=index, blocks=BLOCKS, norm=lambda _: nn.Identity()), **parameters)


def test_scaled_multiplies_each_path_by_its_own_constant():
    x = torch.randn(B, 6)
    a, s = at("scaled", scale=0.25, branch=0.75)(x)

    assert a == 0.75
    assert torch.equal(s, 0.25 * x)


@pytest.mark.parametrize("name", ["gate", "gate-shortcut"])
@pytest.mark.parametrize("bias", [0.0, -6.0])
def test_a_gate_opens_where_its_bias_says_when_its_map_is_zero(name, bias):
    shortcut, x = at(name, bias=bias), torch.randn(B, 6)
    with torch.no_grad():
        shortcut.map.weight.zero_()
    a, s = shortcut(x)
    g = 1 / (1 + math.exp(-bias))

    torch.testing.assert_close(s, (1 - g) * x)
    torch.testing.assert_close(torch.as_tensor(a), torch.full((B, 6), g) if name == "gate" else torch.tensor(1.0))


def test_rezero_starts_at_zero():
    assert at("rezero").alpha.item() == 0


# ---- what is left to chance -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("p", [0.0, 0.25, 0.5])
def test_dropout_takes_a_share_p_of_the_elements_and_keeps_the_mean(p):
    shortcut, x = at("dropout", PLACES["cnn, even side halved"], p=p), torch.ones(2000, 4, 8, 8)
    a, s = shortcut(x, shortcut.draw(2000, torch.Generator().manual_seed(0)))
    kept = s[:, :4]

    assert a == 1
    assert not s[:, 4:].any()
    assert sorted(kept.unique().tolist()) == pytest.approx(sorted({0.0, 1 / (1 - p)} if p else {1.0}))
    assert (kept == 0).float().mean().item() == pytest.approx(p, abs=5 * math.sqrt(0.25 / kept.numel()))


@pytest.mark.parametrize(
    ("index", "survival", "expected"), [(0, 0.5, 17 / 18), (4, 0.5, 13 / 18), (8, 0.5, 0.5), (8, 0.2, 0.2)]
)
def test_a_block_survives_with_the_linearly_falling_probability_of_the_paper(index, survival, expected):
    shortcut = at("stochastic-depth", index=index, survival=survival)
    draws = torch.stack([shortcut.draw(B, torch.Generator().manual_seed(seed)) for seed in range(3000)])
    x = torch.randn(B, 6)

    assert shortcut(x)[0] == pytest.approx(expected)
    assert set(draws.tolist()) == {0.0, 1.0}
    assert draws.mean().item() == pytest.approx(expected, abs=5 * math.sqrt(0.25 / 3000))
    assert [shortcut(x, draw)[0].item() for draw in draws[:5]] == draws[:5].tolist()


@pytest.mark.parametrize("name", ["dropout", "stochastic-depth"])
def test_the_same_stream_draws_the_same(name):
    one, two = (at(name).draw(B, torch.Generator().manual_seed(3)) for _ in range(2))

    assert torch.equal(one, two)


# ---- where option A puts its channels ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("pad", "first"), [("end", 0), ("both", 2)])
def test_option_a_puts_its_empty_channels_where_it_is_told(pad, first):
    inputs, outputs = PLACES["cnn, even side halved"]
    x = torch.randn(B, *inputs)
    _, s = SHORTCUTS["identity"](BlockSpec(inputs, outputs, 0, 1, lambda _: nn.Identity(), pad))(x)

    assert torch.equal(s[:, first : first + 4], x[:, :, ::2, ::2])
    assert s.any(0).flatten(1).any(1).tolist() == [first <= c < first + 4 for c in range(8)]


def test_another_place_for_the_empty_channels_is_refused():
    with pytest.raises(ValueError, match="pad 'start' is not one of end, both"):
        BlockSpec((4, 8, 8), (8, 4, 4), 0, 1, lambda _: nn.Identity(), "start")


# ---- a function of one's own --------------------------------------------------------------------------------------------


def half(_place):
    return lambda x: (1.0, 0.5 * x)


def lasting(folder: Path, arm: str) -> dict[str, bytes]:
    """The logs and predictions of the trials of one arm, by seed and name."""
    trials = sorted((folder / "trials").glob(f"{arm}-d*"))
    names = ("metrics.csv", "gradients.csv", "signals.csv", "predictions.csv.gz")
    return {f"{seed} {name}": (trial / name).read_bytes() for seed, trial in enumerate(trials) for name in names}


@pytest.mark.parametrize("place", PLACES)
def test_a_function_of_the_place_is_a_shortcut_like_any_other(place, monkeypatch):
    monkeypatch.setitem(SHORTCUTS, "own", lambda place: lambda x: (0.25, option_a(x, place) / (1 + place.index)))
    inputs, outputs = PLACES[place]
    x = torch.randn(B, *inputs)
    own = make_shortcut("own", BlockSpec(inputs, outputs, 1, BLOCKS, nn.Identity))
    a, s = own(x)

    assert isinstance(own, nn.Module)
    assert list(own.parameters()) == []
    assert a == 0.25
    assert torch.equal(s, option_a(x, BlockSpec(inputs, outputs, 0, 1, nn.Identity)) / 2)


@pytest.mark.parametrize("stack", ["auto", "1"])
def test_a_function_is_trained_to_the_bit_as_the_built_in_shortcut_of_the_same_formula(
    stack, tiny_file, tmp_path, monkeypatch, torch_state
):
    monkeypatch.setitem(SHORTCUTS, "half", half)
    asked = ("seeds=2", f"training.stack={stack}", "network.init=he")
    own = resexp.train(tiny_file, "network.shortcut=[half]", *asked, runs_dir=tmp_path / "own")
    alone = ("training.stack=1", "network.init=he", "seeds=2", "network.shortcut=[{scaled: {scale: 0.5}}]")
    built_in = resexp.train(tiny_file, *alone, runs_dir=tmp_path / "built-in")

    found = lasting(own, "half")
    assert len(found) == 2 * 4
    assert found == lasting(built_in, "scaled-scale0.5")
    stacks = [stack.trials for stack in runs.read_plan(own).stacks]
    assert [trials for trials in stacks if any("half" in name for name in trials)] == [("half-d4-s0",), ("half-d4-s1",)]


def test_a_function_goes_on_where_its_training_was_interrupted(tiny_file, tmp_path, monkeypatch, torch_state):
    asked = ("network.shortcut=[half]", "training.checkpoint_every=2", "training.stack=1")
    monkeypatch.setitem(SHORTCUTS, "half", half)
    whole = resexp.train(tiny_file, *asked, runs_dir=tmp_path / "whole")
    seen = []

    def interrupting(_place):
        def forward(x):
            seen.append(x.requires_grad and torch.is_grad_enabled() and len(x) == 16)
            if seen.count(True) > 4:
                raise KeyboardInterrupt
            return 1.0, 0.5 * x

        return forward

    monkeypatch.setitem(SHORTCUTS, "half", interrupting)
    with pytest.raises(KeyboardInterrupt):
        resexp.train(tiny_file, *asked, runs_dir=tmp_path / "parts")
    assert runs.checkpoint_file(tmp_path / "parts" / "tiny", "half-d4-s0").exists()
    monkeypatch.setitem(SHORTCUTS, "half", half)
    parts = resexp.train(tiny_file, *asked, runs_dir=tmp_path / "parts")

    assert lasting(parts, "half") == lasting(whole, "half")


@pytest.mark.parametrize(
    ("own", "said"),
    [
        pytest.param(
            lambda x: (1.0, x), r"own is made from its place, as in lambda place: lambda x", id="of x, not of a place"
        ),
        pytest.param(lambda _place: 0.5, r"own is made from its place, as in .* found 0\.5", id="a number"),
    ],
)
def test_what_is_no_shortcut_is_refused_in_words(own, said, monkeypatch):
    monkeypatch.setitem(SHORTCUTS, "own", own)

    with pytest.raises(TypeError, match=said):
        make_shortcut("own", BlockSpec((3,), (3,), 0, 1, nn.Identity))


@pytest.mark.parametrize("own", [lambda x: (1.0, 0.5 * x), lambda x: (1.0, x.relu())], ids=["a product", "a method"])
def test_a_function_of_x_alone_is_told_that_it_is_made_from_its_place(own, monkeypatch):
    monkeypatch.setitem(SHORTCUTS, "own", own)

    with pytest.raises((TypeError, AttributeError)) as raised:
        make_shortcut("own", BlockSpec((3,), (3,), 0, 1, nn.Identity))
    assert raised.value.__notes__ == ["the shortcut own is made from its place, as in lambda place: lambda x: (1.0, 0.5 * x)"]


def test_a_function_that_holds_weights_is_refused_because_they_would_not_be_trained(monkeypatch):
    def learned(place):
        u = nn.Linear(*place.inputs, *place.outputs)
        return lambda x: (1.0, u(x))

    monkeypatch.setitem(SHORTCUTS, "own", learned)

    with pytest.raises(TypeError, match="own is a function that holds weights, which would not be trained; make it a Module"):
        make_shortcut("own", BlockSpec((3,), (3,), 0, 1, nn.Identity))
