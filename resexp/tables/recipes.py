"""At which learning rate and for how long networks were trained: no headline is true without it."""

import shlex
from collections.abc import Sequence

from resexp import config, runs
from resexp.runs import Results
from resexp.tables.sentences import Sentence

LR = "training.lr"
GRID = (0.1, 0.3, 1.0, 3.0)  # times the learning rate: where the command below looks
ONE_RATE = "all networks have one learning rate"
SENTENCES = {
    "recipe": Sentence("learning rate{plural} {rates}", "always; the length of training follows"),
    "untuned": Sentence("Not tuned: every arm has learning rate {rate}; at another one each result may differ.", ONE_RATE),
    "train": Sentence("To tune it: {command}", ONE_RATE),
    "compare": Sentence("then: resexp compare {name} --tune lr", ONE_RATE),
}


def recipe(results: Results) -> str:
    """'learning rate 0.001, 20 epochs'; of several values the range."""
    lengths = []
    for key, unit in (("training.epochs", "epoch"), ("training.steps", "step")):
        values = _values(results, key)
        if values:
            lengths.append(f"{_range(values)} {unit}{'' if values == [1] else 's'}")
    rates = _values(results, LR)
    words = SENTENCES["recipe"].format(plural="s" if len(rates) > 1 else "", rates=_range(rates))
    return ", ".join([words, " or ".join(lengths)])


def untuned(results: Results) -> list[str]:
    """Where all networks have one learning rate: that it was not tuned, and the commands that do."""
    rates = _values(results, LR)
    if len(rates) != 1:
        return []
    return [
        SENTENCES["untuned"].format(rate=_range(rates)),
        SENTENCES["train"].format(command=_command(results, rates[0])),
        SENTENCES["compare"].format(name=shlex.quote(_name(results))),
    ]


def _name(results: Results) -> str:
    return f"{results.sources[0][1].name}-lr"


def _command(results: Results, rate: float) -> str:
    """The command that began the first experiment, with learning rates around its own and another name."""
    folder, _ = results.sources[0]
    starts = runs.starts(folder)
    source, *overrides = _arguments(starts[-1]["command"] if starts else ()) or [str(folder / "experiment.yaml")]
    kept = [of for of in overrides if of.partition("=")[0] not in (LR, "name")]
    grid = ", ".join(f"{rate * factor:.3g}" for factor in GRID)
    return shlex.join(["resexp", "train", source, *kept, f"{LR}=[{grid}]", f"name={_name(results)}"])


def _arguments(command: Sequence[str]) -> list[str]:
    """The config and the overrides of `resexp train`; nothing of a training that a script began."""
    if list(command[1:2]) != ["train"]:
        return []
    source, *rest = [*command[2:], ""]
    overrides = [word for word in rest if "=" in word and not word.startswith("-")]
    return [source, *overrides] if source and not source.startswith("-") else []


def _values(results: Results, key: str) -> list[float]:
    """All values that trials have, in order; None is none."""
    return sorted({state.conditions[key] for state in results.states if state.conditions.get(key) is not None})


def _range(values: Sequence[float]) -> str:
    ends = [config.format_value(value) for value in (values[0], values[-1])]
    return ends[0] if len(values) == 1 else " to ".join(ends)
