"""Closed-form predictions of gradients and signals at initialisation. Nothing here is measured.

predict(network, batch) -> Prediction, of one arm of one cell; where no formula is known, `known` is false and `source` says why
"""

from resexp.theory.arms import INIT_SCALES, block_count, layers_of_block, predict
from resexp.theory.formulas import (
    BATCH_NORM_RELU,
    batch_norm_linear,
    batch_norm_relu,
    borders,
    fluctuation,
    layer_norm_relu,
    norm_residual,
    relu_layer,
    residual,
    residual_bare,
    residual_post,
    residual_pre,
    tanh_layers,
)
from resexp.theory.predictions import Prediction

__all__ = [
    "BATCH_NORM_RELU",
    "INIT_SCALES",
    "Prediction",
    "batch_norm_linear",
    "batch_norm_relu",
    "block_count",
    "borders",
    "fluctuation",
    "layer_norm_relu",
    "layers_of_block",
    "norm_residual",
    "predict",
    "relu_layer",
    "residual",
    "residual_bare",
    "residual_post",
    "residual_pre",
    "tanh_layers",
]
