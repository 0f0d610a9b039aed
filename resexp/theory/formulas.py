"""Formulas for the growth of gradients and activations at initialization, each with its source and its limits.

All are means over the weights of wide layers. Norms grow by the square roots of these factors.

    sigma2  fan_in * Var(W) of a layer: sigma_w^2 in mean-field papers, `network.init_scale` in configs (He: 2)
    chi     factor by which a layer multiplies |dL/dx|^2, from its output to its input
    m, L    layers per block, number of blocks
    n, B    width, batch size
"""

import math
from functools import lru_cache

import numpy as np
from scipy.special import ndtr

Range = tuple[float, float]

BATCH_NORM_RELU = math.pi / (math.pi - 1)  # 1.467


# ---- plain networks without normalization -------------------------------------------------------------------------------


def relu_layer(sigma2: float) -> float:
    """chi = sigma2 / 2 of a ReLU layer, and the same factor for E[x^2]: 1 He, 1/2 Xavier, 1/6 PyTorch.

    He et al. 2015a, arXiv:1502.01852 eq. 10 and 14. Orthogonal weights have the same second moments: for a Haar matrix times
    sqrt(sigma2), E|W^T d|^2 = sigma2 |d|^2 for any d. Not for: activations with biases (the factor of the gradient remains
    valid); individual networks that are narrow and deep, which vary as in `fluctuation`.
    """
    return sigma2 / 2


def fluctuation(layers: int, width: int) -> float:
    """Variance over seeds of ln |dL/dx|^2 after plain ReLU layers, for one input: 5 layers / width.

    Hanin & Nica 2020, arXiv:1812.05994, theorem 1; the mean of the logarithm decreases by half of it. Not for: normalization,
    shortcuts, convolutions, other activations, orthogonal weights (smaller). The norm over a batch varies at most as much.
    """
    return 5 * layers / width


def tanh_layers(sigma2: float, layers: int, bias: float = 0.0, inputs: float = 1.0) -> tuple[list[float], list[float]]:
    """(chi, E[x^2]) of each tanh layer, first to last: q = sigma2 E[x^2] + bias, chi = sigma2 E[tanh'(sqrt(q) z)^2].

    Poole et al. 2016, arXiv:1606.05340 eq. 3, and Schoenholz et al. 2017, arXiv:1611.01232 eq. 7. With depth, chi tends to
    sigma2 if it is below 1, and to 1.106 for He initialization. For sigma2 = 1, the product of chi is l / L and
    E[x^2] = 1 / 2l. `bias`: variance of biases; `inputs`: E[x^2] of the images. Not for: orthogonal weights in narrow layers;
    the first layers, if inputs do not have mean square 1.
    """
    z, weight = np.polynomial.hermite_e.hermegauss(101)
    weight = weight / weight.sum()
    chi, squares, square = [], [], inputs
    for _ in range(layers):
        outputs = np.tanh(math.sqrt(sigma2 * square + bias) * z)
        chi.append(sigma2 * float(weight @ (1 - outputs**2) ** 2))
        square = float(weight @ outputs**2)
        squares.append(square)
    return chi, squares


def borders(side: int) -> Range:
    """(low, high) of the factor by which zero padding reduces chi of a 3x3 convolution on an image of that side.

    At the border, some taps of the kernel fall outside the image. On a constant image the share inside is
    (3 side - 2)^2 / (3 side)^2. After many layers the factor is ((1 + 2 cos(pi / (side + 1))) / 3)^2, the largest eigenvalue
    of the map between second moments of neighboring pixels: 0.99 for side 32, 0.44 for side 2.
    """
    constant = ((3 * side - 2) / (3 * side)) ** 2
    return constant, max(constant, ((1 + 2 * math.cos(math.pi / (side + 1))) / 3) ** 2)


# ---- networks with normalization --------------------------------------------------------------------------------------


def batch_norm_linear(batch: int) -> float:
    """chi = (B - 2) / (B - 3) of a linear layer with batch norm: Yang et al. 2019, arXiv:1902.08129 theorem 9; B >= 4 only."""
    return (batch - 2) / (batch - 3) if batch > 3 else math.inf


def batch_norm_relu(batch: int) -> Range:
    """chi of a layer with batch norm and ReLU: pi / (pi - 1) = 1.467 for a large batch and any sigma2.

    Yang et al. 2019, arXiv:1902.08129 theorem 8. A simulation gives 1.42 to 1.47 from B = 128 on. For smaller B it agrees
    with the large-batch value times `batch_norm_linear` to within 1%; hence the range. Not for: convolutions, B < 8,
    networks after the first update.
    """
    return 1.42, BATCH_NORM_RELU * batch_norm_linear(batch)


def layer_norm_relu() -> float:
    """chi = 1 of a layer with layer norm and ReLU, for any sigma2.

    After layer norm and ReLU, a layer has E[h^2] = sigma2 / 2. Layer norm divides the factor sigma2 / 2 of the gradient by it.
    The two projections of layer norm remove 2 / n, which is neglected. Not for: narrow layers, convolutions, group norm.
    """
    return 1.0


