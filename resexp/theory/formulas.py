"""Formulas of growth at initialisation, each with its source and with what it does not hold for.

All are means over the weights of wide layers. chi: factor of |dL/dx|^2 per layer towards the input; m: layers of a block; n:
width; L: blocks; B: batch; sigma2: n Var(W). Norms grow by the square roots.
"""

import math
from functools import lru_cache

import numpy as np
from scipy.special import ndtr

Range = tuple[float, float]

BATCH_NORM_RELU = math.pi / (math.pi - 1)  # 1.467


# ---- plain networks without a norm --------------------------------------------------------------------------------------


def relu_layer(sigma2: float) -> float:
    """chi = sigma2 / 2 of a ReLU layer, and the same factor for E[x^2]: 1 He, 1/2 Xavier, 1/6 PyTorch.

    He 2015, arXiv:1502.01852 eq. 10 and 14. Orthogonal weights have the same second moments: of a Haar matrix times sqrt(sigma2),
    E|W^T d|^2 = sigma2 |d|^2 for any d. Not for: a forward signal with biases (the gradient's factor stays); single draws of
    narrow, deep networks, which `fluctuation` spreads.
    """
    return sigma2 / 2


def fluctuation(layers: int, width: int) -> float:
    """Variance over seeds of ln |dL/dx|^2 after plain ReLU layers, for one input: 5 layers / width.

    Hanin & Nica 2020, arXiv:1812.05994, theorem 1; the mean of the logarithm falls by half of it. Not for: norms, shortcuts,
    convolutions, other activations, orthogonal weights (less). The norm over a batch fluctuates at most as much.
    """
    return 5 * layers / width


def tanh_layers(sigma2: float, layers: int, bias: float = 0.0, inputs: float = 1.0) -> tuple[list[float], list[float]]:
    """(chi, E[x^2]) of each tanh layer, first to last: q = sigma2 E[x^2] + bias, chi = sigma2 E[tanh'(sqrt(q) z)^2].

    Poole 2016, arXiv:1606.05340 eq. 3, and Schoenholz 2017, arXiv:1611.01232 eq. 7. chi tends to sigma2 below 1, to 1.106 for
    He; at sigma2 1 the product of them is l / L and E[x^2] = 1 / 2l. `bias`: variance of biases; `inputs`: E[x^2] of the
    images. Not for: orthogonal weights in narrow layers, inputs far from mean square 1 in the first layers.
    """
    z, weight = np.polynomial.hermite_e.hermegauss(101)
    weight = weight / weight.sum()
    chi, squares, square = [], [], inputs
    for _ in range(layers):
        signal = np.tanh(math.sqrt(sigma2 * square + bias) * z)
        chi.append(sigma2 * float(weight @ (1 - signal**2) ** 2))
        square = float(weight @ signal**2)
        squares.append(square)
    return chi, squares


def borders(side: int) -> Range:
    """Least and largest share of a 3x3 convolution's terms that zero padding leaves on an image of that side.

    Second moments of neighbouring pixels mix by the taps that lie inside: (3 side - 2)^2 / (3 side)^2 of all for an even
    image, and ((1 + 2 cos(pi / (side + 1))) / 3)^2, the largest eigenvalue, after many layers. 0.99 at 32, 0.44 at 2.
    """
    even = ((3 * side - 2) / (3 * side)) ** 2
    return even, max(even, ((1 + 2 * math.cos(math.pi / (side + 1))) / 3) ** 2)


# ---- with a norm ------------------------------------------------------------------------------------------------------


def batch_norm_linear(batch: int) -> float:
    """chi = (B - 2) / (B - 3) of a linear layer with batch norm: Yang 2019, arXiv:1902.08129 theorem 9. Not for: B < 4."""
    return (batch - 2) / (batch - 3) if batch > 3 else math.inf


def batch_norm_relu(batch: int) -> Range:
    """chi of a layer with batch norm and ReLU: pi / (pi - 1) = 1.467 for a large batch, whatever the sigma2.

    Yang 2019, arXiv:1902.08129 theorem 8. A simulation gives 1.42 to 1.47 from B = 128 on, and the large-batch value times
    `batch_norm_linear` to 1 % below that: hence the range. Not for: convolutions, B < 8, after the first update.
    """
    return 1.42, BATCH_NORM_RELU * batch_norm_linear(batch)


def layer_norm_relu() -> float:
    """chi = 1 of a layer with layer norm and ReLU, whatever the sigma2.

    A layer's E[h^2] is sigma2 / 2 behind a normed ReLU; the norm divides the gradient's sigma2 / 2 by it. Its two projections take
    2 / n. Not for: narrow layers, convolutions, groups.
    """
    return 1.0


