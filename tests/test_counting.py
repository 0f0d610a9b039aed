"""Costs of networks against explicit sums and a walk through the autograd graph.

Shapes: B batch, C x H x W image, K classes.
"""

import pytest
import torch
from combinations import every_two
from torch import Tensor

from resexp.networks import NORMS, PLACEMENTS, Network, build_network, count, counting, multiply_adds, weighted_layers
from resexp.shortcuts import SHORTCUTS

K = 10
FAMILIES = ("mlp", "cnn")
PUBLISHED = [(20, 40_551_040), (32, 68_862_592), (44, 97_174_144), (56, 125_485_696), (110, 252_887_680)]


def build(family: str, shortcut: str = "plain", *, size: int = 4, channels: int = 1, **arguments) -> Network:
    shape = {"depth": 8, "width": 16, "input_shape": (channels, size, size), "classes": K} | arguments
    return build_network(family, shortcut=shortcut, **shape)


def test_activation_memory_is_counted_in_inference_mode():
    network = build("mlp", "identity")
    expected = count(network, (1, 4, 4))
    with torch.inference_mode():
        assert count(network, (1, 4, 4)) == expected

    assert expected.activation_bytes > 0


# ---- counting does not change the network -----------------------------------------------------------------------------


@pytest.mark.parametrize("measure", [count, multiply_adds])
@pytest.mark.parametrize("shortcut", SHORTCUTS)
@pytest.mark.parametrize("family", FAMILIES)
def test_counting_does_not_change_weights_statistics_modes_gradients_or_random_state(family, shortcut, measure):
    network = build(family, shortcut, norm="batch")
    network(torch.randn(4, 1, 4, 4)).sum().backward()
    network.eval()
    network.blocks[1].train()
    modes = [module.training for module in network.modules()]
    state_dict = {name: value.clone() for name, value in network.state_dict().items()}
    tensors = list(network.state_dict(keep_vars=True).values())
    grads = {name: p.grad.clone() for name, p in network.named_parameters()}
    random_state = torch.get_rng_state()
    measure(network, (1, 4, 4))

    assert [module.training for module in network.modules()] == modes
    assert [name for name, value in network.state_dict().items() if not torch.equal(value, state_dict[name])] == []
    assert all(a is b for a, b in zip(network.state_dict(keep_vars=True).values(), tensors, strict=True))
    assert [name for name, p in network.named_parameters() if not torch.equal(p.grad, grads[name])] == []
    assert torch.equal(torch.get_rng_state(), random_state)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())


def test_modes_are_restored_if_counting_fails():
    network = build("mlp").eval()
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        count(network, (1, 5, 5))

    assert not any(module.training or module._forward_hooks or module._forward_pre_hooks for module in network.modules())


@pytest.mark.parametrize("batches", [(2, 3), (3, 8)])
@pytest.mark.parametrize("family", FAMILIES)
def test_costs_per_image_do_not_depend_on_the_measured_batch_sizes(family, batches, monkeypatch):
    network = build(family, "dropout", norm="batch")
    expected = count(network, (1, 4, 4))
    monkeypatch.setattr(counting, "SMALL_BATCH", batches[0])
    monkeypatch.setattr(counting, "LARGE_BATCH", batches[1])

    assert count(network, (1, 4, 4)) == expected


def test_activation_memory_is_counted_inside_no_grad():
    network = build("mlp", "identity")
    with torch.no_grad():
        without = count(network, (1, 4, 4))

    assert without == count(network, (1, 4, 4))


def test_a_network_on_the_meta_device_has_the_same_costs():
    keys = {"depth": 20, "norm": "batch", "size": 32, "channels": 3}
    with torch.device("meta"):
        meta = build("cnn", "identity", **keys)

    assert count(meta, (3, 32, 32)) == count(build("cnn", "identity", **keys), (3, 32, 32))


# ---- multiply-adds and parameters -------------------------------------------------------------------------------------


@pytest.mark.parametrize("shortcut", ["plain", "identity"])
@pytest.mark.parametrize(("depth", "expected"), PUBLISHED)
def test_multiply_adds_of_the_published_networks(depth, expected, shortcut):
    network = build("cnn", shortcut, depth=depth, norm="batch", size=32, channels=3)

    assert multiply_adds(network, (3, 32, 32)) == expected


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("shortcut", SHORTCUTS)
@pytest.mark.parametrize("family", FAMILIES)
def test_each_layer_has_a_multiply_add_per_weight_and_pixel_and_layers_sum_to_the_total(family, shortcut, norm):
    network = build(family, shortcut, norm=norm, size=7)
    cost, layers = count(network, (1, 7, 7)), weighted_layers(network)
    # 7 x 7 images, halved to 4 x 4 and 2 x 2
    sides = [7, 7, 4, 2] if family == "cnn" else [1] * 4
    for layer, layer_cost in zip(layers, cost.layers, strict=True):
        block = -1 if "." not in layer.name else int(layer.name.split(".")[1])
        side = 1 if layer.name == "classifier" else sides[block + 1]
        outputs = layer.weight.shape[0]

        assert layer_cost.name == layer.name
        assert layer_cost.output == ((outputs, side, side) if layer.weight.ndim == 4 else (outputs,))
        assert layer_cost.parameters == layer.weight.numel() + (0 if layer.module.bias is None else outputs)
        assert layer_cost.multiply_adds == layer.weight.numel() * side**2
    assert (
        sum(layer_cost.multiply_adds for layer_cost in cost.layers) == cost.multiply_adds == multiply_adds(network, (1, 7, 7))
    )
    assert sum(layer_cost.activation_bytes for layer_cost in cost.layers) == cost.activation_bytes
    assert cost.parameters == sum(p.numel() for p in network.parameters())


