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
from resexp.figures import FIGURES
from resexp.statistics import Summary
from resexp.tables.findings import Finding, findings
from resexp.tables.frames import Frames, read_frames

FIGURE_FORMATS = ("png", "svg", "pdf")
VEGA_LITE = ".".join(alt.SCHEMA_VERSION.lstrip("v").split(".")[:2])

Card = dict[str, Any]


def figures_of(frames: Frames) -> dict[str, alt.FacetChart]:
    """Every figure that the frames have rows for."""
    alt.data_transformers.disable_max_rows()
    empty = {"gradient-profile", "gradient-level", "gradient-map"} if frames.signals.empty else set()
    return {name: draw(frames) for name, draw in FIGURES.items() if name not in empty}


def caption(name: str) -> str:
    """The caption of a figure is the docstring of the function that draws it."""
    return " ".join((inspect.getdoc(FIGURES[name]) or "").split())


# ---- one HTML file ----------------------------------------------------------------------------------------------------


def html(folder: Path, experiment: Experiment) -> str:
    """The report of what has been trained so far.

    Raises:
        RunsError: nothing finished yet, or a damaged file.
    """
    states = runs.states(folder, experiment)
    finished = sum(state.result is not None for state in states)
    if not finished:
        raise runs.RunsError(f"{folder}: no trial has finished yet; nothing to report")
    cells = tables.cells(folder, experiment)
    charts = figures_of(read_frames(folder, experiment))
    found = findings(cells)
    deepest = max((int(finding.label["depth"]) for finding in found), default=0)
    starts = runs.read_json(folder / "environment.json") or []
    page = _environment().get_template("report.html.j2")
    return page.render(
        experiment=experiment,
        finished=finished,
        total=len(states),
        data=experiment.shared.data.name,
        images=starts[-1]["images"] if starts else ["?"] * 3,
        summary=summary(found),
        headline=f"What the shortcut did at depth {deepest}" if found else "No pair has finished yet",
        corners=[finding for finding in found if int(finding.label["depth"]) == deepest],
        cells=cells,
        best=tables.best_against_best(folder, experiment),
        figures=[{"name": name, "title": name.replace("-", " ").capitalize(), "caption": caption(name)} for name in charts],
        cards=runs.read_json(folder / "pairs.json") or [],
        starts=starts,
        left_out=runs.left_out(folder, experiment),
        config_text=runs.to_yaml(experiment.settings),
        bundle=_script(vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;", vl_version=VEGA_LITE)),
        specs=_script(json.dumps({name: chart.to_dict() for name, chart in charts.items()})),
    )


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
        slope=tables.slope_text,
        labelled=labelled,
        css=lambda effect: "none" if effect == "no difference shown" else effect,
        equalities=equalities,
        beyond=beyond,
        both=both,
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


def equalities(card: Card) -> str:
    """What a card shows to be equal, and what not."""
    equal = card["equal"]
    words = {f"{equal['weights']} weight tensors": equal["weights_bit_equal"], "first batch": equal["first_batch"]}
    words["recipe"] = equal["recipe"]
    text = ", ".join(word if holds else f"{word} DIFFERENT" for word, holds in words.items())
    notes = {
        "start_differs": "start differs",
        "same_function_class": "same function class",
        "nothing_to_skip": "nothing to skip",
    }
    return "; ".join([text, *(words for key, words in notes.items() if card[key])])


def beyond(card: Card) -> str:
    """What the residual arm has beyond its twin."""
    parts = [
        f"{card['beyond'][key]:+,} {name}" for key, name in (("parameters", "parameters"), ("multiply_adds", "multiply-adds"))
    ]
    return ", ".join(parts) if any(card["beyond"].values()) else "nothing"


def both(card: Card, key: str) -> str:
    """A measured value of both arms: '2.31 / 4.05'."""
    values = [card["at_start"][arm][key] for arm in (card["plain"], card["residual"])]
    return " / ".join("-" if value is None else f"{value:.3g}" for value in values)


# ---- files ----------------------------------------------------------------------------------------------------------------


def save_figures(folder: Path, experiment: Experiment, formats: Sequence[str]) -> list[Path]:
    """figures/<name>.<format> for every figure.

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
    target = folder / "figures"
    target.mkdir(exist_ok=True)
    written = []
    for name, chart in figures_of(read_frames(folder, experiment)).items():
        for form in formats:
            runs.write_bytes(target / f"{name}.{form}", convert[form](chart.to_dict()))
            written.append(target / f"{name}.{form}")
    return written
