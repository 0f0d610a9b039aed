"""Gradient norm of the activations over blocks, in absolute terms."""

from resexp.figures.figure import Figure, Section
from resexp.figures.panels import profile

GRADIENT_LEVEL = Figure(
    section=Section.GRADIENTS,
    question="How large are gradients, in absolute terms?",
    caption=(
        "Gradient norm of the activations over blocks, in absolute terms: mean of log10 over seeds. A network that has "
        "fitted its data has small gradients in all blocks, although they do not vanish."
    ),
    chart=lambda data: profile(data, "level", "log10 |dL/dx|"),
    condition=lambda data: data.has_gradients,
)
