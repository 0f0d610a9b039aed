"""Content -> one self-contained HTML file, light and dark, that loads nothing from a server."""

import json
import re
from collections.abc import Sequence
from functools import partial
from itertools import groupby
from typing import Any

import jinja2
import vl_convert
from markupsafe import Markup

from resexp.report.content import Content, Part, Picture, collect
from resexp.report.pictures import VEGA_LITE, figures_of, specification
from resexp.runs import Results, Track
from resexp.tables.writers import html_table

MAX_ROWS = 24  # a longer table is folded


def html(results: Results, tune: Sequence[str] = (), track: Track = iter) -> str:
    """The report on all finished trials; `tune` and `track` as in `collect`.

    Raises:
        RunsError: no trial has finished, or a damaged file.
    """
    content = collect(results, tune, track)
    pictures = {picture.name: picture for picture in content.pictures}
    specs = {name: _packed(pictures[name], specification(chart)) for name, chart in figures_of(content.data).items()}
    page = _environment(content).get_template("report.html.j2")
    bundle = _script(vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;", vl_version=VEGA_LITE))
    return page.render(name=results.name, content=content, bundle=bundle, specs=_data(specs))


def _environment(content: Content) -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("resexp"), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True
    )
    environment.filters.update(
        kind=_kind, html=partial(html_table, arms=content.data.frames.arms), is_short=lambda table: len(table.rows) <= MAX_ROWS
    )
    return environment


def _kind(part: Part) -> str:
    """The name of the template's branch for a part."""
    return type(part).__name__


def _packed(picture: Picture, spec: dict[str, Any]) -> dict[str, Any]:
    """A specification with its data by column and strings by index, which takes a sixth of the bytes; the page unpacks them."""
    sets = {key: _columns(rows) for key, rows in spec.get("datasets", {}).items()}
    return {**spec, "datasets": sets, "description": picture.title}


def _columns(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    columns: dict[str, Any] = {}
    for key in rows[0] if rows else ():
        values = [row.get(key) for row in rows]
        if any(isinstance(value, str) for value in values):
            names = list(dict.fromkeys(values))
            index = {value: number for number, value in enumerate(names)}
            columns[key] = {"names": names, "at": _runs([index[value] for value in values])}
        else:
            columns[key] = _runs(values)
    return columns


def _runs(values: list[Any]) -> list[Any] | dict[str, list[Any]]:
    """The values as runs of equal ones, if these are fewer than half of them; the page unpacks both."""
    runs = [(value, len(list(equal))) for value, equal in groupby(values)]
    if 2 * len(runs) >= len(values):
        return values
    return {"values": [value for value, _ in runs], "counts": [count for _, count in runs]}


def _script(text: str) -> Markup:
    """The JavaScript bundle, escaped so that it cannot close its script element or open a comment in it."""
    safe = re.sub(r"<(?=/script|!--)", r"\\x3c", text, flags=re.IGNORECASE)
    return Markup(safe)  # noqa: S704 - the bundle is not user input


def _data(value: Any) -> Markup:
    """JSON without the character <."""
    return Markup(json.dumps(value, separators=(",", ":")).replace("<", r"\u003c"))  # noqa: S704 - contains no markup
