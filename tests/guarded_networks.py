"""Forward and backward passes of random CNNs: python guarded_networks.py FIRST NUMBER.

The first networks have the convolutions that overwrote memory: 1x1, strided, with 2 to 7 input channels; the others are random.
Prints two JSON lines per network: its overrides, then how many overwritten heap blocks the preloaded guard has found so far.
"""

import ctypes
import gc
import json
import random
import sys

import torch
from torch.nn import functional

from resexp import config, shortcuts, training
from resexp.networks.building import ACTIVATIONS, BLOCKS, NORMS, PLACEMENTS

KNOWN = [
    ["network.shortcut=projection", "network.width=4"],
    ["network.shortcut=projection-all", "network.width=7"],
    ["network.shortcut=gate", "network.width=2"],
    ["network.shortcut=identity", "network.width=1", "network.block=bottleneck", "network.depth=11"],
]
SHAPES = [(1, 14, 14), (3, 8, 8), (1, 9, 5), (3, 16, 12)]


def known(seed: int) -> tuple[config.Experiment, list[str]]:
    """An experiment with a plain and a residual CNN that contain such a convolution, and its overrides."""
    overrides = ["network.family=cnn", "network.depth=8", "network.norm=batch", "training.batch_size=8", *KNOWN[seed]]
    return config.load("digits", [*overrides, "seeds=1", "name=known"]), overrides


def draw(seed: int) -> tuple[config.Experiment, list[str]]:
    """An experiment with a random plain and residual CNN, and its overrides: the first valid draw of the seed."""
    generator = random.Random(seed)
    while True:
        block = generator.choice(BLOCKS)
        overrides = [
            "network.family=cnn",
            f"network.block={block}",
            f"network.depth={generator.choice((11,) if block == 'bottleneck' else (8, 14))}",
            f"network.width={generator.choice((generator.randint(1, 8), generator.randint(1, 40)))}",
            f"network.shortcut={generator.choice([name for name in shortcuts.SHORTCUTS if name != 'plain'])}",
            f"network.norm={generator.choice(list(NORMS))}",
            f"network.placement={generator.choice(list(PLACEMENTS))}",
            f"network.activation={generator.choice(list(ACTIVATIONS))}",
            f"training.batch_size={generator.choice((1, 2, generator.randint(1, 129)))}",
            f"precision={generator.choice(('float32', 'float32', 'float32', 'float32', 'float64', 'bfloat16'))}",
        ]
        try:
            return config.load("digits", [*overrides, "seeds=1", "name=drawn"]), overrides
        except config.ConfigError:
            continue


def step(trial: config.Trial, shape: tuple[int, ...]) -> None:
    """One forward and backward pass in training mode, and one evaluation."""
    settings = trial.settings
    network = training.build(trial, shape, 10)
    x = torch.randn(settings.training.batch_size, *shape, dtype=training.DTYPES[settings.precision])
    noise = training.sample_noise(network, [trial.seed], 0, x)
    with training.autocast(settings.precision, x.device):
        logits = network(x, [], noise)
    functional.cross_entropy(logits, torch.zeros(len(x), dtype=torch.long)).backward()
    with torch.no_grad():
        network.eval()(x)


def print_json(**values: object) -> None:
    sys.stdout.write(json.dumps(values) + "\n")
    sys.stdout.flush()


def main() -> None:
    first, number = map(int, sys.argv[1:])
    guard = ctypes.CDLL(None)
    for seed in range(first, first + number):
        torch.set_num_threads(2 if seed % 5 == 0 else 1)
        experiment, overrides = known(seed) if seed < len(KNOWN) else draw(seed)
        shape = (1, 28, 28) if seed < len(KNOWN) else SHAPES[seed % len(SHAPES)]
        print_json(seed=seed, shape=shape, overrides=overrides)
        for trial in experiment.trials:
            step(trial, shape)
        gc.collect()
        print_json(overwrites=guard.guard_overwrites())


if __name__ == "__main__":
    main()
