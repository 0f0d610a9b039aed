"""Blocks, MLPs and CNNs against the formulas of the papers; depth, names, initialization, and exact identities.

Shapes: B batch, C x H x W image, K classes.
"""

import math
from itertools import pairwise, product

import numpy as np
import pytest
import torch
from combinations import every_two
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
from resexp.theory.tailoring import composed_correlation, leaky_relu_correlation, tat_slope

B, K = 4, 10
FAMILIES = ("mlp", "cnn")
RESIDUAL = [name for name in SHORTCUTS if name != "plain"]


def build(family: str, shortcut: str = "plain", *, size: int = 8, channels: int = 1, **arguments) -> Network:
    shape = {"depth": 8, "width": 16} | arguments
    return build_network(family, shortcut=shortcut, input_shape=(channels, size, size), classes=K, **shape)


def initialized(family: str, shortcut: str = "plain", *, init: str = "he", seed: int = 0, **arguments) -> Network:
    keys = {key: arguments.pop(key) for key in ("init_scale", "zero_init_residual") if key in arguments}
    network = build(family, shortcut, **arguments)
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
def test_a_shortcut_adds_the_expected_parameters_to_a_cnn_of_depth_20(shortcut, norm, placement, extra):
    with torch.device("meta"):
        arms = [build("cnn", arm, depth=20, norm=norm, placement=placement) for arm in ("plain", shortcut)]
    plain, residual = (sum(p.numel() for p in arm.parameters()) for arm in arms)

    assert residual - plain == extra


@pytest.mark.parametrize("shortcut", ["plain", "identity"])
def test_an_mlp_has_a_matrix_and_a_bias_per_layer(shortcut):
    network = build("mlp", shortcut, depth=8, width=16, size=8)

    assert sum(p.numel() for p in network.parameters()) == (64 + 1) * 16 + 6 * (16 + 1) * 16 + (16 + 1) * K


@pytest.mark.parametrize(("family", "placement", "norm"), list(product(FAMILIES, PLACEMENTS, NORMS)))
def test_layers_have_a_bias_only_without_normalization(family, placement, norm):
    network = build(family, "projection-all", placement=placement, norm=norm)
    biased = [layer.name for layer in weighted_layers(network) if layer.module.bias is not None]

    assert biased == ([name for name, _ in main_path(network)] if norm == "none" else ["classifier"])


def expected_bottleneck(count: int, classes: int = K) -> tuple[int, int]:
    """(weights of convolutions and classifier, all parameters) of `count` blocks per stage; pre, projections, batch norm.

    Inner width n, output 4n; the first block of a stage comes from m channels: m n + 9 n n + 4 n n and a map of 4 m n.
    """
    weights, norms, m = 3 * 9 * 16 + 256 * classes, 256, 16  # stem and classifier; the batch norm of the tail
    for n in (16, 32, 64):
        weights += (m * n + 13 * n * n + 4 * m * n) + (count - 1) * (4 * n * n + 13 * n * n)
        norms += (m + n + n) + (count - 1) * (4 * n + n + n)
        m = 4 * n
    return weights, weights + 2 * norms + classes  # weights and biases of batch norm, biases of the classifier


@pytest.mark.parametrize(
    ("depth", "weights", "parameters", "millions"), [(164, 1_679_024, 1_703_258, 1.7), (1001, 10_178_480, 10_327_706, 10.2)]
)
def test_bottleneck_networks_have_the_parameters_of_the_published_ones(depth, weights, parameters, millions):
    """arXiv:1603.05027 table 4: 1.7M and 10.2M, which count only the weights of convolutions and classifier."""
    with torch.device("meta"):
        keys = {"block": "bottleneck", "placement": "pre", "norm": "batch", "size": 32, "channels": 3}
        network = build("cnn", "projection", depth=depth, **keys)

    assert (weights, parameters) == expected_bottleneck((depth - 2) // 9)
    assert sum(layer.weight.numel() for layer in weighted_layers(network)) == weights
    assert sum(p.numel() for p in network.parameters()) == parameters
    assert round(weights / 1e6, 1) == millions


def test_depth_1202_has_its_published_parameters():
    """arXiv:1512.03385 table 6: 19.4M."""
    with torch.device("meta"):
        network = build("cnn", "identity", depth=1202, norm="batch", size=32, channels=3)
    # 200 blocks per stage, with two 3x3 layers and two batch norm layers each
    layers = 27 * 16 + 400 * 9 * 16**2 + (9 * 16 * 32 + 399 * 9 * 32**2) + (9 * 32 * 64 + 399 * 9 * 64**2)
    norms, classifier = 2 * (16 + 400 * (16 + 32 + 64)), (64 + 1) * K

    assert sum(p.numel() for p in network.parameters()) == layers + norms + classifier == 19_421_274


def test_a_bottleneck_is_refused_in_an_mlp():
    with pytest.raises(ValueError, match="block 'bottleneck' consists of convolutions; use block 'basic' in an mlp"):
        build("mlp", depth=11, block="bottleneck")


# ---- depth, order of layers, names --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("family", "depth", "block_layers"),
    [("mlp", 2, 2), ("mlp", 8, 2), ("mlp", 5, 1), ("mlp", 11, 3), ("cnn", 2, 2), ("cnn", 20, 2), ("cnn", 8, 1), ("cnn", 11, 3)],
)
@pytest.mark.parametrize("placement", PLACEMENTS)
def test_depth_is_the_number_of_weighted_layers_on_the_path_of_an_image(family, depth, block_layers, placement):
    network = build(family, depth=depth, block_layers=block_layers, placement=placement, width=4)
    called: list[nn.Module] = []
    for module in network.modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            module.register_forward_hook(lambda inner, *_: called.append(inner))
    network(images(dtype=torch.float32))

    assert len(called) == depth
    assert [layer.module for layer in weighted_layers(network)] == called
    assert [layer.index for layer in weighted_layers(network)] == list(range(depth))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param({"family": "rnn"}, "family 'rnn' is not one of mlp, cnn", id="family"),
        pytest.param({"block": "wide"}, "block 'wide' is not one of basic, bottleneck", id="block"),
        pytest.param({"norm": "instance"}, "norm 'instance' is not one of none, batch, layer, group", id="norm"),
        pytest.param({"placement": "mid"}, "placement 'mid' is not one of post, pre, branch", id="placement"),
        pytest.param({"activation": "elu"}, "activation 'elu' is not one of relu, tanh, gelu", id="activation"),
        pytest.param({"shortcut": "jump"}, "shortcut 'jump' is not one of plain, identity", id="shortcut"),
        pytest.param(
            {"shortcut": {"jump": {"far": 1}}, "depth": 2}, "shortcut 'jump'", id="a shortcut in a network without blocks"
        ),
        pytest.param({"width": 0}, "width 0 is not a positive integer", id="width"),
        pytest.param({"block_layers": 0}, "block_layers 0 is not a positive integer", id="block_layers"),
    ],
)
def test_unknown_values_are_refused_with_the_allowed_ones(arguments, message):
    valid = {"family": "mlp", "depth": 4, "width": 8, "shortcut": "plain", "input_shape": (1, 4, 4), "classes": 3}

    with pytest.raises(ValueError, match=message):
        build_network(**(valid | arguments))


