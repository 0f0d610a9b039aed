"""`resexp probe MODULE:FACTORY`: the diagnostics of any torch.nn.Module at initialization."""

import os
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from resexp import config
from resexp.cli.program import UNMET, fail, print_result, stages

if TYPE_CHECKING:
    from resexp.tables import ModuleProbe

CONDITION = re.compile(r"\s*([a-z_]+)\s*(<=|>=|<|>)\s*([-+]?[0-9.]+(?:[eE][-+]?[0-9]+)?)\s*")
SEEDS, BATCH = 3, 32


@dataclass(frozen=True)
class ModuleOptions:
    """The options of `probe` that apply to MODULE:FACTORY only; None or empty if they were not given."""

    input: str | None
    classes: int | None
    batch: int | None
    seeds: int | None
    at: Sequence[str]
    loss: str | None
    data: str | None
    figure: Path | None
    expect: Sequence[str]
    show_all: bool

    @property
    def given(self) -> list[str]:
        """The names of the options that were given."""
        return [f"--{name}" if name != "show_all" else "--all" for name, value in vars(self).items() if value]


def probe_module(source: str, options: ModuleOptions, device: str | None, *, as_json: bool, as_csv: bool) -> None:
    """Measures the network of every seed, and prints the result."""
    from resexp import figures, report, tables  # noqa: PLC0415 - `--help` starts without them

    conditions = [_condition(text) for text in options.expect]
    if options.input is None:
        raise config.ConfigError("needs the shape of one input, such as --input 3,32,32 (without the batch)", where=source)
    figure = options.figure
    if figure and figure.suffix.removeprefix(".").lower() not in report.FIGURE_FORMATS:
        raise config.ConfigError(
            f"the file name must end with .{', .'.join(report.FIGURE_FORMATS)}", where=f"--figure {figure}"
        )
    probe = _measured(source, options, options.input, device)
    if as_json or as_csv:
        print_result(tables.module_json(probe) if as_json else tables.module_csv(probe))
    else:
        print_result(tables.as_lines(tables.module_parts(probe, all_rows=options.show_all)))
    if figure:
        report.save_chart(figures.module_profile(probe), figure)
    for text, (quantity, sign, bound) in zip(options.expect, conditions, strict=True):
        value = probe.quantities[quantity]
        if value is None:
            fail(f"not met: {text}: {quantity} is not known for this network", UNMET)
        elif not _holds(value, sign, bound):
            fail(f"not met: {text}: {quantity} is {value:.4g}", UNMET)


def _measured(source: str, options: ModuleOptions, text: str, device: str | None) -> "ModuleProbe":
    with stages() as announce, stdout_on_stderr():
        announce("starting torch")
        from resexp import modules, tables, training  # noqa: PLC0415 - `--help` starts without torch

        loss = modules.find_loss(options.loss or "cross-entropy")
        target = training.resolve_device(device or "cpu")
        inputs = modules.inputs_of(text, options.batch or BATCH, options.classes, options.data)
        measurements = []
        factory = modules.load(source)
        modules.refuse_huge(factory)
        for seed, network in enumerate(modules.networks(factory, options.seeds or SEEDS)):
            announce(f"measuring seed {seed}")
            placed = network.to(target)
            x, y = inputs.batch(seed)
            targets = modules.targets_of(placed, x, loss, inputs.classes, seed) if y is None else y
            measurements.append(modules.measure(placed, x, targets.to(target), loss, options.at, seed, check=seed == 0))
    return tables.ModuleProbe(source, measurements)


@contextmanager
def stdout_on_stderr() -> Iterator[None]:
    """Redirects what Python and native code print, because stdout contains the result alone."""
    sys.stdout.flush()
    saved = os.dup(1)
    os.dup2(2, 1)
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        os.dup2(saved, 1)
        os.close(saved)


def _condition(text: str) -> tuple[str, str, float]:
    """(quantity, sign, bound) of 'gradient_growth > -0.1'."""
    from resexp.tables import QUANTITIES  # noqa: PLC0415 - `--help` starts without it

    match = CONDITION.fullmatch(text)
    if not match or match[1] not in QUANTITIES:
        near = config.did_you_mean(text.split(maxsplit=1)[0], QUANTITIES) if text.split() else ""
        raise config.ConfigError(
            f"{text!r} is not QUANTITY < or > NUMBER with one of {', '.join(QUANTITIES)}, as 'gradient_growth > -0.1'{near}",
            where="--expect",
        )
    return match[1], match[2], float(match[3])


def _holds(value: float, sign: str, bound: float) -> bool:
    return {"<": value < bound, "<=": value <= bound, ">": value > bound, ">=": value >= bound}[sign]
