"""What `resexp probe MODULE:FACTORY` measures of one network, for each seed. No torch."""

from dataclasses import dataclass

from resexp.runs.columns import GradientRow, SignalRow


@dataclass(frozen=True)
class SelfCheck:
    """A gradient computed in two ways in float64: by autograd, and from a finite difference along a random direction."""

    name: str
    autograd: float
    difference: float
    scale: float  # of the values that the difference is judged by

    @property
    def error(self) -> float:
        """The relative difference."""
        return abs(self.autograd - self.difference) / self.scale if self.scale else abs(self.autograd - self.difference)


@dataclass(frozen=True)
class ModuleMeasurement:
    """Gradients and activations of one network on one batch, before training.

    boundaries: the rows of signals.csv, x_0 to x_L. stages: the same number for boundaries of equal shape that follow one
    another. layers: the rows of gradients.csv, without an update. slope: of the boundaries, see `probes.slope`; nan if there
    are too few. rule: how the boundaries were chosen. remarks: parts that are left out or unusual. checks: of the first seed.
    """

    seed: int
    batch: int
    loss: float
    rule: str
    boundaries: tuple[SignalRow, ...]
    stages: tuple[int, ...]
    layers: tuple[GradientRow, ...]
    slope: float
    remarks: tuple[str, ...]
    checks: tuple[SelfCheck, ...] = ()
