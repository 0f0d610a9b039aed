"""Ablations of a trained network: remove blocks, scale shortcuts, scan the loss surface.

    lesion   F = 0 in one block; if S = 0, also S = u, so that both arms lose only the branch          arXiv:1605.06431 §4.1
    scale    S is multiplied by s in all blocks
    surface  theta + alpha d_1 + beta d_2, with random d_i that have the norm of theta in each filter  arXiv:1712.09913 §4

Measured on the validation images in eval mode; batch norm uses the stored statistics, which are those of the unaltered network.
The network itself does not change: an altered network shares its layers or is a copy. A measure returns the mean loss and the
error (in [0, 1]) of a network.
"""

import copy
import math
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import cast

import torch
from torch import Tensor, nn

from resexp import runs, streams, training
from resexp.config import Trial
from resexp.datasets import Images
from resexp.networks import Block, Network, boundary_names
from resexp.runs.files import CsvValue
from resexp.shortcuts import ONE, ZERO, Scale, Term
from resexp.training import TrainingData

Evaluator = Callable[[Network], tuple[float, float]]

SHORTCUT_SCALES = tuple((10 - n) / 10 for n in range(11))
AXES = ("alpha", "beta")
MAX_TIMED_IMAGES = 2_000


# ---- a finished trial -----------------------------------------------------------------------------------------------


def load(folder: Path, trial: Trial, device: str) -> tuple[Network, TrainingData]:
    """The network of the trial in `folder` with its final weights, in eval mode, and its training data.

    Raises:
        RunsError: the trial is not finished, or it diverged; weights.pt is missing, or its SHA-256 digest differs.
        DataError: images missing or damaged.
    """
    result = runs.result(folder)
    if result is None:
        raise runs.RunsError(f"{folder}: not finished; only trained networks can be dissected")
    if result.diverged_at is not None:
        raise runs.RunsError(f"{folder}: diverged at step {result.diverged_at}; only trained networks can be dissected")
    runs.check_digests(folder, result, ["weights.pt"])
    training_data = training.load_training_data(trial.settings.data, device, trial.settings.precision)
    network = training.build(trial, training_data.input_shape, training_data.classes).to(torch.device(device))
    network.load_state_dict(torch.load(folder / "weights.pt", map_location=device, weights_only=True))
    return network.eval(), training_data


def measure_on(images: Images, training_data: TrainingData) -> Evaluator:
    """A function that returns (mean cross-entropy, error in [0, 1]) of a network on `images`."""

    def measure(network: Network) -> tuple[float, float]:
        ((loss, accuracy),) = training.evaluate(network, images, training_data)
        return loss, 1 - accuracy

    return measure


def dissect(folder: Path, trial: Trial, device: str, part: str, grid: int = 0, line: int = 0) -> list[tuple[CsvValue, ...]]:
    """The rows of lesion.csv or shortcut_scale.csv of a trial, or the rows of surface.csv for one `line` of the grid."""
    network, training_data = load(folder, trial, device)
    measure, example = measure_on(training_data.validation, training_data), _example(training_data)
    if part == "surface":
        return [*surface(network, measure, trial.seed, grid, line)]
    return [*lesion(network, measure, example)] if part == "lesion" else [*shortcut_scale(network, measure, example)]


def cost(folder: Path, trial: Trial, device: str) -> tuple[float, dict[str, int]]:
    """(seconds of one evaluation, number of evaluations for lesion and scale), timed on up to 2,000 images."""
    network, training_data = load(folder, trial, device)
    number = min(MAX_TIMED_IMAGES, len(training_data.validation))
    images = training_data.validation.at(torch.arange(number, device=training_data.shift.device))
    measure, seconds = measure_on(images, training_data), []
    for _ in range(3):
        start = time.perf_counter()
        measure(network)
        seconds.append(time.perf_counter() - start)
    remainders = block_remainders(network, _example(training_data))
    lesions = len(remainders) - remainders.count("nothing")
    scales = len(SHORTCUT_SCALES) if "shortcut" in remainders else 0
    return median(seconds) * len(training_data.validation) / number, {"lesion": 1 + lesions, "scale": scales}


def _example(training_data: TrainingData) -> Tensor:
    """One image, (1, C, H, W)."""
    return training_data.batch(torch.zeros(1, dtype=torch.long, device=training_data.shift.device))


# ---- altered blocks with the same weights ---------------------------------------------------------------------------


class ZeroBranch(nn.Module):
    """F = 0; broadcasts to any shape."""

    def forward(self, h: Tensor) -> Tensor:
        return h.new_zeros(())


class ShortcutOrIdentity(nn.Module):
    """a = 1 and S; if S is 0, S = u, because a block whose branch and shortcut are 0 would pass no information."""

    def __init__(self, shortcut: nn.Module) -> None:
        super().__init__()
        self.shortcut = shortcut

    def forward(self, u: Tensor) -> tuple[Scale, Term]:
        _, s = self.shortcut(u)
        return ONE, u if is_zero(s) else s


class ScaledShortcut(nn.Module):
    """a and s S, where s is `scale`; for s = 0, the constant 0 as in a plain block, even if S is not finite."""

    def __init__(self, shortcut: nn.Module, scale: float) -> None:
        super().__init__()
        self.shortcut, self.scale = shortcut, scale

    def forward(self, u: Tensor) -> tuple[Scale, Term]:
        a, s = self.shortcut(u)
        return a, self.scale * s if self.scale else ZERO


