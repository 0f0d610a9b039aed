"""The charts of a report in one style, and their export as PNG, SVG or PDF."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import altair as alt
import vl_convert

from resexp import config, runs
from resexp.figures import FIGURES, Chart, FigureData, available_figures
from resexp.runs import Results

FIGURE_FORMATS = ("png", "svg", "pdf")
VEGA_LITE = ".".join(alt.SCHEMA_VERSION.lstrip("v").split(".")[:2])
FONT = 'system-ui, "Segoe UI", "Helvetica Neue", "DejaVu Sans", sans-serif'
STYLE = {
    "font": FONT,
    "axis": {"labelFontSize": 11, "titleFontSize": 11, "titleFontWeight": "normal", "gridColor": "#88888833", "domain": False},
    "legend": {"labelFontSize": 12, "titleFontSize": 11, "titleFontWeight": "normal"},
    "header": {"labelFontSize": 12.5, "titleFontSize": 12},
    "title": {"fontSize": 12.5, "anchor": "start"},
    "view": {"stroke": None},
}


def figures_of(data: FigureData) -> dict[str, Chart]:
    """All figures with data, in the order of `FIGURES`."""
    alt.data_transformers.disable_max_rows()
    return {name: FIGURES[name].chart(data) for name in available_figures(data)}


def specification(figure: Chart) -> dict[str, Any]:
    """The Vega-Lite specification with the style of the report."""
    spec: dict[str, Any] = figure.to_dict()
    return {**spec, "config": STYLE}


# ---- files ----------------------------------------------------------------------------------------------------------------


def save_figures(results: Results, target: Path, formats: Sequence[str]) -> list[Path]:
    """<target>/<name>.<format> for every figure.

    Raises:
        ConfigError: an unknown format.
    """
    wrong = [form for form in formats if form not in FIGURE_FORMATS]
    if wrong:
        raise config.ConfigError(f"{wrong[0]!r} is not one of {', '.join(FIGURE_FORMATS)}", where="--figures")
    convert: dict[str, Callable[[dict[str, Any]], bytes]] = {
        "png": lambda spec: vl_convert.vegalite_to_png(spec, vl_version=VEGA_LITE, scale=2),
        "svg": lambda spec: vl_convert.vegalite_to_svg(spec, vl_version=VEGA_LITE).encode(),
        "pdf": lambda spec: vl_convert.vegalite_to_pdf(spec, vl_version=VEGA_LITE),
    }
    target.mkdir(parents=True, exist_ok=True)
    written = []
    for name, figure in figures_of(FigureData(results)).items():
        for form in formats:
            runs.write_bytes(target / f"{name}.{form}", convert[form]({**specification(figure), "background": "white"}))
            written.append(target / f"{name}.{form}")
    return written
