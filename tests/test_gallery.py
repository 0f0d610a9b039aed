"""docs/gallery.md: its numbers are those of the committed results, and its pictures are drawn from these results."""

import json
import re
import runpy
from functools import cache
from pathlib import Path

import pytest
from scipy import stats

from resexp import config
from resexp.comparison import rate_transfers

ROOT = Path(__file__).parent.parent
GALLERY = runpy.run_path(str(ROOT / "benchmarks" / "gallery.py"))
PAGE = (ROOT / "docs" / "gallery.md").read_text(encoding="utf-8")
SECTIONS = {part.split("\n", 1)[0]: part for part in PAGE.split("\n## ")[1:]}
MEASURED = r"[+-]\d+\.\d+|\d+\.\d+%"  # a number with a sign, or a percentage


@pytest.fixture(scope="module")
def experiment(tmp_path_factory):
    return cache(lambda name: GALLERY["results"](name, tmp_path_factory.mktemp(name)))


def rows(frame, **values):
    for key, value in values.items():
        frame = frame[frame[key] == value]
    return frame


def percent(value):
    return f"{100 * value:.1f}%"


def points(difference, low, high):
    return f"{100 * difference:+.1f} [{100 * low:+.1f}, {100 * high:+.1f}]"


def interval(row):
    return points(row["difference"], row["low"], row["high"])


def digits(experiment):
    deep = rows(experiment.compare().frame, depth=64)
    differences = deep.dropna(subset=["difference"]).sort_values("difference")
    stuck = rows(deep, arm="plain", at_chance=4)
    rescued = deep[(deep["arm"] == "identity")].merge(stuck[["norm", "init"]])["mean"]
    assert (len(stuck), len(differences)) == (3, 6)
    yield f"{interval(differences.iloc[0])} to {interval(differences.iloc[-1])}"
    yield f"{percent(rescued.min())} to {percent(rescued.max())}"
    yield interval(rows(deep, arm="identity", norm="none", init="identity").iloc[0])


def without_shortcuts(experiment):
    compared = experiment.compare(tune=("init", "activation", "lr"))
    deep = rows(compared.frame, depth=128, lr=0.001, activation="relu")
    means = {key: rows(deep, arm=key[0], init=key[1])["mean"].item() for key in zip(deep["arm"], deep["init"], strict=True)}
    for arm in ("plain", "identity"):
        yield percent(means[arm, "identity"])
        yield percent(means[arm, "pytorch"])
    yield interval(rows(compared.tuned, depth=128, arm="identity").iloc[0])


def depth_scaling(experiment):
    transfers = rate_transfers(experiment.results)
    for transfer in transfers:
        yield "{:+.2f} [{:+.2f}, {:+.2f}]".format(transfer.exponent.mean, *transfer.interval)
    assert [transfer.interval[1] < 0 for transfer in transfers] == [True, False, False, False]
    for alpha in ("0.5", "1", "0"):
        yield interval(rows(experiment.compare(tune="lr").tuned, depth=62, arm=f"depth-scaled-alpha{alpha}").iloc[0])


def atlas(experiment):
    compared = experiment.compare(tune="init_scale")
    medians = experiment.trials.groupby(["arm", "depth", "init_scale"])["test_accuracy"].median()
    for arm, counts in {"identity": (23, 19), "skipinit": (37, 0)}.items():
        differences = medians[arm] - medians["plain"]
        assert ((differences >= 0.05).sum(), (differences <= -0.05).sum()) == counts
        assert len(differences) == 96
    yield interval(rows(compared.tuned, depth=48, arm="identity").iloc[0])


def tutorial(experiment):
    compared = experiment.compare().frame
    shallow, middle, deep = (rows(compared, depth=depth) for depth in (2, 8, 32))
    assert len(set(experiment.trials.query("depth == 2").groupby("seed")["test_loss"].nunique())) == 1
    assert rows(deep, arm="plain")["at_chance"].item() == 3
    yield percent(shallow["mean"].iloc[0])
    for arms in (middle, deep):
        yield from (interval(row) for _, row in arms.iloc[1:].iterrows())
    yield f"{deep['parameters'].iloc[2]:,} parameters instead of {deep['parameters'].iloc[0]:,}"


