"""The card of a pair in words: what is equal, what the shortcut adds, what else it changed before the first step."""

import math
from collections.abc import Sequence
from typing import Any

Card = dict[str, Any]

AT_START = {"loss": "loss", "output_rms": "RMS of the logits", "slope": "slope of the gradient"}
NOTES = {
    "start_differs": "the plain twin has a start of its own: without zero_last, he for fixup",
    "same_function_class": "same function class: arms differ only in their start and their steps",
    "nothing_to_skip": "depth 2: nothing to skip",
}


def equalities(card: Card) -> str:
    """What a card shows to be equal, and what not; the second control is another width with weights of its own."""
    equal = card["equal"]
    plain, residual = (card["width"][arm] for arm in (card["plain"], card["residual"]))
    weights = f"{equal['weights']} shared weight tensors" if plain == residual else f"width {plain} and {residual}"
    shown = {weights: equal["weights_bit_equal"], "first batch": equal["first_batch"], "recipe": equal["recipe"]}
    words = {True: "equal", False: "DIFFERENT", None: "as many parameters, weights of its own"}
    return ", ".join(f"{name} {words[holds]}" for name, holds in shown.items())


def beyond(card: Card) -> list[str]:
    """What the residual arm has beyond its twin: parameters, multiply-adds and bytes kept for backward, per image."""
    costs = card["beyond"]
    parts = [f"{costs['parameters']:+,} parameters", f"{costs['multiply_adds']:+,} multiply-adds"]
    return [*parts, f"{costs['activation_bytes']:+,} B kept for backward"] if any(costs.values()) else ["nothing"]


def at_start(card: Card, key: str) -> str:
    """A value measured of both arms before the first update: '2.31 / 4.05'."""
    values = [card["at_start"][arm][key] for arm in (card["plain"], card["residual"])]
    return " / ".join(f"{value:.4g}" if value is not None and math.isfinite(value) else "-" for value in values)


def notes(card: Card) -> list[str]:
    """What has to be said of a pair beside its numbers."""
    return [text for key, text in NOTES.items() if card[key]]


def card_lines(cards: Sequence[Card]) -> list[str]:
    """All cards for a terminal of 80 columns."""
    lines = []
    for card in cards:
        lines += ["", f"{card['cell']}: {card['plain']} / {card['residual']}", f"  {equalities(card)}"]
        lines += [f"  beyond its twin: {', '.join(beyond(card)[:2])}", *(f"    {part}" for part in beyond(card)[2:])]
        lines += [f"  at step 0, {name}: {at_start(card, key)}" for key, name in AT_START.items()]
        lines += [f"  note: {text}" for text in notes(card)]
    return lines
