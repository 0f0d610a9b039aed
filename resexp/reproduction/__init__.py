"""A finished experiment and its repetition: what is trained again, and how alike both are. No torch."""

from resexp.reproduction.originals import FOLDER, Original, continued, original
from resexp.reproduction.summaries import lines
from resexp.reproduction.verdicts import DIFFERENT, IDENTICAL, ROUNDED, ROUNDING, VERDICTS, WITHIN, Reproduction, compare

__all__ = [
    "DIFFERENT",
    "FOLDER",
    "IDENTICAL",
    "ROUNDED",
    "ROUNDING",
    "VERDICTS",
    "WITHIN",
    "Original",
    "Reproduction",
    "compare",
    "continued",
    "lines",
    "original",
]
