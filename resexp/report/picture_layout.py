"""Charts for print and for slides: the same Vega-Lite specification at another size, with fonts that stay legible."""

import math
import re
import textwrap
from collections.abc import Sequence
from html import escape
from typing import Any, NamedTuple

import vl_convert

from resexp import config

Spec = dict[str, Any]

POINTS = {"in": 72.0, "cm": 72 / 2.54, "mm": 72 / 25.4, "pt": 1.0, "px": 0.75}  # of each unit
PRINT_PPI, SCREEN_PPI = 300, 96
NARROWEST, WIDEST = 72.0, 3600.0  # points of a picture
PRINT: dict[str, Spec] = {
    "axis": {"labelFontSize": 7, "titleFontSize": 7.5, "titlePadding": 3, "labelPadding": 2, "tickSize": 3},
    "legend": {
        "orient": "top", "labelFontSize": 7.5, "titleFontSize": 7.5, "symbolSize": 40, "columnPadding": 6, "padding": 0,
        "offset": 4, "gradientLength": 100, "gradientThickness": 6,
        "layout": {side: {"direction": "vertical", "margin": 2} for side in ("top", "bottom")},
    },
    "header": {"labelFontSize": 8, "titleFontSize": 8, "labelPadding": 3},
    "title": {"fontSize": 8.5, "offset": 4},
    "facet": {"spacing": 8},
    "concat": {"spacing": 8},
}  # fmt: skip
SMALLEST_FONT, LARGEST_FONT = 7.0, 9.0  # points
LETTER = 0.52  # mean width of a letter, relative to its size
PANEL = 110.0  # points of a panel, with its axes, for which there is a column
MARKS = 0.6  # widths of lines in print, relative to those on a screen


class Width(NamedTuple):
    """The width of a picture, and the pixels per inch of a PNG."""

    points: float
    ppi: int


def parse_width(text: str) -> Width:
    """'3.25in' or '800px'.

    Raises:
        ConfigError: not a number with a unit, or a width that no chart fits.
    """
    match = re.fullmatch(rf"\s*(\d+(?:\.\d*)?|\.\d+)\s*({'|'.join(POINTS)})\s*", text)
    if not match:
        raise config.ConfigError(f"{text!r} is not a number with one of the units {', '.join(POINTS)}", where="--width")
    points = float(match[1]) * POINTS[match[2]]
    if not NARROWEST <= points <= WIDEST:
        raise config.ConfigError(f"{text} is not from {NARROWEST / 72:g}in to {WIDEST / 72:g}in", where="--width")
    return Width(points, SCREEN_PPI if match[2] == "px" else PRINT_PPI)


def svg_at_width(name: str, spec: Spec, width: float, vl_version: str) -> str:
    """The chart as SVG with exactly this width in points, axes and legends included; `name` is for the message.

    Raises:
        ConfigError: the axes and legends alone are wider.
    """
    svg, size, _ = _fitted(spec, width, vl_version)
    if size[0] > 1.05 * width:
        raise config.ConfigError(
            f"{name} needs {size[0] / 72:.2f}in for its axes and legends; choose a larger width, or name other --charts",
            where="--width",
        )
    height = size[1] * width / size[0]
    return _picture(width, height, [_placed(svg, (0, 0, width, height))])


def _fitted(
    spec: Spec, width: float, vl_version: str, flatter: float = 1.0, factor: float | None = None
) -> tuple[str, tuple[float, float], float]:
    """(SVG, size, factor) of a layout that is as wide as `width` within 1%, if there is one; the search begins at `factor`."""
    factor, previous = factor or 0.5 * width / 330, None
    for _ in range(8):
        svg = vl_convert.vegalite_to_svg(laid_out(spec, width, factor, flatter), vl_version=vl_version)
        size = _size(svg)
        if abs(size[0] - width) < 0.01 * width:
            break
        slope = (size[0] - previous[1]) / (factor - previous[0]) if previous and factor != previous[0] else 330.0
        previous = factor, size[0]
        factor = max(0.05, factor + (width - size[0]) / max(slope, 100.0))
    return svg, size, factor


def _size(svg: str) -> tuple[float, float]:
    match = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', svg)
    return (float(match[1]), float(match[2])) if match else (1.0, 1.0)


def _placed(svg: str, box: tuple[float, float, float, float]) -> str:
    """The picture in a box (left, top, width, height), centered and as large as possible."""
    width, height = _size(svg)
    left, top, box_width, box_height = box
    position = f'x="{left:g}" y="{top:g}" width="{box_width:g}" height="{box_height:g}" viewBox="0 0 {width:g} {height:g}"'
    namespaces = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
    return re.sub(r"<svg\b[^>]*>", f"<svg {namespaces} {position}>", svg, count=1)


