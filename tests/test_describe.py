"""`show`: the layers of a network and the card of its pair, in words."""

import torch

from resexp import config, describe, training

RESNET20 = ("network.depth=[20]", "seeds=1")


def test_layers_are_counted_by_torch_and_folded_where_they_repeat():
    trial = config.load("cifar10-he2015", RESNET20).trials[0]
    network = training.build(trial, (3, 32, 32), 10)
    text = "\n".join(describe.layer_table(network, trial, (3, 32, 32)))

    assert "stem                        (16, 32, 32)               432         442,368" in text
    assert "269,722      40,551,040" in text
    assert "... 3 more of the same" in text
    assert max(map(len, text.splitlines())) <= 80


def test_a_published_set_is_laid_out_before_its_images_are_there(tmp_path):
    text = describe.describe(config.load("cifar10-he2015", [*RESNET20, f"data.root={tmp_path}"]))

    assert "cifar10: images (3, 32, 32), 10 classes" in text
    assert "no cards: " in text
    assert "data.download=true" in text


def test_the_card_shows_what_is_equal_and_what_changed():
    overrides = ["seeds=1", "network.depth=[2,8]", "network.norm=none", "network.init=he", "network.shortcut=projection-all"]
    text = describe.describe(config.load("digits", overrides))

    assert "16 shared weight tensors equal, first batch equal, recipe equal" in text
    assert f"beyond its twin: +{3 * 64 * 64:,} parameters, +{3 * 64 * 64:,} multiply-adds" in text
    assert "depth 2: nothing to skip" in text
    assert torch.tensor(float(text.split("at step 0, loss: ")[2].split(" / ")[0])) > 0
