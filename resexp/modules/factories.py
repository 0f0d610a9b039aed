"""The networks that a factory returns, and the batch on which they are measured."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from resexp import config, datasets, runs, streams, training
from resexp.config import ConfigError
from resexp.modules.passes import LOSSES, Loss, cross_entropy, output_of, seed_all
from resexp.modules.references import load, suppress_all
from resexp.user_code import UserCode

COPIES = 7  # of the parameters in memory: weights, their copy, gradients, and twice as large ones in float64
SIZES = re.compile(r"[1-9][0-9]*(,[1-9][0-9]*)*")
TOKENS = re.compile(r"tokens=([1-9][0-9]*),([1-9][0-9]*)")


@dataclass(frozen=True)
class Inputs:
    """A batch for each seed, and the number of classes of its targets; None if the output of the network determines it."""

    batch: Callable[[int], tuple[Tensor, Tensor | None]]
    classes: int | None


def networks(factory: Callable[..., Any], seeds: int) -> Iterator[nn.Module]:
    """The network of each seed: the factory is called without arguments after every random number generator is seeded.

    Raises:
        ConfigError: the factory fails, or does not return a torch.nn.Module.
    """
    name = getattr(factory, "__name__", str(factory))
    for seed in range(seeds):
        seed_all(seed)
        with UserCode(f"{name}()", "; the function is called without arguments" if seed == 0 else ""):
            network = factory()
        if not isinstance(network, nn.Module):
            raise ConfigError(f"{name}() returned {type(network).__name__}; it must return a torch.nn.Module")
        yield network


def refuse_huge(factory: Callable[..., Any]) -> None:
    """Raises ConfigError if the parameters do not fit into memory as often as a measurement needs them.

    The network is built without storage (torch's meta device); if that fails, nothing is refused here.
    """
    with suppress_all(), torch.device("meta"):
        network = factory()
        size = sum(parameter.numel() * parameter.element_size() for parameter in network.parameters())
        free = runs.free_memory()
        if free and COPIES * size > free:
            raise ConfigError(
                f"{type(network).__name__} has {size / 1e9:,.1f} GB of parameters, and {COPIES} times that is needed, but "
                f"{free / 1e9:.1f} GB of memory are free; measure a smaller version of it"
            )


def find_loss(name: str) -> Loss:
    """A loss of `LOSSES`, or the function that MODULE:FUNCTION names.

    Raises:
        ConfigError: neither.
    """
    if name in LOSSES:
        return LOSSES[name]
    if ":" not in name:
        raise ConfigError(f"{name!r} is neither MODULE:FUNCTION nor one of {', '.join(LOSSES)}", where="--loss")
    return load(name)


def inputs_of(text: str, size: int, classes: int | None, data_root: str | None) -> Inputs:
    """The inputs of `--input`: C,H,W or any sizes (standard normal), tokens=K,N (N of K integers), or the name of a data set.

    The batch of a data set is the first one of `resexp train` with that seed. Without `classes`, other inputs get targets as
    the output of the network has classes.

    Raises:
        ConfigError: none of these.
        DataError: the images cannot be read.
    """
    if text in datasets.DATASETS and text != "image-folder":
        data = config.Settings(name="probe").data.model_copy(update={"name": text, "root": data_root})
        images = training.load_training_data(data, "cpu", "float32")
        return Inputs(lambda seed: next(training.batches(images, [seed], size, "none")), len(images.training.classes))
    if tokens := TOKENS.fullmatch(text):
        number, length = int(tokens[1]), int(tokens[2])
        return Inputs(lambda seed: (torch.randint(number, (size, length), generator=_generator(seed, "inputs")), None), classes)
    if not SIZES.fullmatch(text):
        names = [name for name in datasets.DATASETS if name != "image-folder"]
        raise ConfigError(
            f"{text!r} is none of sizes such as 3,32,32, tokens=VOCABULARY,LENGTH, and a data set ({', '.join(names)})",
            where="--input",
        )
    shape = tuple(map(int, text.split(",")))
    return Inputs(lambda seed: (torch.randn(size, *shape, generator=_generator(seed, "inputs")), None), classes)


def targets_of(network: nn.Module, x: Tensor, loss: Loss, classes: int | None, seed: int) -> Tensor:
    """Random targets for the output of a network: class indices for cross-entropy, otherwise standard normal values.

    Raises:
        ConfigError: the forward pass fails, or `classes` is more than the network has outputs.
    """
    output = output_of(network, x, seed)
    generator = _generator(seed, "targets")
    if loss is not cross_entropy:
        return torch.randn(output.shape, generator=generator)
    if output.ndim < 2:
        raise ConfigError(
            f"cross-entropy needs logits of shape (B, classes), not {tuple(output.shape)}; try --loss mse", where="--loss"
        )
    if classes is not None and classes > output.shape[-1]:
        raise ConfigError(f"{classes} is more than the {output.shape[-1]} outputs of the network", where="--classes")
    return torch.randint(classes or output.shape[-1], output.shape[:-1], generator=generator)


def _generator(seed: int, name: str) -> torch.Generator:
    return streams.generator(seed, "probe", name)
