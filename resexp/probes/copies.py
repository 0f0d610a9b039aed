"""The copy of a network that fixed-batch probes use."""

import copy

import torch

from resexp.networks import Network


def float64_copy(network: Network) -> Network:
    """A copy of the network in the same mode, in float64, whose weights do not require gradients. It is not compiled.

    In float64, neither products over many paths nor values below the range of float32 underflow.
    """
    return copy.deepcopy(network).to(torch.float64).requires_grad_(requires_grad=False)
