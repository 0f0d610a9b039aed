"""Coverage-guided fuzzing of everything that reads the CSV, JSON and YAML of runs/.

    python tests/fuzz_readers.py --runs 20000 | --seconds 600    [--seed N]

Each input is one file of a finished experiment, changed as bytes or as rows and trees. Reading it may say that it is damaged,
in one line that names it. Anything else is shown at the end, once, with its input and the traceback; the exit code is then 1.
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
from pathlib import Path
from typing import Any

import atheris

with atheris.instrument_imports(include=["resexp.config", "resexp.runs", "yaml"]):
    import fabricated
    import yaml

    from resexp import config, runs, screen

OVERRIDES = ("network.depth=[4]", "network.init=he", "network.norm=none", "seeds=1")
COSTS = ("parameters", "multiply_adds", "activation_bytes")
CARD = {
    "cell": "d4", "plain": "plain", "residual": "identity", "seed": 0,
    "equal": {"weights": 16, "weights_bit_equal": True, "first_batch": True, "recipe": True},
    "start_differs": [], "same_function_class": False, "nothing_to_skip": False, "same_as_plain": False,
    "width": {"plain": 64, "identity": 64}, "beyond": dict.fromkeys(COSTS, 0),
    "at_start": {"plain": {"loss": 2.3, "output_rms": 0.1, "slope": None, **dict.fromkeys(COSTS, 1)}},
}  # fmt: skip
READERS: dict[str, Callable[[Path], object]] = {
    "metrics.csv": runs.read_rows,
    "gradients.csv": runs.read_rows,
    "signals.csv": runs.read_rows,
    "timing.csv": runs.read_rows,
    "cost.csv": runs.read_rows,
    "eps_bound.csv": runs.read_rows,
    "gradient_correlation.csv": runs.read_rows,
    "path_lengths.csv": runs.read_rows,
    "lesion.csv": runs.read_rows,
    "shortcut_scale.csv": runs.read_rows,
    "surface.csv": runs.read_rows,
    "status.json": lambda path: runs.status(path.parent),
    "result.json": lambda path: runs.result(path.parent),
    "plan.json": lambda path: runs.read_plan(path.parent),
    "environment.json": lambda path: runs.launches(path.parent),
    "pairs.json": lambda path: runs.pair_summaries(path.parent),
    "trial.yaml": lambda path: runs.read_trial(path.parents[2], path.parent.name),
    "experiment.yaml": lambda path: runs.read_experiment(path.parent),
    "config.yaml": config.load,
}
KINDS = list(READERS)  # the first byte of an input says which file it is
ODD = (None, True, 0, -1, 0.5, 10**30, 1e308, math.inf, math.nan, "", "x", "two\nlines", "\x00é\u2028", "../x", [], {}, [[]])


# ---- the experiment whose files are changed ------------------------------------------------------------------------------


def written(place: Path) -> tuple[Path, config.Experiment]:
    """A finished experiment with every kind of file, and a config beside it."""
    folder, experiment = fabricated.experiment(
        place, lambda _: {"test_accuracy": 0.9, "slope_start": 0.1, "slope_end": 0.2}, *OVERRIDES
    )
    runs.write_json(folder / "pairs.json", [CARD])
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
    """Each kind of file as an input; with them the files of the experiments that are kept with the tests."""
    kept = Path(__file__).parent / "data"
    for path in sorted([*folder.rglob("*"), *kept.rglob("*")]):
        if path.name in READERS:
            yield bytes([KINDS.index(path.name)]) + path.read_bytes()


def target(place: Path, folder: Path, experiment: config.Experiment) -> Callable[[bytes], None]:
    """Reads one input in place of its file: by its own reader, then as `compare`, `watch` and a resume do."""
    whole = {path.name: (path, path.read_bytes()) for path in folder.rglob("*") if path.name in READERS}
    desk: list[Callable[[Path], object]] = [
        lambda _: runs.results_of(folder, experiment),
        lambda _: screen.snapshot(folder, experiment, 0.0, {}),
    ]

    def read_in_place(data: bytes) -> None:
        path, content = whole[KINDS[data[0] % len(KINDS)] if data else KINDS[0]]
        path.write_bytes(data[1:])
        further = [
            *(desk if path.suffix != ".yaml" else []),
            *([lambda of: runs.truncate_log(of, (3, 64 * "0"))] if path.name in runs.LOGS else []),
        ]
        for read in (READERS[path.name], *further):
            try:
                check(read, path)
            except Exception as error:  # noqa: BLE001 - the fuzzing goes on, so that all are seen and not the first alone
                remember(place, data, error)
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


def remember(place: Path, data: bytes, error: Exception) -> None:
    """Keeps the shortest input for each place in the code that raised something else."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if "resexp" in frame.filename] or frames
    kept = place / f"unexpected-{type(error).__name__}-{Path(ours[-1].filename).stem}-{ours[-1].lineno}"
    text = f"{KINDS[data[0] % len(KINDS)] if data else KINDS[0]}: {data[1:]!r}\n{''.join(traceback.format_exception(error))}\n"
    if not kept.exists() or len(text) < kept.stat().st_size:
        kept.write_text(text, encoding="utf-8", errors="backslashreplace")


