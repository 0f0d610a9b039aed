"""Configurations and conditions in words; no other module decides how a setting is printed."""

from collections.abc import Mapping

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
