"""Gradients and signals at initialisation, measured beside predicted: rows, CSV, JSON.

probed(experiment, readings)        from `resexp probe`
probed_results(results)             from the first step that a run has logged, for the report
"""

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from resexp import config, inference, runs, theory
from resexp.config import Experiment, Trial
from resexp.inference import Difference
from resexp.runs import Results
from resexp.tables.theory_bands import prediction_of
from resexp.theory import Prediction

QUANTITIES = ("activation_rms", "activation_grad_norm", "weight_grad_norm")

Measured = Mapping[str, Any]  # survey.Reading as plain values


@dataclass(frozen=True)
class Spread:
    """log10 of a norm over seeds and batches: mean and standard deviation of those above 0 and finite; counts of the others."""

    mean: float | None
    sd: float | None
    zero: int
    infinite: int


@dataclass(frozen=True)
class InitDiagnostics:
    """One arm of a cell at initialisation: spreads by place, the slope with its interval over seeds, what theory says of it.

    `places` names the block boundaries of both activation quantities and the layers of weight_grad_norm.
    """

    cell: str
    depth: int
    arm: str
    precision: str
    seeds: int
    places: dict[str, tuple[str, ...]]
    spreads: dict[str, tuple[Spread, ...]]
    slope: Difference | None
    prediction: Prediction
    blocks: int = 0

    @property
    def ratio(self) -> float | None:
        """Measured over predicted factor of the norm per block; the prediction is the middle of its range."""
        expected = self.prediction.slope()
        return None if expected is None or self.slope is None else 10 ** (self.slope.mean - sum(expected) / 2)


# ---- measured beside predicted ----------------------------------------------------------------------------------------------


def init_diagnostics(experiment: Experiment, readings: Sequence[Measured]) -> list[InitDiagnostics]:
    """Each arm of each cell, in the order of the experiment, from the readings of its trials."""
    cells = config.cells(experiment.trials, experiment.axes)
    return [
        _probed(" ".join(label), trials, [reading for reading in readings if reading["trial"] in {of.name for of in trials}])
        for label, arms in cells.items()
        for trials in arms.values()
    ]


def logged_init_diagnostics(results: Results) -> list[InitDiagnostics]:
    """The same from what finished trials logged in signals.csv at step 0; weight gradients are left to gradients.csv.

    Raises:
        RunsError: a damaged log, by name.
    """
    found: dict[tuple[str, str], list[tuple[Trial, Measured]]] = {}
    for record in results.records:
        rows = [row for row in runs.read_rows(record.folder / "signals.csv") if row["step"] == "0"] if record.result else []
        if rows and record.result:
            reading = {
                "slope": math.nan if (slope := record.result["slope_start"]) is None else float(slope),
                "blocks": [row["block"] for row in rows],
                **{name: [float(row[name]) for row in rows] for name in QUANTITIES[:2]},
            }
            label = ", ".join(f"{key} {value}" for key, value in results.label(record).items())
            reading["trial"] = record.trial.name
            found.setdefault((label, record.trial.arm), []).append((record.trial, reading))
    return [_probed(label, *map(list, zip(*of, strict=True))) for (label, _), of in found.items()]


def _probed(label: str, trials: Sequence[Trial], readings: Sequence[Measured]) -> InitDiagnostics:
    settings, first = trials[0].settings, readings[0]
    places = {"activation_rms": "blocks", "activation_grad_norm": "blocks", "weight_grad_norm": "layers"}
    network = settings.network.model_copy(update={"width": first.get("width", settings.network.width)})
    slopes = [of for trial in trials if math.isfinite(of := _mean_slope(trial, readings))]
    return InitDiagnostics(
        cell=label,
        depth=settings.network.depth,
        arm=trials[0].arm,
        precision=settings.precision,
        seeds=len(trials),
        places={name: tuple(first[key]) for name, key in places.items() if name in first},
        spreads={
            name: tuple(_spread(values) for values in zip(*(reading[name] for reading in readings), strict=True))
            for name in QUANTITIES
            if name in first
        },
        slope=inference.paired_difference(slopes) if slopes else None,
        prediction=prediction_of(settings, network),
        blocks=theory.block_count(settings.network),
    )


def _mean_slope(trial: Trial, readings: Sequence[Measured]) -> float:
    slopes = [reading["slope"] for reading in readings if reading["trial"] == trial.name]
    return math.fsum(slopes) / len(slopes)


def _spread(values: Sequence[float]) -> Spread:
    logs = [math.log10(value) for value in values if value > 0 and math.isfinite(value)]
    mean = math.fsum(logs) / len(logs) if logs else None
    zero = sum(value == 0 for value in values)
    return Spread(mean, inference.standard_deviation(logs), zero, len(values) - len(logs) - zero)


# ---- for programs -----------------------------------------------------------------------------------------------------------

COLUMNS = (
    "cell", "arm", "quantity", "index", "place", "log10_mean", "log10_sd", "zero", "infinite", "predicted_low",
    "predicted_high",
)  # fmt: skip


def probe_csv(found: Sequence[InitDiagnostics]) -> str:
    """One row per arm, quantity and place; predictions are log10 too, level with the measured gradient at the last block."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for arm in found:
        for name, spreads in arm.spreads.items():
            levels = _predicted_levels(arm) if name == "activation_grad_norm" else [(None, None)] * len(spreads)
            for index, (place, of, level) in enumerate(zip(arm.places[name], spreads, levels, strict=True)):
                writer.writerow([arm.cell, arm.arm, name, index, place, of.mean, of.sd, of.zero, of.infinite, *level])
    return text.getvalue()


def _predicted_levels(arm: InitDiagnostics) -> Sequence[tuple[float | None, float | None]]:
    spreads = arm.spreads["activation_grad_norm"]
    last = spreads[-1].mean
    if last is None or not arm.prediction.known:
        return [(None, None)] * len(spreads)
    return [(last + low, last + high) for low, high in arm.prediction.profile()]


def probe_json(found: Sequence[InitDiagnostics]) -> str:
    """Everything: spreads and predicted profile by place, slopes, laws, sources; null for what is not known or infinite."""
    return json.dumps([_finite(_entry(arm)) for arm in found], indent=1)


def _entry(arm: InitDiagnostics) -> dict[str, Any]:
    prediction = arm.prediction
    return {
        **asdict(arm),
        "ratio": arm.ratio,
        "prediction": {
            **asdict(prediction),
            "known": prediction.known,
            "slope": prediction.slope(),
            "slope_spread": prediction.slope_spread(),
            "profile": prediction.profile() if prediction.known else None,
            "band": prediction.band(),
            "depth_scale": prediction.depth_scale(),
        },
    }


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(of) for key, of in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(of) for of in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
