"""Blocks, MLPs and CNNs; weighted layers in depth order; initialization; parameters, multiply-adds and activation memory."""

from resexp.networks.blocks import Block, Network, Noise
from resexp.networks.building import ACTIVATIONS, GROUPS, NORMS, PLACEMENTS, Placement, build_network
from resexp.networks.counting import LayerCost, NetworkCost, count, multiply_adds
from resexp.networks.initialization import INITS, Init, initialize
from resexp.networks.layers import WeightedLayer, boundary_names, boundary_stages, weighted_layers

__all__ = [
    "ACTIVATIONS",
    "GROUPS",
    "INITS",
    "NORMS",
    "PLACEMENTS",
    "Block",
    "Init",
    "LayerCost",
    "Network",
    "NetworkCost",
    "Noise",
    "Placement",
    "WeightedLayer",
    "boundary_names",
    "boundary_stages",
    "build_network",
    "count",
    "initialize",
    "multiply_adds",
    "weighted_layers",
]
