"""Training, validation and test splits, stratified and equal for all trials, and the order of training images."""

import torch
from torch import Tensor

from resexp import streams
from resexp.datasets.images import DataError, Images


def _shares(labels: Tensor, number: int) -> list[int]:
    """How many of `number` images each class contributes: proportional, by largest remainder, ties to the lower class."""
    counts = torch.bincount(labels).tolist()
    exact = [number * count / len(labels) for count in counts]
    shares = [int(share) for share in exact]
    by_remainder = sorted(range(len(counts)), key=lambda k: (shares[k] - exact[k], k))
    for k in by_remainder[: number - sum(shares)]:
        shares[k] += 1
    return shares


def held_out(labels: Tensor, number: int, generator: torch.Generator) -> Tensor:
    """Sorted indices of a stratified random sample of `number` images."""
    samples = []
    for label, share in enumerate(_shares(labels, number)):
        members = (labels == label).nonzero().squeeze(1)
        samples.append(members[torch.randperm(len(members), generator=generator)[:share]])
    return torch.cat(samples).sort().values


def test_split(labels: Tensor, split: str, name: str) -> Tensor:
    """Indices of the "train" or "test" split of a data set without a test set: a stratified 20%, equal for all seeds."""
    test = held_out(labels, round(0.2 * len(labels)), streams.generator(0, "test split", name))
    is_test = torch.zeros(len(labels), dtype=torch.bool)
    is_test[test] = True
    return (is_test if split == "test" else ~is_test).nonzero().squeeze(1)


def first(labels: Tensor, number: int) -> Tensor:
    """Sorted indices of a stratified sample of `number` images: the first images of each class."""
    shares = _shares(labels, number)
    return torch.cat([(labels == k).nonzero().squeeze(1)[:share] for k, share in enumerate(shares)]).sort().values


def train_validation_split(
    images: Images, validation: float, limit: int | None, name: str, limit_validation: int | None = None
) -> tuple[Images, Images]:
    """(training, validation) images, stratified: validation images are held out first, then both sets are limited.

    `validation` is a fraction (float) or a number of images (int). It has no effect if the data have a validation set. The
    images are the same for every trial.
    """
    if images.validation is None:
        number = validation if isinstance(validation, int) else round(validation * len(images))
        if number >= len(images):
            raise DataError(f"data.validation: {number} of {len(images)} images leave no training images; choose fewer")
        validation_index = held_out(images.labels, number, streams.generator(0, "validation", name))
    else:
        validation_index = images.validation.nonzero().squeeze(1)
    is_training = torch.ones(len(images), dtype=torch.bool)
    is_training[validation_index] = False
    training = images.at(is_training.nonzero().squeeze(1))
    if limit is not None and limit > len(training):
        raise DataError(f"data.limit: {limit} is more than the {len(training)} training images; choose a smaller number")
    training = training if limit is None else training.at(first(training.labels, limit))
    return training, limited(images.at(validation_index), limit_validation, "validation")


def limited(images: Images, number: int | None, split: str) -> Images:
    """The first `number` images, stratified; all images if `number` is None. `split` is for the error message."""
    if number is None:
        return images
    if number > len(images):
        raise DataError(f"data.limit_{split}: {number} is more than the {len(images)} {split} images; choose a smaller number")
    return images.at(first(images.labels, number))


def order(seed: int, epoch: int, number: int) -> Tensor:
    """The order of `number` training images in an epoch (counted from 0); the same for every arm."""
    return torch.randperm(number, generator=streams.generator(seed, "order", epoch))
