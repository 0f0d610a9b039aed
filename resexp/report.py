"""Tables and figures of one experiment as a single HTML file that opens from disk, without any network."""

import inspect
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import altair as alt
import jinja2
import vl_convert
from markupsafe import Markup

from resexp import config, runs, tables
from resexp.config import Experiment
from resexp.figures import FIGURES, Figure, chosen
from resexp.figures.dissection import DISSECTION_FIGURES, read_dissection
from resexp.runs import Results
from resexp.statistics import Summary
from resexp.tables.findings import Finding, deepest, findings, headline
from resexp.tables.frames import Frames, read_frames
from resexp.tables.probe_lines import agreement, measured_text, predicted_text, ratio_text, reasons
from resexp.tables.probing import Probed
from resexp.tables.words import reversals, words

READ = ("metrics.csv", "signals.csv")  # the files of a trial that a report is made from, beside its result
COLOURED = ("rescues", "helps", "ruins", "hurts", "mixed")  # effects that have a colour in the page
FIGURE_FORMATS = ("png", "svg", "pdf")
VEGA_LITE = ".".join(alt.SCHEMA_VERSION.lstrip("v").split(".")[:2])


def figures_of(results: Results, frames: Frames) -> dict[str, Figure]:
    """Every figure that there are rows for, those of `resexp dissect` last."""
    alt.data_transformers.disable_max_rows()
    drawn = {name: FIGURES[name](frames) for name in chosen(frames)}
    dissected = {part: read_dissection(results, part) for part in DISSECTION_FIGURES}
    return drawn | {part: DISSECTION_FIGURES[part](rows) for part, rows in dissected.items() if not rows.empty}


def caption(name: str) -> str:
    """The caption of a figure is the docstring of the function that draws it."""
    return " ".join((inspect.getdoc({**FIGURES, **DISSECTION_FIGURES}[name]) or "").split())


# ---- one HTML file ----------------------------------------------------------------------------------------------------


def html(results: Results) -> str:
    """The report of what has been trained so far.

    Raises:
        RunsError: nothing finished yet, or a damaged file.
    """
    finished = sum(state.result is not None for state in results.states)
    if not finished:
        raise runs.RunsError(f"{results.sources[0][0]}: no trial has finished yet; nothing to report")
    cells = tables.cells(results)
    frames = read_frames(results)
    charts = figures_of(results, frames)
    found = findings(cells)
    start = tables.probed_results(results) if "gradient-at-start" in charts else []
    sources = [_source(folder, experiment) for folder, experiment in results.sources]
    page = _environment().get_template("report.html.j2")
    return page.render(
        name=results.name,
        questions=results.questions,
        finished=finished,
        total=len(results.states),
        sources=sources,
        summary=summary(found),
        headline=headline(cells, found),
        corners=[finding for finding in found if int(finding.label["depth"]) == deepest(found)],
        cells=cells,
        best=tables.best_against_best(results),
        published="\n".join(tables.published_lines(tables.published_rows(results))),
        reversals=reversals(found),
        figures=[_figure(name, frames, start) for name in charts],
        start=start,
        left_out=results.left_out,
        damaged=results.damaged,
        bundle=_script(vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;", vl_version=VEGA_LITE)),
        specs=_script(json.dumps({name: chart.to_dict() for name, chart in charts.items()})),
    )


def _figure(name: str, frames: Frames, start: Sequence[Probed]) -> dict[str, Any]:
    """What stands around a chart: how it is read, and what it shows here."""
    title = name.replace("-", " ").capitalize()
    said = agreement(start) if name == "gradient-at-start" else words(name, frames)
    return {"name": name, "title": title, "caption": caption(name), "words": said}


def _source(folder: Path, experiment: Experiment) -> dict[str, Any]:
    """What the report says of one experiment beside its results."""
    starts = runs.starts(folder)
    training, validation, test = starts[-1]["images"]
    return {
        "images": f"{training} training, {validation} validation, {test} test images of {experiment.shared.data.name}",
        "cards": runs.cards(folder),
        "starts": starts,
        "config": runs.to_yaml(experiment.settings),
    }


def _script(text: str) -> Markup:
    """JavaScript or JSON that cannot close the script element it stands in."""
    return Markup(text.replace("</script", "<\\/script"))  # noqa: S704 - our own bundle and specs, not HTML from anybody


def summary(found: Sequence[Finding]) -> str:
    """How often the shortcut did what, over all pairs."""
    effects = [finding.effect for finding in found]
    counted = [f"{effect}: {effects.count(effect)}" for effect in dict.fromkeys(effects)]
    return f"What the shortcut did in {len(effects)} pairs: {', '.join(counted)}." if found else ""


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("resexp"), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True
    )
    environment.filters.update(
        accuracy=tables.accuracy_text,
        brief=brief,
        outcome=tables.outcome_text,
        difference=tables.difference_text,
        beyond_width=tables.beyond_width_text,
        best=tables.best_text,
        slope=tables.slope_text,
        measured=measured_text,
        predicted=predicted_text,
        ratio=ratio_text,
        reasons=reasons,
        labelled=labelled,
        css=lambda effect: effect if effect in COLOURED else "none",
        equalities=tables.equalities,
        beyond=tables.beyond,
        at_start=tables.at_start,
        notes=tables.card_notes,
        versions=lambda packages: ", ".join(f"{name} {version}" for name, version in packages.items()),
    )
    environment.globals["without_depth"] = ("depth",)
    return environment


def brief(summary: Summary) -> str:
    """The accuracy in few characters: a median where outcomes are mixed."""
    return tables.accuracy_text(summary).split(" (")[0]


def labelled(label: dict[str, str], without: Sequence[str]) -> str:
    """A cell's label in words."""
    return ", ".join(f"{key} {value}" for key, value in label.items() if key not in without) or "plain and residual"


# ---- files ----------------------------------------------------------------------------------------------------------------


def save_figures(results: Results, target: Path, formats: Sequence[str]) -> list[Path]:
    """<target>/<name>.<format> for every figure.

    Raises:
        RunsError: an unknown format.
    """
    wrong = [form for form in formats if form not in FIGURE_FORMATS]
    if wrong:
        raise config.ConfigError(f"{wrong[0]!r} is not one of {', '.join(FIGURE_FORMATS)}", where="--figures")
    convert = {
        "png": lambda spec: vl_convert.vegalite_to_png(spec, vl_version=VEGA_LITE, scale=2),
        "svg": lambda spec: vl_convert.vegalite_to_svg(spec, vl_version=VEGA_LITE).encode(),
        "pdf": lambda spec: vl_convert.vegalite_to_pdf(spec, vl_version=VEGA_LITE),
    }
    target.mkdir(parents=True, exist_ok=True)
    written = []
    for name, chart in figures_of(results, read_frames(results)).items():
        for form in formats:
            runs.write_bytes(target / f"{name}.{form}", convert[form](chart.to_dict()))
            written.append(target / f"{name}.{form}")
    return written
