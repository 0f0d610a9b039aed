"""The color of each arm, the same in charts, tables and on the terminal, and the tone of each verdict."""

from collections.abc import Iterable
from itertools import cycle

from resexp import config
from resexp.claims import Verdict
from resexp.comparison import Effect
from resexp.inference import DegradationVerdict
from resexp.tables.model import Row, Shown, Tone

PLAIN = "#D55E00"
CONTROLS = ("#F2A477", "#8A3A00", "#FFD3B5", "#B8703F", "#FF7D50", "#5E3A26")  # shades of the color of plain
RESIDUAL = (
    "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7A4F9E", "#1616E5", "#16E516", "#E516C3", "#3E0859", "#E5165B",
    "#778C0E", "#165BE5", "#777777", "#590823", "#16E57E", "#355923", "#994CBF",
)  # fmt: skip
VERDICTS: dict[str, Tone] = {
    Effect.MAKES_TRAINABLE: Tone.GOOD,
    Effect.MORE_ACCURATE: Tone.GOOD,
    Effect.MAKES_UNTRAINABLE: Tone.BAD,
    Effect.LESS_ACCURATE: Tone.BAD,
    Verdict.SUPPORTED: Tone.GOOD,
    Verdict.NOT_SUPPORTED: Tone.BAD,
    DegradationVerdict.DOES_NOT_DEGRADE: Tone.GOOD,
    DegradationVerdict.DEGRADES: Tone.BAD,
}


def arm_colors(arms: Iterable[str]) -> dict[str, str]:
    """Arm -> hex color: plain is vermilion, parameter-matched plain networks have shades of it, the others follow in order.

    `arms` are all arms of an experiment, so that an arm without results does not change the color of another.
    """
    others = [arm for arm in dict.fromkeys(arms) if arm != "plain"]
    controls = [arm for arm in others if arm.startswith(config.control_arm(""))]
    residual = [arm for arm in others if arm not in controls]
    return {"plain": PLAIN, **dict(zip(controls, cycle(CONTROLS))), **dict(zip(residual, cycle(RESIDUAL)))}


def table_colors(content: Shown[Row], arms: Iterable[str]) -> dict[str, str]:
    """`arm_colors` of all arms of an experiment and of those that a table names."""
    indexes = [index for index, column in enumerate(content.columns) if column.arm]
    named = [cells[index] for _, cells in content.rows for index in indexes]
    return arm_colors([*arms, *filter(None, named)])


def verdict_tone(verdict: str) -> Tone:
    """The tone of an effect, of a verdict on a claim, or of a verdict on degradation."""
    return VERDICTS.get(verdict, Tone.OPEN)
