"""What a CUDA card changes: correctness of training on it, steps per second, and the time of the table of He et al. 2015b.

    python benchmarks/gpu.py [--device cuda] [--minutes 12] [--csv gpu.csv]
    python benchmarks/gpu.py --device cpu --small      # the same functions with small networks, to check this script

Prints tables, writes all speeds to a CSV file, and without --small replaces the section `gpu` of docs/benchmarks.md. Images are
generated: a pattern for each class, with noise. Rows that do not fit into the time are left out, and named as left out.
"""

import argparse
import csv
import multiprocessing
import os
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from tables import publish, table

from resexp import config, costs, datasets, executors, runs, training
from resexp.config import Trial
from resexp.datasets import Images

CONFIG, SIDE, CLASSES = "cifar10-he2015", 32, 10
ROUNDS = 3  # rounds for a median
MODES = {"eager": "false", "compiled": "true", "cuda-graph": "cuda-graph"}
CHECKS = ("check", "result")
SPEEDS = ("network", "mode", "networks in a stack", "it/s", "networks x it/s", "relative to eager, one network")


@dataclass(frozen=True)
class Sizes:
    """The networks and the lengths of the measurements; `steps` of a training that is checked, `seconds` of a timing."""

    depths: tuple[int, ...]
    stacks: tuple[int, ...]
    width: int
    batch: int
    images: int
    steps: int
    seconds: float


FULL = Sizes((20, 56, 110), (2, 5, 10), 16, 128, 20_000, 400, 2.0)
SMALL = Sizes((8,), (2,), 8, 16, 320, 40, 0.05)


@dataclass(frozen=True)
class Speed:
    """The speed of one network, or of a stack; `evaluation`: seconds for the training sample at the end of an epoch."""

    depth: int
    mode: str
    networks: int
    steps_per_second: float
    evaluation: float


# ---- networks and images ----------------------------------------------------------------------------------------------


