"""Precise batch norm: statistics of the current weights, for evaluation and for stored weights."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import nn

from resexp import datasets, streams
from resexp.networks import Network
from resexp.training.data import TrainingData
from resexp.training.measures import EVALUATION_BATCH, Stopped, never
from resexp.training.recipe import uncompiled
from resexp.training.state import StackState

PRECISE_IMAGES = 2_048  # images of the training sample from which batch norm statistics are estimated


@contextmanager
def measuring(state: StackState, stop: Callable[[], bool]) -> Iterator[None]:
    """A context for evaluating and storing the network: not compiled, with precise batch norm."""
    precise_norms = precise_batch_norm(state.network, state.training_data, state.batch_size, len(state.trials), stop)
    with uncompiled(compiled=state.compiled), precise_norms:
        yield


@contextmanager
def precise_batch_norm(
    network: Network, training_data: TrainingData, batch_size: int, trials: int = 1, stop: Callable[[], bool] = never
) -> Iterator[None]:
    """A context in which batch norm layers use statistics of the current weights; training statistics are restored after it.

    Running statistics average over about the last ten updates, so they describe earlier weights. The precise statistics are
    the mean of the batch means and the mean of the unbiased batch variances over batches of the training sample
    (precise batch norm, arXiv:2105.07576 §3). The batches have the size of training batches, are the same at every call and
    are not augmented. Other layers are in eval mode, as in the evaluation that follows. Networks without batch norm are
    unchanged. `stop` is called before each batch, if all trials together process more than 2,000 images.
    """
    norms = [
        module
        for module in network.modules()
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d) and module.track_running_stats
    ]
    training_stats = [(buffer, buffer.clone()) for norm in norms for buffer in norm.buffers(recurse=False)]
    try:
        if norms:
            _estimate(network, norms, training_data, batch_size, trials, stop)
        yield
    finally:
        for buffer, value in training_stats:
            buffer.copy_(value)


@torch.no_grad()
def _estimate(
    network: Network,
    norms: list[nn.BatchNorm1d | nn.BatchNorm2d],
    training_data: TrainingData,
    batch_size: int,
    trials: int,
    stop: Callable[[], bool],
) -> None:
    """Replaces the running statistics with precise statistics."""
    pixels = training_data.sample.pixels
    size = min(batch_size, len(pixels))
    number = max(1, min(PRECISE_IMAGES, len(pixels)) // size)
    checks_stop = number * size * trials > EVALUATION_BATCH
    order = torch.randperm(len(pixels), generator=streams.generator(0, "precise batch norm")).to(pixels.device)
    mode, momenta = network.training, [norm.momentum for norm in norms]
    try:
        network.eval()
        for norm in norms:
            norm.train()
            norm.reset_running_stats()
            norm.momentum = None  # torch then averages over all batches
        for index in order[: number * size].view(number, size):
            if checks_stop and stop():
                raise Stopped
            x = datasets.normalize(pixels[index], training_data.shift, training_data.scale)
            network(x if trials == 1 else x.expand(trials, *x.shape))
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
        network.train(mode)
