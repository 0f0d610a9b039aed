"""Runs -> charts: one function per figure, interactive in the report and the same as PNG, SVG or PDF."""

from collections.abc import Callable

import altair as alt

from resexp.figures.atlas import atlas
from resexp.figures.charts import (
    accuracy_over_depth,
    curves,
    gradient_at_start,
    gradient_level,
    gradient_map,
    gradient_profile,
    training_error_over_depth,
)
from resexp.tables.frames import Frames, at_start, levels
from resexp.tables.planes import is_plane

Figure = alt.FacetChart | alt.VConcatChart

FIGURES: dict[str, Callable[[Frames], Figure]] = {
    "atlas": atlas,
    "accuracy": accuracy_over_depth,
    "training-error": training_error_over_depth,
    "curves": curves,
    "gradient-at-start": gradient_at_start,
    "gradient-profile": gradient_profile,
    "gradient-level": gradient_level,
    "gradient-map": gradient_map,
}
OF_SIGNALS = {"gradient-at-start", "gradient-profile", "gradient-level", "gradient-map"}


def chosen(frames: Frames) -> list[str]:
    """The figures that these frames have rows for: where init_scale and depth span a plane, its map in the place of all others.

    Networks without a init_scale of their own are on no map; where there are some, all others are drawn as well.
    """
    mapped = ["atlas"] if is_plane(frames.results) else []
    if mapped and frames.results["init_scale"].notna().all():
        return mapped
    without = _without(frames)
    return [*mapped, *(name for name in FIGURES if name != "atlas" and name not in without)]


def _without(frames: Frames) -> set[str]:
    """The figures of gradients that have nothing to draw: none was read, or none is finite and above 0."""
    if frames.signals.empty or levels(frames.signals)["relative"].isna().all():
        return OF_SIGNALS
    return {"gradient-at-start"} if at_start(frames).empty else set()


__all__ = ["FIGURES", "Figure", "chosen"]
