"""Blocks, MLP, CNN; weighted layers in depth order; initialisation."""

from resexp.networks.blocks import Block, Draw, Network
from resexp.networks.building import ACTIVATIONS, NORMS, PLACEMENTS, Placement, build_network
from resexp.networks.initialisation import INITS, Init, initialise
from resexp.networks.layers import WeightedLayer, boundary_names, boundary_stages, weighted_layers

__all__ = [
    "ACTIVATIONS",
    "INITS",
    "NORMS",
    "PLACEMENTS",
    "Block",
    "Draw",
    "Init",
    "Network",
    "Placement",
    "WeightedLayer",
    "boundary_names",
    "boundary_stages",
    "build_network",
    "initialise",
    "weighted_layers",
]