def norm_residual(exponent: float, offset: float, blocks: int) -> list[float]:
    """Factor of |dL/dx|^2 of each block x + F with normalization in F: 1 + p / (k + l), where l = 0 in the first block.

    The variance on the shortcut is k + l, relative to the variance that each branch adds (De & Smith 2020, arXiv:2002.10444,
    section 3). Normalization divides the gradient of the branch by it. p = chi^m, with the chi of normalization and ReLU and
    m layers per branch. For many blocks this is a power law l^-p, not an exponential. Not for: an activation after the
    addition (`post`).
    """
    return [1 + exponent / (offset + index) for index in range(blocks)]


# ---- residual networks without normalization --------------------------------------------------------------------------------


def residual(scale: float, branch: float, chi: float) -> float:
    """scale^2 + branch^2 chi of a block S + aF with |S^T d| = scale |d|, for gradients and activations.

    It is 2 for pre-activation blocks with He initialization. The cross terms vanish because the branch ends with a matrix of
    symmetrically distributed entries. chi is the factor of the branch, (sigma2 / 2)^m if activations are symmetric about 0.
    With branch = 1 / sqrt(L) and chi = 1, the product over L blocks tends to e. Not for: a branch that ends with an activation
    (its mean is not 0), an activation after the addition.
    """
    return scale**2 + branch**2 * chi


def residual_bare(first: float, second: float) -> float:
    """1 + first * second / 2 of a block x + W2 relu(W1 x), for gradients and activations: 3 for He initialization.

    `first` and `second` are the sigma2 of W1 and W2. Not for: placements of `resexp`, whose blocks have an activation before
    the branch or after the addition.
    """
    return 1 + first * second / 2


def residual_pre(variance: float, blocks: int) -> tuple[list[float], list[float]]:
    """(factor of |dL/dx|^2, factor of E[x^2]) of each block x + F(relu(x)), where F has variance `variance` E[relu(x)^2].

    In the first block, x_1 = h + F(h) with h = relu(x_0), as in `resexp` (arXiv:1603.05027 section 4.1). Then x_l is h plus a
    normal variable with variance t, so more than half of its units pass the ReLU until t is large. The factor is
    1 + variance P(x_l > 0); for many blocks it tends to `residual`. Exact for wide layers without biases: units with h = 0
    and units with h > 0 are computed separately.
    """
    t, pass_rates, forward = 0.0, [], []
    for index in range(blocks):
        angle = math.atan2(math.sqrt(t), math.sqrt(2))
        rectified = t / 4 + (2 + t) / math.pi * ((math.pi - angle) / 2 + math.sin(2 * angle) / 4)  # E[relu(x)^2], E[h^2] = 1
        pass_rates.append(1 - angle / math.pi)  # P(x > 0), given h > 0
        forward.append((1 + t + variance * rectified) / (1 + t) / (1 if index else 2))  # E[x_0^2] = 2
        t = min(t + variance * rectified, 1e30)
    at_zero, at_positive, backward = 1.0, 1.0, []  # squared gradients of units with h = 0 and with h > 0
    for index in range(blocks - 1, -1, -1):
        mean = (at_zero + at_positive) / 2
        at_zero, at_positive = at_zero + variance * mean / 2, at_positive + variance * mean * pass_rates[index]
        after = (at_zero + at_positive) / 2 if index else at_positive / 2  # the ReLU of x_0 passes no gradient where h = 0
        backward.append(after / mean)
        at_zero, at_positive = at_zero / after, at_positive / after
    return backward[::-1], forward


@lru_cache
def residual_post(variance: float, blocks: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """(factor of |dL/dx|^2, factor of E[x^2]) of each block relu(x + F), where F has variance `variance` E[x^2].

    Mean field of one unit: x_0 is the ReLU of a normal variable, F is normal and independent of x. The density of x is
    iterated forward through relu(x + F). The squared gradient u of a unit, given its x, is iterated backward:
    u <- E[1(x + F > 0) u] + variance E[1 u]. This does not apply to the component of the gradient parallel to x:
    <x, dL/dx> is the same at every block (Euler), so that component grows as E[x^2] does and eventually dominates. With He
    initialization (variance 2): 2.05 and 2.40. Not for: biases, narrow layers, normalization, other activations.
    """
    spread = max(math.sqrt(variance), 1e-9)
    edges = np.concatenate([[-np.inf, 0.0], np.linspace(0, 6, 121)[1:] * max(1.0, spread)])
    x = np.concatenate([[0.0], (edges[1:-1] + edges[2:]) / 2])
    scaled = x / spread
    squares = (x**2 + variance) * ndtr(scaled) + x * spread * np.exp(-(scaled**2) / 2) / math.sqrt(2 * math.pi)

    def transition(growth: float) -> np.ndarray:
        return np.asarray(np.diff(ndtr((edges * math.sqrt(growth) - x[:, None]) / spread), axis=1))

    density = np.diff(ndtr(edges * math.sqrt(0.5)))  # relu of a normal variable with variance 2 has mean square 1
    densities, forward, backward, u = [], [], [], np.ones(len(x))
    for _ in range(blocks):
        density = density / density.sum()
        densities.append(density)
        forward.append(float(density @ squares))
        density = density @ transition(forward[-1])
    for start, growth in zip(reversed(densities), reversed(forward), strict=True):
        matrix = transition(growth)
        after, passed = float(start @ matrix @ u), matrix[:, 1:] @ u[1:]
        mean = float(start @ passed)
        backward.append(mean * (1 + variance) / after)
        u = (passed + variance * mean) / after
    return tuple(backward[::-1]), tuple(forward)
