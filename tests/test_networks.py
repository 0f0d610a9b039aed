"""Blocks, MLP and CNN against the formulas of the papers; depth, names, starts, and the identities of SCIENCE 4.2.

Shapes: B batch, C x H x W image, K classes.
"""

import math
from itertools import pairwise, product

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from resexp.networks import (
    ACTIVATIONS,
    INITS,
    NORMS,
    PLACEMENTS,
    Network,
    boundary_names,
    boundary_stages,
    build_network,
    initialize,
    weighted_layers,
)
from resexp.shortcuts import SHORTCUTS

B, K = 4, 10
FAMILIES = ("mlp", "cnn")
RESIDUAL = [name for name in SHORTCUTS if name != "plain"]


def build(family: str, shortcut: str = "plain", *, size: int = 8, channels: int = 1, **wanted) -> Network:
    shape = {"depth": 8, "width": 16} | wanted
    return build_network(family, shortcut=shortcut, input_shape=(channels, size, size), classes=K, **shape)


def started(family: str, shortcut: str = "plain", *, init: str = "he", seed: int = 0, **wanted) -> Network:
    keys = {key: wanted.pop(key) for key in ("init_scale", "zero_init_residual") if key in wanted}
    network = build(family, shortcut, **wanted)
    initialize(network, seed, init, **keys)
    return network


def images(size: int = 8, channels: int = 1, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(B, channels, size, size, generator=torch.Generator().manual_seed(1), dtype=dtype)


def loss_of(network: Network, x: Tensor) -> Tensor:
    return functional.cross_entropy(network(x), torch.arange(B))


def main_path(network: Network) -> list[tuple[str, nn.Module]]:
    return [(layer.name, layer.module) for layer in weighted_layers(network) if not layer.name.endswith(".shortcut")]


# ---- parameters ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shortcut", ["plain", "identity"])
@pytest.mark.parametrize(("depth", "expected"), [(20, 269_722), (32, 464_154), (44, 658_586), (56, 853_018), (110, 1_727_962)])
def test_plain_and_residual_cnns_have_the_parameters_of_the_published_table(depth, expected, shortcut):
    """arXiv:1512.03385 table 6, exactly."""
    with torch.device("meta"):
        network = build("cnn", shortcut, depth=depth, norm="batch", size=32, channels=3)

    assert sum(p.numel() for p in network.parameters()) == expected


@pytest.mark.parametrize(
    ("shortcut", "norm", "placement", "extra"),
    [
        ("identity", "batch", "post", 0),
        ("projection", "none", "post", 2_560),
        ("projection", "batch", "post", 2_560 + 192),
        ("projection", "batch", "pre", 2_560),
        ("skipinit", "batch", "post", 9),
        ("projection-all", "none", "post", 3 * 16**2 + 16 * 32 + 2 * 32**2 + 32 * 64 + 2 * 64**2),
    ],
)
def test_a_shortcut_adds_what_the_design_says_to_a_cnn_of_depth_20(shortcut, norm, placement, extra):
    with torch.device("meta"):
        arms = [build("cnn", arm, depth=20, norm=norm, placement=placement) for arm in ("plain", shortcut)]
    plain, residual = (sum(p.numel() for p in arm.parameters()) for arm in arms)

    assert residual - plain == extra


@pytest.mark.parametrize("shortcut", ["plain", "identity"])
def test_an_mlp_has_a_matrix_and_a_bias_per_layer(shortcut):
    network = build("mlp", shortcut, depth=8, width=16, size=8)

    assert sum(p.numel() for p in network.parameters()) == (64 + 1) * 16 + 6 * (16 + 1) * 16 + (16 + 1) * K


@pytest.mark.parametrize(("family", "placement", "norm"), list(product(FAMILIES, PLACEMENTS, NORMS)))
def test_layers_have_a_bias_only_where_there_is_no_norm(family, placement, norm):
    network = build(family, "projection-all", placement=placement, norm=norm)
    biased = [layer.name for layer in weighted_layers(network) if layer.module.bias is not None]

    assert biased == ([name for name, _ in main_path(network)] if norm == "none" else ["classifier"])


def bottleneck_by_hand(count: int, classes: int = K) -> tuple[int, int]:
    """(weights of convolutions and classifier, all parameters) of `count` blocks a stage, pre, projections, batch norm.

    Inner width n, output 4n; the first block of a stage comes from m channels: m n + 9 n n + 4 n n and a map of 4 m n.
    """
    weights, norms, m = 3 * 9 * 16 + 256 * classes, 256, 16  # stem and classifier; the tail's norm
    for n in (16, 32, 64):
        weights += (m * n + 13 * n * n + 4 * m * n) + (count - 1) * (4 * n * n + 13 * n * n)
        norms += (m + n + n) + (count - 1) * (4 * n + n + n)
        m = 4 * n
    return weights, weights + 2 * norms + classes  # gains and shifts, biases of the classifier


@pytest.mark.parametrize(
    ("depth", "weights", "parameters", "millions"), [(164, 1_679_024, 1_703_258, 1.7), (1001, 10_178_480, 10_327_706, 10.2)]
)
def test_bottleneck_networks_have_the_parameters_of_the_published_ones(depth, weights, parameters, millions):
    """arXiv:1603.05027 table 4: 1.7M and 10.2M, which count the weights of convolutions and classifier alone."""
    with torch.device("meta"):
        keys = {"block": "bottleneck", "placement": "pre", "norm": "batch", "size": 32, "channels": 3}
        network = build("cnn", "projection", depth=depth, **keys)

    assert (weights, parameters) == bottleneck_by_hand((depth - 2) // 9)
    assert sum(layer.weight.numel() for layer in weighted_layers(network)) == weights
    assert sum(p.numel() for p in network.parameters()) == parameters
    assert round(weights / 1e6, 1) == millions


def test_depth_1202_has_its_published_parameters():
    """arXiv:1512.03385 table 6: 19.4M."""
    with torch.device("meta"):
        network = build("cnn", "identity", depth=1202, norm="batch", size=32, channels=3)
    # 200 blocks a stage, of two 3x3 layers and two norms each
    layers = 27 * 16 + 400 * 9 * 16**2 + (9 * 16 * 32 + 399 * 9 * 32**2) + (9 * 32 * 64 + 399 * 9 * 64**2)
    norms, classifier = 2 * (16 + 400 * (16 + 32 + 64)), (64 + 1) * K

    assert sum(p.numel() for p in network.parameters()) == layers + norms + classifier == 19_421_274


def test_a_bottleneck_is_refused_in_an_mlp():
    with pytest.raises(ValueError, match="a bottleneck is a block of convolutions; an mlp has basic blocks"):
        build("mlp", depth=11, block="bottleneck")


# ---- depth, order, names ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("family", "depth", "block_layers"),
    [("mlp", 2, 2), ("mlp", 8, 2), ("mlp", 5, 1), ("mlp", 11, 3), ("cnn", 2, 2), ("cnn", 20, 2), ("cnn", 8, 1), ("cnn", 11, 3)],
)
@pytest.mark.parametrize("placement", PLACEMENTS)
def test_depth_is_the_number_of_weighted_layers_that_an_image_passes(family, depth, block_layers, placement):
    network = build(family, depth=depth, block_layers=block_layers, placement=placement, width=4)
    passed: list[nn.Module] = []
    for module in network.modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            module.register_forward_hook(lambda inner, *_: passed.append(inner))
    network(images(dtype=torch.float32))

    assert len(passed) == depth
    assert [layer.module for layer in weighted_layers(network)] == passed
    assert [layer.index for layer in weighted_layers(network)] == list(range(depth))


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        pytest.param({"family": "rnn"}, "family 'rnn' is not one of mlp, cnn", id="family"),
        pytest.param({"block": "wide"}, "block 'wide' is not one of basic, bottleneck", id="block"),
        pytest.param({"norm": "instance"}, "norm 'instance' is not one of none, batch, layer, group", id="norm"),
        pytest.param({"placement": "mid"}, "placement 'mid' is not one of post, pre, branch", id="placement"),
        pytest.param({"activation": "elu"}, "activation 'elu' is not one of relu, tanh, gelu", id="activation"),
        pytest.param({"shortcut": "jump"}, "shortcut 'jump' is not one of plain, identity", id="shortcut"),
        pytest.param({"shortcut": {"jump": {"far": 1}}, "depth": 2}, "shortcut 'jump'", id="a shortcut that no block asks for"),
        pytest.param({"width": 0}, "width 0 is not a whole number from 1", id="width"),
        pytest.param({"block_layers": 0}, "block_layers 0 is not a whole number from 1", id="block_layers"),
    ],
)
def test_what_no_network_has_is_refused_with_what_there_is(wrong, words):
    right = {"family": "mlp", "depth": 4, "width": 8, "shortcut": "plain", "input_shape": (1, 4, 4), "classes": 3}

    with pytest.raises(ValueError, match=words):
        build_network(**(right | wrong))