def norm_residual(exponent: float, offset: float, blocks: int) -> list[float]:
    """Factor of |dL/dx|^2 of each block of x + F, F with a norm in it: 1 + p / (k + l), l = 0 for the first block.

    The skip's variance is k + l in units of what each branch adds (De & Smith 2020, arXiv:2002.10444, section 3), and a norm
    divides the branch's gradient by it: p = chi^m with the chi of a norm and ReLU, m of them on the branch path. A power law,
    in the end l^-p, no exponential. Not for: an activation after the addition (`post`).
    """
    return [1 + exponent / (offset + index) for index in range(blocks)]


# ---- residual networks without a norm ---------------------------------------------------------------------------------------


def residual(scale: float, branch: float, chi: float) -> float:
    """scale^2 + branch^2 chi of a block S + aF with |S^T d| = scale |d|, in both directions; 2 for He pre-activation blocks.

    The cross terms vanish because the branch ends in a matrix of symmetric entries; chi is the branch's own factor,
    (sigma2 / 2)^m for signals as often positive as not. With branch = 1 / sqrt(L) and chi = 1 the product over L blocks tends
    to e. Not for: a branch that ends in an activation (its mean drifts), an activation after the addition.
    """
    return scale**2 + branch**2 * chi


def residual_bare(first: float, second: float) -> float:
    """1 + first second / 2 of x + W2 relu(W1 x) with sigma2 of each: 3 for He, in both directions.

    Not for: any placement of `resexp`, whose blocks have an activation before or after.
    """
    return 1 + first * second / 2


def residual_pre(variance: float, blocks: int) -> tuple[list[float], list[float]]:
    """(factor of |dL/dx|^2, factor of E[x^2]) of each block of x + F(relu(x)), F of `variance` times E[relu(x)^2].

    x_1 = h + F(h) with h = relu(x_0), as in `resexp` (arXiv:1603.05027 section 4.1): x_l is h plus a normal number of variance
    t, so more than half of it passes the ReLU until t is large, and the factor is 1 + variance P(x_l > 0), `residual` in the
    end. Exact for wide layers without biases: units with h = 0 and with h > 0 are followed apart.
    """
    t, passing, forward = 0.0, [], []
    for index in range(blocks):
        angle = math.atan2(math.sqrt(t), math.sqrt(2))
        positive = t / 4 + (2 + t) / math.pi * ((math.pi - angle) / 2 + math.sin(2 * angle) / 4)  # E[relu(x)^2], E[h^2] = 1
        passing.append(1 - angle / math.pi)  # P(x > 0), given h > 0
        forward.append((1 + t + variance * positive) / (1 + t) / (1 if index else 2))  # E[x_0^2] = 2
        t = min(t + variance * positive, 1e30)
    without, behind, backward = 1.0, 1.0, []
    for index in range(blocks - 1, -1, -1):
        mean = (without + behind) / 2
        without, behind = without + variance * mean / 2, behind + variance * mean * passing[index]
        after = (without + behind) / 2 if index else behind / 2  # the ReLU of x_0 lets nothing through where h = 0
        backward.append(after / mean)
        without, behind = without / after, behind / after
    return backward[::-1], forward


@lru_cache
def residual_post(variance: float, blocks: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """(factor of |dL/dx|^2, factor of E[x^2]) of each block of relu(x + F), F of `variance` times E[x^2], x_0 = relu(normal).

    Mean field in one unit: F is normal and independent of x, so the density of x is iterated through relu(x + F), and back
    through its mask, u <- E[1(x + F > 0) u] + variance E[1 u], u = the unit's squared gradient given its x. The gradient along
    x is not of that kind: <x, dL/dx> is the same at every block (Euler), so it grows as E[x^2] does and leads in the end. He
    blocks (variance 2): 2.05 and 2.40. Not for: biases, narrow layers, a norm, other activations.
    """
    spread = max(math.sqrt(variance), 1e-9)
    edges = np.concatenate([[-np.inf, 0.0], np.linspace(0, 6, 121)[1:] * max(1.0, spread)])
    x = np.concatenate([[0.0], (edges[1:-1] + edges[2:]) / 2])
    at = x / spread
    squares = (x**2 + variance) * ndtr(at) + x * spread * np.exp(-(at**2) / 2) / math.sqrt(2 * math.pi)

    def move(growth: float) -> np.ndarray:
        return np.asarray(np.diff(ndtr((edges * math.sqrt(growth) - x[:, None]) / spread), axis=1))

    density = np.diff(ndtr(edges * math.sqrt(0.5)))  # relu of a normal number of variance 2 has mean square 1
    densities, forward, backward, u = [], [], [], np.ones(len(x))
    for _ in range(blocks):
        density = density / density.sum()
        densities.append(density)
        forward.append(float(density @ squares))
        density = density @ move(forward[-1])
    for start, growth in zip(reversed(densities), reversed(forward), strict=True):
        moved = move(growth)
        after, passed = float(start @ moved @ u), moved[:, 1:] @ u[1:]
        mean = float(start @ passed)
        backward.append(mean * (1 + variance) / after)
        u = (passed + variance * mean) / after
    return tuple(backward[::-1]), tuple(forward)
