"""Speed of the training loop as ratios, each of two things timed in turn; prints tables and writes docs/benchmarks.md.

    python benchmarks/speed.py [rounds]

Images are noise in the shapes of MNIST and CIFAR: no time depends on what they show. Nothing else should run.
"""

import functools
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from conventional import Pictures, bare, conventional, mlp, resnet20
from tables import in_turn, publish, ratio, spread, table

from resexp import config, costs, datasets, executors, training
from resexp.datasets import Images

MLP = ("network.depth=[20]", "network.width=64", "network.init=he", "network.norm=none", "training.batch_size=128", "seeds=5")
CNN = ("network.family=cnn", "network.depth=[20]", "network.width=16", "network.init=he", "network.norm=batch")
IMAGES, HELD_OUT, EPOCHS = 54_000, 6_000, 1  # as MNIST with a tenth held out


def noise(count: int, *shape: int) -> Images:
    draw = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (count, *shape), dtype=torch.uint8, generator=draw)
    return Images(pixels, torch.arange(count) % 10, tuple("0123456789"))


def pretend(shape: tuple[int, ...], count: int) -> None:
    """Puts noise of that shape in the place of Fashion-MNIST."""
    datasets.DATASETS["fashion-mnist"] = lambda _source, part: noise(count if part == "train" else HELD_OUT, *shape)
    training.load_training_data.cache_clear()
    training.test_images.cache_clear()


def experiment(*overrides: str) -> config.Experiment:
    return config.load("digits", ["data.name=fashion-mnist", f"data.validation={HELD_OUT}", "device=cpu", *overrides])


def run_of(folder: Path, *overrides: str, arm: str = "identity") -> training.StackState:
    """A single network, ready to be trained, that logs into `folder`."""
    (trial,) = (trial for trial in experiment("seeds=1", *overrides).trials if trial.arm == arm)
    run = training.begin([trial], folder, "benchmark", "cpu")
    run.logs[0].mkdir(parents=True, exist_ok=True)
    return run


def steps_of(step: Callable[[], None], count: int) -> Callable[[], None]:
    return lambda: [step() for _ in range(count)] and None


# ---- rows -----------------------------------------------------------------------------------------------------------------


def grid(rounds: int) -> list[list[str]]:
    """Two arms x five seeds: the conventional loop net by net, ours one at a time, ours as stacks on all cores."""
    pretend((1, 28, 28), IMAGES + HELD_OUT)
    pictures = noise(IMAGES + HELD_OUT, 1, 28, 28)
    parts = [Pictures(pictures.pixels[part], pictures.labels[part]) for part in (slice(IMAGES), slice(IMAGES, None))]
    found = experiment(*MLP, f"training.epochs={EPOCHS}")
    alone = experiment(*MLP, f"training.epochs={EPOCHS}", "training.stack=1")
    cores = executors.cores()

    def theirs() -> None:
        torch.set_num_threads(cores)
        conventional(mlp(20, 64, residual=True), *parts, EPOCHS)

    def one_by_one() -> None:
        torch.set_num_threads(1)
        with tempfile.TemporaryDirectory() as folder:
            for trial in alone.trials[:2]:
                training.train_stack([trial], Path(folder), trial.name, "cpu")

    with Workers(cores) as workers:
        times = in_turn([theirs, one_by_one, lambda: workers.train(found)], rounds)
    updates = IMAGES * EPOCHS
    rates = [[count * updates / t for t in column] for count, column in zip((1, 2, 10), times, strict=True)]
    names = [
        f"conventional loop, one net after another, {cores} threads",
        "one at a time in memory, 1 thread",
        "stacks, all cores",
    ]
    return [
        [name, spread(rate, ",.0f"), ratio(rate, rates[0]), ratio(rate, rates[1])]
        for name, rate in zip(names, rates, strict=True)
    ]


class Workers(executors.Pool):
    """Workers that train on noise."""

    def train(self, found: config.Experiment) -> None:
        """The whole experiment from its first step to its last row."""
        plan = config.make_plan(found, "cpu", len(self.workers))
        trials = {trial.name: trial for trial in found.trials}
        with tempfile.TemporaryDirectory() as folder:
            futures = [
                self.workers[number % len(self.workers)].submit(_train, Path(folder), stack, [trials[n] for n in stack.trials])
                for number, stack in enumerate(plan.stacks)
            ]
            for future in futures:
                future.result()


@functools.cache
def settle() -> None:
    """Once in each worker."""
    pretend((1, 28, 28), IMAGES + HELD_OUT)


def _train(folder: Path, stack: config.Stack, trials: list[config.Trial]) -> None:
    settle()
    training.prepare_process(stack.threads, trials[0].settings)
    training.train_stack(trials, folder, stack.name, "cpu")


def convolutions(rounds: int) -> list[list[str]]:
    """A ResNet-20 step at batch 128: the conventional eager one in NCHW, ours, ours compiled."""
    pretend((3, 32, 32), 2_048 + HELD_OUT)
    training.prepare_process(executors.cores(), experiment("compile=true").shared)
    x, labels = torch.randn(128, 3, 32, 32), torch.arange(128) % 10
    rows = []
    for arm in ("plain", "identity"):
        network = resnet20(residual=arm == "identity")
        optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
        with tempfile.TemporaryDirectory() as folder:
            ours, compiled = (
                costs.stepper(run_of(Path(folder), *CNN, "training.batch_size=128", f"compile={of}", arm=arm), 128)
                for of in ("false", "true")
            )
            calls = [lambda: bare(network, x, labels, optimizer, 4), steps_of(ours, 4), steps_of(compiled, 4)]  # noqa: B023
            times = in_turn(calls, rounds)
        for name, column in zip(("conventional eager, NCHW", "resexp", "resexp, compile: true"), times, strict=True):
            rows.append([f"{arm}: {name}", spread([512 / t for t in column], ",.0f"), ratio(times[0], column)])
    return rows