def is_zero(term: Term) -> bool:
    """Whether S is the constant 0, which costs no operation."""
    return isinstance(term, float) and term == ZERO


def _blocks(network: Network) -> list[Block]:
    return cast("list[Block]", list(network.blocks))


def _altered(block: Block, branch: nn.Module, shortcut: nn.Module) -> Block:
    altered = Block(block.before, branch, shortcut, block.after)
    altered.shares_activation = block.shares_activation
    return altered


def _with_blocks(network: Network, blocks: list[Block]) -> Network:
    altered = Network(network.stem, blocks, network.tail, network.classifier)
    altered.training = network.training
    return altered


# ---- lesion ---------------------------------------------------------------------------------------------------------


@torch.no_grad()
def block_remainders(network: Network, x: Tensor) -> list[str]:
    """The remainder of each block without its branch: its shortcut, the identity, or nothing (column `without` of lesion.csv).

    It is the identity if S is 0, and nothing if S is 0 and the block changes shape. x is any image, (1, C, H, W).
    """
    mode, remainders, boundaries = network.training, [], list[Tensor]()
    network.eval()
    network(x, boundaries)
    for block, (inputs, outputs) in zip(_blocks(network), pairwise(boundaries), strict=True):
        _, s = block.shortcut(block.before(inputs) if block.shares_activation else inputs)
        same_shape = inputs.shape == outputs.shape
        remainders.append("shortcut" if not is_zero(s) else "identity" if same_shape else "nothing")
    network.train(mode)
    return remainders


def without_branch(network: Network, index: int) -> Network:
    """The network without the branch of block `index` (from 0)."""
    blocks = _blocks(network)
    blocks[index] = _altered(blocks[index], ZeroBranch(), ShortcutOrIdentity(blocks[index].shortcut))
    return _with_blocks(network, blocks)


def lesion(network: Network, measure: Evaluator, x: Tensor) -> list[tuple[int, str, str, float, float, float]]:
    """Rows (index, block, without, loss, error, error increase): index 0 is the unaltered network, the others lack one branch.

    Index and block are those of signals.csv. `without` is given by `block_remainders`, and `all` for the unaltered network.
    Loss and error are nan if the block would become nothing.
    """
    names = boundary_names(network)
    loss, error = measure(network)
    rows = [(0, "none", "all", loss, error, 0.0)]
    for index, remainder in enumerate(block_remainders(network, x)):
        values = (math.nan, math.nan) if remainder == "nothing" else measure(without_branch(network, index))
        rows.append((index + 1, names[index + 1], remainder, *values, values[1] - error))
    return rows


# ---- shortcut scaling -----------------------------------------------------------------------------------------------


def with_scaled_shortcuts(network: Network, scale: float) -> Network:
    """The network with every S multiplied by `scale`."""
    return _with_blocks(
        network, [_altered(block, block.branch, ScaledShortcut(block.shortcut, scale)) for block in _blocks(network)]
    )


def shortcut_scale(network: Network, measure: Evaluator, x: Tensor) -> list[tuple[float, float, float]]:
    """Rows (s, loss, error) for s = 1, 0.9, ..., 0; no rows if every S is 0 already."""
    has_shortcuts = "shortcut" in block_remainders(network, x)
    return [(s, *measure(with_scaled_shortcuts(network, s))) for s in SHORTCUT_SCALES] if has_shortcuts else []


# ---- loss surface ---------------------------------------------------------------------------------------------------


def direction(network: Network, seed: int, axis: str) -> dict[str, Tensor]:
    """A random, filter-normalized direction, by parameter name.

    In each filter (row of a weight) it has the norm of the filter. It is 0 for biases, scalars and parameters of normalization
    layers. The draws depend on (seed, axis, name) only, so a pair shares them.
    """
    layers = {f"{name}.weight" for name, module in network.named_modules() if isinstance(module, nn.Linear | nn.Conv2d)}
    directions = {}
    for name, parameter in network.named_parameters():
        directions[name] = torch.zeros_like(parameter)
        if name in layers:
            stream = streams.generator(seed, "surface", axis, name)
            noise = torch.randn(parameter.shape, generator=stream, dtype=torch.float64).flatten(1)
            norms = parameter.detach().cpu().double().flatten(1).norm(dim=1, keepdim=True)
            directions[name].copy_((noise * (norms / noise.norm(dim=1, keepdim=True))).view(parameter.shape))
    return directions


@torch.no_grad()
def surface(network: Network, measure: Evaluator, seed: int, grid: int, line: int) -> list[tuple[float, float, float, float]]:
    """Rows (alpha, beta, loss, error) for one alpha, number `line` from 0, and every beta, on a grid from -1 to 1.

    alpha and beta have `grid` values each. If `grid` is odd, the trained weights are one of the points.
    """
    shifted = copy.deepcopy(network)
    first, second = (direction(network, seed, axis) for axis in AXES)
    steps = [(2 * n - grid + 1) / (grid - 1) for n in range(grid)]
    alpha, rows = steps[line], []
    for beta in steps:
        for (name, parameter), trained in zip(shifted.named_parameters(), network.parameters(), strict=True):
            parameter.copy_(trained + alpha * first[name] + beta * second[name])
        rows.append((alpha, beta, *measure(shifted)))
    return rows
