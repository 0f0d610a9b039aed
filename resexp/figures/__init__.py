"""Figures of results: interactive in the report, static as PNG, SVG or PDF.

FIGURES["mine"] = Figure(section=Section.CONDITIONS, question="...", caption="...", chart=draw)   # draw(data) -> Altair chart
"""

from resexp.figures.accuracy_over_depth import ACCURACY
from resexp.figures.accuracy_over_predictors import PREDICTED_ACCURACY
from resexp.figures.atlas import ATLAS
from resexp.figures.distance_map import DISTANCE_MAP
from resexp.figures.distance_profile import DISTANCE_PROFILE
from resexp.figures.figure import Chart, Figure, FigureData, Section
from resexp.figures.gradient_at_start import GRADIENT_AT_START
from resexp.figures.gradient_level import GRADIENT_LEVEL
from resexp.figures.gradient_map import GRADIENT_MAP
from resexp.figures.gradient_profile import GRADIENT_PROFILE
from resexp.figures.lesions import LESION
from resexp.figures.loss_curves import CURVES
from resexp.figures.loss_surface import SURFACE
from resexp.figures.module_profile import module_profile
from resexp.figures.overview import OVERVIEW
from resexp.figures.paired_differences import PAIRED_DIFFERENCES
from resexp.figures.relative_update import RELATIVE_UPDATE
from resexp.figures.shortcut_scale import SCALE
from resexp.figures.training_error import TRAINING_ERROR
from resexp.figures.weight_gradient import WEIGHT_GRADIENT
from resexp.figures.weight_gradient_map import WEIGHT_GRADIENT_MAP

FIGURES: dict[str, Figure] = {
    "overview": OVERVIEW,
    "atlas": ATLAS,
    "accuracy": ACCURACY,
    "paired-differences": PAIRED_DIFFERENCES,
    "training-error": TRAINING_ERROR,
    "trainability": PREDICTED_ACCURACY,
    "curves": CURVES,
    "gradient-profile": GRADIENT_PROFILE,
    "gradient-at-start": GRADIENT_AT_START,
    "gradient-map": GRADIENT_MAP,
    "gradient-level": GRADIENT_LEVEL,
    "distance-profile": DISTANCE_PROFILE,
    "distance-map": DISTANCE_MAP,
    "weight-gradient": WEIGHT_GRADIENT,
    "weight-gradient-map": WEIGHT_GRADIENT_MAP,
    "relative-update": RELATIVE_UPDATE,
    "lesion": LESION,
    "scale": SCALE,
    "surface": SURFACE,
}


def available_figures(data: FigureData) -> list[str]:
    """The names of the figures that have data. A heat map over depth and init_scale replaces most others.

    If some networks have no init_scale, they are not on the heat map, and all other figures are drawn as well.
    """
    replaces = data.has_heat_map and data.frames.results["init_scale"].notna().all()
    sections = {Section.MAP, Section.ABLATION} if replaces else set(Section)
    return [
        name for name, figure in FIGURES.items() if (figure.section in sections or figure.beside_map) and figure.condition(data)
    ]
