"""Blocks, MLP, CNN; weighted layers in depth order; initialisation; what a network costs."""

from resexp.networks.blocks import Block, Draw, Network
from resexp.networks.building import ACTIVATIONS, GROUPS, NORMS, PLACEMENTS, Placement, Shortcut, build_network
from resexp.networks.counting import Cost, LayerCost, count, multiply_adds
from resexp.networks.initialization import INITS, Init, initialise
from resexp.networks.layers import WeightedLayer, boundary_names, boundary_stages, weighted_layers

__all__ = [
    "ACTIVATIONS",
    "GROUPS",
    "INITS",
    "NORMS",
    "PLACEMENTS",
    "Block",
    "Cost",
    "Draw",
    "Init",
    "LayerCost",
    "Network",
    "Placement",
    "Shortcut",
    "WeightedLayer",
    "boundary_names",
    "boundary_stages",
    "build_network",
    "count",
    "initialise",
    "multiply_adds",
    "weighted_layers",
]
