"""The diagnostics of any network at initialization, for `resexp probe MODULE:FACTORY` and `resexp.probe`."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from resexp import inference
from resexp.comparison import Flow, Inputs, flow, inputs
from resexp.inference import Difference
from resexp.runs import ModuleMeasurement, SelfCheck

if TYPE_CHECKING:
    import pandas as pd

QUANTITIES = ("gradient_growth", "slope", "distance", "activation_growth", "loss")  # of `--expect`
TOLERANCE = 0.05  # of a self-check: a few ReLUs can switch within the finite difference


@dataclass(frozen=True)
class Row:
    """A boundary or a layer, with the values of all seeds."""

    index: int
    name: str
    values: dict[str, tuple[float, ...]]
    growth: Difference | None = None

    def mean(self, key: str) -> float:
        """The mean over seeds: the geometric mean of norms, 0 if one of them is 0."""
        values = self.values[key]
        if key == "activation_cosine_distance":
            return math.fsum(values) / len(values)
        return 0.0 if 0.0 in values else 10 ** (math.fsum(map(math.log10, values)) / len(values))


@dataclass(frozen=True)
class ModuleProbe:
    """The measurements of a network at initialization with its verdicts and the advice that follows from them.

    measurements: one for each seed, with equal boundaries and layers.
    """

    name: str
    measurements: Sequence[ModuleMeasurement]

    @property
    def first(self) -> ModuleMeasurement:
        return self.measurements[0]

    @property
    def blocks(self) -> int:
        """The number of steps between boundaries."""
        return len(self.first.boundaries) - 1

    @cached_property
    def slope(self) -> Difference | None:
        """Change of log10 |dL/dx| per boundary from output to input, with its 95% CI over seeds; None if there are too few."""
        slopes = [measurement.slope for measurement in self.measurements]
        return inference.paired_difference(slopes) if all(map(math.isfinite, slopes)) else None

    @cached_property
    def gradient_growth(self) -> Difference | None:
        """Orders of magnitude from the last boundary to the first: the slope times the number of steps between boundaries.

        With too few boundaries for a slope, the change from the last to the first; None if a gradient is 0.
        """
        if self.slope:
            return inference.paired_difference([measurement.slope * self.blocks for measurement in self.measurements])
        return _growth(self.first_and_last) if self.blocks else None

    @property
    def first_and_last(self) -> list[tuple[float, float]]:
        ends = [(m.boundaries[0], m.boundaries[-1]) for m in self.measurements]
        return [(first.activation_grad_norm, last.activation_grad_norm) for first, last in ends]

    @property
    def distance(self) -> float | None:
        """The cosine distance of activations at the last boundary, mean over seeds; None if it is not defined."""
        values = [measurement.boundaries[-1].activation_cosine_distance for measurement in self.measurements]
        return math.fsum(values) / len(values) if all(map(math.isfinite, values)) else None

    @property
    def activation_growth(self) -> float | None:
        """Change of log10 RMS of the activations from the first boundary to the last, mean over seeds."""
        ends = [(m.boundaries[-1].activation_rms, m.boundaries[0].activation_rms) for m in self.measurements]
        growth = _growth(ends)
        return growth.mean if growth else None

    @property
    def flow(self) -> Flow | None:
        """Whether gradients vanish or explode."""
        return flow(self.gradient_growth.mean) if self.gradient_growth else None

    @property
    def inputs(self) -> Inputs | None:
        """Whether different inputs still look different at the last boundary."""
        return inputs(self.distance) if self.distance is not None else None

    @property
    def failed_checks(self) -> list[SelfCheck]:
        """The self-checks whose error is above `TOLERANCE`."""
        return [check for check in self.first.checks if not check.error <= TOLERANCE]

    @cached_property
    def boundaries(self) -> list[Row]:
        """The boundaries, each with the growth of the gradient from the next boundary to it."""
        rows = []
        for index, row in enumerate(self.first.boundaries):
            columns = [measurement.boundaries[index] for measurement in self.measurements]
            keys = ("activation_rms", "activation_cosine_distance", "activation_grad_norm")
            values = {key: tuple(getattr(column, key) for column in columns) for key in keys}
            after = [m.boundaries[index + 1] for m in self.measurements] if index < self.blocks else []
            pairs = [(a.activation_grad_norm, b.activation_grad_norm) for a, b in zip(columns, after, strict=False)]
            rows.append(Row(index, row.block, values, _growth(pairs) if pairs else None))
        return rows

    @cached_property
    def layers(self) -> list[Row]:
        """The weights with two or more axes."""
        keys = ("weight_norm", "weight_grad_norm")
        return [
            Row(row.index, row.layer, {key: tuple(getattr(m.layers[index], key) for m in self.measurements) for key in keys})
            for index, row in enumerate(self.first.layers)
        ]

    @cached_property
    def frames(self) -> "dict[str, pd.DataFrame]":
        """`boundaries` and `layers` as data frames, with a row for each seed and position."""
        import pandas as pd  # noqa: PLC0415 - takes 0.3 s, and most commands do not need it

        rows: dict[str, list[dict[str, Any]]] = {
            "boundaries": [{"seed": m.seed, **row._asdict()} for m in self.measurements for row in m.boundaries],
            "layers": [{"seed": m.seed, **row._asdict()} for m in self.measurements for row in m.layers],
        }
        return {name: pd.DataFrame(entries).drop(columns="update_ratio", errors="ignore") for name, entries in rows.items()}

    @property
    def quantities(self) -> dict[str, float | None]:
        """The quantities of `--expect`, mean over seeds."""
        growth, slope = (difference.mean if difference else None for difference in (self.gradient_growth, self.slope))
        loss = math.fsum(measurement.loss for measurement in self.measurements) / len(self.measurements)
        return dict(zip(QUANTITIES, (growth, slope, self.distance, self.activation_growth, loss), strict=True))

    def __str__(self) -> str:
        from resexp.tables.module_probe_lines import module_parts  # noqa: PLC0415 - it prints objects of this class
        from resexp.tables.outputs import as_lines  # noqa: PLC0415 - as above

        return as_lines(module_parts(self)).removesuffix("\n")

    __repr__ = __str__


def _growth(pairs: Sequence[tuple[float, float]]) -> Difference | None:
    """log10 of the ratio, with its interval over seeds; None if a value is 0 or not finite."""
    if not all(0 < value < math.inf for pair in pairs for value in pair):
        return None
    return inference.paired_difference([math.log10(first / second) for first, second in pairs])
