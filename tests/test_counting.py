"""What networks cost, against sums by hand and a walk through autograd's own graph.

Shapes: B batch, C x H x W image, K classes.
"""

import pytest
import torch
from torch import Tensor

from resexp.networks import NORMS, PLACEMENTS, Network, build_network, count, counting, multiply_adds, weighted_layers
from resexp.shortcuts import SHORTCUTS

K = 10
FAMILIES = ("mlp", "cnn")
PUBLISHED = [(20, 40_551_040), (32, 68_862_592), (44, 97_174_144), (56, 125_485_696), (110, 252_887_680)]


def build(family: str, shortcut: str = "plain", *, size: int = 4, channels: int = 1, **wanted) -> Network:
    shape = {"depth": 8, "width": 16, "input_shape": (channels, size, size), "classes": K} | wanted
    return build_network(family, shortcut=shortcut, **shape)


def test_what_is_kept_for_the_backward_pass_is_counted_where_autograd_is_off_as_well():
    network = build("mlp", "identity")
    expected = count(network, (1, 4, 4))
    with torch.inference_mode():
        assert count(network, (1, 4, 4)) == expected

    assert expected.activation_bytes > 0


# ---- what must not change ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("measure", [count, multiply_adds])
@pytest.mark.parametrize("shortcut", SHORTCUTS)
@pytest.mark.parametrize("family", FAMILIES)
def test_counting_leaves_weights_statistics_modes_gradients_and_random_state_as_they_were(family, shortcut, measure):
    network = build(family, shortcut, norm="batch")
    network(torch.randn(4, 1, 4, 4)).sum().backward()
    network.eval()
    network.blocks[1].train()
    modes = [module.training for module in network.modules()]
    state = {name: value.clone() for name, value in network.state_dict().items()}
    objects = list(network.state_dict(keep_vars=True).values())
    grads = {name: p.grad.clone() for name, p in network.named_parameters()}
    chance = torch.get_rng_state()
    measure(network, (1, 4, 4))

    assert [module.training for module in network.modules()] == modes
    assert [name for name, value in network.state_dict().items() if not torch.equal(value, state[name])] == []
    assert all(a is b for a, b in zip(network.state_dict(keep_vars=True).values(), objects, strict=True))
    assert [name for name, p in network.named_parameters() if not torch.equal(p.grad, grads[name])] == []
    assert torch.equal(torch.get_rng_state(), chance)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())


def test_modes_come_back_even_when_counting_fails():
    network = build("mlp").eval()
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        count(network, (1, 5, 5))

    assert not any(module.training or module._forward_hooks or module._forward_pre_hooks for module in network.modules())


@pytest.mark.parametrize("batches", [(2, 3), (3, 8)])
@pytest.mark.parametrize("family", FAMILIES)
def test_costs_are_of_one_image_whatever_batches_they_are_measured_on(family, batches, monkeypatch):
    network = build(family, "dropout", norm="batch")
    own = count(network, (1, 4, 4))
    monkeypatch.setattr(counting, "FEW", batches[0])
    monkeypatch.setattr(counting, "MANY", batches[1])

    assert count(network, (1, 4, 4)) == own


def test_gradients_that_are_switched_off_where_it_is_called_are_counted_all_the_same():
    network = build("mlp", "identity")
    with torch.no_grad():
        without = count(network, (1, 4, 4))

    assert without == count(network, (1, 4, 4))


def test_a_network_without_storage_costs_what_one_with_storage_does():
    keys = {"depth": 20, "norm": "batch", "size": 32, "channels": 3}
    with torch.device("meta"):
        empty = build("cnn", "identity", **keys)

    assert count(empty, (3, 32, 32)) == count(build("cnn", "identity", **keys), (3, 32, 32))


# ---- multiply-adds and parameters -------------------------------------------------------------------------------------


@pytest.mark.parametrize("shortcut", ["plain", "identity"])
@pytest.mark.parametrize(("depth", "expected"), PUBLISHED)
def test_multiply_adds_of_the_published_networks(depth, expected, shortcut):
    network = build("cnn", shortcut, depth=depth, norm="batch", size=32, channels=3)

    assert multiply_adds(network, (3, 32, 32)) == expected


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("shortcut", SHORTCUTS)
@pytest.mark.parametrize("family", FAMILIES)
def test_each_layer_costs_a_product_per_weight_and_place_and_layers_sum_to_the_total(family, shortcut, norm):
    network = build(family, shortcut, norm=norm, size=7)
    cost, layers = count(network, (1, 7, 7)), weighted_layers(network)
    # 7 x 7 images, halved to 4 x 4 and 2 x 2
    sides = [7, 7, 4, 2] if family == "cnn" else [1] * 4
    for layer, of in zip(layers, cost.layers, strict=True):
        block = -1 if "." not in layer.name else int(layer.name.split(".")[1])
        side = 1 if layer.name == "classifier" else sides[block + 1]
        outputs = layer.weight.shape[0]

        assert of.name == layer.name
        assert of.output == ((outputs, side, side) if layer.weight.ndim == 4 else (outputs,))
        assert of.parameters == layer.weight.numel() + (0 if layer.module.bias is None else outputs)
        assert of.multiply_adds == layer.weight.numel() * side**2
    assert sum(of.multiply_adds for of in cost.layers) == cost.multiply_adds == multiply_adds(network, (1, 7, 7))
    assert sum(of.activation_bytes for of in cost.layers) == cost.activation_bytes
    assert cost.parameters == sum(p.numel() for p in network.parameters())


