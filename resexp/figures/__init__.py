"""Charts of results, one function per figure: interactive in the report, static as PNG, SVG or PDF."""

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
from resexp.tables.frames import Frames, initial_gradients, levels
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
GRADIENT_FIGURES = {"gradient-at-start", "gradient-profile", "gradient-level", "gradient-map"}


def available_figures(frames: Frames) -> list[str]:
    """The names of the figures that have data. A heat map over depth and init_scale replaces all other figures.

    If some networks have no init_scale, they are not on the heat map, and all other figures are drawn as well.
    """
    heat_map = ["atlas"] if is_plane(frames.results) else []
    if heat_map and frames.results["init_scale"].notna().all():
        return heat_map
    missing = _without_data(frames)
    return [*heat_map, *(name for name in FIGURES if name != "atlas" and name not in missing)]


def _without_data(frames: Frames) -> set[str]:
    """The figures of gradients without data: none were logged, or none are positive and finite."""
    if frames.signals.empty or levels(frames.signals)["relative"].isna().all():
        return GRADIENT_FIGURES
    return {"gradient-at-start"} if initial_gradients(frames).empty else set()


__all__ = ["FIGURES", "Figure", "available_figures"]
