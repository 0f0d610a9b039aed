"""Coverage-guided fuzzing of everything that reads CSV, JSON and YAML files of runs/.

    python tests/fuzz_readers.py --runs 20000 | --seconds 600    [--seed N]

Each input is one file of a finished experiment, changed as bytes or as rows and trees. A reader may report that the file is
damaged, in one line that names it. Other exceptions are printed at the end, once each, with their input and traceback; the exit
code is then 1.
"""

import argparse
import csv
import io
import json
import math
import os
import random
import re
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import atheris

FUZZING = "--inside" in sys.argv  # in the process that libFuzzer ends; the other one needs no instrumented code
with atheris.instrument_imports(include=["resexp.config", "resexp.runs", "yaml"]) if FUZZING else nullcontext():
    import fabricated
    import yaml

    from resexp import config, runs, screen

OVERRIDES = ("network.depth=[4]", "network.init=he", "network.norm=none", "seeds=1")
COSTS = ("parameters", "multiply_adds", "activation_bytes")
PAIR_SUMMARY = {
    "cell": "d4", "plain": "plain", "residual": "identity", "seed": 0,
    "equal": {"weights": 16, "weights_bit_equal": True, "first_batch": True, "recipe": True},
    "start_differs": [], "same_function_class": False, "nothing_to_skip": False, "same_as_plain": False,
    "width": {"plain": 64, "identity": 64}, "beyond": dict.fromkeys(COSTS, 0),
    "at_start": {"plain": {"loss": 2.3, "output_rms": 0.1, "slope": None, **dict.fromkeys(COSTS, 1)}},
}  # fmt: skip
ROWS = (
    "metrics.csv", "gradients.csv", "signals.csv", "timing.csv", "cost.csv", "eps_bound.csv", "gradient_correlation.csv",
    "path_lengths.csv", "lesion.csv", "shortcut_scale.csv", "surface.csv",
)  # fmt: skip
READERS: dict[str, Callable[[Path], object]] = {
    **dict.fromkeys(ROWS, runs.read_rows),
    "status.json": lambda path: runs.status(path.parent),
    "result.json": lambda path: runs.result(path.parent),
    "plan.json": lambda path: runs.read_plan(path.parent),
    "environment.json": lambda path: runs.launches(path.parent),
    "pairs.json": lambda path: runs.pair_summaries(path.parent),
    "trial.yaml": lambda path: runs.read_trial(path.parents[2], path.parent.name),
    "experiment.yaml": lambda path: runs.read_experiment(path.parent),
    "config.yaml": config.load,
}
KINDS = list(READERS)  # the first byte of an input is an index into this list
UNUSUAL = (
    None, True, 0, -1, 0.5, 10**30, 1e308, math.inf, math.nan, "", "x", "two\nlines", "\x00é\u2028", "../x", [], {}, [[]],
)  # fmt: skip


# ---- the experiment whose files are changed ------------------------------------------------------------------------------


def written(parent: Path) -> tuple[Path, config.Experiment]:
    """A finished experiment with every kind of file, and a config in the same folder."""
    folder, experiment = fabricated.experiment(
        parent, lambda _: {"test_accuracy": 0.9, "slope_start": 0.1, "slope_end": 0.2}, *OVERRIDES
    )
    runs.write_json(folder / "pairs.json", [PAIR_SUMMARY])
    runs.write_rows(folder / "cost.csv", [("d4", "plain", 9, 8, 7, 6, 0.1, 0.1, 0.2, 1.5, 1.0)])
    (folder / "config.yaml").write_bytes(config.shipped()["digits"].read_bytes())
    for trial in experiment.trials:
        logs = runs.trial_folder(folder, trial.name)
        runs.write_text(logs / "trial.yaml", runs.to_yaml(trial.model_dump(mode="json")))
        runs.append(logs / "gradients.csv", [(0, 0, 0, "stem", 640, 0.1, 0.01, 2.5, 1e-3)])
        runs.append(logs / "eps_bound.csv", [(0, 0, 0, "stem", 0.5)])
        runs.append(logs / "gradient_correlation.csv", [(0, 0, 120, 0.25, 0.1)])
        runs.append(logs / "path_lengths.csv", [(0, 0, length, 0.5, 1e-3) for length in (0, 1)])
        runs.write_rows(logs / "lesion.csv", [(0, "", "whole", 0.1, 0.05, 0.0), (1, "blocks.0", "branch", 0.2, 0.1, 0.05)])
        runs.write_rows(logs / "shortcut_scale.csv", [(1.0, 0.1, 0.05), (0.0, 2.3, 0.9)])
        runs.write_rows(logs / "surface.csv", [(-1.0, -1.0, 9.0, 0.9), (0.0, 0.0, 0.1, 0.05)])
    return folder, experiment