@pytest.mark.parametrize(("family", "depth"), [("mlp", 3), ("mlp", 1), ("cnn", 21), ("cnn", 6), ("cnn", 0)])
def test_a_depth_that_the_family_cannot_have_is_refused(family, depth):
    with pytest.raises(ValueError, match=f"depth {depth} is not 2 plus a multiple of {6 if family == 'cnn' else 2}"):
        build(family, depth=depth)


def test_a_shortcuts_map_stands_under_the_index_of_its_blocks_last_layer():
    names = [(layer.index, layer.name) for layer in weighted_layers(build("mlp", "projection-all", depth=6))]

    assert names == [
        (0, "stem"),
        (1, "blocks.0.layer1"),
        (2, "blocks.0.layer2"),
        (2, "blocks.0.shortcut"),
        (3, "blocks.1.layer1"),
        (4, "blocks.1.layer2"),
        (4, "blocks.1.shortcut"),
        (5, "classifier"),
    ]


def test_a_projection_is_a_layer_only_where_shapes_change():
    names = [layer.name for layer in weighted_layers(build("cnn", "projection", depth=14)) if "shortcut" in layer.name]

    assert names == ["blocks.2.shortcut", "blocks.4.shortcut"]


@pytest.mark.parametrize(
    ("size", "sides"),
    [(8, (8, 4, 2)), (28, (28, 14, 7)), (7, (7, 4, 2)), (1, (1, 1, 1))],
    ids=["digits", "mnist", "odd", "one pixel"],
)
def test_a_cnn_has_three_stages_of_w_2w_4w_channels_each_halving_the_image(size, sides):
    network = build("cnn", "identity", depth=14, width=4, size=size)
    boundaries: list[Tensor] = []
    network(images(size, dtype=torch.float32), boundaries)
    stages = [0, 0, 0, 1, 1, 2, 2]

    assert boundary_stages(network) == stages
    assert boundary_names(network) == ["stem", *(f"blocks.{n}" for n in range(6))]
    assert [x.shape for x in boundaries] == [(B, 4 * 2**stage, sides[stage], sides[stage]) for stage in stages]


