"""Closed-form predictions of gradients and activations at initialization. Nothing here is measured.

predict(network, batch) -> Prediction for one arm. If no formula is known, `known` is false and `source` gives the reason.
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