# ---- activation memory ------------------------------------------------------------------------------------------------


def saved_bytes(network: Network, x: Tensor, draws: list[Tensor | None]) -> int:
    """Bytes of all storages that nodes of the autograd graph save, each counted once."""
    output = network(x, None, draws)
    nodes, visited, sizes = [output.grad_fn], set(), {}
    while nodes:
        node = nodes.pop()
        if node is None or node in visited:
            continue
        visited.add(node)
        nodes += [inner for inner, _ in node.next_functions]
        saved = [getattr(node, name) for name in dir(node) if name.startswith("_saved_")]
        sizes |= {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in saved if isinstance(t, Tensor)}
    return sum(sizes.values())


@pytest.mark.parametrize(("family", "shortcut", "placement", "norm"), every_two(FAMILIES, SHORTCUTS, PLACEMENTS, NORMS))
def test_activation_bytes_equal_what_the_autograd_graph_saves_for_one_more_image(family, shortcut, placement, norm):
    network = build(family, shortcut, placement=placement, norm=norm)
    totals = []
    for batch in (3, 4):
        draws = network.sample_noise(batch, lambda block: torch.Generator().manual_seed(block))
        totals.append(saved_bytes(network, torch.randn(batch, 1, 4, 4), draws))

    assert count(network, (1, 4, 4)).activation_bytes == totals[1] - totals[0]


@pytest.mark.parametrize(
    ("keys", "numbers"),
    [
        # 16 pixels, two layers of 8 units in a block, classifier; 4 bytes per number
        pytest.param({}, [16 + 8, 8, 8, 0], id="relu saves its output, which is the input of the next layer"),
        pytest.param({"activation": "tanh"}, [16 + 8, 8, 8, 0], id="so does tanh"),
        pytest.param({"activation": "gelu"}, [16 + 8, 8 + 8, 8 + 8, 8], id="gelu saves its input, the next layer another one"),
        pytest.param(
            {"norm": "batch"}, [16 + 8 + 8, 8 + 8, 8 + 8, 0], id="batch norm saves its input; its means are not per image"
        ),
        pytest.param({"norm": "layer"}, [16 + 18, 18, 18, 0], id="layer norm also saves a mean and an SD per image"),
        pytest.param({"shortcut": "identity"}, [16 + 8, 8, 8, 0], id="an addition saves nothing"),
        pytest.param({"shortcut": "identity", "placement": "branch"}, [16 + 8, 8, 8, 8], id="a sum that no activation saves"),
        pytest.param({"shortcut": "skipinit"}, [16 + 8, 8, 8 + 8, 0], id="a learned scalar saves its branch"),
        pytest.param({"shortcut": "dropout"}, [16 + 8 + 8, 8, 8, 0], id="a factor per element, drawn before the branch"),
        pytest.param({"shortcut": "stochastic-depth"}, [16 + 8, 8, 8, 0], id="one factor per batch"),
        # S is computed before the branch, so g and 1 - g count for the map; the output of the stem counts for the stem
        pytest.param({"shortcut": "gate-shortcut"}, [16 + 8, 8, 8, 8 + 8, 0], id="a gate saves g and 1 - g"),
        pytest.param({"shortcut": "gate"}, [16 + 8, 8, 8 + 8, 8 + 8, 0], id="a gate on the branch also saves the branch"),
        pytest.param({"shortcut": "projection-all"}, [16 + 8, 8, 8, 0, 0], id="a map saves x, which is saved already"),
    ],
)
def test_a_layer_counts_what_is_saved_until_the_next_layer_is_called(keys, numbers):
    cost = count(build("mlp", **{"depth": 4, "width": 8} | keys), (1, 4, 4))

    assert [layer_cost.activation_bytes for layer_cost in cost.layers] == [4 * number for number in numbers]


@pytest.mark.parametrize(
    ("norm", "expected"),
    [
        # the images, then the output of each layer that batch norm follows, and each activation
        pytest.param("batch", 3 * 32**2 + 2 * (7 * 16 * 32**2 + 6 * 32 * 16**2 + 6 * 64 * 8**2) + 64, id="batch"),
        pytest.param("none", 3 * 32**2 + 1 * (7 * 16 * 32**2 + 6 * 32 * 16**2 + 6 * 64 * 8**2) + 64, id="none"),
    ],
)
@pytest.mark.parametrize("shortcut", ["plain", "identity"])
def test_activation_memory_of_a_resnet_20_is_that_of_its_layers_and_activations(norm, expected, shortcut):
    cost = count(build("cnn", shortcut, depth=20, norm=norm, size=32, channels=3), (3, 32, 32))

    assert cost.activation_bytes == 4 * expected


@pytest.mark.parametrize(("dtype", "factor"), [(torch.float64, 2.0), (torch.bfloat16, 0.5)])
def test_activation_bytes_depend_on_the_precision(dtype, factor):
    network = build("mlp", "identity", depth=6)
    single = count(network, (1, 4, 4))
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
        other = count(network.double() if dtype == torch.float64 else network, (1, 4, 4))

    assert other.activation_bytes == factor * single.activation_bytes
    assert (other.parameters, other.multiply_adds) == (single.parameters, single.multiply_adds)


def test_a_frozen_network_has_no_activation_memory():
    network = build("mlp", norm="layer").requires_grad_(requires_grad=False)

    assert count(network, (1, 4, 4)).activation_bytes == 0
