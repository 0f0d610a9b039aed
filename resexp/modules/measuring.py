"""Gradients and activations of any network on one batch, before training; the network itself stays as it was."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise

import torch
from torch import Tensor, nn

from resexp.config import ConfigError
from resexp.modules.boundaries import default_boundaries, matching_boundaries
from resexp.modules.passes import Loss, Pass, Subject, calls_of, copied, matching, random_state, run
from resexp.modules.self_checks import self_checks
from resexp.probes import slope
from resexp.probes.readings import cosine_distances, norms
from resexp.runs import GradientRow, ModuleMeasurement, SignalRow


def measure(
    module: nn.Module, x: Tensor, y: Tensor, loss: Loss, at: Sequence[str] = (), seed: int = 0, *, check: bool = True
) -> ModuleMeasurement:
    """Measures a copy of a network in training mode on one batch, and checks its own gradients in float64.

    Args:
        module: the network.
        x: inputs (B, ...); integers, or of any floating-point type.
        y: targets of the loss.
        loss: a function of the output of the network and `y` that returns a scalar.
        at: globs of names of submodules whose outputs are the boundaries; empty: see `default_boundaries`.
        seed: seeds dropout and other random parts of the forward pass.
        check: whether to run the self-checks, which take as many forward passes as there are boundaries.

    Raises:
        ConfigError: the network cannot be measured; the message states why.
    """
    with random_state(), torch.enable_grad():
        subject = Subject(copied(module), matching(module, x), y, loss, seed)
        calls = calls_of(subject)
        chosen = matching_boundaries(calls, at) if at else default_boundaries(calls)
        result = run(subject, chosen)
        labels, kept = list(result.boundaries), list(result.boundaries.values())
        zero = [torch.zeros_like(t) if g is None else g for t, g in zip(kept, result.boundary_grads, strict=True)]
        _refuse_infinite(result, labels)
        batch = len(x)
        columns = zip(norms(kept)[0], norms(zero)[0], _distances(kept), strict=True)
        boundaries = tuple(
            SignalRow(index, label, norm / math.sqrt(tensor.numel()), math.sqrt(batch) * grad, distance)
            for index, (label, tensor, (norm, grad, distance)) in enumerate(zip(labels, kept, columns, strict=True))
        )
        stages = _stages(kept)
        measurement = ModuleMeasurement(
            seed=seed,
            batch=batch,
            loss=float(result.loss),
            rule=chosen.rule,
            boundaries=boundaries,
            stages=stages,
            layers=_layer_rows(result),
            slope=slope([row.activation_grad_norm for row in boundaries], stages),
            remarks=tuple(_remarks(subject.network, result, labels)),
        )
        return replace(measurement, checks=tuple(self_checks(subject, chosen))) if check else measurement


def _refuse_infinite(result: Pass, labels: Sequence[str]) -> None:
    for label, tensor in zip(labels, result.boundaries.values(), strict=True):
        if not bool(tensor.isfinite().all()):
            raise ConfigError(f"activations are not finite (NaN or infinite) from {label} on; nothing beyond can be measured")
    if not bool(result.loss.isfinite()):
        raise ConfigError(
            f"the loss is {float(result.loss)}, although all boundaries are finite; check the last layers and the loss"
        )


def _distances(boundaries: Sequence[Tensor]) -> list[float]:
    """Cosine distances over pairs of examples; nan where the first axis is not the batch or a boundary has one example."""
    return [cosine_distances([t])[0][0] if t.ndim > 1 and len(t) > 1 else math.nan for t in boundaries]


def _stages(boundaries: Sequence[Tensor]) -> tuple[int, ...]:
    stage, stages = 0, [0]
    for before, after in pairwise(boundaries):
        stage += before.shape != after.shape
        stages.append(stage)
    return tuple(stages[: len(boundaries)])


def _layer_rows(result: Pass) -> tuple[GradientRow, ...]:
    weights = list(result.weights.values())
    grads = [torch.zeros_like(w) if g is None else g for w, g in zip(weights, result.weight_grads, strict=True)]
    columns = zip(result.weights, weights, norms([w.detach() for w in weights])[0], norms(grads)[0], strict=True)
    return tuple(
        GradientRow(index, name, weight.numel(), grad, grad / math.sqrt(weight.numel()), norm, math.nan)
        for index, (name, weight, norm, grad) in enumerate(columns)
    )


def _remarks(network: nn.Module, result: Pass, labels: Sequence[str]) -> Iterator[str]:
    frozen = [name for name, parameter in network.named_parameters() if not parameter.requires_grad]
    unused = [name for name, grad in zip(result.weights, result.weight_grads, strict=True) if grad is None]
    silent = [label for label, grad in zip(labels, result.boundary_grads, strict=True) if grad is None]
    batch_norm = any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in network.modules())  # noqa: SLF001 - the class that all batch norm layers share
    dropouts = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout)
    dropout = any(isinstance(module, dropouts) and module.p > 0 for module in network.modules())
    if frozen:
        yield f"frozen parameters, not measured: {_listed(frozen)}"
    if unused:
        yield f"weights without a gradient, because the loss does not depend on them: {_listed(unused)}"
    if silent and len(silent) < len(labels):
        yield f"boundaries on which the loss does not depend: {_listed(silent)}"
    if all(grad is None or not grad.any() for grad in result.boundary_grads):
        yield "dL/dx is exactly 0 at all boundaries: probably the last layer is 0 at initialization"
    if batch_norm:
        yield "batch norm uses the statistics of the batch, as in training"
    if dropout:
        yield "dropout is active, as in training, with one mask per seed"


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
