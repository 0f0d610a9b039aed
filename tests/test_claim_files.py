"""Claims files, and the primary hypothesis of a config."""

from pathlib import Path
from typing import Any

import fabricated
import pytest

from resexp import claims, config, report, runs
from resexp.claims import Verdict
from resexp.tables.published import entries

SMALL = ("network.depth=[8]", "network.init=[he]", "network.norm=[none]", "seeds=2")


def better_by_ten(trial: config.Trial) -> dict[str, Any]:
    return {"test_accuracy": 0.5 + 0.1 * (trial.arm != "plain")}


def shipped_recipe(tmp_path: Path, *overrides: str) -> runs.Results:
    """Fabricated results of the shipped recipe at 20, 56 and 110 layers, all with a test error of 6.5%."""
    fixed = [f"data.root={tmp_path}", "network.depth=[20, 56, 110]", "device=cpu", "seeds=1"]
    experiment = config.load("cifar10-he2015", [*fixed, *overrides])
    result = runs.Result.model_construct(outcome=runs.Outcome.ABOVE_CHANCE, test_accuracy=0.935)
    records = [
        runs.TrialRecord(trial, tmp_path / trial.name, "finished", result, config.conditions(trial.settings))
        for trial in experiment.trials
    ]
    return runs.Results(((tmp_path, experiment),), ("network.depth",), tuple(records))


def depths(claim: claims.Claim, results: runs.Results) -> list[str]:
    return [cell.label["depth"] for judgment in claims.judge(claim.expectation, results) for cell in judgment.cells]


def test_every_acceptance_range_of_cifar10_applies_to_the_shipped_recipe_at_one_depth(tmp_path: Path):
    assert [depths(claim, shipped_recipe(tmp_path)) for claim in claims.read("cifar10")] == [["20"], ["56"], ["110"]]


@pytest.mark.parametrize(
    "other",
    [
        "training.lr=0.05", "training.optimizer=adam training.momentum=0", "training.momentum=0.8", "data.validation=5000",
        "training.batch_size=64", "training.weight_decay=0.0005", "training.milestones=[32000,40000]", "training.gamma=0.2",
        "training.schedule=cosine training.milestones=[]", "training.nesterov=true", "training.label_smoothing=0.1",
        "training.clip_norm=1", "data.normalize=channel", "data.augment=none", "data.limit=100", "network.init=pytorch",
        "network.width=32", "network.norm=group", "training.steps=32000 training.milestones=[16000,24000]",
    ],
)  # fmt: skip
def test_no_acceptance_range_applies_to_a_recipe_that_differs_in_one_key(tmp_path: Path, other: str):
    results = shipped_recipe(tmp_path, *other.split())

    assert [depths(claim, results) for claim in claims.read("cifar10")] == [[], [], []]


def test_the_source_of_each_acceptance_range_lists_the_published_errors_inside_and_outside():
    names = {"github.com/akamaster/pytorch_resnet_cifar10": "akamaster/pytorch_resnet_cifar10",
             "github.com/surajit-13-sutradhar/resnet": "surajit-13-sutradhar/resnet"}  # fmt: skip
    recipe = config.load("cifar10-he2015", ["network.depth=[20, 56, 110]", "network.plain=false"]).trials
    networks = {trial.settings.network.depth: trial.settings.network for trial in recipe if trial.arm == "identity"}
    for claim, depth in zip(claims.read("cifar10"), (20, 56, 110), strict=True):
        low, high = (relation.left.offset or relation.right.offset for relation in claim.expectation.relations)
        sides: dict[bool, list[str]] = {True: [], False: []}
        for entry in entries():
            if entry.settings.network == networks[depth] and entry.value.error:
                side = 100 * low < entry.value.error < 100 * high
                sides[side].append(f"{entry.value.error:.2f} ({names.get(entry.source, entry.source)})")
        inside, outside = (", ".join(sides[side]) or "none" for side in (True, False))
        assert claim.source == f"inside: {inside}; outside: {outside}"


