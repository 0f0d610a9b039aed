"""Predictions of gradients and activations at initialization. Nothing here is measured.

predict(network, batch) -> Prediction for one arm: growth of gradients and activations.
predict_distance(network, batch) -> DistancePrediction: how different two inputs look after each block.
If no formula is known, `known` is false and `source` gives the reason.
"""

from resexp.theory.arms import INIT_SCALES, block_count, layers_of_block
from resexp.theory.growth import predict, predict_distance
from resexp.theory.predictions import DistancePrediction, Prediction
