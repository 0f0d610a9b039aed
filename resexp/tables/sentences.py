"""A sentence that the tool prints, together with the condition under which it may be printed.

Module-level dicts of sentences make the templates enumerable: `benchmarks/sentences.py` lists them in docs/sentences.md.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Sentence:
    """A template in the syntax of `str.format` and its condition; under a verdict as key what the key's rule does not say."""

    text: str
    condition: str = ""

    def format(self, *values: object, **named: object) -> str:
        return self.text.format(*values, **named)
