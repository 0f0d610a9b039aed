"""`show`: the layers of a network and the summary of its pair, as text."""

from itertools import chain

import pytest

from resexp import config, describe, networks, training

RESNET20 = ("network.depth=[20]", "seeds=1")


def table(config_name: str, *overrides: str) -> list[str]:
    trial = config.load(config_name, overrides).trials[0]
    return describe.layer_table(trial.arm, networks.count(training.build(trial, (3, 32, 32), 10), (3, 32, 32)))


def test_layers_are_listed_with_the_counts_of_torch():
    lines = table("cifar10-he2015", *RESNET20)

    assert lines[:3] == [
        "  arm plain",
        "  layer                output           parameters  multiply-adds    activations",
        "  stem                 (16, 32, 32)            432        442,368      143,360 B",
    ]
    assert lines[-1] == "  total (+ norm layers)                    269,722     40,551,040    1,519,872 B"
    assert len(lines) == 1 + 1 + 20 + 1  # three blocks per stage are too few to fold
    assert max(map(len, lines)) == 80


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
    lines = [line.strip() for line in table("cifar10-he2015", *overrides)[2:-1]]
    rows = [[block] if isinstance(block, str) else [f"blocks.{block}.layer{n + 1}" for n in range(layers)] for block in shown]

    assert [line if "..." in line else line.split()[0] for line in lines] == ["stem", *chain(*rows), "classifier"]


def test_layers_for_a_published_data_set_are_listed_without_its_images(tmp_path):
    lines, pair_summaries, missing = describe.describe(config.load("cifar10-he2015", [*RESNET20, f"data.root={tmp_path}"]))

    assert lines[0] == "cifar10: images (3, 32, 32), 10 classes"
    assert pair_summaries == []
    assert "data.download=true" in missing


def test_every_pair_has_a_summary_and_every_cell_a_table():
    overrides = ["seeds=1", "network.depth=[2,8]", "network.norm=none", "network.init=he", "network.shortcut=projection-all"]
    lines, pair_summaries, missing = describe.describe(config.load("digits", overrides))

    assert [line for line in lines if line in ("d2 norm-none init-he", "d8 norm-none init-he", "d2", "d8")] == ["d2", "d8"]
    assert [summary.nothing_to_skip for summary in pair_summaries] == [True, False]
    assert missing is None


def test_equal_networks_are_described_once_with_all_their_cells():
    experiment = config.load("digits", ["seeds=1", "network.depth=[8]", "network.shortcut=projection-all"])
    tables, _, _ = describe.describe(experiment)
    totals, _, _ = describe.describe(experiment, show_layers=False)
    cells = ["norm-none init-pytorch; norm-none init-he", "norm-layer init-pytorch; norm-layer init-he"]
    headings = [cell.replace("norm", "d8 norm") for cell in cells]

    assert [line for line in tables if "init-" in line] == [line for line in totals if "init-" in line] == headings
    assert sum("classifier" in line for line in tables) == 2
    assert [line for line in totals if line.startswith("  plain: ")] == [
        "  plain: 29,770 parameters, 29,312 multiply-adds, 2,048 B activations",
        "  plain: 30,218 parameters, 29,312 multiply-adds, 3,896 B activations",
    ]
    assert max(map(len, totals)) <= 80
