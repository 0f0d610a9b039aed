"""Definitions of the terms that tables, charts and reports print, in the order of legends; docs/glossary.md agrees."""

DEFINITIONS = {
    "arm": "Network variant within a configuration, named after its shortcut: plain, identity, and so on.",
    "above chance": "Outcome of a trial whose final weights classify the training sample better than guessing.",
    "at chance": "Outcome of a trial that did not diverge and is not above chance.",
    "diverged": "Outcome of a trial whose training loss became infinite or NaN.",
    "±": "Standard deviation (SD, with n - 1) over seeds, printed after a mean.",
    "train error": (
        "Share of the training sample that the final weights classify incorrectly, in percent, without augmentation."
    ),
    "slope": (
        "Change of log10 |dL/dx| per block from output to input (gradient growth). Negative values mean vanishing gradients, "
        "positive values exploding gradients."
    ),
    "distance": (
        "Cosine distance of activations at the last block boundary at initialization: 1 minus the mean cosine similarity over "
        "pairs of inputs, mean over seeds. 0 means that all inputs look alike there."
    ),
    "layer growth": (
        "Change of log10 |dL/dW| from the last to the first weighted layer. Negative values mean vanishing gradients, positive "
        "values exploding gradients."
    ),
    "inputs collapse": "The mean cosine distance of activations at the last block boundary is below 0.01 at initialization.",
    "ratio": "Measured divided by predicted factor by which the gradient norm changes per block.",
    "95% CI": "95% confidence interval of a mean; for paired differences, Student's t interval over seeds.",
    "*": (
        "Marks a significant difference: p <= 0.01 after Holm's correction (0.05 by ranks, if outcomes differ across seeds), "
        "and at least 3 seeds in each arm."
    ),
    "counts": "P-value of Fisher's exact test of whether two arms have the same rate of networks above chance.",
    "ranks": "P-value of the exact Mann-Whitney test between all finished networks of two arms whose outcomes differ.",
    "beyond width": "Difference of a residual arm from its parameter-matched plain baseline.",
    "degradation avoided": (
        "Rise of training error from shallowest to deepest depth, plain minus residual, paired by seed."
    ),
    "margin": "Smallest effect of interest in accuracy or error.",
    "extra cost": (
        "Parameters, multiply-adds and activation memory of a residual network minus those of its plain counterpart."
    ),
}  # fmt: skip


def legend(*terms: str) -> list[str]:
    """'slope: change of log10 |dL/dx| ...', a line for each of the terms."""
    return [f"{term}: {definition[:1].lower()}{definition[1:]}" for term, definition in DEFINITIONS.items() if term in terms]
