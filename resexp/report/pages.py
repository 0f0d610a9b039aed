"""Content -> one self-contained HTML file, light and dark, that loads nothing from a server."""

import json
import re
from collections.abc import Sequence
from typing import Any

import jinja2
import vl_convert
from markupsafe import Markup

from resexp import inference, tables
from resexp.claims import Verdict
from resexp.comparison import Effect
from resexp.inference import DegradationVerdict, Summary
from resexp.report.content import Content, collect, sentences
from resexp.report.pictures import VEGA_LITE, caption, figures_of, specification, title
from resexp.runs import Results
from resexp.tables.budget import longer_commands
from resexp.tables.compared import SELECTED, depths_heading, looks_lines, seed_budget_lines, terms, tuned_heading
from resexp.tables.costs import cost_row
from resexp.tables.definitions import DEFINITIONS, legend
from resexp.tables.findings import deepest
from resexp.tables.formats import (
    bound_text,
    choice_text,
    closing_text,
    ends_text,
    p_text,
    ranks_text,
    rise_text,
    sources_text,
    train_error_spread,
    verdict_text,
)
from resexp.tables.labels import NO_AXIS, condition, label_text
from resexp.tables.probe_lines import measured_text, predicted_text, ratio_text, reasons
from resexp.tables.verdict_lines import configuration_lines

# Effects and verdicts -> their color on the page; all others are neutral.
COLORS: dict[str, str] = {
    Effect.MAKES_TRAINABLE: "good",
    Effect.MORE_ACCURATE: "good",
    Effect.MAKES_UNTRAINABLE: "bad",
    Effect.LESS_ACCURATE: "bad",
    Verdict.SUPPORTED: "good",
    Verdict.NOT_SUPPORTED: "bad",
    DegradationVerdict.DOES_NOT_DEGRADE: "good",
    DegradationVerdict.DEGRADES: "bad",
}
# Sections of the page -> their figures, in order.
SECTIONS = (
    ("error", ("training-error",)),
    ("gradients", ("gradient-profile", "gradient-at-start", "gradient-map", "gradient-level")),
    ("map", ("atlas",)),
    ("conditions", ("accuracy", "curves")),
    ("dissection", ("lesion", "scale", "surface")),
)


def html(results: Results, tune: Sequence[str] = ()) -> str:
    """The report on all finished trials; `tune` as in `collect`.

    Raises:
        RunsError: no trial has finished, or a damaged file.
    """
    content = collect(results, tune)
    charts = figures_of(results, content.frames)
    figures = {name: _figure(name, content) for name in charts}
    return (
        _environment()
        .get_template("report.html.j2")
        .render(
            content=content,
            results=results,
            comparison=content.comparison,
            depths_heading=depths_heading(content.comparison),
            longer=longer_commands(content.comparison),
            tuned_heading=tuned_heading(content.comparison),
            selected=SELECTED,
            looks=looks_lines(content.comparison),
            precision=seed_budget_lines(content.comparison),
            evidence=_evidence(content),
            definitions=DEFINITIONS,
            legend=legend(*terms(content.comparison)),
            conditions=[
                finding for finding in content.pair_findings if int(finding.label["depth"]) == deepest(content.pair_findings)
            ],
            figures={section: [figures[name] for name in names if name in figures] for section, names in SECTIONS},
            bundle=_script(vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;", vl_version=VEGA_LITE)),
            specs=_data({name: _packed(name, specification(chart), content) for name, chart in charts.items()}),
        )
    )


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
    return {"name": name, "title": title(name, content), "caption": caption(name), "words": sentences(name, content)}


def _packed(name: str, spec: dict[str, Any], content: Content) -> dict[str, Any]:
    """A specification with its data by column and strings by index, which takes a sixth of the bytes; the page unpacks them."""
    sets = {key: _columns(rows) for key, rows in spec.get("datasets", {}).items()}
    return {**spec, "datasets": sets, "description": title(name, content)}


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
    return Markup(json.dumps(value).replace("<", r"\u003c"))  # noqa: S704 - contains no markup


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("resexp"), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True
    )
    environment.filters.update(
        accuracy=tables.accuracy_text,
        brief=brief,
        outcome=tables.outcome_text,
        missing=tables.missing_text,
        dead=tables.dead_text,
        diverged=tables.diverged_text,
        progress=tables.progress_text,
        ranks=lambda arm: ranks_text(arm.contrast),
        train_error=train_error_spread,
        contrast=tables.contrast_text,
        difference=tables.difference_text,
        beyond_width=tables.beyond_width_text,
        tuned=tables.tuned_text,
        label=label_text,
        setting=choice_text,
        slope=tables.slope_text,
        verdict=verdict_text,
        ends=ends_text,
        rise=rise_text,
        bound=bound_text,
        closing=closing_text,
        p=p_text,
        lower_first=lambda text: text[:1].lower() + text[1:],
        configurations=configuration_lines,
        measured=measured_text,
        predicted=predicted_text,
        ratio=ratio_text,
        reasons=reasons,
        condition=condition_heading,
        css=lambda value: COLORS.get(value, "open"),
        equalities=tables.equalities,
        extra_cost=tables.extra_cost,
        at_start=tables.at_start_text,
        notes=tables.pair_notes,
        cost=cost_row,
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
