"""Speed of the training loop, as ratios of interleaved measurements; prints tables and writes docs/benchmarks.md.

    python benchmarks/speed.py [rounds]

Images are random, in the shapes of MNIST and CIFAR; times do not depend on image content. Run it on an idle machine.
"""

import functools
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from conventional import PilImages, bare, conventional, mlp, resnet20
from tables import interleaved, publish, ratio, seconds, spread, table

import resexp
from resexp import config, costs, datasets, executors, training
from resexp.datasets import Images

MLP = ("network.depth=[20]", "network.width=64", "network.init=he", "network.norm=none", "training.batch_size=128", "seeds=5")
CNN = ("network.family=cnn", "network.depth=[20]", "network.width=16", "network.init=he", "network.norm=batch")
IMAGES, HELD_OUT, EPOCHS = 54_000, 6_000, 1  # the sizes of MNIST with a tenth held out


def random_images(count: int, *shape: int) -> Images:
    draw = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (count, *shape), dtype=torch.uint8, generator=draw)
    return Images(pixels, torch.arange(count) % 10, tuple("0123456789"))


def use_random_images(shape: tuple[int, ...], count: int) -> None:
    """Replaces Fashion-MNIST with random images of this shape."""
    datasets.DATASETS["fashion-mnist"] = lambda _source, split: random_images(count if split == "train" else HELD_OUT, *shape)
    training.load_training_data.cache_clear()
    training.test_images.cache_clear()


def experiment(*overrides: str) -> config.Experiment:
    return config.load("digits", ["data.name=fashion-mnist", f"data.validation={HELD_OUT}", "device=cpu", *overrides])


def single_stack(folder: Path, *overrides: str, arm: str = "identity") -> training.StackState:
    """The initial state of a stack of one network, with logs in `folder`."""
    (trial,) = (trial for trial in experiment("seeds=1", *overrides).trials if trial.arm == arm)
    state = training.initial_state([trial], folder, "benchmark", "cpu")
    state.trial_paths[0].mkdir(parents=True, exist_ok=True)
    return state


def repeated(step: Callable[[], None], count: int) -> Callable[[], None]:
    return lambda: [step() for _ in range(count)] and None


# ---- rows -----------------------------------------------------------------------------------------------------------------


def grid(rounds: int) -> list[list[str]]:
    """Two arms x five seeds: the conventional loop, resexp with one network at a time, resexp with stacks on all cores."""
    use_random_images((1, 28, 28), IMAGES + HELD_OUT)
    images = random_images(IMAGES + HELD_OUT, 1, 28, 28)
    splits = [PilImages(images.pixels[split], images.labels[split]) for split in (slice(IMAGES), slice(IMAGES, None))]
    stacked = experiment(*MLP, f"training.epochs={EPOCHS}")
    unstacked = experiment(*MLP, f"training.epochs={EPOCHS}", "training.stack=1")
    cores = executors.cores()

    def conventional_loop() -> None:
        torch.set_num_threads(cores)
        conventional(mlp(20, 64, residual=True), *splits, EPOCHS)

    def one_by_one() -> None:
        torch.set_num_threads(1)
        with tempfile.TemporaryDirectory() as folder:
            for trial in unstacked.trials[:2]:
                training.train_stack([trial], Path(folder), trial.name, "cpu")

    with Workers(cores) as workers:
        times = interleaved([conventional_loop, one_by_one, lambda: workers.train(stacked)], rounds)
    updates = IMAGES * EPOCHS
    peaks = [matrix_product_flops(cores) for _ in range(rounds)]
    rates = [[count * updates / t for t in column] for count, column in zip((1, 2, 10), times, strict=True)]
    names = [
        f"conventional loop, one network after another, {cores} threads",
        "one at a time in memory, 1 thread",
        "stacks, all cores",
    ]
    return [
        [
            name,
            spread(rate, ",.0f"),
            ratio(rate, rates[0]),
            ratio(rate, rates[1]),
            ratio([FLOPS_PER_IMAGE * value for value in rate], peaks),
        ]
        for name, rate in zip(names, rates, strict=True)
    ]


FLOPS_PER_IMAGE = 2 * (2 * 784 * 64 + 3 * (18 * 64 * 64 + 64 * 10))  # depth 20, width 64; the images have no gradient


def matrix_product_flops(threads: int, size: int = 2048, products: int = 5) -> float:
    """Floating-point operations per second of large matrix products."""
    torch.set_num_threads(threads)
    matrices = torch.randn(2, size, size)
    return products * 2 * size**3 / seconds(repeated(lambda: matrices[0] @ matrices[1], products))


