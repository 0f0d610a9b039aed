"""The charts of a report in one style, and their export as PNG, SVG or PDF."""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import altair as alt
import vl_convert

from resexp import comparison, config, runs
from resexp.figures import FIGURES, Chart, FigureData, available_figures
from resexp.report.picture_layout import parse_width, svg_at_width, svg_slide
from resexp.runs import Results

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


def figures_of(data: FigureData, names: Sequence[str] = ()) -> dict[str, Chart]:
    """These figures, or all figures with data in the order of `FIGURES`."""
    alt.data_transformers.disable_max_rows()
    return {name: FIGURES[name].chart(data) for name in names or available_figures(data)}


def specification(figure: Chart) -> dict[str, Any]:
    """The Vega-Lite specification with the style of the report; Altair has validated the parts of the chart already."""
    spec: dict[str, Any] = figure.to_dict(validate=False)
    return {**spec, "config": STYLE}


# ---- files ----------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Pictures:
    """The pictures to write.

    charts: their names, all that have data if empty. where: KEY=VALUE of the configurations that they show, all if empty; the
    values of one key are alternatives. width: a number with a unit, the original size if empty. slides: pictures of 1920 x
    1080 pixels with title and sentences.
    """

    formats: Sequence[str]
    charts: Sequence[str] = ()
    where: Sequence[str] = ()
    width: str = ""
    slides: bool = False

    def check(self) -> None:
        """Refuses options that cannot be used, before results are read.

        Raises:
            ConfigError: an unknown format or chart, a width that is not one, or an option that has no effect.
        """
        options = {"--charts": self.charts, "--where": self.where, "--width": self.width, "--slides": self.slides}
        for option, value in options.items():
            if value and not self.formats:
                raise config.ConfigError("applies to written charts; add --figures pdf, png or svg", where=option)
        for values, allowed, option in ((self.formats, FIGURE_FORMATS, "--figures"), (self.charts, tuple(FIGURES), "--charts")):
            wrong = [value for value in values if value not in allowed]
            if wrong:
                near = config.did_you_mean(wrong[0], allowed)
                raise config.ConfigError(f"{wrong[0]!r} is not one of {', '.join(allowed)}{near}", where=option)
        if self.width:
            parse_width(self.width)
        if self.width and self.slides:
            raise config.ConfigError("slides have a fixed size of 1920 x 1080 pixels; omit --width", where="--slides")


def save_figures(results: Results, target: Path, pictures: Pictures) -> list[Path]:
    """<target>/<name>.<format> for every figure.

    Raises:
        ConfigError: an option that cannot be used, or a chart without data.
    """
    pictures.check()
    data = FigureData(restricted(results, pictures.where))
    available = available_figures(data)
    absent = [name for name in pictures.charts if name not in available]
    if absent:
        raise config.ConfigError(f"{absent[0]} has no data here; charts with data: {', '.join(available)}", where="--charts")
    target.mkdir(parents=True, exist_ok=True)
    written = []
    for name, chart in figures_of(data, pictures.charts or available).items():
        spec = {**specification(chart), "background": "white"}
        for form, content in _files(name, spec, data, pictures):
            runs.write_bytes(target / f"{name}.{form}", content)
            written.append(target / f"{name}.{form}")
    return written


WRITERS: dict[str, Callable[[dict[str, Any]], bytes]] = {
    "png": lambda spec: vl_convert.vegalite_to_png(spec, vl_version=VEGA_LITE, scale=2),
    "svg": lambda spec: vl_convert.vegalite_to_svg(spec, vl_version=VEGA_LITE).encode(),
    "pdf": lambda spec: vl_convert.vegalite_to_pdf(spec, vl_version=VEGA_LITE),
}
FIGURE_FORMATS = tuple(WRITERS)


def save_chart(chart: Chart, path: Path) -> None:
    """Writes one chart in the style of the report; the file name extension, one of `FIGURE_FORMATS`, is the format."""
    runs.write_bytes(path, WRITERS[path.suffix.removeprefix(".").lower()]({**specification(chart), "background": "white"}))


def _files(name: str, spec: dict[str, Any], data: FigureData, pictures: Pictures) -> Iterator[tuple[str, bytes]]:
    """(format, content) of each file of one chart."""
    if not (pictures.width or pictures.slides):
        yield from ((form, WRITERS[form](spec)) for form in pictures.formats)
        return
    width = parse_width(pictures.width) if pictures.width else None
    if width:
        svg, ppi, unit = svg_at_width(name, spec, width.points, VEGA_LITE), width.ppi, "pt"
    else:
        figure = FIGURES[name]
        words = figure.sentences(data) or [figure.caption]
        svg, ppi, unit = svg_slide(spec, figure.title(data), words, FONT, VEGA_LITE), 72, "px"
    sized = re.sub(r'(width|height)="([\d.]+)"', rf'\1="\2{unit}"', svg, count=2)
    contents: dict[str, Callable[[], bytes]] = {
        "png": lambda: vl_convert.svg_to_png(svg, scale=1, ppi=ppi * (1 + 1e-6)),  # it rounds down
        "svg": sized.encode,
        "pdf": lambda: vl_convert.svg_to_pdf(svg),
    }
    yield from ((form, contents[form]()) for form in pictures.formats)


def restricted(results: Results, where: Sequence[str]) -> Results:
    """The trials of the configurations that have these values, each as KEY=VALUE.

    Raises:
        ConfigError: a text without "=", a key that is not an axis, or values that no configuration has.
    """
    wanted: dict[str, list[str]] = {}
    for text in where:
        key, sign, value = text.partition("=")
        if not sign:
            raise config.ConfigError(f"{text!r} is not KEY=VALUE, such as depth=20", where="--where")
        (column,) = comparison.column_names(results, [key], "--where")
        values = list(dict.fromkeys(results.label(record)[column] for record in results.records))
        if value not in values:
            raise config.ConfigError(f"no configuration has {column}={value}; values: {', '.join(values)}", where="--where")
        wanted.setdefault(column, []).append(value)
    records = tuple(
        record
        for record in results.records
        if all(results.label(record)[column] in values for column, values in wanted.items())
    )
    if where and not any(record.result for record in records):
        raise config.ConfigError(f"no finished trial has {' '.join(where)}", where="--where")
    return replace(results, records=records)
