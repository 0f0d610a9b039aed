"""The place of a trial in the grid, in words."""


def condition(label: dict[str, str]) -> str:
    """What sets a cell apart beside its depth: 'norm layer, init he'."""
    return ", ".join(f"{key} {value}" for key, value in label.items() if key != "depth") or "all"


def region(label: dict[str, str]) -> str:
    """What sets a map over depth and init_scale apart from others: 'norm layer'."""
    return condition({key: value for key, value in label.items() if key != "init_scale"})