def test_boundaries_can_be_kept_without_changing_the_logits():
    network, x = started("mlp", "identity"), images(dtype=torch.float32)
    boundaries: list[Tensor] = []

    assert torch.equal(network(x, boundaries), network(x))
    assert len(boundaries) == 1 + len(network.blocks)


# ---- the block formula, by hand -----------------------------------------------------------------------------------------


class ByHand:
    """The whole network from its state dict, one formula per placement; only functional operations."""

    def __init__(self, network: Network, shortcut: str, placement: str, norm: str, activation: str = "relu") -> None:
        self.state, self.count = network.state_dict(), len(network.blocks)
        self.shortcut, self.placement, self.norm_name = shortcut, placement, norm
        self.act = {"relu": lambda z: z * (z > 0), "tanh": torch.tanh, "gelu": self.gelu}[activation]

    @staticmethod
    def gelu(z: Tensor) -> Tensor:
        return z * (1 + torch.erf(z / math.sqrt(2))) / 2

    def layer(self, key: str, x: Tensor, stride: int = 1) -> Tensor:
        weight, bias = self.state[f"{key}.weight"], self.state.get(f"{key}.bias")
        if weight.ndim == 2:
            return x @ weight.T + (0 if bias is None else bias)
        return functional.conv2d(x, weight, bias, stride, padding=weight.shape[-1] // 2)

    def norm(self, key: str, x: Tensor, name: str | None = None) -> Tensor:
        """(x - mean) / sqrt(var + 1e-5): batch per channel, layer per example, group per example and 8 groups."""
        if (name or self.norm_name) == "none":
            return x
        if self.norm_name == "batch":
            dims = (0, *range(2, x.ndim))
            scaled = (x - x.mean(dims, keepdim=True)) / (x.var(dims, correction=0, keepdim=True) + 1e-5).sqrt()
        else:
            parts = x.reshape(len(x), 1 if self.norm_name == "layer" else 8, -1)
            scaled = (parts - parts.mean(2, keepdim=True)) / (parts.var(2, correction=0, keepdim=True) + 1e-5).sqrt()
        gain, shift = (self.state[f"{key}.{part}"].view(1, -1, *[1] * (x.ndim - 2)) for part in ("weight", "bias"))
        return scaled.reshape(x.shape) * gain + shift

    def a_and_s(self, block: str, u: Tensor, channels: int, stride: int) -> tuple[Tensor | float, Tensor | float]:
        x = u
        if self.shortcut == "plain":
            return 1.0, 0.0
        if f"{block}.shortcut.map.weight" in self.state and not self.shortcut.startswith("gate"):
            s = self.layer(f"{block}.shortcut.map", u, stride)
            convolved_with_norm = s.ndim == 4 and self.placement not in ("pre", "post-norm")
            return 1.0, self.norm(f"{block}.shortcut.norm", s) if convolved_with_norm else s
        if stride == 2:
            u = u[:, :, ::2, ::2]
            u = torch.cat([u, u.new_zeros(len(u), channels - u.shape[1], *u.shape[2:])], 1)
        last = int(block.split(".")[1]) + 1
        constants = {"scaled": (1.0, 0.5), "stochastic-depth": (1 - last / self.count / 2, 1.0)}  # p_l, in evaluation
        a, factor = constants.get(self.shortcut, (self.state.get(f"{block}.shortcut.alpha", 1.0), 1.0))
        if self.shortcut.startswith("gate"):
            g = 1 / (1 + (-self.layer(f"{block}.shortcut.map", x, stride) - self.state[f"{block}.shortcut.bias"]).exp())
            a, factor = (g if self.shortcut == "gate" else 1.0), 1 - g
        return a, factor * u

    def block(self, number: int, x: Tensor, layers: int) -> Tensor:
        key = f"blocks.{number}"
        channels = self.state[f"{key}.branch.layer1.weight"].shape[0]
        stride = 1 if channels == x.shape[1] else 2
        u = h = x
        if self.placement in ("pre", "pre-act-only"):
            h = self.act(self.norm(f"{key}.before.norm", x) if self.placement == "pre" else x)
            u = h if number == 0 or stride == 2 else x
        z = h
        for n in range(1, layers + 1):
            z = self.layer(f"{key}.branch.layer{n}", z, stride if n == 1 else 1)
            if n < layers or self.placement in ("post", "branch", "pre-act-only"):
                z = self.norm(f"{key}.branch.norm{n}", z)
            if n < layers or self.placement == "branch":
                z = self.act(z)
        a, s = self.a_and_s(key, u, channels, stride)
        joined = a * z + s
        if self.placement == "post-norm":
            joined = self.norm(f"{key}.after.norm", joined)
        return self.act(joined) if self.placement in ("post", "post-norm") else joined

    def boundaries_and_logits(self, x: Tensor, layers: int = 2) -> tuple[list[Tensor], Tensor]:
        convolutional = self.state["stem.layer.weight"].ndim == 4
        x = self.layer("stem.layer", x if convolutional else x.flatten(1))
        if self.placement != "pre":
            x = self.norm("stem.norm", x)
        if self.placement not in ("pre", "pre-act-only"):
            x = self.act(x)
        boundaries = [x]
        for number in range(self.count):
            boundaries.append(self.block(number, boundaries[-1], layers))
        x = boundaries[-1]
        if self.placement in ("pre", "pre-act-only"):
            x = self.act(self.norm("tail.norm", x) if self.placement == "pre" else x)
        return boundaries, self.layer("classifier", x.mean((2, 3)) if convolutional else x)


def assert_by_hand(network: Network, x: Tensor, layers: int, *keys: str) -> None:
    with torch.no_grad():
        for parameter in network.parameters():  # nothing may hide behind a start of 0 or 1
            parameter.normal_(0.1, 0.4, generator=torch.Generator().manual_seed(parameter.numel()))
        boundaries: list[Tensor] = []
        logits = network(x, boundaries)
        expected, expected_logits = ByHand(network, *keys).boundaries_and_logits(x, layers)
    torch.testing.assert_close(boundaries, expected, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(logits, expected_logits, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("placement", PLACEMENTS)
@pytest.mark.parametrize("shortcut", SHORTCUTS)
@pytest.mark.parametrize("family", FAMILIES)
def test_a_network_computes_the_formula_of_its_placement(family, shortcut, placement, norm):
    network = build(family, shortcut, placement=placement, norm=norm, width=8, depth=14 if family == "cnn" else 6, size=7)

    assert_by_hand(network.double(), images(7), 2, shortcut, placement, norm)


@pytest.mark.parametrize(("activation", "layers", "placement"), list(product(ACTIVATIONS, (1, 3), PLACEMENTS)))
def test_the_formula_holds_for_other_activations_and_longer_blocks(activation, layers, placement):
    keys = {"placement": placement, "activation": activation, "norm": "layer"}
    network = build("mlp", "identity", depth=2 + 2 * layers, width=8, block_layers=layers, **keys)

    assert_by_hand(network.double(), images(), layers, "identity", placement, "layer", activation)


class BasicBlock(nn.Module):
    """arXiv:1512.03385 figure 2 left, with option A."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.stride, self.missing = stride, outputs - inputs

    def forward(self, x: Tensor) -> Tensor:
        out = self.bn2(self.conv2(functional.relu(self.bn1(self.conv1(x)))))
        skipped = x if self.stride == 1 else functional.avg_pool2d(x, 1, 2)
        zeros = skipped.new_zeros(len(x), self.missing, *skipped.shape[2:])
        return functional.relu(out + torch.cat([skipped, zeros], 1))


def resnet20() -> nn.Sequential:
    """arXiv:1512.03385 §4.2, n = 3, as it is usually written."""
    widths = [16, 16, 16, 16, 32, 32, 32, 64, 64, 64]
    stem = [nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU()]
    blocks = [BasicBlock(a, b, 1 if a == b else 2) for a, b in pairwise(widths)]
    return nn.Sequential(*stem, *blocks, nn.AvgPool2d(8), nn.Flatten(), nn.Linear(64, 10))


def test_resnet_20_gives_the_logits_of_one_written_with_torchs_own_layers():
    ours, theirs = build("cnn", "identity", depth=20, norm="batch", size=32, channels=3), resnet20()
    theirs.load_state_dict(dict(zip(theirs.state_dict(), ours.state_dict().values(), strict=True)))
    x = images(32, 3, torch.float32)

    torch.testing.assert_close(ours(x), theirs(x), rtol=1e-5, atol=1e-5)
    # The training pass has moved the running statistics of both by the same 0.1.
    torch.testing.assert_close(ours.eval()(x), theirs.eval()(x), rtol=1e-5, atol=1e-5)


class BothSides(BasicBlock):
    """Option A with half of its zero channels in front, as one widely used implementation has it."""

    def forward(self, x: Tensor) -> Tensor:
        out = self.bn2(self.conv2(functional.relu(self.bn1(self.conv1(x)))))
        if self.missing:
            x = functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.missing // 2, self.missing // 2))
        return functional.relu(out + x)


def test_a_state_dict_of_the_same_layout_maps_one_to_one_by_order_wherever_the_zero_channels_are():
    ours = build("cnn", "identity", depth=20, norm="batch", size=32, channels=3, pad="both")
    stem = [nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU()]
    blocks = [BothSides(a, b, 1 if a == b else 2) for a, b in pairwise([16] * 4 + [32] * 3 + [64] * 3)]
    theirs = nn.Sequential(*stem, *blocks, nn.AvgPool2d(8), nn.Flatten(), nn.Linear(64, 10))
    ours.load_state_dict(dict(zip(ours.state_dict(), theirs.state_dict().values(), strict=True)))
    x = images(32, 3, torch.float32)

    torch.testing.assert_close(ours(x), theirs(x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("block", ["basic", "bottleneck"])
def test_a_projection_block_computes_what_torchvisions_own_does(block):
    """Stride in the first layer; torchvision's bottleneck has it in the second, so that one is compared without."""
    from torchvision.models import resnet  # noqa: PLC0415 - this oracle alone needs it

    size, layers = 8, 2 if block == "basic" else 3
    ours = build("cnn", "projection", depth=2 + 3 * layers, norm="batch", size=size, block=block, width=8)
    pick = ours.blocks[1] if block == "basic" else ours.blocks[0]
    inputs, planes = (8, 16) if block == "basic" else (8, 8)
    outputs, stride = (16, 2) if block == "basic" else (32, 1)
    down = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))
    theirs = (resnet.BasicBlock if block == "basic" else resnet.Bottleneck)(inputs, planes, stride, down)
    pick.load_state_dict(dict(zip(pick.state_dict(), theirs.state_dict().values(), strict=True)))
    x = torch.randn(B, inputs, size, size, generator=torch.Generator().manual_seed(0))

    torch.testing.assert_close(pick(x), theirs(x), rtol=1e-5, atol=1e-5)


# ---- twins --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [8, 28])
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("placement", PLACEMENTS)
@pytest.mark.parametrize("shortcut", RESIDUAL)
@pytest.mark.parametrize("family", FAMILIES)
def test_both_arms_of_every_pair_have_a_gradient_in_every_layer(family, shortcut, placement, norm, size):
    x = images(size, dtype=torch.float32)
    for arm in ("plain", shortcut):
        network = started(family, arm, placement=placement, norm=norm, size=size)
        loss_of(network, x).backward()

        assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())
        still = [layer.name for layer in weighted_layers(network) if not layer.weight.grad.any()]
        branches = [name for name, _ in main_path(network)[1:-1]]
        assert still == (branches if arm == "rezero" else [])  # a = 0: only the scalars of a block move


