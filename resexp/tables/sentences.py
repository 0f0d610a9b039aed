"""A sentence that the tool prints, together with the condition under which it may be printed.

Module-level dicts of sentences make the templates enumerable: `benchmarks/sentences.py` lists them in docs/sentences.md.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Sentence:
    """A template in the syntax of `str.format` and its condition; for a verdict, only additions to its rule."""

    text: str
    condition: str = ""

    def format(self, *values: object, **named: object) -> str:
        return self.text.format(*values, **named)
