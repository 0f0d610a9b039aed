"""The networks of an experiment in words: layers, shapes, parameters, multiply-adds, and the card of every pair."""

import math
from collections.abc import Callable

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from resexp import config, datasets, pairs, training
from resexp.config import Experiment, Trial
from resexp.networks import Network, weighted_layers


def describe(experiment: Experiment) -> str:
    """Text for a terminal of 80 columns; reads the data, trains nothing.

    Raises:
        DataError: an image folder that is missing or damaged; other sets are laid out without their images.
        DeviceError: the named device is absent.
    """
    data = experiment.shared.data
    device = training.resolve_device(experiment.shared.device)
    input_shape: tuple[int, ...]
    try:
        found = training.material(data, device, training.DTYPES[experiment.shared.precision])
        input_shape, classes, missing = found.input_shape, found.classes, None
    except datasets.DataError as error:
        if data.name not in datasets.SHAPES:
            raise
        (input_shape, classes), missing = datasets.SHAPES[data.name], str(error)
    lines = [experiment.name, *([experiment.question] if experiment.question else [])]
    lines += [f"{data.name}: images {input_shape}, {classes} classes"]
    for label, arms in config.cells(experiment.trials, experiment.axes).items():
        first = next(iter(arms.values()))[0]
        lines += ["", " ".join(label), *layer_table(training.build(first, input_shape, classes), first, input_shape)]
    if missing:
        return "\n".join([*lines, "", f"no cards: {missing}"]) + "\n"
    for card in pairs.cards(experiment, device):
        lines += ["", *card_lines(card)]
    return "\n".join(lines) + "\n"


def layer_table(network: Network, trial: Trial, input_shape: tuple[int, ...]) -> list[str]:
    """Weighted layers with output shape, parameters and multiply-adds of one image; long runs of equal layers folded."""
    shapes, counts = _measure(network, input_shape)
    form = "  {:<28}{:<18}{:>12}{:>16}"
    rows = [
        (layer.name, str(shapes[layer.name]), sum(p.numel() for p in layer.module.parameters()), counts[layer.name])
        for layer in weighted_layers(network)
    ]
    lines = [form.format(f"layer ({trial.arm})", "output", "parameters", "multiply-adds")]
    folded = 0
    for number, row in enumerate(rows):
        alike = 2 < number < len(rows) - 2 and row[1:] == rows[number - 1][1:] == rows[number + 1][1:]
        folded += alike
        if not alike:
            lines += [f"  ... {folded} more of the same"] if folded else []
            lines.append(form.format(row[0], row[1], f"{row[2]:,}", f"{row[3]:,}"))
            folded = 0
    total = sum(p.numel() for p in network.parameters())
    return [*lines, form.format("total, norms included", "", f"{total:,}", f"{sum(counts.values()):,}")]


def _measure(network: Network, input_shape: tuple[int, ...]) -> tuple[dict[str, tuple[int, ...]], dict[str, int]]:
    """(output shape, multiply-adds) of each weighted layer in one image's forward pass, by torch's own counter."""
    shapes: dict[str, tuple[int, ...]] = {}
    counts: dict[str, int] = {}

    def watch(name: str) -> Callable[[nn.Module, tuple[torch.Tensor], torch.Tensor], None]:
        def seen(module: nn.Module, inputs: tuple[torch.Tensor], output: torch.Tensor) -> None:
            shapes[name] = tuple(output.shape[1:])
            with FlopCounterMode(display=False) as counter:
                type(module).forward(module, *inputs)
            counts[name] = int(counter.get_total_flops()) // 2

        return seen

    parameter = next(network.parameters())
    hooks = [layer.module.register_forward_hook(watch(layer.name)) for layer in weighted_layers(network)]
    with torch.no_grad():
        network.eval()(torch.zeros(1, *input_shape, dtype=parameter.dtype))
    for hook in hooks:
        hook.remove()
    return shapes, counts


def card_lines(card: pairs.Card) -> list[str]:
    """The card of a pair in a few lines."""
    plain, residual = (card["at_start"][arm] for arm in (card["plain"], card["residual"]))
    equal, beyond = card["equal"], card["beyond"]
    shown = ", ".join(
        f"{word} {'equal' if holds else 'DIFFERENT'}"
        for word, holds in (
            (f"{equal['weights']} shared weight tensors", equal["weights_bit_equal"]),
            ("first batch", equal["first_batch"]),
            ("recipe", equal["recipe"]),
        )
    )
    notes = {
        "start_differs": "the plain twin has a start of its own: without zero_last, he for fixup",
        "same_function_class": "same function class: the arms differ only in where they start and how they step",
        "nothing_to_skip": "depth 2: nothing to skip",
    }
    return [
        f"{card['cell']}: {card['plain']} / {card['residual']}",
        f"  {shown}",
        f"  beyond its twin: {beyond['parameters']:+,} parameters, {beyond['multiply_adds']:+,} multiply-adds",
        *(
            f"  at step 0, {name}: {_number(plain[key])} / {_number(residual[key])}"
            for key, name in (("loss", "loss"), ("output_rms", "RMS of the logits"), ("slope", "slope of the gradient"))
        ),
        *(f"  note: {text}" for key, text in notes.items() if card[key]),
    ]


def _number(value: float) -> str:
    return f"{value:.4g}" if math.isfinite(value) else "-"