# ---- changes that keep a file's form -------------------------------------------------------------------------------------


def mutator(whole: Sequence[bytes]) -> Callable[[bytes, int, int], bytes]:
    """Gives another input: one cell, key or value changed by us, now and then in a whole file, or bytes by libFuzzer."""

    def mutated(data: bytes, most: int, seed: int) -> bytes:
        draw = random.Random(seed)
        data = draw.choice(whole) if not data or draw.random() < 0.3 else data
        form = FORMS[Path(KINDS[data[0] % len(KINDS)]).suffix]
        try:
            changed = form(data[1:].decode(), draw) if draw.random() < 0.5 else b""
        except (ValueError, TypeError, LookupError, RecursionError, csv.Error, yaml.YAMLError):  # no such form, or empty
            changed = b""
        return data[:1] + changed if 0 < len(changed) < most else bytes(atheris.Mutate(data, most))

    return mutated


def changed_table(text: str, draw: random.Random) -> bytes:
    rows = list(csv.reader(io.StringIO(text)))
    row = draw.choice(rows)
    place = draw.randrange(len(row))
    change = draw.randrange(4)
    if change == 0:
        row[place] = str(draw.choice(ODD))
    elif change == 1:
        row[place] = draw.choice(draw.choice(rows))
    elif change == 2:
        rows.insert(draw.randrange(len(rows)), row)
    else:
        rows.remove(row)
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows(rows)
    return out.getvalue().encode()


def changed_tree(tree: Any, draw: random.Random) -> Any:
    """The tree with one of its values exchanged, removed, or put under another key."""
    holders = [holder for holder in nodes(tree) if holder]
    if not holders:
        return draw.choice(ODD)
    holder = draw.choice(holders)
    place = draw.choice(list(holder) if isinstance(holder, dict) else range(len(holder)))
    change = draw.randrange(4)
    if change == 0:
        holder[place] = draw.choice(ODD)
    elif change == 1:
        holder[place] = draw.choice([tree, *nodes(tree)])
        json.dumps(tree)  # refuses a tree that now holds itself
    elif change == 2:
        del holder[place]
    elif isinstance(holder, dict):
        holder[draw.choice(["x", "", "../x", *holder])] = holder[place]
    return tree


def nodes(tree: Any) -> Iterator[Any]:
    """Every mapping and list of a tree."""
    if isinstance(tree, dict | list):
        yield tree
        for inner in tree.values() if isinstance(tree, dict) else tree:
            yield from nodes(inner)


FORMS: dict[str, Callable[[str, random.Random], bytes]] = {
    ".csv": changed_table,
    ".json": lambda text, draw: json.dumps(changed_tree(json.loads(text), draw)).encode(),
    ".yaml": lambda text, draw: yaml.safe_dump(changed_tree(yaml.safe_load(text), draw), sort_keys=False).encode(),
}


# ---- running it ------------------------------------------------------------------------------------------------------------


def fuzz(place: Path, limits: list[str]) -> None:
    """Never returns: libFuzzer ends the process."""
    os.fsync = lambda _file: None  # most of the time would go there
    folder, experiment = written(place / "runs")
    inputs = place / "corpus"
    inputs.mkdir()
    whole = list(corpus(folder))
    for number, data in enumerate(whole):
        (inputs / str(number)).write_bytes(data)
    words = {word for data in whole for word in re.findall(r"[\w.-]{3,40}", data[1:].decode(), re.ASCII)}
    (place / "words").write_text("".join(f'"{word}"\n' for word in sorted(words)))
    fixed = [f"-dict={place / 'words'}", f"-artifact_prefix={place}/", "-max_len=8192", "-timeout=20", "-print_final_stats=1"]
    atheris.Setup([sys.argv[0], *fixed, *limits, str(inputs)], target(place, folder, experiment), custom_mutator=mutator(whole))
    atheris.Fuzz()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=-1, help="inputs to read")
    parser.add_argument("--seconds", type=int, default=0, help="how long to go on")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--inside", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    limits = [f"-runs={asked.runs}", f"-max_total_time={asked.seconds}", f"-seed={asked.seed}"]
    if asked.inside:
        fuzz(asked.inside, limits)
    with tempfile.TemporaryDirectory() as place:  # libFuzzer ends its process without cleaning up
        command = [sys.executable, __file__, *sys.argv[1:], "--inside", place]
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
        read, covered = (re.findall(pattern, done.stderr) for pattern in (r"executed_units: (\d+)", r"cov: (\d+)"))
        unexpected = [path.read_text(encoding="utf-8") for path in sorted(Path(place).glob("unexpected-*"))]
        if done.returncode or not read:
            stopped = [path.read_bytes() for kind in ("timeout", "oom", "crash") for path in Path(place).glob(f"{kind}-*")]
            unexpected.append(f"{done.stderr[-4000:]}\nstopped by: {stopped}\n")
    summary = f"{''.join(read)} inputs, {covered[-1] if covered else 0} branches, {len(unexpected)} unexpected\n"
    sys.stdout.write("\n".join([*unexpected, summary]))
    sys.exit(bool(unexpected))


if __name__ == "__main__":
    main()
