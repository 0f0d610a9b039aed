"""Precise batch norm: statistics of the current weights for evaluation and stored weights."""

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

PRECISE_IMAGES = 2_048  # of the training sample, from which the statistics of batch norms are estimated


@contextmanager
def measuring(run: StackState, stop: Callable[[], bool]) -> Iterator[None]:
    """A context in which the network is as evaluated and stored: uncompiled, with precise batch norm.

    Raises:
        Stopped: `stop()` was true before a batch.
    """
    settings = run.trials[0].settings
    precise = precise_batch_norm(run.network, run.training_data, settings.training.batch_size, len(run.trials), stop)
    with uncompiled(settings), precise:
        yield


@contextmanager
def precise_batch_norm(
    network: Network, training_data: TrainingData, batch_size: int, trials: int = 1, stop: Callable[[], bool] = never
) -> Iterator[None]:
    """A context in which batch norms have statistics of the current weights; it then restores those of training.

    Running statistics average over about the last ten updates, so they describe earlier weights. These are the mean of the
    batch means and the mean of the unbiased batch variances over batches of the training sample: precise batch norm,
    arXiv:2105.07576 §3. The batches have the size of training batches and are the same at every call. They are not
    augmented, and all parts but the batch norms are in eval mode, as in the evaluation that follows. Without batch norm
    nothing is computed.

    Raises:
        Stopped: `stop()` was true before a batch, of several thousand images in all trials together.
    """
    norms = [
        part for part in network.modules() if isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d) and part.track_running_stats
    ]
    running = [(buffer, buffer.clone()) for norm in norms for buffer in norm.buffers(recurse=False)]
    try:
        if norms:
            _estimate(network, norms, training_data, batch_size, trials, stop)
        yield
    finally:
        for buffer, value in running:
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
    """Replaces the running statistics with the precise ones."""
    pixels = training_data.sample.pixels
    size = min(batch_size, len(pixels))
    number = max(1, min(PRECISE_IMAGES, len(pixels)) // size)
    several = number * size * trials > EVALUATION_BATCH
    order = torch.randperm(len(pixels), generator=streams.generator(0, "precise batch norm")).to(pixels.device)
    mode, momenta = network.training, [norm.momentum for norm in norms]
    try:
        network.eval()
        for norm in norms:
            norm.train()
            norm.reset_running_stats()
            norm.momentum = None  # torch then averages over all batches
        for index in order[: number * size].view(number, size):
            if several and stop():
                raise Stopped
            x = datasets.normalize(pixels[index], training_data.shift, training_data.scale)
            network(x if trials == 1 else x.expand(trials, *x.shape))
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
        network.train(mode)
