"""Definitions of the terms that tables, charts and reports print: the first sentences of their entries in docs/glossary.md."""

DEFINITIONS = {
    "*": "Marks a difference that is shown: Holm-corrected p <= 0.01 (0.05 by ranks), and at least 3 seeds in each arm.",
    "±": "Standard deviation (SD, with n - 1) over seeds, printed after a mean.",
    "95% CI": "95% confidence interval of a mean; for paired differences, Student's t interval over seeds.",
    "above chance": "Outcome of a trial whose final weights classify the training sample better than guessing.",
    "arm": "Network variant within a configuration, named after its shortcut: plain, identity, and so on.",
    "at chance": "Outcome of a trial that did not diverge and is not above chance.",
    "beyond width": "Difference of a residual arm from its parameter-matched plain baseline",
    "configuration": "One cell of the grid: one value for every axis except the shortcut.",
    "counts": "P-value of Fisher's exact test of whether two arms have the same rate of networks above chance.",
    "degradation avoided": (
        "Rise of training error from shallowest to deepest depth, plain minus residual, paired by seed."
    ),
    "diverged": "Outcome of a trial whose training loss became infinite or NaN.",
    "extra cost": (
        "Parameters, multiply-adds and activation memory of a residual network minus those of its plain counterpart."
    ),
    "margin": "Smallest effect of interest in accuracy or error",
    "n": "Number of seeds on which a value or interval is based.",
    "points": "Percentage points: the unit of a difference between two percentages.",
    "ranks": "P-value of the exact Mann-Whitney test between all finished networks of two arms whose outcomes differ.",
    "ratio": "Measured divided by predicted factor by which the gradient norm changes per block.",
    "slope": (
        "Gradient growth: change of log10 |dL/dx| per block from output to input. Negative values mean vanishing gradients, "
        "positive values exploding gradients."
    ),
    "train error": (
        "Share of the training sample that the final weights classify incorrectly, in percent, without augmentation."
    ),
}  # fmt: skip


def legend(*terms: str) -> list[str]:
    """'slope: gradient growth: ...' for each term, in lines of a legend."""
    return [f"{term}: {definition[:1].lower()}{definition[1:]}" for term, definition in DEFINITIONS.items() if term in terms]