def _picture(width: float, height: float, parts: Sequence[str]) -> str:
    root = f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:g}" height="{height:g}"'
    background = '<rect width="100%" height="100%" fill="white"/>'
    return f'{root} viewBox="0 0 {width:g} {height:g}">{background}{"".join(parts)}</svg>'


# ---- layout in points -------------------------------------------------------------------------------------------------------


def laid_out(spec: Spec, width: float, factor: float, flatter: float = 1.0) -> Spec:
    """The specification in points: as many panels in a row as fit, their widths times `factor`, fonts for print.

    flatter: height of panels, relative to the height with the original aspect ratio.
    """
    style = spec.get("config", {})
    columns = max(1, int(width // PANEL))
    content = {key: value for key, value in spec.items() if key not in ("config", "datasets")}
    sized = _sized(_in_columns(content, columns, width), Layout(width, factor, flatter))
    for_print = {key: {**style.get(key, {}), **value} for key, value in PRINT.items()}
    return {**sized, "datasets": spec.get("datasets", {}), "config": {**style, **for_print}, "padding": 2}


def _in_columns(spec: Spec, columns: int, width: float) -> Spec:
    """The same panels with at most `columns` in a row."""
    if "hconcat" in spec and _panels(spec) > columns:
        spec = {**{key: value for key, value in spec.items() if key != "hconcat"}, "vconcat": spec["hconcat"]}
    for key in ("hconcat", "vconcat"):
        if key in spec:
            return {**spec, key: [_in_columns(part, columns, width) for part in spec[key]]}
    facet = spec.get("facet", {})
    if "row" in facet and "column" in facet:
        # One header above each panel: a header at the side of a row would be longer than the panel.
        rows, arms = facet["row"]["sort"], facet["column"]["sort"]
        joint = "datum.condition === 'all' ? datum.arm : datum.condition + ', ' + datum.arm"
        names = [arm if row == "all" else f"{row}, {arm}" for row in rows for arm in arms]
        header = {"labelExpr": "split(datum.value, ', ')"}
        panel = {"field": "panel", "type": "nominal", "title": None, "sort": names, "header": header}
        transform = [*spec.get("transform", []), {"calculate": joint, "as": "panel"}]
        spec = {**spec, "facet": panel, "transform": transform, "columns": len(arms) * max(1, columns // len(arms))}
        facet = panel
    if "field" in facet:
        most = columns if facet["field"] == "panel" else max(1, int(width // (1.5 * PANEL)))
        count = len(facet.get("sort") or "12")
        most = min(most, int(spec.get("columns", most)))
        spec = {**spec, "columns": math.ceil(count / math.ceil(count / most))}  # rows of equal length
    return spec


def _panels(spec: Spec) -> int:
    return sum(map(_panels, spec["hconcat"])) if "hconcat" in spec else 1


class Layout(NamedTuple):
    """The width of a picture, what panels are multiplied by, and the size of the panel that contains a part of it."""

    width: float
    factor: float
    flatter: float
    panel: tuple[float, float] = (330.0, 190.0)


def _sized(value: Any, layout: Layout) -> Any:
    """Any part of a specification with its sizes in points."""
    if isinstance(value, list):
        return [_sized(part, layout) for part in value]
    if not isinstance(value, dict):
        return value
    width, height = value.get("width"), value.get("height")
    if isinstance(width, int | float) or isinstance(height, int | float):
        shrunk = layout.factor * layout.flatter * (height if isinstance(height, int | float) else 170)
        layout = layout._replace(panel=(layout.factor * (width or 330), max(45.0, shrunk)))
    return {key: _sized_entry(key, part, value, layout) for key, part in value.items()}


def _sized_entry(key: str, part: Any, value: Spec, layout: Layout) -> Any:
    if key in ("width", "height"):
        return {**part, "step": 0.7 * part["step"]} if isinstance(part, dict) else layout.panel[key == "height"]
    if isinstance(part, int | float):
        if key.endswith("ontSize"):
            return min(LARGEST_FONT, max(SMALLEST_FONT, 0.66 * part))
        return part * {"strokeWidth": MARKS, "size": MARKS**2}.get(key, 1)
    if key in ("sort", "domain", "range", "values"):
        return part
    if key == "title" and isinstance(part, dict):
        return _title(part, layout.panel)
    if key == "legend" and part:
        return _legend(part, value, layout)
    sized = _sized(part, layout)
    if key in ("x", "y") and isinstance(part, dict) and isinstance(part.get("title"), str):
        return {**sized, "title": _wrapped(part["title"], layout.panel[key == "y"], SMALLEST_FONT)}
    return sized


def _title(title: Spec, panel: tuple[float, float]) -> Spec:
    lines = title["text"] if isinstance(title["text"], list) else [title["text"]]
    return {"text": [part for line in lines for part in _wrapped(line, panel[0], LARGEST_FONT)], "fontSize": 8}


def _wrapped(text: str, room: float, size: float) -> list[str]:
    return textwrap.wrap(text, max(10, int(room / (LETTER * size)))) or [text]


def _legend(legend: Spec, channel: Spec, layout: Layout) -> Spec:
    """A legend above the panels has as many columns as fit."""
    names = legend.get("values") or channel.get("scale", {}).get("domain") or []
    if channel.get("type") == "quantitative" or not names:
        return {**legend, **({"gradientLength": min(100.0, layout.panel[0])} if "gradientLength" in legend else {})}
    longest = max(len(str(name)) for name in names)
    return {**legend, "columns": max(1, min(len(names), int(layout.width // (longest * LETTER * 7.5 + 24))))}


# ---- slides -----------------------------------------------------------------------------------------------------------------

SLIDE = (1920, 1080)  # 16:9
MARGIN = 60
SLIDE_WIDTH = 640.0  # points of a chart on a slide, whose fonts are then 19 to 25 pixels
TITLE_SIZE, TEXT_SIZES = 48, (30, 26, 22)
MAX_LINES = 6


def svg_slide(spec: Spec, title: str, sentences: Sequence[str], font: str, vl_version: str) -> str:
    """The chart as a slide of 1920 x 1080 pixels, its title above it and its sentences below it."""
    room = SLIDE[0] - 2 * MARGIN
    heading = textwrap.wrap(title, int(room / (LETTER * TITLE_SIZE)))
    size, lines = _sentence_lines(sentences, room)
    top = MARGIN + 1.25 * TITLE_SIZE * len(heading)
    bottom = SLIDE[1] - MARGIN / 2 - 1.35 * size * len(lines)
    box = (MARGIN, top, room, bottom - top - 20)
    best, best_scale, factor = "", 0.0, None
    for flatter in (1.0, 0.75, 0.5):
        svg, (width, height), factor = _fitted(_side_by_side(spec), SLIDE_WIDTH, vl_version, flatter, factor)
        scale = min(box[2] / width, box[3] / height)
        if scale > 1.02 * best_scale:
            best, best_scale = svg, scale
        if box[2] / width <= box[3] / height:
            break
    parts = [_text(line, MARGIN + 1.25 * TITLE_SIZE * (n + 0.6), TITLE_SIZE, font, "bold") for n, line in enumerate(heading)]
    parts += [_placed(best, box)]
    parts += [_text(line, bottom + 1.35 * size * (n + 0.6), size, font) for n, line in enumerate(lines)]
    return _picture(*SLIDE, parts)


def _sentence_lines(sentences: Sequence[str], room: float) -> tuple[int, list[str]]:
    """(font size, lines) of all sentences, or of those that fit and a line that counts the others."""
    for shown in range(len(sentences), -1, -1):
        left = len(sentences) - shown
        texts = [
            *sentences[:shown],
            *([f"{left} more {'sentence' if left == 1 else 'sentences'} in the report"] if left else []),
        ]
        for size in TEXT_SIZES if not left else TEXT_SIZES[-1:]:
            lines = [part for text in texts for part in textwrap.wrap(text, int(room / (LETTER * size)))]
            if len(lines) <= MAX_LINES:
                return size, lines
    return TEXT_SIZES[0], []


def _side_by_side(spec: Spec) -> Spec:
    """More panels in a row than on a page, because a slide is wide."""
    if "vconcat" in spec and len(spec["vconcat"]) > 1 and not any("hconcat" in part for part in spec["vconcat"]):
        return {**{key: value for key, value in spec.items() if key != "vconcat"}, "concat": spec["vconcat"], "columns": 2}
    return {**spec, "columns": 4} if "columns" in spec else spec


def _text(line: str, y: float, size: float, font: str, weight: str = "normal") -> str:
    attributes = f'font-family="{escape(font)}" font-size="{size}" font-weight="{weight}"'
    return f'<text x="{MARGIN}" y="{y:g}" {attributes} fill="#1a1a1a">{escape(line)}</text>'