def generated_images(count: int, split: str) -> Images:
    """Images with a pattern of 4 x 4 colors for each class, and noise; the patterns of both splits are equal."""
    patterns = torch.rand(CLASSES, 3, 4, 4, generator=torch.Generator().manual_seed(0)).repeat_interleave(SIDE // 4, 2)
    noise = torch.rand(count, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(len(split)))
    labels = torch.arange(count) % CLASSES
    pixels = 128 * patterns.repeat_interleave(SIDE // 4, 3)[labels] + 127 * noise
    return Images(pixels.byte(), labels, tuple("0123456789"))


def use_generated_images(count: int) -> None:
    datasets.DATASETS["cifar10"] = lambda _source, split: generated_images(count if split == "train" else count // 4, split)
    training.load_training_data.cache_clear()
    training.test_images.cache_clear()


def residual_trials(sizes: Sizes, device: str, depth: int, networks: int, *overrides: str) -> list[Trial]:
    """Residual networks with the recipe of CONFIG, to be trained as one stack."""
    shape = [f"network.depth=[{depth}]", f"network.width={sizes.width}", f"training.batch_size={sizes.batch}"]
    experiment = config.load(CONFIG, [*shape, "network.plain=false", f"seeds={networks}", f"device={device}", *overrides])
    executors.workers.set_up(1, experiment.shared)
    return list(experiment.trials)


# ---- correctness ------------------------------------------------------------------------------------------------------


def trained(sizes: Sizes, device: str, folder: Path, overrides: Sequence[str], *, kill: bool = False) -> None:
    """Trains one network in `folder`, or resumes; with `kill`, this process gets SIGKILL after a checkpoint."""
    length = f"training.steps={sizes.steps}", f"training.checkpoint_every={sizes.steps // 4}", "gradients.every=10"
    trials = residual_trials(sizes, device, sizes.depths[0], 1, *length, *overrides)

    def killed() -> bool:
        if kill and runs.checkpoint_file(folder, "stack").exists():
            os.kill(os.getpid(), signal.SIGKILL)
        return False

    training.train_stack(trials, folder, "stack", device, killed)


def trained_and_killed(sizes: Sizes, device: str, folder: Path, overrides: Sequence[str]) -> None:
    """The target of a process."""
    use_generated_images(sizes.images)
    trained(sizes, device, folder, overrides, kill=True)


def files(folder: Path) -> dict[str, bytes]:
    """The files of the trial in `folder`, without times."""
    (trial_path,) = (folder / "trials").iterdir()
    return {path.name: path.read_bytes() for path in trial_path.iterdir() if path.name not in ("timing.csv", "status.json")}


def comparison(folder: Path, other: Path) -> str:
    ours, others = files(folder), files(other)
    different = sorted(name for name in ours | others if ours.get(name) != others.get(name))
    return f"FAILED: {', '.join(different)} differ" if different else "byte-identical"


def final_loss(folder: Path) -> float:
    (trial_path,) = (folder / "trials").iterdir()
    return float(runs.read_rows(trial_path / "metrics.csv")[-1]["train_loss"])


def learning(folder: Path) -> str:
    (trial_path,) = (folder / "trials").iterdir()
    result = runs.result(trial_path)
    assert result is not None
    verdict = "learns" if result.outcome == "above_chance" else f"FAILED: {result.outcome}"
    return f"{verdict}, training loss {final_loss(folder):.4g}"


def checks(sizes: Sizes, device: str, modes: Sequence[str]) -> list[tuple[str, str]]:
    """Determinism, resumption after SIGKILL and learning in each mode; learning in each precision."""
    precisions = ("bfloat16", "tf32") if device.startswith("cuda") else ("bfloat16",)
    rows = []
    with tempfile.TemporaryDirectory() as name:
        for mode in modes:
            rows += attempted(mode, partial(mode_checks, sizes, device, mode, Path(name)))
        for precision in precisions:
            rows += attempted(precision, partial(precision_check, sizes, device, precision, Path(name)))
    return rows


def attempted(label: str, check: Callable[[], list[tuple[str, str]]]) -> list[tuple[str, str]]:
    """The rows of a check; a row with the message if it fails, so that the next check still runs."""
    try:
        return check()
    except RuntimeError as error:  # every error of CUDA and of the compiler
        return [(label, f"FAILED: {str(error).splitlines()[0]}")]


def mode_checks(sizes: Sizes, device: str, mode: str, folder: Path) -> list[tuple[str, str]]:
    overrides = [f"compile={MODES[mode]}"]
    first, second, resumed = (folder / f"{mode}-{run}" for run in ("first", "second", "resumed"))
    trained(sizes, device, first, overrides)
    trained(sizes, device, second, overrides)
    process = multiprocessing.get_context("spawn").Process(target=trained_and_killed, args=(sizes, device, resumed, overrides))
    process.start()
    process.join()
    trained(sizes, device, resumed, overrides)
    was_killed = process.exitcode == -signal.SIGKILL
    resumption = comparison(first, resumed) if was_killed else f"FAILED: not killed, exit code {process.exitcode}"
    return [
        (f"{mode}: two trainings", comparison(first, second)),
        (f"{mode}: resumed after SIGKILL", resumption),
        (f"{mode}: float32", learning(first)),
    ]


def precision_check(sizes: Sizes, device: str, precision: str, folder: Path) -> list[tuple[str, str]]:
    trained(sizes, device, folder / precision, [f"precision={precision}"])
    return [(f"eager: {precision}", learning(folder / precision))]


# ---- speed ------------------------------------------------------------------------------------------------------------


def speed(sizes: Sizes, device: str, depth: int, mode: str, networks: int) -> Speed:
    """Steps per second with augmentation and without logging, and seconds of an evaluation."""
    overrides = f"compile={MODES[mode]}", f"training.stack={networks}", "training.steps=1000000"
    trials = residual_trials(sizes, device, depth, networks, *overrides)
    with tempfile.TemporaryDirectory() as folder:
        state = training.initial_state(trials, Path(folder), "benchmark", device)
        step = costs.stepper(state, sizes.batch)
        for _ in range(training.WARM_UP_STEPS + 1):  # the last of them captures the graph
            step()
        repeats = max(1, round(sizes.seconds / costs.seconds_of(step, 3)))
        seconds = statistics.median(costs.seconds_of(step, repeats) for _ in range(ROUNDS))
        return Speed(depth, mode, networks, 1 / seconds, costs.seconds_of(partial(evaluate, state), 1))


def evaluate(state: training.StackState) -> None:
    with training.measuring(state, training.never):
        training.evaluate(state.network, state.training_data.sample, state.training_data, len(state.trials))


def plan(sizes: Sizes, modes: Sequence[str]) -> list[tuple[int, str, int]]:
    """(depth, mode, networks) of all speeds; compilation takes longest, so it comes last."""
    quick = [mode for mode in modes if mode != "compiled"]
    rows = [(depth, mode, networks) for networks in (1, *sizes.stacks) for depth in sizes.depths for mode in quick]
    return rows + [(depth, "compiled", 1) for depth in sizes.depths if "compiled" in modes]


def speed_rows(speeds: Sequence[Speed]) -> list[list[str]]:
    eager = {row.depth: row.steps_per_second for row in speeds if (row.mode, row.networks) == ("eager", 1)}
    return [
        [
            f"ResNet-{row.depth}",
            row.mode,
            str(row.networks),
            f"{row.steps_per_second:.1f}",
            f"{row.networks * row.steps_per_second:.1f}",
            f"{row.networks * row.steps_per_second / eager[row.depth]:.2f}" if row.depth in eager else "",
        ]
        for row in speeds
    ]


def write_csv(path: Path, speeds: Sequence[Speed]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([SPEEDS, *speed_rows(speeds)])


# ---- the table of He et al. 2015b -------------------------------------------------------------------------------------


def projected_hours(speeds: Sequence[Speed]) -> float | None:
    """Hours for all trials of CONFIG at these speeds of one mode; None with fewer than two depths.

    The seconds of a step and of an evaluation are interpolated linearly in depth. A plain network is counted as a residual
    one. Start-up, logging and the test set are not counted.
    """
    if len({row.depth for row in speeds}) < 2:
        return None
    depths = torch.tensor([float(row.depth) for row in speeds], dtype=torch.float64)
    columns = [[1 / row.steps_per_second / row.networks, row.evaluation / row.networks] for row in speeds]
    design = torch.stack([torch.ones_like(depths), depths], 1)
    line = torch.linalg.lstsq(design, torch.tensor(columns, dtype=torch.float64)).solution
    seconds = 0.0
    for trial in config.load(CONFIG).trials:
        steps, batch = trial.settings.training.steps, trial.settings.training.batch_size
        assert steps is not None
        step, evaluation = (line[0] + line[1] * trial.settings.network.depth).tolist()
        seconds += steps * step + steps // (50_000 // batch) * evaluation
    return seconds / 3600


def projection(speeds: Sequence[Speed]) -> list[list[str]]:
    groups: dict[tuple[str, int], list[Speed]] = {}
    for row in speeds:
        groups.setdefault((row.mode, row.networks), []).append(row)
    hours = {key: projected_hours(rows) for key, rows in groups.items()}
    return [[mode, str(networks), f"{value:.1f}"] for (mode, networks), value in hours.items() if value is not None]


# ---- all of it --------------------------------------------------------------------------------------------------------


def measured(sizes: Sizes, device: str, modes: Sequence[str], path: Path, has_time: Callable[[], bool]) -> str:
    """All tables as Markdown; the CSV file is written after every speed."""
    use_generated_images(sizes.images)
    sections = [table("Training on the device", checks(sizes, device, modes), CHECKS)]
    speeds: list[Speed] = []
    left_out = []
    for row in plan(sizes, modes):
        label = "ResNet-{}, {}, {} in a stack".format(*row)
        if not has_time():
            left_out.append(label)
            continue
        try:
            speeds.append(speed(sizes, device, *row))
        except RuntimeError as error:  # such as too little memory
            sections.append(f"{label}: FAILED: {str(error).splitlines()[0]}\n")
        write_csv(path, speeds)
    sections.append(table(f"Steps per second: width {sizes.width}, batch {sizes.batch}, 32 x 32", speed_rows(speeds), SPEEDS))
    if left_out:
        sections.append(f"Left out, because the time was over: {'; '.join(left_out)}.\n")
    if rows := projection(speeds):
        sections.append(table(f"Projected hours of all trials of {CONFIG}", rows, ("mode", "networks in a stack", "hours")))
    return "\n".join(sections)


def main(arguments: Sequence[str] | None = None) -> str:
    parser = argparse.ArgumentParser(description="Correctness and speed on a CUDA card.")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--small", action="store_true", help="small networks, to check this script")
    parser.add_argument("--minutes", type=float, default=12.0, help="no further row starts after this time")
    parser.add_argument("--csv", type=Path, default=Path("gpu.csv"), help="file for the speeds")
    parser.add_argument("--modes", help="comma-separated, of eager, compiled and cuda-graph; default: all, small: eager")
    options = parser.parse_args(arguments)
    os.environ.update(executors.workers.VARIABLES)  # before the first use of the card
    device, end = training.resolve_device(options.device), time.monotonic() + 60 * options.minutes
    modes = (options.modes or ("eager" if options.small else ",".join(MODES))).split(",")
    sizes = SMALL if options.small else FULL
    text = measured(sizes, device, modes, options.csv, lambda: time.monotonic() < end)
    text = f"Device: {training.device_name(device)}\n\n{text}"
    if options.small:
        print(text)
    else:
        publish("gpu", " ".join(["python benchmarks/gpu.py", *sys.argv[1:]]), text)
    return text


if __name__ == "__main__":
    sys.exit(1 if "FAILED" in main() else 0)
