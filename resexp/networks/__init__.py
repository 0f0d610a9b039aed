"""Blocks, MLPs and CNNs; weighted layers in depth order; initialization; parameters, multiply-adds and activation memory."""

from resexp.networks.activations import ACTIVATIONS
from resexp.networks.blocks import Block, Network, Noise
from resexp.networks.building import GROUPS, NORMS, PLACEMENTS, build_network
from resexp.networks.counting import LayerCost, NetworkCost, count, multiply_adds
from resexp.networks.initialization import INITS, initialize
from resexp.networks.layers import boundary_names, boundary_stages, weighted_layers
