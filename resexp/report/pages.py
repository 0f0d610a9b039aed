"""Content -> one self-contained HTML file, light and dark, that loads nothing from a server."""

import json
import re
from collections.abc import Sequence
from typing import Any

import jinja2
import vl_convert
from markupsafe import Markup

from resexp import inference, tables
from resexp.figures import FIGURES, Section
from resexp.inference import Summary
from resexp.report.content import Content, collect
from resexp.report.pictures import VEGA_LITE, figures_of, specification
from resexp.runs import Results
from resexp.tables.best_settings import SELECTED, best_settings
from resexp.tables.budget import longer_commands
from resexp.tables.by_layer import weight_gradients
from resexp.tables.claim_table import claim_table
from resexp.tables.colors import verdict_tone
from resexp.tables.compared import looks_lines, notes, seed_budget_lines
from resexp.tables.comparison_tables import added_tables
from resexp.tables.configurations import configurations
from resexp.tables.costs import costs_of_steps
from resexp.tables.definitions import DEFINITIONS
from resexp.tables.error_over_depth import error_over_depth
from resexp.tables.findings import deepest
from resexp.tables.formats import (
    sources_text,
    train_error_spread,
)
from resexp.tables.labels import NO_AXIS, condition, label_text
from resexp.tables.pair_summaries import matched_pairs
from resexp.tables.probe_lines import slopes
from resexp.tables.writers import html_table


def html(results: Results, tune: Sequence[str] = ()) -> str:
    """The report on all finished trials; `tune` as in `collect`.

    Raises:
        RunsError: no trial has finished, or a damaged file.
    """
    content = collect(results, tune)
    charts = figures_of(content.data)
    figures = {name: _figure(name, content) for name in charts}
    return (
        _environment()
        .get_template("report.html.j2")
        .render(
            content=content,
            results=results,
            comparison=content.comparison,
            tables=_tables(content),
            added_tables={table.title: html_table(table) for table in added_tables(content.comparison).values()},
            longer=longer_commands(content.comparison),
            tuned_title=best_settings(content.comparison).title,
            depths_title=error_over_depth(content.comparison).title,
            selected=SELECTED,
            looks=looks_lines(content.comparison),
            precision=seed_budget_lines(content.comparison),
            evidence=_evidence(content),
            definitions=DEFINITIONS,
            conditions=[
                finding for finding in content.pair_findings if int(finding.label["depth"]) == deepest(content.pair_findings)
            ],
            figures={
                section: [figure for name, figure in figures.items() if FIGURES[name].section == section] for section in Section
            },
            bundle=_script(vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;", vl_version=VEGA_LITE)),
            specs=_data({name: _packed(name, specification(chart), content) for name, chart in charts.items()}),
        )
    )


def _tables(content: Content) -> dict[str, Markup]:
    """Name -> table as HTML."""
    return {
        "configurations": html_table(configurations(content.comparison, notes(content.comparison))),
        "depths": html_table(error_over_depth(content.comparison)),
        "tuned": html_table(best_settings(content.comparison)),
        "slopes": html_table(slopes(content.at_initialization)),
        "weight_gradients": html_table(weight_gradients(content.layer_gradients)),
        "claims": html_table(claim_table(content.claim_verdicts)),
        "published": html_table(content.published),
        "pairs": html_table(matched_pairs([summary for source in content.sources for summary in source.pair_summaries])),
    }


def _evidence(content: Content) -> dict[str, object]:
    """The requirements of a verdict on a pair: number of seeds, sources of uncertainty and significance levels."""
    sources = sources_text([arm for cell in content.comparison.cells for arm in cell.arms])
    return {
        "seeds": inference.MIN_SEEDS,
        "sources": sources,
        "alpha": f"{inference.ALPHA:g}",
        "by_ranks": f"{inference.RANK_TEST_ALPHA:g}",
    }


def _figure(name: str, content: Content) -> dict[str, Any]:
    """The texts of a chart: its title, its caption, and sentences from its data."""
    figure = FIGURES[name]
    texts = {"title": figure.title(content.data), "caption": figure.caption, "words": figure.sentences(content.data)}
    return {"name": name, **texts}


def _packed(name: str, spec: dict[str, Any], content: Content) -> dict[str, Any]:
    """A specification with its data by column and strings by index, which takes a sixth of the bytes; the page unpacks them."""
    sets = {key: _columns(rows) for key, rows in spec.get("datasets", {}).items()}
    return {**spec, "datasets": sets, "description": FIGURES[name].title(content.data)}


def _columns(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    columns: dict[str, Any] = {}
    for key in rows[0] if rows else ():
        values = [row.get(key) for row in rows]
        if any(isinstance(value, str) for value in values):
            names = list(dict.fromkeys(values))
            index = {value: number for number, value in enumerate(names)}
            columns[key] = {"names": names, "at": [index[value] for value in values]}
        else:
            columns[key] = values
    return columns


def _script(text: str) -> Markup:
    """The JavaScript bundle, escaped so that it cannot close its script element or open a comment in it."""
    safe = re.sub(r"<(?=/script|!--)", r"\\x3c", text, flags=re.IGNORECASE)
    return Markup(safe)  # noqa: S704 - the bundle is not user input


def _data(value: Any) -> Markup:
    """JSON without the character <."""
    return Markup(json.dumps(value, separators=(",", ":")).replace("<", r"\u003c"))  # noqa: S704 - contains no markup


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("resexp"), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True
    )
    environment.filters.update(
        brief=brief,
        outcome=tables.outcome_text,
        progress=tables.progress_text,
        train_error=train_error_spread,
        label=label_text,
        slope=tables.slope_text,
        lower_first=lambda text: text[:1].lower() + text[1:],
        condition=condition_heading,
        css=verdict_tone,
        costs=lambda source: html_table(costs_of_steps(source.folder.name, source.costs)),
        versions=lambda packages: ", ".join(f"{name} {version}" for name, version in packages.items()),
    )
    return environment


def brief(summary: Summary) -> str:
    """The accuracy in few characters: mean and SD, or the median if outcomes differ."""
    return tables.accuracy_text(summary).split(" (")[0]


def condition_heading(label: dict[str, str]) -> str:
    """A condition in words."""
    text = condition(label)
    return "plain and residual" if text == NO_AXIS else text
