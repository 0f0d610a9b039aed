"""Measurements with the probes of `PROBES`.

Step probes begin after `backward()` and end after `optimizer.step()`:

    measurement = begin(probes, network, boundaries, trials, optimizer)
    optimizer.step()
    rows = end(measurement)
"""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor
from torch.optim import Optimizer

from resexp.networks import Network
from resexp.probes.correlation import gradient_correlation
from resexp.probes.paths import path_lengths
from resexp.probes.probe import Finisher, FixedBatchProbe, LogRow, Probe, StepProbe
from resexp.probes.readings import eps_bound, gradient_norm, signal
from resexp.runs import EpsBoundRow, GradientCorrelationRow, GradientRow, PathLengthRow, SignalRow

PROBES: dict[str, Probe] = {
    "gradient_norm": StepProbe(GradientRow, gradient_norm),
    "signal": StepProbe(SignalRow, signal),
    "eps_bound": StepProbe(EpsBoundRow, eps_bound),
    "gradient_correlation": FixedBatchProbe(
        GradientCorrelationRow, lambda network, x, _labels: [gradient_correlation(network, x)]
    ),
    "path_lengths": FixedBatchProbe(PathLengthRow, path_lengths),
}


@dataclass(frozen=True)
class Measurement:
    """A measurement that has begun: for each probe the function that returns its rows after the update."""

    finishers: dict[str, Finisher]
    trials: int


def begin(
    names: Sequence[str], network: Network, boundaries: Sequence[Tensor], trials: int = 1, optimizer: Optimizer | None = None
) -> Measurement:
    """Begins a measurement after `backward()`; `boundaries` are x_0 .. x_L of this step with retained gradients.

    Runs the step probes among `names`; `fixed_batch_probes` runs the others.
    """
    step_probes = {name: probe for name in names if isinstance(probe := PROBES[name], StepProbe)}
    return Measurement(
        {name: probe.begin(network, boundaries, trials, optimizer) for name, probe in step_probes.items()}, trials
    )


def end(measurement: Measurement) -> list[dict[str, Sequence[LogRow]]]:
    """Ends a measurement after `optimizer.step()`: for each trial the rows of each probe, without step and epoch."""
    probe_rows = {name: finish() for name, finish in measurement.finishers.items()}
    return [{name: rows[trial] for name, rows in probe_rows.items()} for trial in range(measurement.trials)]


def fixed_batch_probes(names: Sequence[str], network: Network, x: Tensor, labels: Tensor) -> dict[str, Sequence[LogRow]]:
    """The rows of the named fixed-batch probes for one network, without step and epoch. x: images (B, C, H, W)."""
    fixed = {name: probe for name in names if isinstance(probe := PROBES[name], FixedBatchProbe)}
    return {name: probe.measure(network, x, labels) for name, probe in fixed.items()}
