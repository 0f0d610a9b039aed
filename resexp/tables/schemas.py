"""The types of the JSON that commands print, and the JSON schemas that follow from them."""

from collections.abc import Mapping
from dataclasses import make_dataclass
from types import GenericAlias
from typing import Any, get_type_hints

from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from resexp.comparison import Arm, DepthTrend, Flow, Inputs, LayerGradients, SeedBudget, TunedComparison
from resexp.inference import Difference
from resexp.reproduction import PredictionInterval, ReproductionVerdict
from resexp.runs import GradientRow, ModuleMeasurement, Outcome, PairSummary, SelfCheck, SignalRow
from resexp.tables.at_initialization import InitDiagnostics
from resexp.tables.experiment_list import ListedExperiment
from resexp.tables.programs import schema_name
from resexp.tables.published import PublishedResult
from resexp.theory import Prediction

Kind = Any  # a type, as pydantic accepts it
Range = tuple[float, float]


class LabeledPair(PairSummary):
    """An entry of pairs.json with the settings of its configuration as a text."""

    label: str


def record(title: str, /, **kinds: Kind) -> Kind:
    """A type of objects with these keys."""
    return make_dataclass(title, kinds.items())


def extended(row: type, /, **kinds: Kind) -> Kind:
    """A type of objects with the fields of a dataclass or named tuple, and with these keys."""
    return record(row.__name__, **{**get_type_hints(row), **kinds})


def many(kind: Kind) -> Kind:
    return GenericAlias(list, (kind,))


def _layer(**kinds: Kind) -> Kind:
    counts = dict.fromkeys(("parameters", "multiply_adds", "activation_bytes"), int)
    return record("NetworkCost", configurations=str, arm=str, **kinds, **counts)


AblationRow = dict[str, str | float | None]
MEASUREMENT = extended(
    ModuleMeasurement,
    boundaries=many(extended(SignalRow)),
    layers=many(extended(GradientRow)),
    checks=many(extended(SelfCheck, error=float)),
)
PREDICTION = extended(
    Prediction, known=bool, slope=Range | None, slope_spread=float | None, profile=list[Range] | None,
    band=list[float] | None, depth_scale=Range | None,
)  # fmt: skip
STEP_COST = record(
    "StepCost", cell=str, arm=str,
    **dict.fromkeys(("parameters", "multiply_adds", "activation_bytes", "memory_bytes"), int),
    **dict.fromkeys(("step_seconds", "step_low", "step_high", "epoch_seconds", "relative"), float),
)  # fmt: skip
REPEAT = record(
    "Repeat", trial=str, verdict=ReproductionVerdict, files=list[str], deviation=float, differs_from=int | None,
    outcomes=list[Outcome], accuracies=list[float],
)  # fmt: skip

# Command -> the keys of its JSON and their types.
DOCUMENTS: dict[str, Mapping[str, Kind]] = {
    "compare": {
        "experiment": str,
        "metric": str,
        "resolution": float | None,
        "recipe": str,
        "everywhere": dict[str, str],
        "not_a_result": list[str],
        "judged": list[str],
        "cells": many(record("Cell", label=dict[str, str], arms=many(Arm))),
        "looks": list[int],
        "precision": SeedBudget | None,
        "over_depth": many(extended(DepthTrend, closing=bool)),
        "best_settings": list[TunedComparison] | None,
        "tuned": list[TunedComparison] | None,
        "trainability": many(
            record(
                "Correlation", predictor=str, spearman=float, low=float | None, high=float | None, arms=int,
                configurations=int,
            )
        ),
        "tables": dict[str, list[dict[str, Any]]],
        "by_layer": list[LayerGradients],
        "published": many(extended(PublishedResult, cell=str, arm=str)),
    },
    "report": {"format": str, "report": str, "figures": list[str]},
    "probe": {
        "name": str,
        "arms": many(
            extended(
                InitDiagnostics, ratio=float | None, growth=float | None, gradients=Flow | None, inputs=Inputs | None,
                prediction=PREDICTION,
            )
        ),
    },
    "probe-module": {
        "name": str,
        "quantities": dict[str, float | None],
        "slope": Difference | None,
        "gradient_growth": Difference | None,
        "gradients": Flow | None,
        "inputs": Inputs | None,
        "advice": str,
        "failed_checks": list[str],
        "measurements": many(MEASUREMENT),
    },
    "show": {
        "name": str,
        "question": str | None,
        "images": str,
        "missing": str | None,
        "networks": many(_layer()) | None,
        "layers": many(_layer(layer=str, output=str, omitted_blocks=int)) | None,
        "pairs": list[LabeledPair] | None,
    },
    "time": {"name": str, "costs": many(STEP_COST)},
    "dissect": {
        "name": str,
        "lesion": list[AblationRow] | None,
        "scale": list[AblationRow] | None,
        "surface": list[AblationRow] | None,
    },
    "reproduce": {
        "name": str,
        "verdict": ReproductionVerdict,
        "finished": int,
        "environment": many(record("Change", key=str, original=str, again=str)),
        "arms": many(
            record(
                "ReproducedArm", configuration=str, arm=str, verdict=ReproductionVerdict, trials=many(REPEAT),
                intervals=list[PredictionInterval],
            )
        ) | None,
    },
    "watch": {
        "name": str,
        "question": str | None,
        "done": float,
        "trials": many(
            record(
                "WatchedTrial", trial=str, cell=str, state=str, step=int, steps=int, epoch=int, val_accuracy=float | None,
                gradient_norms=list[float], diverged=int | None,
            )
        ),
    },
    "doctor": {"installation": list[str], "runs": str, "experiments": int, "damaged": list[str], "remarks": list[str]},
    "ls": {"experiments": list[ListedExperiment]},
    "pack": {"experiment": str, "file": str, "files": int, "bytes": int},
    "rm": {"moved": many(record("MovedExperiment", experiment=str, trash=str))},
    "configs-ls": {"configs": many(record("ShippedConfig", name=str, question=str))},
    "configs-show": {"name": str, "text": str, "config": dict[str, Any]},
    "export": {"experiment": str, "format": str, "destinations": list[str]},
}  # fmt: skip


class NullIfNotFinite(GenerateJsonSchema):
    """JSON schemas in which each float may be null, because JSON has neither NaN nor infinity."""

    def float_schema(self, schema: core_schema.FloatSchema) -> JsonSchemaValue:
        return {**super().float_schema(schema), "type": ["number", "null"]}


def output_schema(command: str) -> dict[str, Any]:
    """The JSON schema of what a command prints with --json."""
    name = schema_name(command)
    kind = TypeAdapter(record(command, schema=str, **DOCUMENTS[command]))
    schema = kind.json_schema(schema_generator=NullIfNotFinite)
    schema["properties"]["schema"] = {"const": name}
    return {"$schema": NullIfNotFinite.schema_dialect, **schema, "title": name}