def corpus(folder: Path) -> Iterator[bytes]:
    """Each kind of file as an input, also those of the experiments in tests/data."""
    data = Path(__file__).parent / "data"
    for path in sorted([*folder.rglob("*"), *data.rglob("*")]):
        if path.name in READERS:
            yield bytes([KINDS.index(path.name)]) + path.read_bytes()


def target(output: Path, folder: Path, experiment: config.Experiment) -> Callable[[bytes], None]:
    """Writes an input to its file and reads it: with its reader, then like `compare`, `watch` and a resume."""
    originals = {path.name: (path, path.read_bytes()) for path in folder.rglob("*") if path.name in READERS}
    commands: list[Callable[[Path], object]] = [
        lambda _: runs.results_of(folder, experiment),
        lambda _: screen.snapshot(folder, experiment, 0.0, {}),
    ]

    def read_in_place(data: bytes) -> None:
        path, content = originals[KINDS[data[0] % len(KINDS)] if data else KINDS[0]]
        path.write_bytes(data[1:])
        further = [
            *(commands if path.suffix != ".yaml" else []),
            *([lambda log: runs.truncate_log(log, (3, 64 * "0"))] if path.name in runs.LOGS else []),
        ]
        for read in (READERS[path.name], *further):
            try:
                check(read, path)
            except Exception as error:  # noqa: BLE001 - fuzzing continues after any exception, to collect all of them
                record(output, data, error)
        path.write_bytes(content)

    return read_in_place


def check(read: Callable[[Path], object], path: Path) -> None:
    """A damaged file is refused in one line that names it."""
    refused = None
    try:
        read(path)
    except (runs.RunsError, config.ConfigError) as error:
        refused = str(error)
    if refused is not None:
        assert path.name in refused, f"does not name {path.name}: {refused!r}"
        assert len(refused.splitlines()) == 1, f"not one line: {refused!r}"