@pytest.mark.parametrize("init", ["pytorch", "he"])
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("placement", PLACEMENTS)
@pytest.mark.parametrize("shortcut", RESIDUAL)
@pytest.mark.parametrize("family", FAMILIES)
def test_twins_share_every_common_weight_bit_for_bit(family, shortcut, placement, norm, init):
    plain, residual = (
        started(family, arm, placement=placement, norm=norm, init=init).state_dict() for arm in ("plain", shortcut)
    )

    assert [name for name in residual if ".shortcut." not in name] == list(plain)
    assert [name for name, weight in plain.items() if not torch.equal(weight, residual[name])] == []


def test_a_deeper_network_starts_as_the_shallower_one_where_names_agree():
    shallow, deep = (started("mlp", depth=depth).state_dict() for depth in (8, 20))

    assert [name for name, weight in shallow.items() if not torch.equal(weight, deep[name])] == []


# ---- starts -------------------------------------------------------------------------------------------------------------

# n Var(W) of a weight (out, in, k, k) with n = in k^2 inputs per unit.
SPREADS = {
    "pytorch": lambda _out, _in, _k: 1 / 3,
    "he": lambda _out, _in, _k: 2,
    "xavier": lambda n_out, n_in, _k: 2 * n_in / (n_in + n_out),
    "fixup": lambda _out, _in, _k: 2,  # before it is rescaled
    # min(rows, columns) orthonormal vectors of length 1 in out x (in k^2) entries
    "orthogonal": lambda n_out, n_in, k: min(n_out, n_in * k**2) / n_out,
    # the same in the centre alone: out x in of the out x (in k^2) entries
    "delta-orthogonal": lambda n_out, n_in, _k: min(n_out, n_in) / n_out,
}
SHAPES = [(64, 64, 1), (96, 32, 1), (32, 96, 1), (32, 16, 3), (16, 32, 3), (16, 1, 3)]


