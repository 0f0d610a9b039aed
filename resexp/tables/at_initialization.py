"""Gradients and activations at initialization, measured and predicted: rows, CSV, JSON.

init_diagnostics(experiment, measurements)  from `resexp probe`
logged_init_diagnostics(results)            from step 0 of the logs of trained networks, for the report
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
from resexp.tables.labels import label_text
from resexp.tables.theory_bands import prediction_of
from resexp.theory import Prediction

QUANTITIES = ("activation_rms", "activation_grad_norm", "weight_grad_norm")

MeasurementValues = Mapping[str, Any]  # of one trial, from resexp.initial_diagnostics, as plain values


@dataclass(frozen=True)
class Spread:
    """log10 of a norm over seeds and batches: mean and SD of positive finite values, counts of zeros and infinite values."""

    mean: float | None
    sd: float | None
    zero: int
    infinite: int


@dataclass(frozen=True)
class InitDiagnostics:
    """One arm of a configuration at initialization: spreads by position, slope with its interval over seeds, prediction.

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


# ---- measured and predicted -------------------------------------------------------------------------------------------------


def init_diagnostics(experiment: Experiment, measurements: Sequence[MeasurementValues]) -> list[InitDiagnostics]:
    """Each arm of each configuration, in the order of the experiment, from the measurements of its trials."""
    cells = config.cells(experiment.trials, experiment.axes)
    return [
        _arm_diagnostics(
            " ".join(label), trials, [entry for entry in measurements if entry["trial"] in {trial.name for trial in trials}]
        )
        for label, arms in cells.items()
        for trials in arms.values()
    ]


def logged_init_diagnostics(results: Results) -> list[InitDiagnostics]:
    """The same from the rows of step 0 in signals.csv of finished trials, without weight gradients.

    Raises:
        RunsError: a log is damaged; the message names the file.
    """
    measured: dict[tuple[str, str], list[tuple[Trial, MeasurementValues]]] = {}
    for record in results.records:
        rows = runs.read_rows(record.folder / "signals.csv", step=0) if record.result else []
        if rows and record.result:
            measurement = {
                "slope": math.nan if (slope := record.result.slope_start) is None else float(slope),
                "blocks": [row["block"] for row in rows],
                **{name: [float(row[name]) for row in rows] for name in QUANTITIES[:2]},
            }
            label = label_text(results.label(record))
            measurement["trial"] = record.trial.name
            measured.setdefault((label, record.trial.arm), []).append((record.trial, measurement))
    return [_arm_diagnostics(label, *map(list, zip(*pairs, strict=True))) for (label, _), pairs in measured.items()]


def _arm_diagnostics(label: str, trials: Sequence[Trial], measurements: Sequence[MeasurementValues]) -> InitDiagnostics:
    settings, first = trials[0].settings, measurements[0]
    places = {"activation_rms": "blocks", "activation_grad_norm": "blocks", "weight_grad_norm": "layers"}
    network = settings.network.model_copy(update={"width": first.get("width", settings.network.width)})
    slopes = [slope for trial in trials if math.isfinite(slope := _mean_slope(trial, measurements))]
    return InitDiagnostics(
        cell=label,
        depth=settings.network.depth,
        arm=trials[0].arm,
        precision=settings.precision,
        seeds=len(trials),
        places={name: tuple(first[key]) for name, key in places.items() if name in first},
        spreads={
            name: tuple(_spread(values) for values in zip(*(entry[name] for entry in measurements), strict=True))
            for name in QUANTITIES
            if name in first
        },
        slope=inference.paired_difference(slopes) if slopes else None,
        prediction=prediction_of(settings, network),
        blocks=theory.block_count(settings.network),
    )


def _mean_slope(trial: Trial, measurements: Sequence[MeasurementValues]) -> float:
    slopes = [entry["slope"] for entry in measurements if entry["trial"] == trial.name]
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


def probe_csv(diagnostics: Sequence[InitDiagnostics]) -> str:
    """One row per arm, quantity and position; predictions are log10 too and equal the measured gradient at the last block."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for arm in diagnostics:
        for name, spreads in arm.spreads.items():
            levels = _predicted_levels(arm) if name == "activation_grad_norm" else [(None, None)] * len(spreads)
            for index, (position, spread, level) in enumerate(zip(arm.places[name], spreads, levels, strict=True)):
                values = (spread.mean, spread.sd, spread.zero, spread.infinite, *level)
                writer.writerow([arm.cell, arm.arm, name, index, position, *values])
    return text.getvalue()


def _predicted_levels(arm: InitDiagnostics) -> Sequence[tuple[float | None, float | None]]:
    spreads = arm.spreads["activation_grad_norm"]
    last = spreads[-1].mean
    if last is None or not arm.prediction.known:
        return [(None, None)] * len(spreads)
    return [(last + low, last + high) for low, high in arm.prediction.profile()]


def probe_json(diagnostics: Sequence[InitDiagnostics]) -> str:
    """All spreads, predicted profiles, slopes, laws and sources; null for unknown and infinite values."""
    return json.dumps([_finite(_entry(arm)) for arm in diagnostics], indent=1)


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
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