def updates_of_stacks(rounds: int) -> list[list[str]]:
    """Updates without logging on one core, relative to large matrix products in the same round."""
    use_random_images((1, 28, 28), IMAGES + HELD_OUT)
    executors.workers.set_up(1, experiment().shared)
    rows = []
    for seeds in (1, 5, 10):
        with tempfile.TemporaryDirectory() as folder:
            trials = experiment(*MLP[:5], f"seeds={seeds}").trials
            step = costs.stepper(training.initial_state(trials, Path(folder), "benchmark", "cpu"), 128)
            measured = [(matrix_product_flops(1), seconds(repeated(step, 40)) / 40) for _ in range(rounds + 1)][1:]
        flops = [128 * len(trials) * FLOPS_PER_IMAGE / duration for _, duration in measured]
        milliseconds = [1e3 * duration for _, duration in measured]
        share = ratio(flops, [peak for peak, _ in measured])
        rows.append([f"stack of {len(trials)}", spread(milliseconds), spread([value / 1e9 for value in flops]), share])
    return rows


def logging_through_executor(rounds: int) -> list[list[str]]:
    """Whole trainings with the default logging relative to trainings without: locks, logs, status and results included."""
    rows = []
    for name, overrides, shape, steps in (
        ("MLP, depth 20, stack of 10", (*MLP, "training.stack=10"), (1, 28, 28), 600),
        ("ResNet-20", (*CNN, "training.batch_size=128", "seeds=1", "network.plain=false"), (3, 32, 32), 75),
    ):
        use_random_images(shape, 12_800 + HELD_OUT)
        settings = ("data.name=fashion-mnist", f"data.validation={HELD_OUT}", *overrides, f"training.steps={steps}")
        calls = [functools.partial(train, *settings, logging) for logging in ("gradients.probes=[]", "gradients.every=25")]
        times = interleaved(calls, rounds)
        rows.append([name, ratio(times[1], times[0])])
    return rows