def drawn(init: str, n_out: int, n_in: int, k: int, seed: int = 0) -> Tensor:
    weight = torch.empty((n_out, n_in) if k == 1 else (n_out, n_in, k, k), dtype=torch.float64)
    INITS[init].draw(weight, torch.Generator().manual_seed(seed))
    return weight


def assert_spread(weights: list[Tensor], expected: float, *, exact: bool) -> None:
    """n Var(W) over all weights: exact for orthogonal starts, else within five standard errors of a normal sample."""
    entries = torch.stack([weight.flatten(1) for weight in weights])
    tolerance = 1e-6 if exact else 5 * math.sqrt(2 / entries.numel())

    assert entries.shape[-1] * entries.square().mean().item() == pytest.approx(expected, rel=tolerance)


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: "{}x{}x{}".format(*shape))
@pytest.mark.parametrize("init", INITS)
def test_weights_have_the_variance_of_their_start(init, shape):
    weights = [drawn(init, *shape, seed) for seed in range(20)]

    assert_spread(weights, SPREADS[init](*shape), exact="orthogonal" in init)
    assert torch.stack(weights).mean().abs() < 5 * torch.stack(weights).std() / math.sqrt(20 * weights[0].numel())


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("init", [init for init in INITS if init != "fixup"])
@pytest.mark.parametrize("init_scale", [None, 1 / 3, 2.0])
def test_gain_is_the_n_var_of_every_hidden_layer_and_of_no_other(family, init, init_scale):
    seeds = range(8)
    networks = [main_path(started(family, init=init, init_scale=init_scale, seed=seed, size=4)) for seed in seeds]
    for place, (name, module) in enumerate(networks[0]):
        n_out, n_in, k = *module.weight.shape[:2], 3 if module.weight.ndim == 4 else 1
        expected = SPREADS[init](n_out, n_in, k) if init_scale is None or name == "classifier" else init_scale

        assert_spread([layers[place][1].weight for layers in networks], expected, exact="orthogonal" in init)