@pytest.mark.parametrize(("family", "depth"), [("mlp", 3), ("mlp", 1), ("cnn", 21), ("cnn", 6), ("cnn", 0)])
def test_a_depth_that_the_family_does_not_support_is_refused(family, depth):
    with pytest.raises(ValueError, match=f"depth {depth} is not 2 plus a multiple of {6 if family == 'cnn' else 2}"):
        build(family, depth=depth)


def test_the_map_of_a_shortcut_has_the_index_of_the_last_layer_of_its_block():
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


def test_a_projection_is_a_layer_only_in_blocks_that_change_shape():
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


def test_collecting_boundaries_does_not_change_the_logits():
    network, x = initialized("mlp", "identity"), images(dtype=torch.float32)
    boundaries: list[Tensor] = []

    assert torch.equal(network(x, boundaries), network(x))
    assert len(boundaries) == 1 + len(network.blocks)


# ---- the block formula --------------------------------------------------------------------------------------------------


class Reference:
    """A network computed from its state dict, with one formula per placement and functional operations only."""

    def __init__(self, network: Network, shortcut: str, placement: str, norm: str, activation: str = "relu") -> None:
        self.state_dict, self.count = network.state_dict(), len(network.blocks)
        self.shortcut, self.placement, self.norm_name = shortcut, placement, norm
        slope = tat_slope(0.9, sum(".layer" in key and key.endswith("weight") for key in self.state_dict))
        self.act = {
            "relu": lambda z: z * (z > 0),
            "tanh": torch.tanh,
            "gelu": self.gelu,
            "silu": lambda z: z / (1 + torch.exp(-z)),
            "leaky-relu": lambda z: torch.where(z > 0, z, 0.01 * z),
            "tat": lambda z: math.sqrt(2 / (1 + slope**2)) * torch.where(z > 0, z, slope * z),
        }[activation]

    @staticmethod
    def gelu(z: Tensor) -> Tensor:
        return z * (1 + torch.erf(z / math.sqrt(2))) / 2

    def layer(self, key: str, x: Tensor, stride: int = 1) -> Tensor:
        weight, bias = self.state_dict[f"{key}.weight"], self.state_dict.get(f"{key}.bias")
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
            groups = x.reshape(len(x), 1 if self.norm_name == "layer" else 8, -1)
            scaled = (groups - groups.mean(2, keepdim=True)) / (groups.var(2, correction=0, keepdim=True) + 1e-5).sqrt()
        gain, shift = (self.state_dict[f"{key}.{part}"].view(1, -1, *[1] * (x.ndim - 2)) for part in ("weight", "bias"))
        return scaled.reshape(x.shape) * gain + shift

    def a_and_s(self, block: str, u: Tensor, channels: int, stride: int) -> tuple[Tensor | float, Tensor | float]:
        x = u
        if self.shortcut == "plain":
            return 1.0, 0.0
        if f"{block}.shortcut.map.weight" in self.state_dict and not self.shortcut.startswith("gate"):
            s = self.layer(f"{block}.shortcut.map", u, stride)
            has_norm = s.ndim == 4 and self.placement not in ("pre", "post-norm")
            return 1.0, self.norm(f"{block}.shortcut.norm", s) if has_norm else s
        if stride == 2:
            u = u[:, :, ::2, ::2]
            u = torch.cat([u, u.new_zeros(len(u), channels - u.shape[1], *u.shape[2:])], 1)
        last = int(block.split(".")[1]) + 1
        constants = {
            "scaled": (1.0, 0.5),
            "stochastic-depth": (1 - last / self.count / 2, 1.0),  # p_l, in evaluation
            "depth-scaled": (1 / math.sqrt(self.count), 1.0),
            "decayed": (1.0, 1 - last / self.count * 0.4),
        }
        a, factor = constants.get(self.shortcut, (self.state_dict.get(f"{block}.shortcut.alpha", 1.0), 1.0))
        if self.shortcut.startswith("gate"):
            g = 1 / (1 + (-self.layer(f"{block}.shortcut.map", x, stride) - self.state_dict[f"{block}.shortcut.bias"]).exp())
            a, factor = (g if self.shortcut == "gate" else 1.0), 1 - g
        return a, factor * u

    def block(self, number: int, x: Tensor, layers: int) -> Tensor:
        key = f"blocks.{number}"
        channels = self.state_dict[f"{key}.branch.layer1.weight"].shape[0]
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
        total = a * z + s
        if self.placement == "post-norm":
            total = self.norm(f"{key}.after.norm", total)
        return self.act(total) if self.placement in ("post", "post-norm") else total

    def boundaries_and_logits(self, x: Tensor, layers: int = 2) -> tuple[list[Tensor], Tensor]:
        convolutional = self.state_dict["stem.layer.weight"].ndim == 4
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


