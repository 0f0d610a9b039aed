"""What a probe is. The log of a probe NAME is NAME.csv; its columns are `step`, `epoch` and the fields of its rows."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor
from torch.optim import Optimizer

from resexp.networks import Network
from resexp.runs import columns_of

LogRow = tuple[int | str | float, ...]  # a NamedTuple
Finisher = Callable[[], Sequence[Sequence[LogRow]]]


@dataclass(frozen=True)
class StepProbe:
    """A probe of the forward and backward pass of the training step, for all trials of a stack at once.

    row: the NamedTuple of its rows. begin: called after `backward()` with the network, the block boundaries, the number of
    trials and the optimizer; returns a function that is called after `optimizer.step()` and returns the rows of each trial.
    """

    row: type
    begin: Callable[[Network, Sequence[Tensor], int, Optimizer | None], Finisher]


@dataclass(frozen=True)
class FixedBatchProbe:
    """A probe that runs separate passes on a fixed batch, for one network at a time.

    row: the NamedTuple of its rows. measure: called with the network, images (B, C, H, W) and labels; returns the rows.
    """

    row: type
    measure: Callable[[Network, Tensor, Tensor], Sequence[LogRow]]


Probe = StepProbe | FixedBatchProbe


def column_names(probe: Probe) -> tuple[str, ...]:
    """The columns of the log of a probe."""
    return ("step", "epoch", *(column.name for column in columns_of(probe.row)))