def test_gain_leaves_shortcut_maps_as_they_are():
    own, wide = (started("mlp", "projection-all", init_scale=init_scale).state_dict() for init_scale in (None, 8.0))
    same = [name for name, weight in own.items() if name.endswith("weight") and torch.equal(weight, wide[name])]

    assert same == [*(f"blocks.{n}.shortcut.map.weight" for n in range(3)), "classifier.weight"]


@pytest.mark.parametrize("init", INITS)
def test_only_the_start_of_pytorch_draws_biases(init):
    biases = {name: b for name, b in started("mlp", init=init).named_parameters() if name.endswith("bias")}
    bound = {name: 1 / 8 if name.startswith("stem") else 1 / 4 for name in biases}  # 64 inputs, else 16
    reached = {name: bias.abs().max().item() / bound[name] for name, bias in biases.items()}

    assert len(biases) == 8
    assert all(0.5 < share <= 1 for share in reached.values()) if init == "pytorch" else set(reached.values()) == {0.0}


def test_the_start_of_pytorch_is_within_torchs_own_bound():
    weight = drawn("pytorch", 64, 16, 3)

    assert 0.99 < weight.abs().max().item() * math.sqrt(16 * 9) <= 1


@pytest.mark.parametrize(("n_out", "n_in"), [(16, 16), (32, 16), (16, 32)])
def test_a_delta_orthogonal_kernel_is_orthogonal_at_the_centre_and_zero_around_it(n_out, n_in):
    weight = drawn("delta-orthogonal", n_out, n_in, 3)
    centre = weight[:, :, 1, 1].clone()
    gram = centre.T @ centre if n_out >= n_in else centre @ centre.T
    weight[:, :, 1, 1] = 0

    torch.testing.assert_close(gram, torch.eye(min(n_out, n_in), dtype=torch.float64))
    assert not weight.any()


@pytest.mark.parametrize("init", INITS)
def test_the_same_seed_gives_the_same_start_whatever_torchs_own_random_state(init):
    starts = []
    for state in (1, 2):
        torch.manual_seed(state)
        starts.append(started("cnn", "projection", init=init, seed=7, width=4).state_dict())

    assert [name for name, weight in starts[0].items() if not torch.equal(weight, starts[1][name])] == []


def test_another_seed_and_another_name_draw_other_weights():
    weights = [module.weight for seed in (0, 1) for _, module in main_path(started("mlp", seed=seed))[1:-1]]

    assert len({tuple(weight.flatten().tolist()) for weight in weights}) == len(weights) == 2 * 6


@pytest.mark.parametrize("init", ["he", "pytorch"])
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("placement", PLACEMENTS)
@pytest.mark.parametrize("family", FAMILIES)
def test_zero_last_makes_every_branch_exactly_zero(family, placement, norm, init):
    network = started(family, "identity", placement=placement, norm=norm, init=init, zero_init_residual=True)
    boundaries: list[Tensor] = []
    network(images(dtype=torch.float32), boundaries)
    block, x = network.blocks[0], boundaries[0]
    act_x = functional.relu(x)
    normed = functional.relu(block.before.norm(x)) if placement == "pre" and norm != "none" else act_x

    assert not block.branch(block.before(x)).any()
    after = functional.relu(block.after.norm(x)) if placement == "post-norm" and norm != "none" else act_x
    # The first unit of the pre-activations shares h.
    expected = {"post": act_x, "post-norm": after, "pre": normed, "pre-act-only": act_x, "branch": x}
    assert torch.equal(block(x), expected[placement])


@pytest.mark.parametrize(("family", "depth", "layers"), [("mlp", 10, 2), ("mlp", 14, 3), ("mlp", 6, 1), ("cnn", 14, 2)])
def test_fixup_follows_its_three_rules(family, depth, layers):
    """arXiv:1901.09321 §3, against a he start of the same network: L branches of m layers."""
    he, fixed = (
        started(family, "identity", init=init, depth=depth, block_layers=layers, scalars=True) for init in ("he", "fixup")
    )
    count = len(fixed.blocks)
    for (name, before), (_, after) in zip(main_path(he), main_path(fixed), strict=True):
        number = name.split("layer")[-1]
        if name == "classifier" or number == str(layers):
            assert not after.weight.any()  # rule 1
        elif number.isdigit():
            torch.testing.assert_close(after.weight, before.weight * count ** (-1 / (2 * layers - 2)))  # rule 2
        else:
            assert torch.equal(after.weight, before.weight)
    scalars = [(name, p.item()) for name, p in fixed.named_parameters() if p.ndim == 0]
    activations = 1 + layers * count  # the stem's, those inside the branches, those after the additions
    assert [value for name, value in scalars if name.endswith("scale")] == [1.0] * count  # rule 3
    assert [value for name, value in scalars if name.endswith("bias")] == [0.0] * (depth + activations)
    assert [name for name, p in fixed.named_parameters() if p.ndim == 1] == ["classifier.bias"]


