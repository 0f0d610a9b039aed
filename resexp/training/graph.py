"""The training step as one CUDA graph: recorded once, then replayed with new inputs, without the cost of single launches.

A graph repeats its operations on the same memory. So the inputs of a step are copied to fixed tensors, the learning rate is
a tensor, and nothing in the step depends on a value that the host reads.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from resexp.networks import Noise

WARM_UP_STEPS = 3  # steps before the capture, in which cuDNN, cuBLAS and the optimizer allocate what they keep

Step = Callable[[Tensor, Tensor, Sequence[Noise]], Tensor]  # (images, labels, noise) -> losses (T,)


class CapturedStep:
    """A training step that is captured after a few ordinary calls. Every call trains; the capture itself does not."""

    def __init__(self, step: Step) -> None:
        self.step, self.warm_up_steps = step, WARM_UP_STEPS
        self.inputs: list[Noise] = []
        self.replay: Callable[[], None] | None = None
        self.losses = torch.empty(0)

    def __call__(self, x: Tensor, labels: Tensor, noise: Sequence[Noise]) -> Tensor:
        if self.warm_up_steps:
            self.warm_up_steps -= 1
            return on_side_stream(lambda: self.step(x, labels, noise), x.device)
        inputs = [x, labels, *noise]
        if self.replay is None:
            fixed_x, fixed_labels = x.clone(), labels.clone()
            fixed_noise = [None if draws is None else draws.clone() for draws in noise]
            self.inputs = [fixed_x, fixed_labels, *fixed_noise]
            self.replay, self.losses = capture(lambda: self.step(fixed_x, fixed_labels, fixed_noise), x.device)
        for fixed, value in zip(self.inputs, inputs, strict=True):
            if fixed is not None and value is not None:
                fixed.copy_(value)
        self.replay()
        return self.losses.clone()


def on_side_stream(step: Callable[[], Tensor], device: torch.device) -> Tensor:
    """Runs a step as PyTorch asks for before a capture: on another stream than the current one."""
    current, side = torch.cuda.current_stream(device), new_stream(device)
    side.wait_stream(current)
    with torch.cuda.stream(side):
        losses = step()
    current.wait_stream(side)
    return losses


def capture(step: Callable[[], Tensor], device: torch.device) -> tuple[Callable[[], None], Tensor]:
    """(function that repeats the step, its losses); the step itself is recorded, and not executed."""
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.device(device), torch.cuda.graph(graph, stream=new_stream(device)):
        losses = step()
    return graph.replay, losses


def new_stream(device: torch.device) -> torch.cuda.Stream:
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