def test_a_claim_may_override_the_source_of_its_file(tmp_path: Path):
    claim = "- {text: Better., expect: 'test_accuracy: identity > plain'"
    (tmp_path / "x.yaml").write_text(
        f"source: a book\nclaims:\n{claim}}}\n{claim}, source: a page, quotation: So., language: de}}\n"
    )

    first, second = claims.read(tmp_path / "x.yaml")
    assert (first.source, first.quotation, first.language) == ("a book", None, "en")
    assert (second.source, second.quotation, second.language) == ("a page", "So.", "de")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("claims: [{text: a, expect: 'test_loss: a > b'}]", "source: Field required"),
        ("{source: a, claims: []}", "claims: List should have at least 1 item"),
        ("{source: a, claims: [{text: a}]}", "claims.0.expect: Field required"),
        ("{source: a, claims: [{text: a, expect: 'test_loss: a'}]}", "claims.0.expect: 'a' contains none of > >= < <=; write"),
        ("{source: a, claims: [{text: a, expect: 'test_los: a > b'}]}", "claims.0.expect: 'test_los' is not one of"),
        ("{source: a, claims: [{text: a, expect: 'test_loss: a > b', why: b}]}", "claims.0.why: Extra inputs"),
        ("{source: a, claims: [{text: a, expect: 'test_loss: a > b at dpth=8'}]}", "claims.0.expect: at: 'dpth' is not one of"),
        ("[1, 2]", "is not a config"),
        ("source: [", "not valid YAML"),
    ],
)
def test_an_invalid_claims_file_is_refused_with_its_name_and_the_problem(tmp_path: Path, content: str, words: str):
    (tmp_path / "x.yaml").write_text(content)

    with pytest.raises(config.ConfigError) as error:
        claims.read(tmp_path / "x.yaml")
    assert str(error.value).startswith(str(tmp_path / "x.yaml"))
    assert words in str(error.value)


def test_the_primary_hypotheses_of_several_configs_are_listed_without_duplicates(tmp_path: Path):
    better, worse = "test_accuracy: identity > plain", "test_accuracy: identity < plain"
    folders = []
    for lr, text in ((0.1, better), (0.2, worse), (0.3, better)):
        named = (f"name=lr{lr}", f"training.lr={lr}", f"compare.primary='{text}'")
        folders.append(fabricated.experiment(tmp_path, better_by_ten, *SMALL, *named)[0])
    judgments = claims.primaries(runs.read_results(folders))

    assert [(judgment.expectation.text, judgment.verdict, len(judgment.cells)) for judgment in judgments] == [
        (better, Verdict.SUPPORTED, 3), (worse, Verdict.NOT_SUPPORTED, 3),
    ]  # fmt: skip
    assert claims.primaries(fabricated.results(tmp_path / "none", better_by_ten, *SMALL)) == []


def test_an_invalid_primary_hypothesis_is_refused_with_its_line(tmp_path: Path):
    (tmp_path / "x.yaml").write_text("seeds: 2\ncompare:\n  primary: 'test_acuracy: identity > plain'\n")

    with pytest.raises(config.ConfigError, match=r"x\.yaml:3: compare\.primary: 'test_acuracy' is not .* mean test_accuracy\?"):
        config.load(tmp_path / "x.yaml")


@pytest.mark.parametrize("form", report.FORMATS)
def test_every_format_of_the_report_contains_the_primary_hypothesis(tmp_path: Path, form: str):
    primary = "test_accuracy: identity > plain + 0.05"
    results = fabricated.results(tmp_path, better_by_ten, *SMALL, f"compare.primary='{primary}'")
    page = report.FORMATS[form](results)

    assert primary.replace(">", "&gt;") in page if form == "html" else primary in page
    assert "everything else is exploratory" in page