def test_at_the_start_of_fixup_only_the_classifier_has_a_gradient():
    network = started("mlp", "identity", init="fixup", scalars=True)
    loss_of(network, images(dtype=torch.float32)).backward()

    assert [name for name, p in network.named_parameters() if p.grad is not None and p.grad.any()] == [
        "classifier.weight",
        "classifier.bias",
    ]


# ---- identities (SCIENCE 4.2) ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("placement", PLACEMENTS)
@pytest.mark.parametrize("init", ["he", "xavier"])
@pytest.mark.parametrize("family", FAMILIES)
def test_in_a_plain_net_without_biases_weight_times_gradient_is_the_same_for_every_layer(family, init, placement):
    """Euler: the logits are homogeneous in each weight, so <W_l, dL/dW_l> = sum of logits times their gradients."""
    network = started(family, init=init, placement=placement, depth=20).double()
    logits = network(images())
    loss = functional.cross_entropy(logits, torch.arange(B))
    (by_logits,) = torch.autograd.grad(loss, logits, retain_graph=True)
    loss.backward()
    products = torch.stack([(module.weight * module.weight.grad).sum() for _, module in main_path(network)])

    torch.testing.assert_close(products, (logits * by_logits).sum().detach().expand(20), rtol=1e-10, atol=0)


def without_eps(network: Network) -> Network:
    """Batch norms with an eps that float64 loses beside a variance; torch refuses 0."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.eps = 1e-30
    return network


@pytest.mark.parametrize("shortcut", ["plain", "identity"])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_weight_before_batch_norm_is_at_right_angles_to_its_gradient(family, shortcut):
    """Per unit, exactly so as eps goes to 0: the norm takes the weight's length out again."""
    network = without_eps(started(family, shortcut, norm="batch").double())
    loss_of(network, images()).backward()
    for _, module in main_path(network)[:-1]:
        weight, grad = module.weight.detach().flatten(1), module.weight.grad.flatten(1)

        assert ((weight * grad).sum(1).abs() <= 1e-10 * weight.norm(dim=1) * grad.norm(dim=1) + 1e-14).all()


def normed_layers(network: Network) -> list[tuple[str, nn.Module]]:
    """(name, layer) of the weighted layers, those of shortcuts too, that a norm of their own follows directly."""
    modules = dict(network.named_modules())
    layers = [(name, module) for name, module in modules.items() if isinstance(module, nn.Linear | nn.Conv2d)]
    behind = {name: modules.get(name.replace("layer", "norm").replace("map", "norm")) for name, _ in layers}
    return [(name, module) for name, module in layers if isinstance(behind[name], nn.BatchNorm1d | nn.BatchNorm2d)]


def gradients(network: Network, x: Tensor) -> dict[str, Tensor]:
    parameters = dict(network.named_parameters())
    return dict(zip(parameters, torch.autograd.grad(loss_of(network, x), parameters.values()), strict=True))


@pytest.mark.parametrize("placement", PLACEMENTS)
@pytest.mark.parametrize("shortcut", ["plain", "identity", "projection-all"])
@pytest.mark.parametrize("family", FAMILIES)
def test_c_times_a_weight_before_batch_norm_has_one_cth_of_the_gradient_and_no_other_layer_notices(family, shortcut, placement):
    """dL/d(cW) = (1/c) dL/dW, exactly so as eps goes to 0: L(cW) = L(W)."""
    network, x, c = without_eps(started(family, shortcut, placement=placement, norm="batch").double()), images(), 3.7
    own, layers = gradients(network, x), normed_layers(network)
    for name, module in layers:
        weight = module.weight.detach().clone()
        module.weight.data = c * weight
        for other, grad in gradients(network, x).items():
            expected = own[other] / (c if other == f"{name}.weight" else 1)

            assert (grad - expected).norm() <= 1e-10 * expected.norm(), (name, other)
        module.weight.data = weight

    # stem and three blocks of two; the norm of a second layer stands behind the addition in `pre` and `post-norm`
    maps = 3 if (family, shortcut) == ("cnn", "projection-all") else 0
    assert len(layers) == {"pre": 3, "post-norm": 4}.get(placement, 7 + maps)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("placement", [name for name, where in PLACEMENTS.items() if not where.after])
@pytest.mark.parametrize("shortcut", ["plain", "identity"])
@pytest.mark.parametrize("family", FAMILIES)
def test_the_gradient_at_a_boundary_is_that_at_the_next_and_what_comes_back_through_the_branch(
    family, shortcut, placement, norm
):
    """dL/dx_l = dL/dx_{l+1} + J_F^T dL/dx_{l+1} where nothing follows the addition; without a shortcut the second alone."""
    network = started(family, shortcut, placement=placement, norm=norm, depth=14).double()
    boundaries: list[Tensor] = []
    logits = network(images(), boundaries)
    grads = torch.autograd.grad(functional.cross_entropy(logits, torch.arange(B)), boundaries)
    compare_results = 0
    for block, x, (grad, behind) in zip(network.blocks, boundaries, pairwise(grads), strict=False):
        if block.shares_activation or grad.shape != behind.shape:  # S is not x there
            continue
        _, through = torch.autograd.functional.vjp(lambda x, block=block: block.branch(block.before(x)), x, behind)
        expected = through + behind * (shortcut == "identity")
        compare_results += 1

        assert through.any()
        assert (grad - expected).norm() <= 1e-10 * expected.norm()

    sharing = placement != "branch"  # the first block; in a cnn also one of each later stage, which changes shapes anyway
    assert compare_results == (6 - sharing if family == "mlp" else 4 - sharing)


