"""The learning rate and length of training, which every headline states."""

import shlex
from collections.abc import Sequence
from pathlib import Path

from resexp import config
from resexp.runs import Results
from resexp.tables.sentences import Sentence

LR = "training.lr"
GRID = (0.1, 0.3, 1.0, 3.0)  # multiples of the learning rate in the command below
ONE_RATE = "all networks have one learning rate"
SENTENCES = {
    "recipe": Sentence("learning rate{plural} {rates}", "always; the length of training follows"),
    "untuned": Sentence("Not tuned: every arm has learning rate {rate}; results may differ at another one.", ONE_RATE),
    "train": Sentence("To tune it: {command}", ONE_RATE),
    "compare": Sentence("then: resexp compare {name} --tune lr", ONE_RATE),
}


def recipe(results: Results) -> str:
    """'learning rate 0.001, 20 epochs'; the range if there are several values."""
    lengths = []
    for key, unit in (("training.epochs", "epoch"), ("training.steps", "step")):
        values = _values(results, key)
        if values:
            lengths.append(f"{_range(values)} {unit}{'' if values == [1] else 's'}")
    rates = _values(results, LR)
    rate = SENTENCES["recipe"].format(plural="s" if len(rates) > 1 else "", rates=_range(rates))
    return ", ".join([rate, " or ".join(lengths)])


def untuned(results: Results) -> list[str]:
    """If all networks have one learning rate: that it was not tuned, and the commands that tune it."""
    rates = _values(results, LR)
    if len(rates) != 1:
        return []
    folder, experiment = results.sources[0]
    name, grid = f"{experiment.name}-lr", ",".join(f"{rates[0] * factor:.3g}" for factor in GRID)
    return [
        SENTENCES["untuned"].format(rate=_range(rates)),
        SENTENCES["train"].format(command=changed(folder, f"{LR}={grid}", name)),
        SENTENCES["compare"].format(name=shlex.quote(name)),
    ]


def changed(folder: Path, override: str, name: str) -> str:
    """The command that trains the experiment in `folder` with one key changed, as a new experiment."""
    return shlex.join(["resexp", "train", str(folder), override, f"name={name}"])


def _values(results: Results, key: str) -> list[float]:
    """All values of a key in the trials, sorted, without None."""
    return sorted({record.conditions[key] for record in results.records if record.conditions.get(key) is not None})


def _range(values: Sequence[float]) -> str:
    ends = [config.format_value(value) for value in (values[0], values[-1])]
    return ends[0] if len(values) == 1 else " to ".join(ends)