def assert_equals_reference(network: Network, x: Tensor, layers: int, *keys: str) -> None:
    with torch.no_grad():
        for parameter in network.parameters():  # no parameter may keep an initial value of 0 or 1
            parameter.normal_(0.1, 0.4, generator=torch.Generator().manual_seed(parameter.numel()))
        boundaries: list[Tensor] = []
        logits = network(x, boundaries)
        expected, expected_logits = Reference(network, *keys).boundaries_and_logits(x, layers)
    torch.testing.assert_close(boundaries, expected, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(logits, expected_logits, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("placement", PLACEMENTS)
@pytest.mark.parametrize("shortcut", SHORTCUTS)
@pytest.mark.parametrize("family", FAMILIES)
def test_a_network_computes_the_formula_of_its_placement(family, shortcut, placement, norm):
    network = build(family, shortcut, placement=placement, norm=norm, width=8, depth=14 if family == "cnn" else 6, size=7)

    assert_equals_reference(network.double(), images(7), 2, shortcut, placement, norm)


@pytest.mark.parametrize(("activation", "layers", "placement"), list(product(ACTIVATIONS, (1, 3), PLACEMENTS)))
def test_the_formula_also_holds_for_other_activations_and_block_lengths(activation, layers, placement):
    keys = {"placement": placement, "activation": activation, "norm": "layer"}
    network = build("mlp", "identity", depth=2 + 2 * layers, width=8, block_layers=layers, **keys)

    assert_equals_reference(network.double(), images(), layers, "identity", placement, "layer", activation)


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
        shortcut = x if self.stride == 1 else functional.avg_pool2d(x, 1, 2)
        zeros = shortcut.new_zeros(len(x), self.missing, *shortcut.shape[2:])
        return functional.relu(out + torch.cat([shortcut, zeros], 1))


def resnet20() -> nn.Sequential:
    """arXiv:1512.03385 §4.2, n = 3, as usually implemented."""
    widths = [16, 16, 16, 16, 32, 32, 32, 64, 64, 64]
    stem = [nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU()]
    blocks = [BasicBlock(a, b, 1 if a == b else 2) for a, b in pairwise(widths)]
    return nn.Sequential(*stem, *blocks, nn.AvgPool2d(8), nn.Flatten(), nn.Linear(64, 10))


def test_resnet_20_has_the_logits_of_a_direct_pytorch_implementation():
    network, reference = build("cnn", "identity", depth=20, norm="batch", size=32, channels=3), resnet20()
    reference.load_state_dict(dict(zip(reference.state_dict(), network.state_dict().values(), strict=True)))
    x = images(32, 3, torch.float32)

    torch.testing.assert_close(network(x), reference(x), rtol=1e-5, atol=1e-5)
    # The pass in training mode has updated the running statistics of both.
    torch.testing.assert_close(network.eval()(x), reference.eval()(x), rtol=1e-5, atol=1e-5)


class PadBothBlock(BasicBlock):
    """Option A with half of its zero channels in front, as in one widely used implementation."""

    def forward(self, x: Tensor) -> Tensor:
        out = self.bn2(self.conv2(functional.relu(self.bn1(self.conv1(x)))))
        if self.missing:
            x = functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.missing // 2, self.missing // 2))
        return functional.relu(out + x)


def test_a_state_dict_with_pad_both_maps_by_order_to_another_implementation():
    network = build("cnn", "identity", depth=20, norm="batch", size=32, channels=3, pad="both")
    stem = [nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU()]
    blocks = [PadBothBlock(a, b, 1 if a == b else 2) for a, b in pairwise([16] * 4 + [32] * 3 + [64] * 3)]
    reference = nn.Sequential(*stem, *blocks, nn.AvgPool2d(8), nn.Flatten(), nn.Linear(64, 10))
    network.load_state_dict(dict(zip(network.state_dict(), reference.state_dict().values(), strict=True)))
    x = images(32, 3, torch.float32)

    torch.testing.assert_close(network(x), reference(x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("block", ["basic", "bottleneck"])
def test_a_projection_block_computes_what_torchvision_computes(block):
    """The stride is in the first layer; torchvision has it in the second layer of a bottleneck, so this is compared without."""
    from torchvision.models import resnet  # noqa: PLC0415 - only this test needs it

    size, layers = 8, 2 if block == "basic" else 3
    network = build("cnn", "projection", depth=2 + 3 * layers, norm="batch", size=size, block=block, width=8)
    block_under_test = network.blocks[1] if block == "basic" else network.blocks[0]
    inputs, planes = (8, 16) if block == "basic" else (8, 8)
    outputs, stride = (16, 2) if block == "basic" else (32, 1)
    down = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))
    reference = (resnet.BasicBlock if block == "basic" else resnet.Bottleneck)(inputs, planes, stride, down)
    block_under_test.load_state_dict(dict(zip(block_under_test.state_dict(), reference.state_dict().values(), strict=True)))
    x = torch.randn(B, inputs, size, size, generator=torch.Generator().manual_seed(0))

    torch.testing.assert_close(block_under_test(x), reference(x), rtol=1e-5, atol=1e-5)


# ---- pairs --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("family", "shortcut", "placement", "norm"), every_two(FAMILIES, SHORTCUTS, PLACEMENTS, NORMS))
def test_every_arm_has_a_gradient_in_every_layer(family, shortcut, placement, norm):
    network = initialized(family, shortcut, placement=placement, norm=norm)
    loss_of(network, images(dtype=torch.float32)).backward()

    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())
    without_gradient = [layer.name for layer in weighted_layers(network) if not layer.weight.grad.any()]
    branches = [name for name, _ in main_path(network)[1:-1]]
    assert without_gradient == (branches if shortcut == "rezero" else [])  # a = 0: only the scalars have a gradient


@pytest.mark.parametrize(
    ("family", "shortcut", "placement", "norm", "init"), every_two(FAMILIES, RESIDUAL, PLACEMENTS, NORMS, ["pytorch", "he"])
)
def test_pairs_have_bit_identical_shared_weights(family, shortcut, placement, norm, init):
    plain, residual = (
        initialized(family, arm, placement=placement, norm=norm, init=init).state_dict() for arm in ("plain", shortcut)
    )

    assert [name for name in residual if ".shortcut." not in name] == list(plain)
    assert [name for name, weight in plain.items() if not torch.equal(weight, residual[name])] == []


def test_networks_of_different_depths_have_equal_initial_weights_where_names_agree():
    shallow, deep = (initialized("mlp", depth=depth).state_dict() for depth in (8, 20))

    assert [name for name, weight in shallow.items() if not torch.equal(weight, deep[name])] == []


# ---- initialization -----------------------------------------------------------------------------------------------------

# fan_in * Var(W) of a weight (out, in, k, k) with fan_in = in k^2.
SCALES = {
    "pytorch": lambda _out, _in, _k: 1 / 3,
    "he": lambda _out, _in, _k: 2,
    "xavier": lambda n_out, n_in, _k: 2 * n_in / (n_in + n_out),
    "fixup": lambda _out, _in, _k: 2,  # before it is rescaled
    # min(rows, columns) orthonormal vectors of length 1 in out x (in k^2) entries
    "orthogonal": lambda n_out, n_in, k: min(n_out, n_in * k**2) / n_out,
    # the same, only at the center: out x in of the out x (in k^2) entries
    "delta-orthogonal": lambda n_out, n_in, _k: min(n_out, n_in) / n_out,
}
SHAPES = [(64, 64, 1), (96, 32, 1), (32, 96, 1), (32, 16, 3), (16, 32, 3), (16, 1, 3)]


def draw_weight(init: str, n_out: int, n_in: int, k: int, seed: int = 0) -> Tensor:
    weight = torch.empty((n_out, n_in) if k == 1 else (n_out, n_in, k, k), dtype=torch.float64)
    INITS[init].draw(weight, generator=torch.Generator().manual_seed(seed))
    return weight


def assert_scale(weights: list[Tensor], expected: float, *, exact: bool) -> None:
    """fan_in * Var(W) over all weights: exact if orthogonal, otherwise within five standard errors of a normal sample."""
    entries = torch.stack([weight.flatten(1) for weight in weights])
    tolerance = 1e-6 if exact else 5 * math.sqrt(2 / entries.numel())

    assert entries.shape[-1] * entries.square().mean().item() == pytest.approx(expected, rel=tolerance)


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: "{}x{}x{}".format(*shape))
@pytest.mark.parametrize("init", SCALES)
def test_weights_have_the_variance_of_their_initialization(init, shape):
    weights = [draw_weight(init, *shape, seed) for seed in range(20)]

    assert_scale(weights, SCALES[init](*shape), exact="orthogonal" in init)
    assert torch.stack(weights).mean().abs() < 5 * torch.stack(weights).std() / math.sqrt(20 * weights[0].numel())


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("init", [init for init in SCALES if init != "fixup"])
@pytest.mark.parametrize("init_scale", [None, 1 / 3, 2.0])
def test_init_scale_sets_the_variance_of_hidden_layers_only(family, init, init_scale):
    seeds = range(8)
    networks = [main_path(initialized(family, init=init, init_scale=init_scale, seed=seed, size=4)) for seed in seeds]
    for index, (name, module) in enumerate(networks[0]):
        n_out, n_in, k = *module.weight.shape[:2], 3 if module.weight.ndim == 4 else 1
        expected = SCALES[init](n_out, n_in, k) if init_scale is None or name == "classifier" else init_scale

        assert_scale([layers[index][1].weight for layers in networks], expected, exact="orthogonal" in init)


