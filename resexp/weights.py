"""Weights as files: export of trained networks as safetensors, and weights from elsewhere into a network.

resexp.load_weights(network, "resnet20-12fca82f.th")     # a state dict, or the path of a .safetensors, .pt, .pth or .th file
"""

import json
import pickle
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import resexp
from resexp import runs
from resexp.config import ConfigError, Experiment, Trial
from resexp.runs import Track

FOLDER = "safetensors"
COUNTER = "num_batches_tracked"  # of batch norm; not used with a fixed momentum, and missing in older files
PREFIX = "module."  # added by torch.nn.DataParallel
MAX_LISTED = 4  # names in a message

Rename = Mapping[str, str] | Callable[[str], str]


# ---- export -----------------------------------------------------------------------------------------------------------------


def to_safetensors(folder: Path, experiment: Experiment, target: str | None, track: Track = iter) -> list[str]:
    """Writes the final weights of each finished trial to target/<trial>.safetensors; returns the paths.

    target: a folder, by default <experiment>/safetensors. Trials that diverged have no weights to export.

    Raises:
        RunsError: no trial has weights, or the weights of a trial are missing or damaged.
    """
    library = _safetensors()
    destination = Path(target or folder / FOLDER)
    written = []
    for trial in track(experiment.trials):
        trial_path = runs.trial_folder(folder, trial.name)
        result = runs.result(trial_path)
        if result is None or result.diverged_at is not None or "weights.pt" not in result.sha256:
            continue
        runs.check_digests(trial_path, result, ["weights.pt"])
        state = torch.load(trial_path / "weights.pt", map_location="cpu", weights_only=True)
        tensors = {name: tensor.contiguous() for name, tensor in state.items()}
        destination.mkdir(parents=True, exist_ok=True)
        path = destination / f"{trial.name}.safetensors"
        runs.write_bytes(path, library.save(tensors, _metadata(trial, result.sha256["weights.pt"])))
        written.append(str(path))
    if not written:
        raise runs.RunsError(f"{folder}: no trial has finished with weights to export; finish the training first")
    return written


def _metadata(trial: Trial, digest: str) -> dict[str, str]:
    """What the file says of its network; safetensors allows only texts."""
    return {
        "format": "pt",
        "resexp": resexp.__version__,
        "trial": trial.name,
        "arm": trial.arm,
        "seed": str(trial.seed),
        "config": json.dumps(trial.settings.model_dump(mode="json")),
        "weights_sha256": digest,
    }


def _safetensors() -> Any:
    try:
        from safetensors import torch as library  # noqa: PLC0415 - an extra
    except ImportError:
        raise ConfigError("safetensors is not installed; pip install safetensors") from None
    return library


# ---- weights from elsewhere -------------------------------------------------------------------------------------------------


def load_weights(network: nn.Module, weights: Mapping[str, Any] | str | Path, rename: Rename | None = None) -> None:
    """Copies weights from elsewhere into a network; every weight of the network must be given, or nothing is changed.

    The prefix "module." is removed. Counters of batches (`num_batches_tracked`) may be missing; the network keeps its own.
    Without `rename`, weights are assigned by name if a name is shared, otherwise in the order of the forward pass. Shapes
    cannot distinguish every layout: networks with placement `post` and `pre` have equal shapes in order.

    Args:
        network: any module, for example of `resexp.networks.build_network`.
        weights: a state dict, also inside {"state_dict": ...}, or the path of a file. Files of torch are read with
            weights_only=True, so they execute nothing.
        rename: the name in the network for each name in `weights`: a dict, in which equal names may be left out, or a function.

    Raises:
        ConfigError: the file cannot be read, or the weights do not fit; the message names what is missing, unexpected or of
            another shape.
    """
    where = str(weights) if isinstance(weights, str | Path) else "weights"
    given = _named_tensors(_read(Path(weights)) if isinstance(weights, str | Path) else weights, where)
    if rename is not None:
        given = _renamed(given, rename, where)
    own = network.state_dict()
    if rename is None and not own.keys() & given.keys():
        given = _in_order(own, given, where)
    problems = _problems(own, given)
    if problems:
        raise ConfigError("; ".join(problems), where=where)
    network.load_state_dict({**own, **given})