@pytest.mark.parametrize("norm", NORMS)
def test_with_empty_branches_the_gradient_is_the_same_at_every_block_and_the_head_stands_on_x_0(norm):
    network = started("mlp", "identity", placement="branch", norm=norm, zero_init_residual=True).double()
    boundaries: list[Tensor] = []
    logits = network(images(), boundaries)
    grads = torch.autograd.grad(functional.cross_entropy(logits, torch.arange(B)), boundaries)

    assert torch.equal(logits, network.classifier(boundaries[0]))
    assert all(torch.equal(grad, grads[-1]) for grad in grads)
    assert grads[-1].any()


def test_one_layer_blocks_with_identity_are_a_plain_net_started_at_w_plus_i():
    """act(Wx + b + x) = act((W + I)x + b)."""
    plain, residual = (started("mlp", arm, block_layers=1, depth=6, init="pytorch").double() for arm in ("plain", "identity"))
    with torch.no_grad():
        for block in plain.blocks:
            block.branch.layer1.weight += torch.eye(16)

    torch.testing.assert_close(plain(images()), residual(images()), rtol=1e-12, atol=1e-12)


def test_one_layer_blocks_with_identity_and_a_plain_net_started_at_w_plus_i_train_alike_for_100_adam_steps():
    """act(Wx + b + x) = act((W + I)x + b) for every W, and Adam sees only gradients: the function class is the same."""
    plain, residual = (started("mlp", arm, block_layers=1, depth=6, init="pytorch").double() for arm in ("plain", "identity"))
    with torch.no_grad():
        for block in plain.blocks:
            block.branch.layer1.weight += torch.eye(16)
    for network in (plain, residual):
        optimizer = torch.optim.Adam(network.parameters(), 1e-3)
        for _ in range(100):
            optimizer.zero_grad()
            loss_of(network, images()).backward()
            optimizer.step()

    torch.testing.assert_close(plain(images()), residual(images()), rtol=1e-10, atol=1e-10)


# ---- the first step ------------------------------------------------------------------------------------------------------


def behind_a_zero(network: Network, shortcut: str, draws: list[Tensor | None]) -> set[str]:
    """What cannot move at the first step: all that only a branch factor of a = 0 connects to the loss.

    rezero starts every block with it, stochastic depth draws it. What stands before a branch is on the shortcut's path as
    well where the two share it.
    """
    still = set()
    for number, (block, draw) in enumerate(zip(network.blocks, draws, strict=True)):
        if shortcut == "rezero" or (shortcut == "stochastic-depth" and not draw):
            parts = ["branch"] if block.shares_activation else ["before", "branch"]
            still |= {f"blocks.{number}.{part}.{name}" for part in parts for name, _ in getattr(block, part).named_parameters()}
    return still


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("placement", PLACEMENTS)
@pytest.mark.parametrize("shortcut", SHORTCUTS)
@pytest.mark.parametrize("family", FAMILIES)
def test_one_step_moves_every_parameter_but_those_behind_a_zero(family, shortcut, placement, norm):
    # 32 units are 8 groups of 4: a group of two is normalised to +-1, whatever its weights
    network = started(family, shortcut, placement=placement, norm=norm, width=32 if family == "mlp" else 16, size=4).double()
    draws = network.sample_noise(B, lambda block: torch.Generator().manual_seed(block))
    before = {name: p.detach().clone() for name, p in network.named_parameters()}
    functional.cross_entropy(network(images(4), None, draws), torch.arange(B)).backward()
    torch.optim.SGD(network.parameters(), lr=0.1).step()
    still = behind_a_zero(network, shortcut, draws)

    assert {name for name, p in network.named_parameters() if torch.equal(p, before[name])} == still
    assert bool(still) == (shortcut in ("rezero", "stochastic-depth"))


# ---- chance -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shortcut", SHORTCUTS)
def test_draws_come_from_one_stream_per_block_and_only_where_there_is_chance(shortcut):
    network, asked = build("mlp", shortcut, depth=8), []

    def stream(block: int) -> torch.Generator:
        asked.append(block)
        return torch.Generator().manual_seed(block)

    draws = network.sample_noise(B, stream)
    drawn_by_name = shortcut in ("dropout", "stochastic-depth")

    assert asked == ([0, 1, 2] if drawn_by_name else [])
    assert [draw is not None for draw in draws] == [drawn_by_name] * 3


def test_a_block_that_is_left_out_passes_x_and_its_weights_have_no_gradient():
    network = started("mlp", {"stochastic-depth": {"survival": 0.5}}, placement="branch")
    boundaries: list[Tensor] = []
    draws = [torch.tensor(1.0), torch.tensor(0.0), torch.tensor(1.0)]
    functional.cross_entropy(network(images(dtype=torch.float32), boundaries, draws), torch.arange(B)).backward()

    assert torch.equal(boundaries[2], boundaries[1])
    grads = [block.branch.layer1.weight.grad.any().item() for block in network.blocks]
    assert grads == [True, False, True]