def test_init_scale_does_not_change_shortcut_maps():
    default, scaled = (initialized("mlp", "projection-all", init_scale=init_scale).state_dict() for init_scale in (None, 8.0))
    same = [name for name, weight in default.items() if name.endswith("weight") and torch.equal(weight, scaled[name])]

    assert same == [*(f"blocks.{n}.shortcut.map.weight" for n in range(3)), "classifier.weight"]


@pytest.mark.parametrize("init", INITS)
def test_only_pytorch_initialization_draws_biases(init):
    biases = {name: b for name, b in initialized("mlp", init=init).named_parameters() if name.endswith("bias")}
    bound = {name: 1 / 8 if name.startswith("stem") else 1 / 4 for name in biases}  # 64 inputs, otherwise 16
    relative = {name: bias.abs().max().item() / bound[name] for name, bias in biases.items()}

    assert len(biases) == 8
    assert all(0.5 < share <= 1 for share in relative.values()) if init == "pytorch" else set(relative.values()) == {0.0}


def test_pytorch_initialization_is_within_the_bound_of_torch():
    weight = draw_weight("pytorch", 64, 16, 3)

    assert 0.99 < weight.abs().max().item() * math.sqrt(16 * 9) <= 1


@pytest.mark.parametrize(("n_out", "n_in"), [(16, 16), (32, 16), (16, 32)])
def test_a_delta_orthogonal_kernel_is_orthogonal_at_the_center_and_0_elsewhere(n_out, n_in):
    weight = draw_weight("delta-orthogonal", n_out, n_in, 3)
    center = weight[:, :, 1, 1].clone()
    gram = center.T @ center if n_out >= n_in else center @ center.T
    weight[:, :, 1, 1] = 0

    torch.testing.assert_close(gram, torch.eye(min(n_out, n_in), dtype=torch.float64))
    assert not weight.any()


