"""Every headline states learning rate and training length; if the rate was not tuned, a command that tunes it is printed."""

import shlex
from pathlib import Path

import fabricated
import pytest

from resexp import comparison, config, report, runs, tables
from resexp.report import pages
from resexp.report.content import collect
from resexp.tables.recipes import recipe, untuned

CELL = ("network.depth=[8]", "network.init=[he]", "network.norm=[none]", "seeds=3")


def good(trial: config.Trial) -> dict[str, float]:
    return {"test_accuracy": 0.9 + trial.seed / 100}


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        pytest.param((), "learning rate 0.001, 20 epochs", id="the demo"),
        pytest.param(("training.epochs=1",), "learning rate 0.001, 1 epoch", id="one epoch"),
        pytest.param(("training.epochs=null", "training.steps=300"), "learning rate 0.001, 300 steps", id="steps"),
        pytest.param(
            ("training.lr=[0.003,1e-4,0.001]",), "learning rates 0.0001 to 0.003, 20 epochs", id="several learning rates"
        ),
    ],
)
def test_the_recipe_states_learning_rate_and_training_length(tmp_path: Path, overrides: tuple[str, ...], words: str):
    assert recipe(fabricated.results(tmp_path, good, *CELL, *overrides)) == words


def test_the_recipe_of_several_experiments_is_a_range(tmp_path: Path):
    folders = [
        fabricated.experiment(tmp_path, good, *CELL, f"name=e{epochs}", f"training.epochs={epochs}")[0] for epochs in (5, 20)
    ]

    assert recipe(runs.read_results(folders)) == "learning rate 0.001, 5 to 20 epochs"


def test_every_headline_has_the_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(pages.vl_convert, "javascript_bundle", lambda *_, **__: "")
    results = fabricated.results(tmp_path, good, *CELL)
    content = collect(results)

    assert report.html(results).count(recipe(results)) >= 3  # summary, facts, heading of the results
    assert recipe(results) in content.answer[0]
    for form in ("table", "md", "tex", "json"):
        assert recipe(results) in tables.FORMATS[form](comparison.compare_results(results))


def test_an_untuned_learning_rate_is_stated_with_a_command_that_tunes_it_in_a_new_experiment(tmp_path: Path):
    results = fabricated.results(tmp_path, good, *CELL, "training.lr=0.002")
    sentence, tune, compare = untuned(results)
    program, verb, source, *overrides = shlex.split(tune.removeprefix("To tune it: "))
    experiment, folder, _ = runs.target(source, overrides, tmp_path)

    assert "learning rate 0.002" in sentence
    assert (program, verb) == ("resexp", "train")
    rates = sorted({trial.settings.training.lr for trial in experiment.trials})
    assert rates == pytest.approx([0.0002, 0.0006, 0.002, 0.006])
    assert {trial.settings.network.depth for trial in experiment.trials} == {8}
    assert compare == f"then: resexp compare {experiment.name} --tune lr"
    assert folder == tmp_path / "digits-lr"


@pytest.mark.parametrize("form", ["table", "md"])
def test_an_untuned_learning_rate_is_stated_once_and_only_if_it_is_not_an_axis(tmp_path: Path, form: str):
    one = fabricated.results(tmp_path / "one", good, *CELL)
    several = fabricated.results(tmp_path / "several", good, *CELL, "training.lr=[0.001,0.01]")

    assert tables.FORMATS[form](comparison.compare_results(one)).count("Not tuned") == 1
    assert "Not tuned" not in tables.FORMATS[form](comparison.compare_results(several))
    assert untuned(several) == []
