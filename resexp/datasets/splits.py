"""Which images train, validate and test, and in which order they come; stratified, the same for every trial."""

import torch
from torch import Tensor

from resexp import streams
from resexp.datasets.images import DataError, Images


def _shares(labels: Tensor, number: int) -> list[int]:
    """How many of `number` each class gives: proportional, largest remainders first, lower class first in ties."""
    counts = torch.bincount(labels).tolist()
    exact = [number * count / len(labels) for count in counts]
    shares = [int(share) for share in exact]
    by_remainder = sorted(range(len(counts)), key=lambda k: (shares[k] - exact[k], k))
    for k in by_remainder[: number - sum(shares)]:
        shares[k] += 1
    return shares


def held_out(labels: Tensor, number: int, generator: torch.Generator) -> Tensor:
    """Sorted indices of a stratified random `number` of images."""
    chosen = []
    for label, share in enumerate(_shares(labels, number)):
        members = (labels == label).nonzero().squeeze(1)
        chosen.append(members[torch.randperm(len(members), generator=generator)[:share]])
    return torch.cat(chosen).sort().values


def own_part(labels: Tensor, part: str, name: str) -> Tensor:
    """Indices of the train or test part of a set that has none: a stratified 20 % for testing, whatever the trial's seed."""
    test = held_out(labels, round(0.2 * len(labels)), streams.generator(0, "test split", name))
    chosen = torch.zeros(len(labels), dtype=torch.bool)
    chosen[test] = True
    return (chosen if part == "test" else ~chosen).nonzero().squeeze(1)


def first(labels: Tensor, number: int) -> Tensor:
    """Sorted indices of a stratified `number` of images, the first of each class."""
    shares = _shares(labels, number)
    return torch.cat([(labels == k).nonzero().squeeze(1)[:share] for k, share in enumerate(shares)]).sort().values


def split(
    images: Images, validation: float, limit: int | None, name: str, limit_validation: int | None = None
) -> tuple[Images, Images]:
    """(training, validation) images: validation is held out first, then both are limited, all of it stratified.

    `validation` is a fraction, or a count when it is whole; a validation set that came with the data takes its place. The same
    images for every trial.

    Raises:
        DataError: more asked for than there is.
    """
    if images.validation is None:
        number = validation if isinstance(validation, int) else round(validation * len(images))
        if number >= len(images):
            raise DataError(f"data.validation: {number} images held out of {len(images)} leave none to train on")
        out = held_out(images.labels, number, streams.generator(0, "validation", name))
    else:
        out = images.validation.nonzero().squeeze(1)
    rest = torch.ones(len(images), dtype=torch.bool)
    rest[out] = False
    training = images.at(rest.nonzero().squeeze(1))
    if limit is not None and limit > len(training):
        raise DataError(f"data.limit: {limit} is more than the {len(training)} images left to train on")
    training = training if limit is None else training.at(first(training.labels, limit))
    return training, limited(images.at(out), limit_validation, "validation")


def limited(images: Images, number: int | None, part: str) -> Images:
    """The first `number` images of a part, stratified; all where it is None.

    Raises:
        DataError: there are fewer.
    """
    if number is None:
        return images
    if number > len(images):
        raise DataError(f"data.limit_{part}: {number} is more than the {len(images)} {part} images; choose a smaller number")
    return images.at(first(images.labels, number))


def order(seed: int, epoch: int, number: int) -> Tensor:
    """The order in which an epoch (counted from 0) visits `number` training images: the same for every arm."""
    return torch.randperm(number, generator=streams.generator(seed, "order", epoch))
