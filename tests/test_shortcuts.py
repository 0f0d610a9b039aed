"""(a, S) of every shortcut against a second computation in numpy.

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
from resexp.shortcuts import SHORTCUT_HINT, SHORTCUTS, BlockSpec, join, make_shortcut, option_a

B, BLOCKS = 5, 9

SHAPES = {
    "mlp": ((6,), (6,)),
    "cnn, same shape": ((4, 5, 7), (4, 5, 7)),
    "cnn, even side halved": ((4, 8, 8), (8, 4, 4)),
    "cnn, odd side halved": ((4, 7, 5), (8, 4, 3)),
    "cnn, one pixel": ((4, 1, 1), (8, 1, 1)),
}
NORMS = {"without norm": lambda _: nn.Identity(), "with batch norm": nn.BatchNorm2d}
# Every combination of shapes and normalization.
CASES = [pytest.param(shapes, norm, id=f"{s}, {n}") for s, shapes in SHAPES.items() for n, norm in NORMS.items()]


def shortcut_and_input(name: str, shapes: tuple, norm) -> tuple[nn.Module, Tensor]:
    """A shortcut in float64 with random weights, and an input."""
    torch.manual_seed(0)
    shortcut = SHORTCUTS[name](BlockSpec(*shapes, index=2, blocks=BLOCKS, norm=norm)).double()
    with torch.no_grad():
        for parameter in shortcut.parameters():
            parameter.normal_()
    return shortcut, torch.randn(B, *shapes[0], dtype=torch.float64)


def option_a_by_pixel(x: np.ndarray, shapes: tuple) -> np.ndarray:
    """Option A, pixel by pixel."""
    inputs, outputs = shapes
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


def mapped(shortcut: nn.Module, x: np.ndarray, shapes: tuple) -> np.ndarray:
    """Option C with one matrix product per pixel, and batch norm from its definition."""
    state_dict = {key: value.numpy() for key, value in shortcut.state_dict().items()}
    matrix = state_dict["map.weight"].reshape(shapes[1][0], shapes[0][0])
    if len(shapes[0]) == 1:
        return x @ matrix.T
    pixels = option_a_by_pixel(x, shapes)[:, : shapes[0][0]]
    out = np.moveaxis(np.moveaxis(pixels, 1, -1) @ matrix.T, -1, 1)
    if "norm.weight" in state_dict:
        mean, variance = out.mean((0, 2, 3), keepdims=True), out.var((0, 2, 3), keepdims=True)
        gain, shift = (state_dict[f"norm.{key}"].reshape(1, -1, 1, 1) for key in ("weight", "bias"))
        out = gain * (out - mean) / np.sqrt(variance + 1e-5) + shift
    return out


def gates(shortcut: nn.Module, x: np.ndarray, shapes: tuple) -> np.ndarray:
    """g = 1 / (1 + exp(-(Ux + b))), one per element of the output."""
    bias = shortcut.bias.detach().numpy()
    return 1 / (1 + np.exp(-mapped(shortcut, x, shapes) - bias))


REFERENCES = {
    "plain": lambda _s, _x, _shapes: (1.0, 0.0),
    "identity": lambda _s, x, shapes: (1.0, option_a_by_pixel(x, shapes)),
    "projection": lambda s, x, shapes: (
        1.0,
        (option_a_by_pixel(x, shapes) if shapes[0] == shapes[1] else mapped(s, x, shapes)),
    ),
    "projection-all": lambda s, x, shapes: (1.0, mapped(s, x, shapes)),
    "scaled": lambda _s, x, shapes: (1.0, 0.5 * option_a_by_pixel(x, shapes)),
    "gate": lambda s, x, shapes: (gates(s, x, shapes), (1 - gates(s, x, shapes)) * option_a_by_pixel(x, shapes)),
    "gate-shortcut": lambda s, x, shapes: (1.0, (1 - gates(s, x, shapes)) * option_a_by_pixel(x, shapes)),
    "dropout": lambda _s, x, shapes: (1.0, option_a_by_pixel(x, shapes)),  # in eval mode
    "rezero": lambda s, x, shapes: (s.alpha.item(), option_a_by_pixel(x, shapes)),
    "skipinit": lambda s, x, shapes: (s.alpha.item(), option_a_by_pixel(x, shapes)),
    "stochastic-depth": lambda _s, x, shapes: (1 - 3 / BLOCKS * 0.5, option_a_by_pixel(x, shapes)),  # block 3 of 9
    "depth-scaled": lambda _s, x, shapes: (1 / 3, option_a_by_pixel(x, shapes)),  # 9 blocks
    "decayed": lambda _s, x, shapes: (1.0, (1 - 3 / BLOCKS * 0.4) * option_a_by_pixel(x, shapes)),
}


# ---- operations -------------------------------------------------------------------------------------------------------


def test_every_shortcut_has_a_reference():
    assert list(REFERENCES) == list(SHORTCUTS)


def test_join_with_the_constants_of_a_plain_block_returns_the_branch():
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
def test_join_uses_only_the_operations_of_the_formula(a, s, operations):
    branch = torch.randn(3, requires_grad=True).exp()
    factor = torch.tensor(0.5, requires_grad=True) if a == "learned" else a
    term = torch.randn(3) if s is True else s
    total = join(factor, branch, term)
    names, node = [], total.grad_fn
    while node is not branch.grad_fn:
        names.append(node.name())
        node = next(inner for inner, _ in node.next_functions if inner is not None and "Accumulate" not in inner.name())

    assert names == operations
    torch.testing.assert_close(total, (0.5 if a != 1.0 else 1.0) * branch + term)


def test_the_identity_shortcut_returns_x_itself():
    shortcut, x = shortcut_and_input("identity", SHAPES["cnn, same shape"], nn.BatchNorm2d)

    assert shortcut(x)[1] is x


@pytest.mark.parametrize("name", SHORTCUTS)
@pytest.mark.parametrize(("shapes", "norm"), CASES)
def test_a_shortcut_does_not_change_its_input_and_is_deterministic(name, shapes, norm):
    shortcut, x = shortcut_and_input(name, shapes, norm)
    before = x.clone()
    (a, s), (second_a, second_s) = shortcut(x), shortcut(x)

    assert torch.equal(x, before)
    assert torch.equal(torch.as_tensor(a), torch.as_tensor(second_a))
    assert torch.equal(torch.as_tensor(s), torch.as_tensor(second_s))


# ---- values of a and S --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SHORTCUTS)
@pytest.mark.parametrize(("shapes", "norm"), CASES)
def test_a_and_s_agree_with_the_papers(name, shapes, norm):
    shortcut, x = shortcut_and_input(name, shapes, norm)
    a, s = shortcut(x)
    expected_a, expected_s = REFERENCES[name](shortcut, x.numpy(), shapes)

    np.testing.assert_allclose(torch.as_tensor(a, dtype=torch.float64).detach().numpy(), expected_a, rtol=1e-12)
    np.testing.assert_allclose(torch.as_tensor(s).detach().numpy(), expected_s, rtol=1e-12, atol=1e-12)
    assert np.shape(s) in {(), (B, *shapes[1])}


@pytest.mark.parametrize(
    ("name", "shapes", "parameters"),
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
        ("depth-scaled", "mlp", 0),
        ("decayed", "cnn, even side halved", 0),
    ],
)
def test_a_shortcut_adds_the_expected_parameters_and_no_bias(name, shapes, parameters):
    shortcut, _ = shortcut_and_input(name, SHAPES[shapes], nn.BatchNorm2d)

    assert sum(p.numel() for p in shortcut.parameters()) == parameters
    assert [key for key in shortcut.state_dict() if key == "map.bias"] == []


@pytest.mark.parametrize("blocks", [1, 4, 54])
def test_skipinit_is_initialized_to_one_over_the_root_of_the_number_of_blocks(blocks):
    shortcut = SHORTCUTS["skipinit"](BlockSpec((3,), (3,), 0, blocks, lambda _: nn.Identity()))

    assert shortcut(torch.ones(1, 3))[0].item() == pytest.approx(1 / math.sqrt(blocks), rel=1e-7)
    assert shortcut.alpha.requires_grad


# ---- parameters of shortcuts ------------------------------------------------------------------------------------------


def create(name: str, shapes: tuple = SHAPES["mlp"], index: int = 2, **parameters) -> nn.Module:
    return SHORTCUTS[name](BlockSpec(*shapes, index=index, blocks=BLOCKS, norm=lambda _: nn.Identity()), **parameters)


def test_scaled_multiplies_branch_and_shortcut_by_constants():
    x = torch.randn(B, 6)
    a, s = create("scaled", scale=0.25, branch=0.75)(x)

    assert a == 0.75
    assert torch.equal(s, 0.25 * x)


@pytest.mark.parametrize(("alpha", "expected"), [(0.0, 1.0), (0.5, 1 / 3), (1.0, 1 / 9)])
def test_depth_scaled_divides_every_branch_by_a_power_of_the_number_of_blocks(alpha, expected):
    x = torch.randn(B, 6)

    for index in range(BLOCKS):
        a, s = create("depth-scaled", index=index, alpha=alpha)(x)
        assert a == pytest.approx(expected, rel=1e-15)
        assert s is x


@pytest.mark.parametrize(
    ("final", "product"), [(1.0, 1.0), (0.6, math.prod(1 - 0.4 * n / 9 for n in range(1, 10))), (0.0, 0.0)]
)
def test_decayed_reduces_the_shortcut_linearly_to_its_final_factor(final, product):
    factors = [create("decayed", index=index, final=final)(torch.ones(1, 6)) for index in range(BLOCKS)]
    s = [torch.as_tensor(s).flatten()[0].item() for _, s in factors]

    assert [a for a, _ in factors] == [1.0] * BLOCKS
    assert s[-1] == pytest.approx(final, rel=1e-6)
    assert np.diff(s) == pytest.approx([(final - 1) / BLOCKS] * (BLOCKS - 1), abs=1e-6)
    assert math.prod(s) == pytest.approx(product, rel=1e-5)


@pytest.mark.parametrize("name", ["gate", "gate-shortcut"])
@pytest.mark.parametrize("bias", [0.0, -6.0])
def test_a_gate_with_a_zero_map_is_the_sigmoid_of_its_bias(name, bias):
    shortcut, x = create(name, bias=bias), torch.randn(B, 6)
    with torch.no_grad():
        shortcut.map.weight.zero_()
    a, s = shortcut(x)
    g = 1 / (1 + math.exp(-bias))

    torch.testing.assert_close(s, (1 - g) * x)
    torch.testing.assert_close(torch.as_tensor(a), torch.full((B, 6), g) if name == "gate" else torch.tensor(1.0))


def test_rezero_is_initialized_to_0():
    assert create("rezero").alpha.item() == 0


# ---- stochastic shortcuts ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("p", [0.0, 0.25, 0.5])
def test_dropout_sets_a_share_p_of_elements_to_0_and_preserves_the_mean(p):
    shortcut, x = create("dropout", SHAPES["cnn, even side halved"], p=p), torch.ones(2000, 4, 8, 8)
    a, s = shortcut(x, shortcut.draw(2000, torch.Generator().manual_seed(0)))
    elements = s[:, :4]

    assert a == 1
    assert not s[:, 4:].any()
    assert sorted(elements.unique().tolist()) == pytest.approx(sorted({0.0, 1 / (1 - p)} if p else {1.0}))
    assert (elements == 0).float().mean().item() == pytest.approx(p, abs=5 * math.sqrt(0.25 / elements.numel()))


@pytest.mark.parametrize(
    ("index", "survival", "expected"), [(0, 0.5, 17 / 18), (4, 0.5, 13 / 18), (8, 0.5, 0.5), (8, 0.2, 0.2)]
)
def test_survival_probability_decreases_linearly_with_the_block(index, survival, expected):
    shortcut = create("stochastic-depth", index=index, survival=survival)
    draws = torch.stack([shortcut.draw(B, torch.Generator().manual_seed(seed)) for seed in range(3000)])
    x = torch.randn(B, 6)

    assert shortcut(x)[0] == pytest.approx(expected)
    assert set(draws.tolist()) == {0.0, 1.0}
    assert draws.mean().item() == pytest.approx(expected, abs=5 * math.sqrt(0.25 / 3000))
    assert [shortcut(x, draw)[0].item() for draw in draws[:5]] == draws[:5].tolist()


@pytest.mark.parametrize("name", ["dropout", "stochastic-depth"])
def test_the_same_stream_gives_the_same_draws(name):
    first, second = (create(name).draw(B, torch.Generator().manual_seed(3)) for _ in range(2))

    assert torch.equal(first, second)


# ---- option A ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("pad", "first"), [("end", 0), ("both", 2)])
def test_option_a_adds_zero_channels_at_the_chosen_side(pad, first):
    inputs, outputs = SHAPES["cnn, even side halved"]
    x = torch.randn(B, *inputs)
    _, s = SHORTCUTS["identity"](BlockSpec(inputs, outputs, 0, 1, lambda _: nn.Identity(), pad))(x)

    assert torch.equal(s[:, first : first + 4], x[:, :, ::2, ::2])
    assert s.any(0).flatten(1).any(1).tolist() == [first <= c < first + 4 for c in range(8)]


def test_an_unknown_pad_is_refused():
    with pytest.raises(ValueError, match="pad 'start' is not one of end, both"):
        BlockSpec((4, 8, 8), (8, 4, 4), 0, 1, lambda _: nn.Identity(), "start")


# ---- custom shortcuts ---------------------------------------------------------------------------------------------------


def half(_spec):
    return lambda x: (1.0, 0.5 * x)


def lasting(folder: Path, arm: str) -> dict[str, bytes]:
    """The logs and predictions of the trials of one arm, by seed and name."""
    trials = sorted((folder / "trials").glob(f"{arm}-d*"))
    names = ("metrics.csv", "gradients.csv", "signals.csv", "predictions.csv.gz")
    return {f"{seed} {name}": (trial / name).read_bytes() for seed, trial in enumerate(trials) for name in names}


@pytest.mark.parametrize("shapes", SHAPES)
def test_a_function_of_a_block_spec_can_be_a_shortcut(shapes, monkeypatch):
    monkeypatch.setitem(SHORTCUTS, "custom", lambda spec: lambda x: (0.25, option_a(x, spec) / (1 + spec.index)))
    inputs, outputs = SHAPES[shapes]
    x = torch.randn(B, *inputs)
    shortcut = make_shortcut("custom", BlockSpec(inputs, outputs, 1, BLOCKS, nn.Identity))
    a, s = shortcut(x)

    assert isinstance(shortcut, nn.Module)
    assert list(shortcut.parameters()) == []
    assert a == 0.25
    assert torch.equal(s, option_a(x, BlockSpec(inputs, outputs, 0, 1, nn.Identity)) / 2)


@pytest.mark.parametrize("stack", ["auto", "1"])
def test_a_function_trains_bit_identically_to_the_built_in_shortcut_with_the_same_formula(
    stack, tiny_file, tmp_path, monkeypatch, torch_state
):
    monkeypatch.setitem(SHORTCUTS, "half", half)
    overrides = ("seeds=2", f"training.stack={stack}", "network.init=he")
    custom = resexp.train(tiny_file, "network.shortcut=[half]", *overrides, runs_dir=tmp_path / "custom")
    unstacked = ("training.stack=1", "network.init=he", "seeds=2", "network.shortcut=[{scaled: {scale: 0.5}}]")
    built_in = resexp.train(tiny_file, *unstacked, runs_dir=tmp_path / "built-in")

    files = lasting(custom, "half")
    assert len(files) == 2 * 4
    assert files == lasting(built_in, "scaled-scale0.5")
    stacks = [stack.trials for stack in runs.read_plan(custom).stacks]
    assert [trials for trials in stacks if any("half" in name for name in trials)] == [("half-d4-s0",), ("half-d4-s1",)]


def test_training_with_a_function_resumes_after_an_interruption(tiny_file, tmp_path, monkeypatch, torch_state):
    overrides = ("network.shortcut=[half]", "training.checkpoint_every=2", "training.stack=1")
    monkeypatch.setitem(SHORTCUTS, "half", half)
    uninterrupted = resexp.train(tiny_file, *overrides, runs_dir=tmp_path / "uninterrupted")
    training_passes = []

    def interrupting(_spec):
        def forward(x):
            training_passes.append(x.requires_grad and torch.is_grad_enabled() and len(x) == 16)
            if training_passes.count(True) > 4:
                raise KeyboardInterrupt
            return 1.0, 0.5 * x

        return forward

    monkeypatch.setitem(SHORTCUTS, "half", interrupting)
    with pytest.raises(KeyboardInterrupt):
        resexp.train(tiny_file, *overrides, runs_dir=tmp_path / "resumed")
    assert runs.checkpoint_file(tmp_path / "resumed" / "tiny", "half-d4-s0").exists()
    monkeypatch.setitem(SHORTCUTS, "half", half)
    resumed = resexp.train(tiny_file, *overrides, runs_dir=tmp_path / "resumed")

    assert lasting(resumed, "half") == lasting(uninterrupted, "half")


@pytest.mark.parametrize(
    ("custom", "message"),
    [
        pytest.param(
            lambda x: (1.0, x),
            r"'custom'\] must be a function of a BlockSpec .* lambda spec: lambda x",
            id="of x, not of a spec",
        ),
        pytest.param(lambda _spec: 0.5, r"must be a function of a BlockSpec .* it returned 0\.5", id="a number"),
    ],
)
def test_a_custom_shortcut_of_another_kind_is_refused_with_an_explanation(custom, message, monkeypatch):
    monkeypatch.setitem(SHORTCUTS, "custom", custom)

    with pytest.raises(TypeError, match=message):
        make_shortcut("custom", BlockSpec((3,), (3,), 0, 1, nn.Identity))


@pytest.mark.parametrize("custom", [lambda x: (1.0, 0.5 * x), lambda x: (1.0, x.relu())], ids=["a product", "a method"])
def test_the_error_of_a_function_of_x_has_a_note_about_the_block_spec(custom, monkeypatch):
    monkeypatch.setitem(SHORTCUTS, "custom", custom)

    with pytest.raises((TypeError, AttributeError)) as raised:
        make_shortcut("custom", BlockSpec((3,), (3,), 0, 1, nn.Identity))
    assert raised.value.__notes__ == [f"SHORTCUTS['custom'] must be {SHORTCUT_HINT}"]


def test_a_function_that_uses_weights_is_refused_because_they_would_not_be_trained(monkeypatch):
    def learned(spec):
        u = nn.Linear(*spec.inputs, *spec.outputs)
        return lambda x: (1.0, u(x))

    monkeypatch.setitem(SHORTCUTS, "custom", learned)

    with pytest.raises(TypeError, match="custom is a function that uses weights, which would not be trained; make it a Module"):
        make_shortcut("custom", BlockSpec((3,), (3,), 0, 1, nn.Identity))
