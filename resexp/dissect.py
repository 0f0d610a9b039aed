"""What happens to a trained network when a block is removed, its shortcuts are weakened, its weights are moved.

    lesion   F = 0 in one block; where S is 0 as well, S = u stands in, so that both arms lose the same    arXiv:1605.06431 §4.1
    dose     S becomes s S in all blocks at once
    surface  theta + alpha d_1 + beta d_2, d_i random, of the norm of theta filter by filter               arXiv:1712.09913 §4

Measured on the validation images in eval mode: batch norms keep the statistics that are stored with the weights, which are
those of the unaltered network. The network is left as it was: altered ones are built around its parts or are copies. A
measure gives a network's mean loss and error in [0, 1].
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

Measure = Callable[[Network], tuple[float, float]]

SHORTCUT_SCALES = tuple((10 - n) / 10 for n in range(11))
AXES = ("alpha", "beta")
TIMED_IMAGES = 2_000


# ---- a finished trial -----------------------------------------------------------------------------------------------


def load(place: Path, trial: Trial, device: str) -> tuple[Network, TrainingData]:
    """The network of the trial in folder `place` with its final weights, in eval mode, and the images that it was trained on.

    Raises:
        RunsError: the trial diverged; weights.pt is missing, or is not the file that the trial was finished with.
        DataError: images missing or damaged.
    """
    done = runs.result(place)
    if done is None:
        raise runs.RunsError(f"{place}: not finished; only trained networks can be dissected")
    step = runs.diverged_at(done)
    if step is not None:
        raise runs.RunsError(f"{place}: diverged at step {step}; only trained networks can be dissected")
    runs.check_digests(place, done, ["weights.pt"])
    found = training.load_training_data(trial.settings.data, device, training.DTYPES[trial.settings.precision])
    network = training.build(trial, found.input_shape, found.classes).to(torch.device(device))
    network.load_state_dict(torch.load(place / "weights.pt", map_location=device, weights_only=True))
    return network.eval(), found


def measure_on(images: Images, training_data: TrainingData) -> Measure:
    """(mean cross-entropy, share of wrong answers) of a network on `images`."""

    def measure(network: Network) -> tuple[float, float]:
        ((loss, accuracy),) = training.evaluate(network, images, training_data)
        return loss, 1 - accuracy

    return measure


def dissect(place: Path, trial: Trial, device: str, part: str, grid: int = 0, line: int = 0) -> list[tuple[CsvValue, ...]]:
    """The rows of lesion.csv or shortcut_scale.csv of a trial; of surface.csv those of one `line` of the grid.

    Raises:
        RunsError, DataError: as `load`.
    """
    network, found = load(place, trial, device)
    measure, example = measure_on(found.validation, found), _example(found)
    parts: dict[str, Callable[[], list[tuple[CsvValue, ...]]]] = {
        "lesion": lambda: [*lesion(network, measure, example)],
        "scale": lambda: [*shortcut_scale(network, measure, example)],
        "surface": lambda: [*surface(network, measure, trial.seed, grid, line)],
    }
    return parts[part]()


def cost(place: Path, trial: Trial, device: str) -> tuple[float, dict[str, int]]:
    """(seconds of one evaluation, evaluations that lesion and dose take), timed on up to 2,000 images.

    Raises:
        RunsError, DataError: as `load`.
    """
    network, found = load(place, trial, device)
    some = found.validation.at(torch.arange(min(TIMED_IMAGES, len(found.validation)), device=found.shift.device))
    measure, seconds = measure_on(some, found), []
    for _ in range(3):
        begun = time.perf_counter()
        measure(network)
        seconds.append(time.perf_counter() - begun)
    left = remains(network, _example(found))
    lesions, shortcut_scales = len(left) - left.count("nothing"), len(SHORTCUT_SCALES) if "shortcut" in left else 0
    return median(seconds) * len(found.validation) / len(some), {"lesion": 1 + lesions, "scale": shortcut_scales}


def _example(training_data: TrainingData) -> Tensor:
    """One image, (1, C, H, W)."""
    return training_data.batch(torch.zeros(1, dtype=torch.long, device=training_data.shift.device))


# ---- other blocks around the same weights ---------------------------------------------------------------------------


class Nothing(nn.Module):
    """F = 0, of any shape."""

    def forward(self, h: Tensor) -> Tensor:
        return h.new_zeros(())


class Standing(nn.Module):
    """a = 1, S; where S is 0, S = u: an empty block without a shortcut would be the end of the network."""

    def __init__(self, shortcut: nn.Module) -> None:
        super().__init__()
        self.shortcut = shortcut

    def forward(self, u: Tensor) -> tuple[Scale, Term]:
        _, s = self.shortcut(u)
        return ONE, u if is_nothing(s) else s


class ScaledShortcut(nn.Module):
    """a, dose S; at dose 0 no S at all, as in a plain block, whatever its size."""

    def __init__(self, shortcut: nn.Module, shortcut_scale: float) -> None:
        super().__init__()
        self.shortcut, self.shortcut_scale = shortcut, shortcut_scale

    def forward(self, u: Tensor) -> tuple[Scale, Term]:
        a, s = self.shortcut(u)
        return a, self.shortcut_scale * s if self.shortcut_scale else ZERO


def is_nothing(term: Term) -> bool:
    """Whether S is the constant 0, which costs no operation."""
    return isinstance(term, float) and term == ZERO


def _blocks(network: Network) -> list[Block]:
    return cast("list[Block]", list(network.blocks))


def _altered(block: Block, branch: nn.Module, shortcut: nn.Module) -> Block:
    made = Block(block.before, branch, shortcut, block.after)
    made.shares_activation = block.shares_activation
    return made


def _around(network: Network, blocks: list[Block]) -> Network:
    made = Network(network.stem, blocks, network.tail, network.classifier)
    made.training = network.training
    return made


# ---- lesion ---------------------------------------------------------------------------------------------------------


@torch.no_grad()
def remains(network: Network, x: Tensor) -> list[str]:
    """What stays of each block without its branch: `shortcut`, `identity` where S is 0, `nothing` where shapes change, too.

    x is any image, (1, C, H, W).
    """
    mode, found, boundaries = network.training, [], list[Tensor]()
    network.eval()
    network(x, boundaries)
    for block, (entering, leaving) in zip(_blocks(network), pairwise(boundaries), strict=True):
        _, s = block.shortcut(block.before(entering) if block.shares_activation else entering)
        same = entering.shape == leaving.shape
        found.append("shortcut" if not is_nothing(s) else "identity" if same else "nothing")
    network.train(mode)
    return found


def without(network: Network, index: int) -> Network:
    """The network in which block `index` (from 0) has no branch."""
    blocks = _blocks(network)
    blocks[index] = _altered(blocks[index], Nothing(), Standing(blocks[index].shortcut))
    return _around(network, blocks)


def lesion(network: Network, measure: Measure, x: Tensor) -> list[tuple[int, str, str, float, float, float]]:
    """(index, block, left, loss, error, increase of the error): the whole network under index 0, then without each block.

    Index and block are those of signals.csv; left as `remains` says it, `all` of the whole network. A block that cannot be
    removed has nan.
    """
    names = boundary_names(network)
    loss, error = measure(network)
    rows = [(0, "none", "all", loss, error, 0.0)]
    for index, left in enumerate(remains(network, x)):
        found = (math.nan, math.nan) if left == "nothing" else measure(without(network, index))
        rows.append((index + 1, names[index + 1], left, *found, found[1] - error))
    return rows


# ---- dose-response --------------------------------------------------------------------------------------------------


def weakened(network: Network, shortcut_scale: float) -> Network:
    """The network in which every S is `dose` times what it was."""
    return _around(
        network, [_altered(block, block.branch, ScaledShortcut(block.shortcut, shortcut_scale)) for block in _blocks(network)]
    )


def shortcut_scale(network: Network, measure: Measure, x: Tensor) -> list[tuple[float, float, float]]:
    """(s, loss, error) for s = 1, 0.9, ..., 0; no rows where every S is 0 already."""
    scales = "shortcut" in remains(network, x)
    return [(s, *measure(weakened(network, s))) for s in SHORTCUT_SCALES] if scales else []


# ---- surface --------------------------------------------------------------------------------------------------------


def direction(network: Network, seed: int, axis: str) -> dict[str, Tensor]:
    """A random direction by parameter name: of each filter, one row of a weight, of the filter's own norm; 0 for all else.

    All else are biases, norms and scalars. What is drawn depends on (seed, axis, name) alone, so twins share it.
    """
    layers = {f"{name}.weight" for name, part in network.named_modules() if isinstance(part, nn.Linear | nn.Conv2d)}
    found = {}
    for name, parameter in network.named_parameters():
        found[name] = torch.zeros_like(parameter)
        if name in layers:
            stream = streams.generator(seed, "surface", axis, name)
            noise = torch.randn(parameter.shape, generator=stream, dtype=torch.float64).flatten(1)
            norms = parameter.detach().cpu().double().flatten(1).norm(dim=1, keepdim=True)
            found[name].copy_((noise * (norms / noise.norm(dim=1, keepdim=True))).view(parameter.shape))
    return found


@torch.no_grad()
def surface(network: Network, measure: Measure, seed: int, grid: int, line: int) -> list[tuple[float, float, float, float]]:
    """(alpha, beta, loss, error) of the `line`-th alpha (from 0) and every beta, on `grid` points each from -1 to 1.

    The trained weights are one of the points where `grid` is odd.
    """
    moved = copy.deepcopy(network)
    first, second = (direction(network, seed, axis) for axis in AXES)
    steps = [(2 * n - grid + 1) / (grid - 1) for n in range(grid)]
    alpha, rows = steps[line], []
    for beta in steps:
        for (name, parameter), trained in zip(moved.named_parameters(), network.parameters(), strict=True):
            parameter.copy_(trained + alpha * first[name] + beta * second[name])
        rows.append((alpha, beta, *measure(moved)))
    return rows