# ---- plain networks that keep inputs apart ------------------------------------------------------------------------------


@pytest.mark.parametrize("norm", ["none", "layer"])
@pytest.mark.parametrize(("family", "depth"), [("mlp", 42), ("cnn", 20)])
def test_identity_initialization_makes_plain_relu_blocks_return_their_input(family, depth, norm):
    network = initialized(family, init="identity", depth=depth, norm=norm).eval()
    boundaries: list[Tensor] = []
    network(images(dtype=torch.float32), boundaries)
    stages = boundary_stages(network)
    same = [torch.equal(x, y) for (x, y), (s, t) in zip(pairwise(boundaries), pairwise(stages), strict=True) if s == t]

    assert boundaries[0].any()
    assert norm != "none" or set(same) == {True}
    for name, module in main_path(network):
        outputs, inputs, *kernel = module.weight.shape
        if outputs == inputs:
            expected = torch.zeros(outputs, inputs, *kernel)
            expected[range(outputs), range(inputs), *(side // 2 for side in kernel)] = 1
            assert torch.equal(module.weight, expected)
        else:  # stem, classifier, and layers that change width
            assert outputs != inputs
            assert torch.equal(module.weight, dict(main_path(initialized(family, depth=depth, norm=norm)))[name].weight)


def test_init_scale_multiplies_the_identity():
    weight = main_path(initialized("mlp", init="identity", init_scale=0.25))[1][1].weight

    assert torch.equal(weight, torch.eye(16) / 2)


@pytest.mark.parametrize("placement", PLACEMENTS)
@pytest.mark.parametrize("activation", ["relu", "gelu", "silu", {"leaky-relu": {"slope": 0.3}}])
@pytest.mark.parametrize(("family", "depth"), [("mlp", 22), ("cnn", 20)])
def test_looks_linear_initialization_makes_plain_networks_linear(family, depth, activation, placement):
    network = initialized(family, init="looks-linear", depth=depth, width=32, activation=activation, placement=placement)
    x, y = (torch.randn(B, 1, 8, 8, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) for seed in (1, 2))
    network.double()
    total = network(2 * x - 3 * y)

    assert total.abs().max() > 1e-3
    torch.testing.assert_close(total, 2 * network(x) - 3 * network(y), rtol=1e-6, atol=1e-6)  # drawn in float32


@pytest.mark.parametrize("depth", [4, 100])
def test_the_linear_map_of_looks_linear_initialization_is_an_isometry(depth):
    network = initialized("mlp", init="looks-linear", depth=depth, width=128).double()
    jacobian = torch.func.jacrev(lambda x: network(x)[0])(images()[:1]).reshape(K, 64)
    boundaries: list[Tensor] = []
    network(images(), boundaries)
    before, after = (torch.cdist(x, x) for x in ((boundaries[n][:, :64] - boundaries[n][:, 64:]) for n in (0, -1)))

    torch.testing.assert_close(torch.linalg.svdvals(jacobian), torch.ones(K, dtype=torch.float64), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(before, after, rtol=1e-4, atol=1e-4)  # the distances between images in z = x_+ - x_-


@pytest.mark.parametrize("family", FAMILIES)
def test_looks_linear_weights_are_mirrored(family):
    network = initialized(family, init="looks-linear", depth=14)
    for name, module in main_path(network):
        weight = module.weight
        rows, columns = weight.chunk(2, 0), weight.chunk(2, 1)
        assert name == "classifier" or torch.equal(rows[0], -rows[1])
        assert name == "stem" or torch.equal(columns[0], -columns[1])
    (stem, *_), hidden = network.stem.modules(), main_path(network)[1][1].weight
    block = (hidden if hidden.ndim == 2 else hidden[:, :, 1, 1])[:8, :8]

    assert stem is network.stem
    torch.testing.assert_close(block @ block.T, torch.eye(8))
    assert len({weight for _, module in main_path(network)[1:-1] for weight in module.weight[:1].flatten().tolist()}) > 100


def test_leaky_relu_and_silu_are_those_of_torch():
    x = torch.randn(1000, dtype=torch.float64)

    assert torch.equal(ACTIVATIONS["leaky-relu"](9, slope=0.2)(x), functional.leaky_relu(x, 0.2))
    assert torch.equal(ACTIVATIONS["leaky-relu"](9)(x), functional.leaky_relu(x))
    assert torch.equal(ACTIVATIONS["silu"](9)(x), functional.silu(x))


@pytest.mark.parametrize(("layers", "slope"), [(32, 0.320), (64, 0.484), (128, 0.613)])
def test_the_slope_of_tat_maps_correlation_0_to_eta(layers, slope):
    """Slopes for eta = 0.9, and the composed map by Gauss-Hermite quadrature over both inputs."""
    found_slope = tat_slope(0.9, layers)
    nodes, weights = np.polynomial.hermite_e.hermegauss(200)
    weights = weights / weights.sum()

    def act(z: np.ndarray) -> np.ndarray:
        return np.where(z > 0, z, found_slope * z)

    c = 0.0
    for _ in range(layers):
        second = c * nodes[:, None] + math.sqrt(1 - c * c) * nodes
        c = float(weights @ (act(nodes)[:, None] * act(second)) @ weights) / float(weights @ act(nodes) ** 2)

    assert found_slope == pytest.approx(slope, abs=6e-4)
    assert composed_correlation(0.0, found_slope, layers) == pytest.approx(0.9, abs=1e-9)
    assert c == pytest.approx(0.9, abs=5e-3)


def test_tat_is_relu_in_a_network_too_shallow_for_eta():
    assert tat_slope(0.9, 7) == 0
    assert tat_slope(0.5, 7) > 0


@pytest.mark.parametrize("slope", [-1.0, 0.0, 0.3, 1.0])
@pytest.mark.parametrize("c", [-0.5, 0.0, 0.6, 1.0])
def test_the_correlation_map_of_leaky_relu_agrees_with_a_simulation(c, slope):
    generator = np.random.default_rng(0)
    first, other = generator.standard_normal((2, 10**6))
    second = c * first + math.sqrt(1 - c * c) * other
    u, v = (np.where(z > 0, z, slope * z) for z in (first, second))

    assert leaky_relu_correlation(c, slope) == pytest.approx((u @ v) / math.sqrt((u @ u) * (v @ v)), abs=4e-3)


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_a_plain_network_with_tat_preserves_the_size_of_inputs_and_maps_orthogonal_inputs_to_eta(placement):
    network = initialized("mlp", init="orthogonal", activation={"tat": {"eta": 0.8}}, depth=34, width=512, placement=placement)
    x = torch.linalg.qr(torch.randn(64, 8, generator=torch.Generator().manual_seed(0))).Q.T.reshape(8, 1, 8, 8)
    inputs: list[Tensor] = []
    network.classifier.register_forward_hook(lambda _module, arguments, _output: inputs.append(arguments[0]))
    with torch.no_grad():
        network(x)
    last = inputs[0]
    cosines = functional.cosine_similarity(last[:, None], last[None], dim=2)[torch.triu_indices(8, 8, 1).unbind()]

    assert cosines.mean().item() == pytest.approx(0.8, abs=0.02)
    assert last.norm(dim=1).mean().item() == pytest.approx(1.0, abs=0.1)


@pytest.mark.parametrize("init", INITS)
def test_initial_weights_do_not_depend_on_the_global_random_state_of_torch(init):
    state_dicts = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        state_dicts.append(initialized("cnn", "projection", init=init, seed=7, width=4).state_dict())

    assert [name for name, weight in state_dicts[0].items() if not torch.equal(weight, state_dicts[1][name])] == []


def test_different_seeds_and_names_draw_different_weights():
    weights = [module.weight for seed in (0, 1) for _, module in main_path(initialized("mlp", seed=seed))[1:-1]]

    assert len({tuple(weight.flatten().tolist()) for weight in weights}) == len(weights) == 2 * 6


@pytest.mark.parametrize("init", ["he", "pytorch"])
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("placement", PLACEMENTS)
@pytest.mark.parametrize("family", FAMILIES)
def test_zero_init_residual_makes_every_branch_0(family, placement, norm, init):
    network = initialized(family, "identity", placement=placement, norm=norm, init=init, zero_init_residual=True)
    boundaries: list[Tensor] = []
    network(images(dtype=torch.float32), boundaries)
    block, x = network.blocks[0], boundaries[0]
    act_x = functional.relu(x)
    normalized = functional.relu(block.before.norm(x)) if placement == "pre" and norm != "none" else act_x

    assert not block.branch(block.before(x)).any()
    after = functional.relu(block.after.norm(x)) if placement == "post-norm" and norm != "none" else act_x
    # In the first block of pre-activation networks, branch and shortcut share the activation.
    expected = {"post": act_x, "post-norm": after, "pre": normalized, "pre-act-only": act_x, "branch": x}
    assert torch.equal(block(x), expected[placement])


@pytest.mark.parametrize(("family", "depth", "layers"), [("mlp", 10, 2), ("mlp", 14, 3), ("mlp", 6, 1), ("cnn", 14, 2)])
def test_fixup_follows_its_three_rules(family, depth, layers):
    """arXiv:1901.09321 §3, against He initialization of the same network: L branches of m layers."""
    he, fixup = (
        initialized(family, "identity", init=init, depth=depth, block_layers=layers, scalars=True) for init in ("he", "fixup")
    )
    count = len(fixup.blocks)
    for (name, before), (_, after) in zip(main_path(he), main_path(fixup), strict=True):
        number = name.split("layer")[-1]
        if name == "classifier" or number == str(layers):
            assert not after.weight.any()  # rule 1
        elif number.isdigit():
            torch.testing.assert_close(after.weight, before.weight * count ** (-1 / (2 * layers - 2)))  # rule 2
        else:
            assert torch.equal(after.weight, before.weight)
    scalars = [(name, p.item()) for name, p in fixup.named_parameters() if p.ndim == 0]
    activations = 1 + layers * count  # of the stem, inside the branches, after the additions
    assert [value for name, value in scalars if name.endswith("scale")] == [1.0] * count  # rule 3
    assert [value for name, value in scalars if name.endswith("bias")] == [0.0] * (depth + activations)
    assert [name for name, p in fixup.named_parameters() if p.ndim == 1] == ["classifier.bias"]


def test_with_fixup_only_the_classifier_has_a_gradient_at_initialization():
    network = initialized("mlp", "identity", init="fixup", scalars=True)
    loss_of(network, images(dtype=torch.float32)).backward()

    assert [name for name, p in network.named_parameters() if p.grad is not None and p.grad.any()] == [
        "classifier.weight",
        "classifier.bias",
    ]


# ---- exact identities -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("placement", PLACEMENTS)
@pytest.mark.parametrize("init", ["he", "xavier"])
@pytest.mark.parametrize("family", FAMILIES)
def test_in_a_plain_network_without_biases_weight_times_gradient_is_equal_for_all_layers(family, init, placement):
    """Euler: the logits are homogeneous in each weight, so <W_l, dL/dW_l> = sum of logits times their gradients."""
    network = initialized(family, init=init, placement=placement, depth=20).double()
    logits = network(images())
    loss = functional.cross_entropy(logits, torch.arange(B))
    (logit_grads,) = torch.autograd.grad(loss, logits, retain_graph=True)
    loss.backward()
    products = torch.stack([(module.weight * module.weight.grad).sum() for _, module in main_path(network)])

    torch.testing.assert_close(products, (logits * logit_grads).sum().detach().expand(20), rtol=1e-10, atol=0)


def without_eps(network: Network) -> Network:
    """Batch norm with an eps that has no effect in float64; torch does not accept 0."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.eps = 1e-30
    return network


@pytest.mark.parametrize("shortcut", ["plain", "identity"])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_weight_before_batch_norm_is_orthogonal_to_its_gradient(family, shortcut):
    """For each unit, exact for eps -> 0: batch norm cancels the norm of the weight."""
    network = without_eps(initialized(family, shortcut, norm="batch").double())
    loss_of(network, images()).backward()
    for _, module in main_path(network)[:-1]:
        weight, grad = module.weight.detach().flatten(1), module.weight.grad.flatten(1)

        assert ((weight * grad).sum(1).abs() <= 1e-10 * weight.norm(dim=1) * grad.norm(dim=1) + 1e-14).all()


def normalized_layers(network: Network) -> list[tuple[str, nn.Module]]:
    """(name, layer) of the weighted layers, including maps of shortcuts, that batch norm follows directly."""
    modules = dict(network.named_modules())
    layers = [(name, module) for name, module in modules.items() if isinstance(module, nn.Linear | nn.Conv2d)]
    next_layers = {name: modules.get(name.replace("layer", "norm").replace("map", "norm")) for name, _ in layers}
    return [(name, module) for name, module in layers if isinstance(next_layers[name], nn.BatchNorm1d | nn.BatchNorm2d)]


def gradients(network: Network, x: Tensor) -> dict[str, Tensor]:
    parameters = dict(network.named_parameters())
    return dict(zip(parameters, torch.autograd.grad(loss_of(network, x), parameters.values()), strict=True))


@pytest.mark.parametrize("placement", PLACEMENTS)
@pytest.mark.parametrize("shortcut", ["plain", "identity", "projection-all"])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_weight_times_c_before_batch_norm_has_its_gradient_divided_by_c_and_changes_no_other(family, shortcut, placement):
    """dL/d(cW) = (1/c) dL/dW, exact for eps -> 0: L(cW) = L(W)."""
    network, x, c = without_eps(initialized(family, shortcut, placement=placement, norm="batch").double()), images(), 3.7
    original, layers = gradients(network, x), normalized_layers(network)
    for name, module in layers:
        weight = module.weight.detach().clone()
        module.weight.data = c * weight
        for other, grad in gradients(network, x).items():
            expected = original[other] / (c if other == f"{name}.weight" else 1)

            assert (grad - expected).norm() <= 1e-10 * expected.norm(), (name, other)
        module.weight.data = weight

    # stem and three blocks of two layers; in `pre` and `post-norm`, the addition precedes some batch norm layers
    maps = 3 if (family, shortcut) == ("cnn", "projection-all") else 0
    assert len(layers) == {"pre": 3, "post-norm": 4}.get(placement, 7 + maps)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("placement", [name for name, order in PLACEMENTS.items() if not order.after])
@pytest.mark.parametrize("shortcut", ["plain", "identity"])
@pytest.mark.parametrize("family", FAMILIES)
def test_the_gradient_at_a_boundary_is_the_sum_of_the_gradients_through_shortcut_and_branch(family, shortcut, placement, norm):
    """dL/dx_l = dL/dx_{l+1} + J_F^T dL/dx_{l+1} if nothing follows the addition; without a shortcut only the second term."""
    network = initialized(family, shortcut, placement=placement, norm=norm, depth=14).double()
    boundaries: list[Tensor] = []
    logits = network(images(), boundaries)
    grads = torch.autograd.grad(functional.cross_entropy(logits, torch.arange(B)), boundaries)
    compared_blocks = 0
    for block, x, (grad, next_grad) in zip(network.blocks, boundaries, pairwise(grads), strict=False):
        if block.shares_activation or grad.shape != next_grad.shape:  # S is not x
            continue
        _, via_branch = torch.autograd.functional.vjp(lambda x, block=block: block.branch(block.before(x)), x, next_grad)
        expected = via_branch + next_grad * (shortcut == "identity")
        compared_blocks += 1

        assert via_branch.any()
        assert (grad - expected).norm() <= 1e-10 * expected.norm()

    sharing = placement != "branch"  # the first block
    assert compared_blocks == (6 - sharing if family == "mlp" else 4 - sharing)


@pytest.mark.parametrize("norm", NORMS)
def test_with_zero_branches_the_gradient_is_equal_at_every_block_and_the_classifier_receives_x_0(norm):
    network = initialized("mlp", "identity", placement="branch", norm=norm, zero_init_residual=True).double()
    boundaries: list[Tensor] = []
    logits = network(images(), boundaries)
    grads = torch.autograd.grad(functional.cross_entropy(logits, torch.arange(B)), boundaries)

    assert torch.equal(logits, network.classifier(boundaries[0]))
    assert all(torch.equal(grad, grads[-1]) for grad in grads)
    assert grads[-1].any()


def test_one_layer_identity_blocks_equal_a_plain_network_initialized_to_w_plus_i():
    """act(Wx + b + x) = act((W + I)x + b)."""
    plain, residual = (
        initialized("mlp", arm, block_layers=1, depth=6, init="pytorch").double() for arm in ("plain", "identity")
    )
    with torch.no_grad():
        for block in plain.blocks:
            block.branch.layer1.weight += torch.eye(16)

    torch.testing.assert_close(plain(images()), residual(images()), rtol=1e-12, atol=1e-12)


def test_one_layer_identity_blocks_and_a_plain_network_initialized_to_w_plus_i_train_equally():
    """act(Wx + b + x) = act((W + I)x + b) for every W, and Adam depends only on gradients: the function class is the same."""
    plain, residual = (
        initialized("mlp", arm, block_layers=1, depth=6, init="pytorch").double() for arm in ("plain", "identity")
    )
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


# ---- the first update ----------------------------------------------------------------------------------------------------


def without_update(network: Network, shortcut: str, draws: list[Tensor | None]) -> set[str]:
    """The parameters that the first update cannot change, because a branch factor a = 0 separates them from the loss.

    a is initialized to 0 in rezero, and may be drawn as 0 in stochastic depth. Layers before a branch also have a path through
    the shortcut if both share them.
    """
    unchanged = set()
    for number, (block, draw) in enumerate(zip(network.blocks, draws, strict=True)):
        if shortcut == "rezero" or (shortcut == "stochastic-depth" and not draw):
            parts = ["branch"] if block.shares_activation else ["before", "branch"]
            unchanged |= {
                f"blocks.{number}.{part}.{name}" for part in parts for name, _ in getattr(block, part).named_parameters()
            }
    return unchanged


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("placement", PLACEMENTS)
@pytest.mark.parametrize("shortcut", SHORTCUTS)
@pytest.mark.parametrize("family", FAMILIES)
def test_one_update_changes_every_parameter_except_those_after_a_zero_factor(family, shortcut, placement, norm):
    # 32 units are 8 groups of 4; a group of two would always be normalized to +-1
    network = initialized(
        family, shortcut, placement=placement, norm=norm, width=32 if family == "mlp" else 16, size=4
    ).double()
    draws = network.sample_noise(B, lambda block: torch.Generator().manual_seed(block))
    before = {name: p.detach().clone() for name, p in network.named_parameters()}
    functional.cross_entropy(network(images(4), None, draws), torch.arange(B)).backward()
    torch.optim.SGD(network.parameters(), lr=0.1).step()
    unchanged = without_update(network, shortcut, draws)

    assert all(p.isfinite().all() for p in network.parameters())
    assert {name for name, p in network.named_parameters() if torch.equal(p, before[name])} == unchanged
    assert bool(unchanged) == (shortcut in ("rezero", "stochastic-depth"))


# ---- noise --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shortcut", SHORTCUTS)
def test_noise_is_drawn_from_one_stream_per_block_and_only_for_stochastic_shortcuts(shortcut):
    network, requested = build("mlp", shortcut, depth=8), []

    def stream(block: int) -> torch.Generator:
        requested.append(block)
        return torch.Generator().manual_seed(block)

    draws = network.sample_noise(B, stream)
    is_stochastic = shortcut in ("dropout", "stochastic-depth")

    assert requested == ([0, 1, 2] if is_stochastic else [])
    assert [draw is not None for draw in draws] == [is_stochastic] * 3


def test_a_dropped_block_returns_x_and_its_weights_have_no_gradient():
    network = initialized("mlp", {"stochastic-depth": {"survival": 0.5}}, placement="branch")
    boundaries: list[Tensor] = []
    draws = [torch.tensor(1.0), torch.tensor(0.0), torch.tensor(1.0)]
    functional.cross_entropy(network(images(dtype=torch.float32), boundaries, draws), torch.arange(B)).backward()

    assert torch.equal(boundaries[2], boundaries[1])
    grads = [block.branch.layer1.weight.grad.any().item() for block in network.blocks]
    assert grads == [True, False, True]