def _read(path: Path) -> Any:
    """The content of a file of weights."""
    if not path.is_file():
        raise ConfigError("no such file", where=str(path))
    if path.suffix == ".safetensors":
        library = _safetensors()
        from safetensors import SafetensorError  # noqa: PLC0415 - an extra

        try:
            return library.load_file(path)
        except SafetensorError as error:
            raise ConfigError(f"not a complete safetensors file ({error})", where=str(path)) from None
    try:
        with warnings.catch_warnings(action="ignore"):  # torch warns of other versions of pickle; what it refuses is an error
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        problem = (
            "not a file of weights, or it contains more than tensors; nothing of it was executed. Save its state dict alone"
        )
    except (EOFError, RuntimeError, ValueError, KeyError, UnicodeDecodeError):
        problem = "truncated, or not a file of weights"
    raise ConfigError(problem, where=str(path))


def _named_tensors(weights: Any, where: str) -> dict[str, Tensor]:
    """The tensors of a state dict without the prefix of DataParallel."""
    if isinstance(weights, Mapping) and isinstance(weights.get("state_dict"), Mapping):
        weights = weights["state_dict"]
    if not isinstance(weights, Mapping) or not weights:
        raise ConfigError("contains no state dict (a dict of names and tensors)", where=where)
    others = [str(name) for name, value in weights.items() if not (isinstance(name, str) and isinstance(value, Tensor))]
    if others:
        raise ConfigError(f"not a tensor: {_listed(others)}", where=where)
    is_parallel = all(name.startswith(PREFIX) for name in weights)
    return {name.removeprefix(PREFIX) if is_parallel else name: tensor for name, tensor in weights.items()}


def _renamed(given: Mapping[str, Tensor], rename: Rename, where: str) -> dict[str, Tensor]:
    if isinstance(rename, Mapping):
        unused = [name for name in rename if name not in given]
        if unused:
            raise ConfigError(f"`rename` has names that are not in the weights: {_listed(unused)}", where=where)
        names = {name: rename.get(name, name) for name in given}
    else:
        names = {name: rename(name) for name in given}
    targets = list(names.values())
    repeated = [target for target in dict.fromkeys(targets) if targets.count(target) > 1]
    if repeated:
        raise ConfigError(f"`rename` gives several weights the name {_listed(repeated)}", where=where)
    return {names[name]: tensor for name, tensor in given.items()}


def _in_order(own: Mapping[str, Tensor], given: Mapping[str, Tensor], where: str) -> dict[str, Tensor]:
    """The weights under the names of the network, in the order of the forward pass; counters of batches are left out."""
    names, sources = ([name for name in state if not name.endswith(COUNTER)] for state in (own, given))
    for name, source in zip(names, sources, strict=False):
        if own[name].shape != given[source].shape:
            raise ConfigError(
                f"no name is shared, and in order the shapes differ at {source} {_shape(given[source])}, which would be "
                f"{name} {_shape(own[name])}; choose a network with the same layout, or assign names with `rename`",
                where=where,
            )
    if len(names) != len(sources):
        more = f"missing: {_listed(names[len(sources) :])}" if len(names) > len(sources) else ""
        more = more or f"unexpected: {_listed(sources[len(names) :])}"
        raise ConfigError(f"{len(sources)} weights for a network with {len(names)}; {more}", where=where)
    return {name: given[source] for name, source in zip(names, sources, strict=True)}


def _problems(own: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> list[str]:
    """What does not fit, one text for each kind."""
    shared = [name for name in own if name in given]
    kinds = {
        "missing": [name for name in own if name not in given and not name.endswith(COUNTER)],
        "unexpected": [name for name in given if name not in own],
        "wrong shape": [
            f"{name} {_shape(given[name])} instead of {_shape(own[name])}"
            for name in shared
            if own[name].shape != given[name].shape
        ],
        "not finite": [name for name in shared if not bool(torch.isfinite(given[name]).all())],
    }
    return [f"{kind}: {_listed(names)}" for kind, names in kinds.items() if names]


def _shape(tensor: Tensor) -> str:
    return f"({', '.join(map(str, tensor.shape))})"


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - MAX_LISTED} more" if len(names) > MAX_LISTED else ""
    return f"{', '.join(names[:MAX_LISTED])}{more}"