def paired_interval(first, second):
    """Mean difference of two arms, each a series by seed, with the 95% interval of Student's t."""
    differences = first - second
    half = stats.t.ppf(0.975, len(differences) - 1) * stats.sem(differences)
    return points(differences.mean(), differences.mean() - half, differences.mean() + half)


def fashion_cnn(experiment):
    by_arm = experiment.compare().frame.set_index("arm")
    yield percent(by_arm.loc["plain", "mean"])
    yield interval(by_arm.loc["identity"])
    yield interval(by_arm.loc["projection"])
    accuracy = experiment.trials.set_index(["arm", "seed"])["test_accuracy"].sort_index()
    yield paired_interval(accuracy["projection"], accuracy["identity"])


def color_cnn(experiment):
    """Rise of the training error from 20 to 56 layers, and growth of the gradient over all blocks of 56 layers."""
    compared = experiment.compare()
    for trend in compared.comparison.depths:
        rise = trend.degradation.contrast
        yield points(rise.mean, rise.low, rise.high)
        yield f"{trend.growth:+.1f} orders of magnitude"
        yield f"{rows(compared.frame, arm=trend.arm, depth=56)['distance'].item():.2f}"
    avoided = trend.reduction
    yield points(avoided.mean, avoided.low, avoided.high)


def balanced(experiment):
    deep = rows(experiment.compare().frame, depth=64)
    accuracy = rows(experiment.trials, depth=64).set_index(["init", "arm", "seed"])["test_accuracy"].sort_index()
    fixed = "scaled-scale0.7071-branch0.7071"
    for init in ("he", "pytorch"):
        by_arm = rows(deep, init=init).set_index("arm")
        yield interval(by_arm.loc["balanced"])
        for arm in ("balanced", "identity", fixed):
            yield percent(by_arm.loc[arm, "mean"])
        yield paired_interval(accuracy[init, "balanced"], accuracy[init, fixed])
    yield f"slope {rows(deep, init='he', arm='identity')['slope'].item():+.2f}"
    yield f"slope {rows(deep, init='pytorch', arm='balanced')['slope'].item():+.2f}"


NUMBERS = {
    "digits": digits, "without-shortcuts": without_shortcuts, "depth-scaling": depth_scaling, "atlas": atlas,
    "tutorial": tutorial, "fashion-cnn": fashion_cnn, "color-cnn": color_cnn, "balanced": balanced,
}  # fmt: skip


@pytest.mark.parametrize("name", GALLERY["committed"]())
def test_every_number_of_a_result_is_that_of_the_committed_results(name, experiment):
    (result,) = re.findall(r"\*\*Result\.\*\* (.*?)\n\n", SECTIONS[name], flags=re.DOTALL)
    words = " ".join(result.split())
    expected = list(NUMBERS[name](experiment(name)))

    assert [number for number in expected if number not in words] == []
    assert set(re.findall(MEASURED, words)) == set(re.findall(MEASURED, " ".join(expected)))


@pytest.mark.parametrize("name", NUMBERS)
def test_the_table_has_the_number_of_networks(name, experiment):
    assert f"| [{name}](#{name}) | {len(experiment(name).trials)} |" in PAGE


@pytest.mark.parametrize("name", GALLERY["committed"]())
def test_redrawing_gives_the_committed_picture(name, experiment):
    digests = json.loads(GALLERY["DIGESTS"].read_text(encoding="utf-8"))

    assert GALLERY["digest"](GALLERY["drawn"](name, experiment(name))) == digests[name]
    assert f"](gallery/{name}.png)" in SECTIONS[name]


def test_the_settings_of_committed_results_are_those_of_the_shipped_configs(experiment):
    for name in set(GALLERY["committed"]()) & set(config.shipped()):
        shipped, trained = config.load(name), experiment(name).results.sources[0][1]
        assert [(trial.name, trial.settings) for trial in shipped.trials] == [
            (trial.name, trial.settings) for trial in trained.trials
        ]
