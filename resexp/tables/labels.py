"""Configurations and conditions in words; no other module decides how a setting is printed."""

from collections.abc import Iterable, Mapping, Sequence

from resexp import config
from resexp.config import Experiment

NORMALIZATIONS = {"none": "no normalization", "batch": "batch norm", "layer": "layer norm", "group": "group norm"}
INITIALIZATIONS = {"he": "He", "pytorch": "PyTorch", "xavier": "Xavier", "fixup": "Fixup"}
NO_AXIS = "all"  # the label of the only configuration or condition


def label_text(label: Mapping[str, str]) -> str:
    """'depth 64, layer norm, He init'; 'all' if there is only one configuration."""
    return ", ".join(_setting_text(key, value) for key, value in label.items()) or NO_AXIS


def condition(label: Mapping[str, str]) -> str:
    """The settings that networks of all depths share: 'layer norm, He init'."""
    return label_text({key: value for key, value in label.items() if key != "depth"})


def region(label: Mapping[str, str]) -> str:
    """The settings that all cells of a heat map over depth and init_scale share: 'layer norm'."""
    return condition({key: value for key, value in label.items() if key != "init_scale"})


def _setting_text(key: str, value: str) -> str:
    if key == "norm" and value in NORMALIZATIONS:
        return NORMALIZATIONS[value]
    return f"{INITIALIZATIONS.get(value, value)} init" if key == "init" else f"{key} {value}"


Labels = Mapping[str, Mapping[str, str]]  # of cells, by the tags under which files store them


def cell_labels(*experiments: Experiment) -> dict[str, dict[str, str]]:
    """The label of each cell, by the tags under which files store it: 'd8 norm-none' -> {'depth': '8', 'norm': 'none'}."""
    labels = {}
    for experiment in experiments:
        axes = [axis for axis in experiment.axes if axis != "network.shortcut"]
        settings = {" ".join(config.cell_label(trial.settings, experiment.axes)): trial.settings for trial in experiment.trials}
        rows = {
            tag: [config.format_value(config.conditions(cell).get(axis)) for axis in axes] for tag, cell in settings.items()
        }
        names = [axis.split(".")[1] if axis in config.AXES else axis for axis in axes]
        shown = [name for index, name in enumerate(names) if name == "depth" or len({row[index] for row in rows.values()}) > 1]
        for tag, row in rows.items():
            label = dict(zip(names, row, strict=True))
            labels[tag] = {name: label[name] for name in shown}
    return labels


def cell_text(cell: str, labels: Labels) -> str:
    """'depth 8, no normalization' for the tags 'd8 norm-none'; the tags themselves if no experiment has them."""
    return label_text(labels[cell]) if cell in labels else cell


def grouped(sentences: Iterable[tuple[str, str]], labels: Sequence[str]) -> list[str]:
    """Each sentence once, under the labels that it is about unless these are all; first those that are about most labels."""
    labels_of: dict[str, list[str]] = {}
    for label, sentence in sentences:
        labels_of.setdefault(sentence, []).append(label)
    groups: dict[tuple[str, ...], list[str]] = {}
    for sentence, where in labels_of.items():
        groups.setdefault(tuple(where), []).append(sentence)
    lines = []
    for members, group in sorted(groups.items(), key=lambda entry: -len(entry[0])):
        heading = "" if len(members) == len(labels) else "; ".join(members)
        lines += [f"  {heading}"] if heading else []
        lines += [f"{'    ' if heading else '  '}{sentence}" for sentence in group]
    return lines
