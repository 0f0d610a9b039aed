"""The copy of a network on which the probes that run apart compute."""

import copy

import torch

from resexp.networks import Network


def float64_copy(network: Network) -> Network:
    """The network in its mode, with weights and buffers of its own that need no gradient.

    In float64 whatever it trains in: neither products over many paths nor what underflows float32 is lost. Never compiled.
    """
    return copy.deepcopy(network).to(torch.float64).requires_grad_(requires_grad=False)