def floor(rounds: int) -> list[list[str]]:
    """One network in our loop, without logging, against the bare update on a fixed batch."""
    rows = []
    for name, overrides, shape, threads, count in (
        ("MLP, depth 20, batch 128, 1 thread", MLP[:5], (1, 28, 28), 1, 60),
        ("ResNet-20, batch 128, all cores", (*CNN, "training.batch_size=128"), (3, 32, 32), executors.cores(), 4),
    ):
        pretend(shape, 2_048 + HELD_OUT)
        torch.set_num_threads(threads)
        with tempfile.TemporaryDirectory() as folder:
            run, other = (run_of(Path(folder), *overrides) for _ in range(2))
            x, labels = next(training.batches(run.trials, run.training_data, run.step_counts.per_epoch, 0))
            x = x.contiguous(memory_format=torch.channels_last) if len(shape) == 3 and shape[0] == 3 else x
            other.network.train()
            step = costs.stepper(run, 128)
            calls = [lambda: bare(other.network, x, labels, other.optimizer, count), steps_of(step, count)]  # noqa: B023
            times = in_turn(calls, rounds)
        rows.append([name, ratio(times[0], times[1])])
    return rows


def logging(rounds: int) -> list[list[str]]:
    """Steps from the 2,000th on, with readings, against the same without."""
    rows = []
    for name, overrides, shape, threads, count in (
        ("MLP, depth 20", MLP[:5], (1, 28, 28), 1, 200),
        ("ResNet-20", (*CNN, "training.batch_size=128"), (3, 32, 32), executors.cores(), 5),
    ):
        pretend(shape, 2_048 + HELD_OUT)
        torch.set_num_threads(threads)
        for every, label in ((25, "every 25 steps"), (1, "every step")):
            if every == 25 and name == "ResNet-20":
                count = 25  # noqa: PLW2901 - a whole interval
            with tempfile.TemporaryDirectory() as folder:
                silent, logged = run_of(Path(folder), *overrides), run_of(Path(folder), *overrides)
                calls = [steps_of(from_2000(run, often), count) for run, often in ((silent, 10**9), (logged, every))]
                times = in_turn(calls, rounds if name == "MLP, depth 20" else max(2, rounds // 2))
            rows.append([f"{name}, {label}", ratio(times[1], times[0])])
    return rows


def from_2000(run: training.StackState, every: int) -> Callable[[], None]:
    """Updates from step 2,000 on, with a reading each `every` steps."""
    run.step_counts, run.step = replace(run.step_counts, every=every), 2_000
    stream = training.batches(run.trials, run.training_data, run.step_counts.per_epoch, 0)
    run.network.train()

    def step() -> None:
        training.update(run, *next(stream))
        run.step += 1

    return step


def deep(rounds: int) -> list[list[str]]:
    """Depth 100 under PyTorch's default init, where gradients leave float32, against its residual twin."""
    pretend((1, 28, 28), 2_048 + HELD_OUT)
    training.prepare_process(1, experiment().shared)
    with tempfile.TemporaryDirectory() as folder:
        overrides = ("network.depth=[100]", "network.init=pytorch", *MLP[1:2], *MLP[3:5])
        runs = [costs.stepper(run_of(Path(folder), *overrides, arm=arm), 128) for arm in ("plain", "identity")]
        times = in_turn([steps_of(step, 20) for step in runs], rounds)
    return [["plain / identity, depth 100, PyTorch's init", ratio(times[0], times[1])]]


def growth(rounds: int) -> list[list[str]]:
    """Milliseconds a step over depth, width and the number of trials in a stack."""
    pretend((1, 28, 28), 2_048 + HELD_OUT)
    training.prepare_process(1, experiment().shared)
    rows = []
    for name, key, values in (
        ("depth", "network.depth=[{}]", (8, 16, 32, 64, 128)),
        ("width", "network.width={}", (32, 64, 128, 256)),
        ("trials in a stack", "seeds={}", (1, 2, 4, 8, 16, 32)),
    ):
        with tempfile.TemporaryDirectory() as folder:
            steppers = [costs.stepper(stack_of(Path(folder), key.format(value)), 128) for value in values]
            times = in_turn([steps_of(step, 10) for step in steppers], rounds)
        for value, column, before in zip(values, times, [times[0], *times], strict=False):
            rows.append([f"{name} {value}", spread([1e3 * t / 10 for t in column], ".2f"), ratio(column, before)])
    return rows


def stack_of(folder: Path, override: str) -> training.StackState:
    """The identity arm of all seeds as one stack."""
    shape = ("network.depth=[20]", "network.width=64", "network.plain=false", *MLP[2:5], "seeds=1")
    return training.begin(experiment(*shape, override).trials, folder, "benchmark", "cpu")


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    text = [
        table("The grid: 2 arms x 5 seeds, MLP of depth 20, width 64, batch 128; whole loop with default logging", grid(rounds),
              ("", "network-samples/s", "against conventional", "against one at a time")),
        table("ResNet-20, batch 128, 32 x 32", convolutions(rounds), ("", "images/s", "speed against conventional")),
        table("One network in the loop without logging: its share of the bare update's speed", floor(rounds), ("", "share")),
        table("Time with logging over time without, from step 2,000 on", logging(rounds), ("", "ratio")),
        table("Where gradients underflow", deep(rounds), ("", "ratio of times")),
        table("Growth: time per step of an MLP", growth(rounds), ("", "ms", "against the one before")),
    ]  # fmt: skip
    publish("speed", f"python benchmarks/speed.py {rounds}", "\n".join(text))


if __name__ == "__main__":
    main()