def record(output: Path, data: bytes, error: Exception) -> None:
    """Stores the shortest input for each line of code that raised an unexpected exception."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if "resexp" in frame.filename] or frames
    path = output / f"unexpected-{type(error).__name__}-{Path(ours[-1].filename).stem}-{ours[-1].lineno}"
    text = f"{KINDS[data[0] % len(KINDS)] if data else KINDS[0]}: {data[1:]!r}\n{''.join(traceback.format_exception(error))}\n"
    if not path.exists() or len(text) < path.stat().st_size:
        path.write_text(text, encoding="utf-8", errors="backslashreplace")


# ---- mutations that preserve the format ------------------------------------------------------------------------------------


def mutator(originals: Sequence[bytes]) -> Callable[[bytes, int, int], bytes]:
    """Returns a function that mutates an input, or sometimes an original file.

    It changes one cell, key or value, or lets libFuzzer change bytes.
    """

    def mutated(data: bytes, max_bytes: int, seed: int) -> bytes:
        draw = random.Random(seed)
        data = draw.choice(originals) if not data or draw.random() < 0.3 else data
        mutate = MUTATIONS[Path(KINDS[data[0] % len(KINDS)]).suffix]
        try:
            changed = mutate(data[1:].decode(), draw) if draw.random() < 0.5 else b""
        except (ValueError, TypeError, LookupError, RecursionError, csv.Error, yaml.YAMLError):  # invalid format, or empty
            changed = b""
        return data[:1] + changed if 0 < len(changed) < max_bytes else bytes(atheris.Mutate(data, max_bytes))

    return mutated


def changed_table(text: str, draw: random.Random) -> bytes:
    rows = list(csv.reader(io.StringIO(text)))
    row = draw.choice(rows)
    index = draw.randrange(len(row))
    change = draw.randrange(4)
    if change == 0:
        row[index] = str(draw.choice(UNUSUAL))
    elif change == 1:
        row[index] = draw.choice(draw.choice(rows))
    elif change == 2:
        rows.insert(draw.randrange(len(rows)), row)
    else:
        rows.remove(row)
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows(rows)
    return out.getvalue().encode()


def changed_tree(tree: Any, draw: random.Random) -> Any:
    """The tree with one of its values replaced, removed, or copied to another key."""
    parents = [node for node in nodes(tree) if node]
    if not parents:
        return draw.choice(UNUSUAL)
    parent = draw.choice(parents)
    key = draw.choice(list(parent) if isinstance(parent, dict) else range(len(parent)))
    change = draw.randrange(4)
    if change == 0:
        parent[key] = draw.choice(UNUSUAL)
    elif change == 1:
        parent[key] = draw.choice([tree, *nodes(tree)])
        json.dumps(tree)  # raises an exception if the tree now contains itself
    elif change == 2:
        del parent[key]
    elif isinstance(parent, dict):
        parent[draw.choice(["x", "", "../x", *parent])] = parent[key]
    return tree


def nodes(tree: Any) -> Iterator[Any]:
    """Every mapping and list of a tree."""
    if isinstance(tree, dict | list):
        yield tree
        for inner in tree.values() if isinstance(tree, dict) else tree:
            yield from nodes(inner)


MUTATIONS: dict[str, Callable[[str, random.Random], bytes]] = {
    ".csv": changed_table,
    ".json": lambda text, draw: json.dumps(changed_tree(json.loads(text), draw)).encode(),
    ".yaml": lambda text, draw: yaml.safe_dump(changed_tree(yaml.safe_load(text), draw), sort_keys=False).encode(),
}


# ---- command line ----------------------------------------------------------------------------------------------------------


def fuzz(output: Path, limits: list[str]) -> None:
    """Never returns: libFuzzer ends the process."""
    os.fsync = lambda _file: None  # would take most of the time
    folder, experiment = written(output / "runs")
    inputs = output / "corpus"
    inputs.mkdir()
    originals = list(corpus(folder))
    for number, data in enumerate(originals):
        (inputs / str(number)).write_bytes(data)
    words = {word for data in originals for word in re.findall(r"[\w.-]{3,40}", data[1:].decode(), re.ASCII)}
    (output / "words").write_text("".join(f'"{word}"\n' for word in sorted(words)))
    options = [f"-dict={output / 'words'}", f"-artifact_prefix={output}/", "-max_len=8192", "-timeout=20"]
    options += ["-print_final_stats=1", *limits, str(inputs)]
    atheris.Setup([sys.argv[0], *options], target(output, folder, experiment), custom_mutator=mutator(originals))
    atheris.Fuzz()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=-1, help="number of inputs (default: no limit)")
    parser.add_argument("--seconds", type=int, default=0, help="duration (default: no limit)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--inside", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    limits = [f"-runs={arguments.runs}", f"-max_total_time={arguments.seconds}", f"-seed={arguments.seed}"]
    if arguments.inside:
        fuzz(arguments.inside, limits)
    with tempfile.TemporaryDirectory() as folder:  # libFuzzer ends its process without cleaning up
        command = [sys.executable, __file__, *sys.argv[1:], "--inside", folder]
        process = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
        read, covered = (re.findall(pattern, process.stderr) for pattern in (r"executed_units: (\d+)", r"cov: (\d+)"))
        unexpected = [path.read_text(encoding="utf-8") for path in sorted(Path(folder).glob("unexpected-*"))]
        if process.returncode or not read:
            inputs = [path.read_bytes() for kind in ("timeout", "oom", "crash") for path in Path(folder).glob(f"{kind}-*")]
            unexpected.append(f"{process.stderr[-4000:]}\nstopped by: {inputs}\n")
    summary = f"{''.join(read)} inputs, {covered[-1] if covered else 0} branches, {len(unexpected)} unexpected\n"
    sys.stdout.write("\n".join([*unexpected, summary]))
    sys.exit(bool(unexpected))


if __name__ == "__main__":
    main()