def train(*settings: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        resexp.train("digits", *settings, "training.epochs=null", "device=cpu", runs_dir=folder)


class Workers(executors.Pool):
    """Workers that train on random images."""

    def train(self, experiment: config.Experiment) -> None:
        """Trains all stacks of an experiment, from the first step to the last row."""
        plan = config.make_plan(experiment, "cpu", len(self.workers))
        trials = {trial.name: trial for trial in experiment.trials}
        with tempfile.TemporaryDirectory() as folder:
            futures = [
                self.workers[number % len(self.workers)].submit(
                    _train, Path(folder), stack, [trials[name] for name in stack.trials]
                )
                for number, stack in enumerate(plan.stacks)
            ]
            for future in futures:
                future.result()


@functools.cache
def prepare_worker() -> None:
    """Replaces the data, once in each worker."""
    use_random_images((1, 28, 28), IMAGES + HELD_OUT)


def _train(folder: Path, stack: config.Stack, trials: list[config.Trial]) -> None:
    prepare_worker()
    executors.workers.set_up(stack.threads, trials[0].settings)
    training.train_stack(trials, folder, stack.name, "cpu")


def convolutions(rounds: int) -> list[list[str]]:
    """A training step of ResNet-20 at batch size 128: conventional (eager, NCHW), resexp, and resexp with compile."""
    use_random_images((3, 32, 32), 2_048 + HELD_OUT)
    executors.workers.set_up(executors.cores(), experiment("compile=true").shared)
    x, labels = torch.randn(128, 3, 32, 32), torch.arange(128) % 10
    rows = []
    for arm in ("plain", "identity"):
        network = resnet20(residual=arm == "identity")
        optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
        with tempfile.TemporaryDirectory() as folder:
            eager, compiled = (
                costs.stepper(single_stack(Path(folder), *CNN, "training.batch_size=128", f"compile={compile_}", arm=arm), 128)
                for compile_ in ("false", "true")
            )
            calls = [lambda: bare(network, x, labels, optimizer, 4), repeated(eager, 4), repeated(compiled, 4)]  # noqa: B023
            times = interleaved(calls, rounds)
        for name, column in zip(("conventional eager, NCHW", "resexp", "resexp, compile: true"), times, strict=True):
            rows.append([f"{arm}: {name}", spread([512 / t for t in column], ",.0f"), ratio(times[0], column)])
    return rows


def floor(rounds: int) -> list[list[str]]:
    """One network in the training loop of resexp, without logging, relative to the bare update on a fixed batch."""
    rows = []
    for name, overrides, shape, threads, count in (
        ("MLP, depth 20, batch 128, 1 thread", MLP[:5], (1, 28, 28), 1, 60),
        ("ResNet-20, batch 128, all cores", (*CNN, "training.batch_size=128"), (3, 32, 32), executors.cores(), 4),
    ):
        use_random_images(shape, 2_048 + HELD_OUT)
        torch.set_num_threads(threads)
        with tempfile.TemporaryDirectory() as folder:
            stack, bare_stack = (single_stack(Path(folder), *overrides) for _ in range(2))
            x, labels = next(stack.batches(0))
            x = x.contiguous(memory_format=torch.channels_last) if len(shape) == 3 and shape[0] == 3 else x
            bare_stack.network.train()
            step = costs.stepper(stack, 128)
            calls = [lambda: bare(bare_stack.network, x, labels, bare_stack.optimizer, count), repeated(step, count)]  # noqa: B023
            times = interleaved(calls, rounds)
        rows.append([name, ratio(times[0], times[1])])
    return rows


def logging(rounds: int) -> list[list[str]]:
    """Steps with logging relative to steps without, from step 2,000 on."""
    rows = []
    for name, overrides, shape, threads, count in (
        ("MLP, depth 20", MLP[:5], (1, 28, 28), 1, 200),
        ("ResNet-20", (*CNN, "training.batch_size=128"), (3, 32, 32), executors.cores(), 5),
    ):
        use_random_images(shape, 2_048 + HELD_OUT)
        torch.set_num_threads(threads)
        for every, label in ((25, "every 25 steps"), (1, "every step")):
            if every == 25 and name == "ResNet-20":
                count = 25  # noqa: PLW2901 - covers one logging interval
            with tempfile.TemporaryDirectory() as folder:
                unlogged, logged = single_stack(Path(folder), *overrides), single_stack(Path(folder), *overrides)
                calls = [
                    repeated(from_2000(stack, interval), count) for stack, interval in ((unlogged, 10**9), (logged, every))
                ]
                times = interleaved(calls, rounds if name == "MLP, depth 20" else max(2, rounds // 2))
            rows.append([f"{name}, {label}", ratio(times[1], times[0])])
    return rows


def from_2000(stack: training.StackState, every: int) -> Callable[[], None]:
    """Updates from step 2,000 on, with logging every `every` steps."""
    stack.step_counts, stack.step = replace(stack.step_counts, every=every), 2_000
    batches = stack.batches(0)
    stack.network.train()

    def step() -> None:
        training.update(stack, *next(batches))
        stack.step += 1

    return step


def deep(rounds: int) -> list[list[str]]:
    """A plain network of depth 100 with PyTorch initialization, whose gradients underflow, relative to the residual one."""
    use_random_images((1, 28, 28), 2_048 + HELD_OUT)
    executors.workers.set_up(1, experiment().shared)
    with tempfile.TemporaryDirectory() as folder:
        overrides = ("network.depth=[100]", "network.init=pytorch", *MLP[1:2], *MLP[3:5])
        steppers = [costs.stepper(single_stack(Path(folder), *overrides, arm=arm), 128) for arm in ("plain", "identity")]
        times = interleaved([repeated(step, 20) for step in steppers], rounds)
    return [["plain / identity, depth 100, PyTorch initialization", ratio(times[0], times[1])]]


def growth(rounds: int) -> list[list[str]]:
    """Milliseconds per step over depth, width and number of trials in a stack."""
    use_random_images((1, 28, 28), 2_048 + HELD_OUT)
    executors.workers.set_up(1, experiment().shared)
    rows = []
    for name, key, values in (
        ("depth", "network.depth=[{}]", (8, 16, 32, 64, 128)),
        ("width", "network.width={}", (32, 64, 128, 256)),
        ("trials in a stack", "seeds={}", (1, 2, 4, 8, 16, 32)),
    ):
        with tempfile.TemporaryDirectory() as folder:
            steppers = [costs.stepper(stack_of_seeds(Path(folder), key.format(value)), 128) for value in values]
            times = interleaved([repeated(step, 10) for step in steppers], rounds)
        for value, column, previous in zip(values, times, [times[0], *times], strict=False):
            rows.append([f"{name} {value}", spread([1e3 * t / 10 for t in column], ".2f"), ratio(column, previous)])
    return rows


def stack_of_seeds(folder: Path, override: str) -> training.StackState:
    """The identity arm of all seeds as one stack."""
    shape = ("network.depth=[20]", "network.width=64", "network.plain=false", *MLP[2:5], "seeds=1")
    return training.initial_state(experiment(*shape, override).trials, folder, "benchmark", "cpu")


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    sections = [
        table("Grid of 2 arms x 5 seeds: MLP of depth 20, width 64, batch 128, whole loop", grid(rounds),
              ("", "network-samples/s", "relative to conventional", "relative to one at a time", "share of peak")),
        table("Updates of this MLP without logging, 1 thread; peak: products of size 2,048", updates_of_stacks(rounds),
              ("", "ms", "GFLOP/s", "share of peak")),
        table("ResNet-20, batch 128, 32 x 32", convolutions(rounds), ("", "images/s", "speed relative to conventional")),
        table("One network, loop without logging: speed relative to the bare update", floor(rounds), ("", "relative speed")),
        table("Time with logging / time without logging, from step 2,000", logging(rounds), ("", "ratio")),
        table("Whole trainings: time with the default logging / time without", logging_through_executor(rounds), ("", "ratio")),
        table("Gradients that underflow", deep(rounds), ("", "ratio of step times")),
        table("Step time of an MLP by size", growth(rounds), ("", "ms", "relative to the row above")),
    ]  # fmt: skip
    publish("speed", f"python benchmarks/speed.py {rounds}", "\n".join(sections))


if __name__ == "__main__":
    main()