# ---- what is kept for the backward pass -------------------------------------------------------------------------------


def walked(network: Network, x: Tensor, draws: list[Tensor | None]) -> int:
    """Bytes of all storages that the nodes of autograd's graph name as saved, each once."""
    output = network(x, None, draws)
    nodes, seen, sizes = [output.grad_fn], set(), {}
    while nodes:
        node = nodes.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        nodes += [inner for inner, _ in node.next_functions]
        saved = [getattr(node, name) for name in dir(node) if name.startswith("_saved_")]
        sizes |= {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in saved if isinstance(t, Tensor)}
    return sum(sizes.values())


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("placement", PLACEMENTS)
@pytest.mark.parametrize("shortcut", SHORTCUTS)
@pytest.mark.parametrize("family", FAMILIES)
def test_bytes_kept_are_those_that_autograds_graph_holds_for_one_image_more(family, shortcut, placement, norm):
    network = build(family, shortcut, placement=placement, norm=norm)
    held = []
    for batch in (3, 4):
        draws = network.sample_noise(batch, lambda block: torch.Generator().manual_seed(block))
        held.append(walked(network, torch.randn(batch, 1, 4, 4), draws))

    assert count(network, (1, 4, 4)).activation_bytes == held[1] - held[0]


@pytest.mark.parametrize(
    ("keys", "numbers"),
    [
        # 16 pixels, two layers of 8 units in a block, classifier; numbers of 4 bytes
        pytest.param({}, [16 + 8, 8, 8, 0], id="relu keeps its output, which is the next layer's input"),
        pytest.param({"activation": "tanh"}, [16 + 8, 8, 8, 0], id="tanh too"),
        pytest.param({"activation": "gelu"}, [16 + 8, 8 + 8, 8 + 8, 8], id="gelu keeps its input, the next layer its own"),
        pytest.param({"norm": "batch"}, [16 + 8 + 8, 8 + 8, 8 + 8, 0], id="batch norm its input, means not per image"),
        pytest.param({"norm": "layer"}, [16 + 18, 18, 18, 0], id="layer norm a mean and a deviation per image more"),
        pytest.param({"shortcut": "identity"}, [16 + 8, 8, 8, 0], id="an addition keeps nothing"),
        pytest.param({"shortcut": "identity", "placement": "branch"}, [16 + 8, 8, 8, 8], id="a sum that no activation keeps"),
        pytest.param({"shortcut": "skipinit"}, [16 + 8, 8, 8 + 8, 0], id="a learned scalar keeps its branch"),
        pytest.param({"shortcut": "dropout"}, [16 + 8 + 8, 8, 8, 0], id="a factor per element, drawn before the branch"),
        pytest.param({"shortcut": "stochastic-depth"}, [16 + 8, 8, 8, 0], id="one factor for a whole batch"),
        # S is computed before the branch, so all of it but the stem's output is with the map: g, 1 - g; then a, F and x
        pytest.param({"shortcut": "gate-shortcut"}, [16 + 8, 8, 8, 8 + 8, 0], id="a gate keeps g and 1 - g"),
        pytest.param({"shortcut": "gate"}, [16 + 8, 8, 8 + 8, 8 + 8, 0], id="a gate on the branch keeps the branch too"),
        pytest.param({"shortcut": "projection-all"}, [16 + 8, 8, 8, 0, 0], id="a map keeps x, which is kept already"),
    ],
)
def test_a_layer_is_booked_what_is_kept_until_the_next_one_is_called(keys, numbers):
    cost = count(build("mlp", **{"depth": 4, "width": 8} | keys), (1, 4, 4))

    assert [of.activation_bytes for of in cost.layers] == [4 * number for number in numbers]


@pytest.mark.parametrize(
    ("norm", "expected"),
    [
        # the images, then each layer's output where a norm follows, and each activation
        pytest.param("batch", 3 * 32**2 + 2 * (7 * 16 * 32**2 + 6 * 32 * 16**2 + 6 * 64 * 8**2) + 64, id="batch"),
        pytest.param("none", 3 * 32**2 + 1 * (7 * 16 * 32**2 + 6 * 32 * 16**2 + 6 * 64 * 8**2) + 64, id="none"),
    ],
)
@pytest.mark.parametrize("shortcut", ["plain", "identity"])
def test_a_resnet_20_keeps_its_layers_and_activations_and_the_shortcut_adds_nothing(norm, expected, shortcut):
    cost = count(build("cnn", shortcut, depth=20, norm=norm, size=32, channels=3), (3, 32, 32))

    assert cost.activation_bytes == 4 * expected


@pytest.mark.parametrize(("dtype", "factor"), [(torch.float64, 2.0), (torch.bfloat16, 0.5)])
def test_bytes_kept_are_those_of_the_precision(dtype, factor):
    network = build("mlp", "identity", depth=6)
    single = count(network, (1, 4, 4))
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
        other = count(network.double() if dtype == torch.float64 else network, (1, 4, 4))

    assert other.activation_bytes == factor * single.activation_bytes
    assert (other.parameters, other.multiply_adds) == (single.parameters, single.multiply_adds)


def test_a_frozen_network_keeps_nothing():
    network = build("mlp", norm="layer").requires_grad_(requires_grad=False)

    assert count(network, (1, 4, 4)).activation_bytes == 0
