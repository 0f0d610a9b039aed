"""Gradients and activations at initialization, measured and predicted: rows, CSV, JSON.

init_diagnostics(experiment, measurements)  from `resexp probe`
logged_init_diagnostics(results)            from step 0 of the logs of trained networks, for the report
"""

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from resexp import config, inference, runs, theory
from resexp.comparison import Flow, Inputs, flow, inputs
from resexp.config import Experiment, Trial
from resexp.inference import Difference
from resexp.runs import Results
from resexp.tables.labels import label_text
from resexp.tables.programs import document
from resexp.tables.theory_bands import distances_of, prediction_of
from resexp.theory import DistancePrediction, Prediction

DISTANCE = "activation_cosine_distance"
ROUNDING = 1e-3  # orders of magnitude per block; smaller gaps between measured and predicted slopes are not printed
POSITIONS = {
    "activation_rms": "blocks",
    "activation_grad_norm": "blocks",
    "weight_grad_norm": "layers",
    DISTANCE: "blocks",
}

MeasurementValues = Mapping[str, Any]  # of one trial, from resexp.initial_diagnostics, as plain values


@dataclass(frozen=True)
class Spread:
    """log10 over seeds and batches: mean and SD of positive finite values, counts of zeros and of non-finite values."""

    mean: float | None
    sd: float | None
    zero: int
    infinite: int


@dataclass(frozen=True)
class InitDiagnostics:
    """One arm of a configuration at initialization: spreads by position, slope with its interval over seeds, predictions.

    `places` names the block boundaries of activation quantities and the layers of weight_grad_norm. The distances are
    predicted from the measured one at the first boundary; logs of earlier releases do not have it. distance: mean cosine
    distance at the last boundary, None in logs of earlier releases.
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
    distance: float | None = None
    distances: DistancePrediction = field(default_factory=DistancePrediction)

    @property
    def growth(self) -> float | None:
        """Orders of magnitude from output to input: the slope times the number of blocks."""
        return None if self.slope is None else self.slope.mean * self.blocks

    @property
    def flow(self) -> Flow | None:
        return None if self.growth is None else flow(self.growth)

    @property
    def inputs(self) -> Inputs | None:
        return None if self.distance is None else inputs(self.distance)

    @property
    def ratio(self) -> float | None:
        """Measured over predicted factor of the norm per block; the prediction is the middle of its range."""
        expected = self.prediction.slope()
        return None if expected is None or self.slope is None else 10 ** (self.slope.mean - sum(expected) / 2)

    @property
    def predicted(self) -> tuple[float, float] | None:
        """(low, high) of the slope from theory, with two SDs over seeds if theory predicts them."""
        expected, spread = self.prediction.slope(), self.prediction.slope_spread() or 0.0
        return None if expected is None else (expected[0] - spread, expected[1] + spread)

    @property
    def gap(self) -> float | None:
        """Distance of the 95% CI of the measured slope (of its value, if there is one seed) from the predicted range."""
        if self.slope is None or self.predicted is None:
            return None
        low, high = (self.slope.mean if end is None else end for end in (self.slope.low, self.slope.high))
        gap = max(self.predicted[0] - high, low - self.predicted[1])
        return gap if gap > ROUNDING else 0.0


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
            names = [name for name, kind in POSITIONS.items() if kind == "blocks" and name in rows[0]]
            measurement = {
                "slope": math.nan if (slope := record.result.slope_start) is None else float(slope),
                "distance": math.nan if (distance := record.result.distance_start) is None else distance,
                "blocks": [row["block"] for row in rows],
                **{name: [float(row[name]) for row in rows] for name in names},
            }
            label = label_text(results.label(record))
            measurement["trial"] = record.trial.name
            measured.setdefault((label, record.trial.arm), []).append((record.trial, measurement))
    return [_arm_diagnostics(label, *map(list, zip(*pairs, strict=True))) for (label, _), pairs in measured.items()]


def _arm_diagnostics(label: str, trials: Sequence[Trial], measurements: Sequence[MeasurementValues]) -> InitDiagnostics:
    settings, first = trials[0].settings, measurements[0]
    network = settings.network.model_copy(update={"width": first.get("width", settings.network.width)})
    spreads = {
        name: tuple(_spread(values) for values in zip(*(entry[name] for entry in measurements), strict=True))
        for name in POSITIONS
        if all(name in entry for entry in measurements)
    }
    first_distance = spreads[DISTANCE][0].mean if DISTANCE in spreads else None
    slopes, distances = (
        [mean for trial in trials if math.isfinite(mean := _mean(trial, measurements, key))] for key in ("slope", "distance")
    )
    return InitDiagnostics(
        cell=label,
        depth=settings.network.depth,
        arm=trials[0].arm,
        precision=settings.precision,
        seeds=len(trials),
        places={name: tuple(first[POSITIONS[name]]) for name in spreads},
        spreads=spreads,
        slope=inference.paired_difference(slopes) if slopes else None,
        prediction=prediction_of(settings, network),
        blocks=theory.block_count(settings.network),
        distance=math.fsum(distances) / len(distances) if distances else None,
        distances=DistancePrediction() if first_distance is None else distances_of(settings, network, 10**first_distance),
    )


def _mean(trial: Trial, measurements: Sequence[MeasurementValues], key: str) -> float:
    """Over the batches of a trial."""
    values = [entry[key] for entry in measurements if entry["trial"] == trial.name]
    return math.fsum(values) / len(values)


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
    """One row per arm, quantity and position.

    Predictions are log10 too. Those of gradients equal the measured one at the last block.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for arm in diagnostics:
        for name, spreads in arm.spreads.items():
            levels = _predicted_levels(arm, name)
            for index, (position, spread, level) in enumerate(zip(arm.places[name], spreads, levels, strict=True)):
                values = (spread.mean, spread.sd, spread.zero, spread.infinite, *level)
                writer.writerow([arm.cell, arm.arm, name, index, position, *values])
    return text.getvalue()


def _predicted_levels(arm: InitDiagnostics, name: str) -> Sequence[tuple[float | None, float | None]]:
    last = arm.spreads[name][-1].mean
    if name == "activation_grad_norm" and last is not None and arm.prediction.known:
        return [(last + low, last + high) for low, high in arm.prediction.profile()]
    if name == DISTANCE and arm.distances.known:
        return [(_log(low), _log(high)) for low, high in zip(arm.distances.low, arm.distances.high, strict=True)]
    return [(None, None)] * len(arm.spreads[name])


def _log(value: float) -> float | None:
    return math.log10(value) if value > 0 else None


def probe_json(name: str, diagnostics: Sequence[InitDiagnostics]) -> str:
    """All spreads, predicted profiles, slopes, laws and sources; null for unknown and infinite values."""
    return document("probe", {"name": name, "arms": [_entry(arm) for arm in diagnostics]})


def _entry(arm: InitDiagnostics) -> dict[str, Any]:
    prediction = arm.prediction
    return {
        **asdict(arm),
        "ratio": arm.ratio,
        "growth": arm.growth,
        "gradients": arm.flow,
        "inputs": arm.inputs,
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
