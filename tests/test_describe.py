"""`show`: the costs of networks and of their layers, and the pairs, of which the data are read."""

import json
from itertools import chain

import pytest

from resexp import config, describe, networks, tables, training

RESNET20 = ("network.depth=[20]", "seeds=1")


def table(config_name: str, *overrides: str) -> list[str]:
    trial = config.load(config_name, overrides).trials[0]
    cost = networks.count(training.build(trial, (3, 32, 32), 10), (3, 32, 32))
    layers = tables.layer_costs([tables.NetworkRows("depth 20", trial.arm, describe.folded(cost.layers), cost)])
    return tables.as_lines([layers]).splitlines()[3:]


def test_layers_are_listed_with_the_counts_of_torch():
    lines = [" ".join(line.split()) for line in table("cifar10-he2015", *RESNET20)]

    assert lines[:4] == [
        "layer output parameters multiply-adds activations",
        "",
        "plain: depth 20",
        "stem (16, 32, 32) 432 442,368 143,360 B",
    ]
    assert lines[-3] == "total (+ norm layers) 269,722 40,551,040 1,519,872 B"
    assert len(lines) == 3 + 20 + 1 + 2  # three blocks per stage are too few to fold


TWO, THREE = (f"... {n} more blocks of the same" for n in (2, 3))


@pytest.mark.parametrize(
    ("overrides", "layers", "shown"),
    [
        # five blocks per stage; a first block that changes shapes differs from the rest, in bottleneck networks at every stage
        pytest.param(["network.depth=[32]"], 2, [0, THREE, 4, 5, 6, TWO, 9, 10, 11, TWO, 14], id="basic"),
        pytest.param(
            ["network.depth=[47]", "network.block=bottleneck", "network.placement=pre"],
            3,
            [0, 1, TWO, 4, 5, 6, TWO, 9, 10, 11, TWO, 14],
            id="bottleneck: three layers that repeat together",
        ),
    ],
)
def test_of_equal_blocks_only_the_first_and_the_last_are_listed(overrides, layers, shown):
    lines = [line.strip() for line in table("cifar10-he2015", *overrides)[3:-3]]
    rows = [[block] if isinstance(block, str) else [f"blocks.{block}.layer{n + 1}" for n in range(layers)] for block in shown]

    assert [line if "..." in line else line.split()[0] for line in lines] == ["stem", *chain(*rows), "classifier"]


def test_layers_for_a_published_data_set_are_listed_without_its_images(tmp_path):
    description = describe.describe(config.load("cifar10-he2015", [*RESNET20, f"data.root={tmp_path}"]))

    assert description.images == "cifar10: images (3, 32, 32), 10 classes"
    assert description.pair_summaries == []
    assert "data.download=true" in description.missing


def test_every_pair_has_a_summary_and_every_cell_a_network():
    overrides = ["seeds=1", "network.depth=[2,8]", "network.norm=none", "network.init=he", "network.shortcut=projection-all"]
    description = describe.describe(config.load("digits", overrides))

    assert [cells for cells, _, _ in description.networks] == [["d2"], ["d8"]]
    assert [summary.nothing_to_skip for summary in description.pair_summaries] == [True, False]
    assert description.missing is None


def test_equal_networks_are_described_once_with_all_their_cells(call):
    overrides = ["seeds=1", "network.depth=[8]", "network.init=[pytorch,he]", "network.shortcut=projection-all"]
    networks = describe.describe(config.load("digits", overrides)).networks
    outputs = [call("show", "digits", *overrides, *more).out for more in ([], ["--all"])]

    assert [cells for cells, _, _ in networks] == [
        [f"d8 norm-{norm} init-pytorch", f"d8 norm-{norm} init-he"] for norm in ("none", "layer")
    ]
    assert [(cost.parameters, cost.multiply_adds, cost.activation_bytes) for _, _, cost in networks] == [
        (29_770, 29_312, 2_048), (30_218, 29_312, 3_896),
    ]  # fmt: skip
    assert [" ".join(line.split()) for line in outputs[0].splitlines() if line.startswith("  plain ")] == [
        "plain 29,770 29,312 2,048 B", "plain 30,218 29,312 3,896 B",
    ]  # fmt: skip
    assert sum("classifier" in line for line in outputs[1].splitlines()) == 2
    assert max(map(len, "".join(outputs).splitlines())) <= 80


def test_all_values_of_a_network_and_a_pair_are_available_as_json(call):
    code, out, _ = call("show", "digits", "seeds=1", "network.depth=[8]", "network.norm=none", "network.init=he", "--json")
    shown = json.loads(out)

    assert code == 0
    assert shown["networks"] == [
        {"configurations": "depth 8", "arm": "plain", "parameters": 29_770, "multiply_adds": 29_312, "activation_bytes": 2_048}
    ]
    assert (shown["pairs"][0]["cell"], shown["pairs"][0]["label"]) == ("d8", "depth 8")
    assert shown["pairs"][0]["equal"]["weights_bit_equal"]
