"""The figures of a report, their titles and captions, and their export as PNG, SVG or PDF."""

import inspect
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import altair as alt
import vl_convert

from resexp import config, runs
from resexp.comparison import Effect, Flow, flow
from resexp.figures import FIGURES, Figure, available_figures
from resexp.figures.dissection import DISSECTION_FIGURES, read_dissection
from resexp.inference import DegradationVerdict, Difference
from resexp.report.content import Content
from resexp.runs import Results
from resexp.tables.findings import deepest
from resexp.tables.frames import Frames, read_frames
from resexp.tables.sentences import Sentence

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


def figures_of(results: Results, frames: Frames) -> dict[str, Figure]:
    """All figures with data; figures of `resexp dissect` are last."""
    alt.data_transformers.disable_max_rows()
    drawn = {name: FIGURES[name](frames) for name in available_figures(frames)}
    dissected = {part: read_dissection(results, part) for part in DISSECTION_FIGURES}
    return drawn | {part: DISSECTION_FIGURES[part](rows, frames.arms) for part, rows in dissected.items() if not rows.empty}


def specification(figure: Figure) -> dict[str, Any]:
    """The Vega-Lite specification with the style of the report."""
    spec: dict[str, Any] = figure.to_dict()
    return {**spec, "config": STYLE}


def caption(name: str) -> str:
    """The caption of a figure is the docstring of the function that draws it."""
    return " ".join((inspect.getdoc({**FIGURES, **DISSECTION_FIGURES}[name]) or "").split())


# ---- titles -----------------------------------------------------------------------------------------------------------------

TITLES = {
    "more accurate": Sentence(
        "At depth {depth} networks with a shortcut are more accurate",
        "at the deepest depth every pair is 'makes trainable' or 'more accurate'",
    ),
    "less accurate": Sentence(
        "At depth {depth} networks with a shortcut are less accurate",
        "at the deepest depth every pair is 'makes untrainable' or 'less accurate'",
    ),
    "rises": Sentence("Training error of plain networks rises with depth", "every plain arm has the verdict 'degrades'"),
    "rises less": Sentence(
        "Training error of plain networks rises with depth, and less with a shortcut",
        "in addition, the 95% CI of the degradation avoided is above 0 for every arm with a shortcut",
    ),
    "trained": Sentence("{finding} ({recipe})", "the finding is about trained networks"),
}
FLOWS = {
    kind: Sentence(
        f"Gradients of plain networks {verb} at initialization",
        "both ends of the 95% CI of every plain network at the deepest depth",
    )
    for kind, verb in ((Flow.VANISHING, "vanish"), (Flow.STABLE, "are stable"), (Flow.EXPLODING, "explode"))
}


def title(name: str, content: Content) -> str:
    """A finding, with learning rate and budget, if all results agree; otherwise the question."""
    finding = FINDINGS[name](content) if name in FINDINGS else ""
    if finding and name in AFTER_TRAINING:
        return TITLES["trained"].format(finding=finding, recipe=content.recipe)
    return finding or QUESTIONS[name].text


def _is_above_zero(difference: Difference | None) -> bool:
    return difference is not None and difference.low is not None and difference.low > 0


def _accuracy(content: Content) -> str:
    depth = deepest(content.pair_findings)
    effects = {finding.effect for finding in content.pair_findings if int(finding.label["depth"]) == depth}
    if effects and effects <= {Effect.MAKES_TRAINABLE, Effect.MORE_ACCURATE}:
        return TITLES["more accurate"].format(depth=depth)
    worse = effects and effects <= {Effect.MAKES_UNTRAINABLE, Effect.LESS_ACCURATE}
    return TITLES["less accurate"].format(depth=depth) if worse else ""


def _training_error(content: Content) -> str:
    rows = content.comparison.depths
    plain, residual = ([row for row in rows if (row.arm == "plain") is is_plain] for is_plain in (True, False))
    if not plain or any(row.degradation.verdict != DegradationVerdict.DEGRADES for row in plain):
        return ""
    less = residual and all(_is_above_zero(row.reduction) for row in residual)
    return TITLES["rises less" if less else "rises"].text


def _at_start(content: Content) -> str:
    """The kind of the gradients, if the intervals of the slopes of all plain networks are entirely of this kind."""
    depth = max((int(row.depth) for row in content.at_initialization), default=0)
    plain = [row for row in content.at_initialization if row.depth == depth and row.arm == "plain"]
    ends = [(row.blocks * row.slope.low, row.blocks * row.slope.high) for row in plain
            if row.slope and row.slope.low is not None and row.slope.high is not None]  # fmt: skip
    kinds = {flow(end) for pair in ends for end in pair}
    if len(kinds) != 1 or len(ends) < len(plain):
        return ""
    return FLOWS[kinds.pop()].text


FINDINGS: dict[str, Callable[[Content], str]] = {
    "accuracy": _accuracy,
    "training-error": _training_error,
    "gradient-at-start": _at_start,
}
AFTER_TRAINING = ("accuracy", "training-error")  # these findings are limited to the learning rate and budget
NO_FINDING = "the figure is drawn, and no finding is printed as its title"
QUESTIONS = {
    "atlas": Sentence("Where does a shortcut help, make no difference, or hurt?", NO_FINDING),
    "accuracy": Sentence("How accurate are networks with and without a shortcut?", NO_FINDING),
    "training-error": Sentence("Does training error rise with depth?", NO_FINDING),
    "curves": Sentence("How does the training loss fall?", NO_FINDING),
    "gradient-at-start": Sentence("How large are gradients at initialization, and what does theory predict?", NO_FINDING),
    "gradient-profile": Sentence("How does the gradient profile change during training?", NO_FINDING),
    "gradient-level": Sentence("How large are gradients, in absolute terms?", NO_FINDING),
    "gradient-map": Sentence("Where and when do gradients vanish or explode?", NO_FINDING),
    "lesion": Sentence("How much does a trained network's error rise when one block is removed?", NO_FINDING),
    "scale": Sentence("How strongly does a trained network depend on its shortcuts?", NO_FINDING),
    "surface": Sentence("What does the loss surface look like around the final weights?", NO_FINDING),
}


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
    for name, figure in figures_of(results, read_frames(results)).items():
        for form in formats:
            runs.write_bytes(target / f"{name}.{form}", convert[form]({**specification(figure), "background": "white"}))
            written.append(target / f"{name}.{form}")
    return written
