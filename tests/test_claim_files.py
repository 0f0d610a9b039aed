"""Files of claims, and the contrast that a config names as confirmatory."""

from pathlib import Path
from typing import Any

import fabricated
import pytest

from resexp import claims, config, report, runs
from resexp.claims import Verdict

SMALL = ("network.depth=[8]", "network.init=[he]", "network.norm=[none]", "seeds=2")


def better_by_ten(trial: config.Trial) -> dict[str, Any]:
    return {"test_accuracy": 0.5 + 0.1 * (trial.arm != "plain")}


def test_every_window_of_cifar10_is_about_the_shipped_recipe(tmp_path: Path):
    cells = config.load("cifar10-he2015", [f"data.root={tmp_path}", "network.depth=[20, 56, 110]", "device=cpu"]).trials
    conditions = [config.conditions(trial.settings) for trial in cells if trial.arm == "identity" and trial.seed == 0]
    found = [
        [of["network.depth"] for of in conditions if all(str(of[key]) == value for key, value in claim.expectation.where)]
        for claim in claims.read("cifar10")
    ]

    assert found == [[20], [56], [110]]


def test_a_file_of_claims_has_a_source_that_a_claim_may_replace(tmp_path: Path):
    claim = "- {text: Better., expect: 'test_accuracy: identity > plain'"
    (tmp_path / "x.yaml").write_text(
        f"source: a book\nclaims:\n{claim}}}\n{claim}, source: a page, quotation: So., language: de}}\n"
    )

    assert [(of.source, of.quotation, of.language) for of in claims.read(tmp_path / "x.yaml")] == [
        ("a book", None, "en"), ("a page", "So.", "de"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("claims: [{text: a, expect: 'test_loss: a > b'}]", "source: Field required"),
        ("{source: a, claims: []}", "claims: List should have at least 1 item"),
        ("{source: a, claims: [{text: a}]}", "claims.0.expect: Field required"),
        ("{source: a, claims: [{text: a, expect: 'test_loss: a'}]}", "claims.0.expect: 'a' has no signs of > >= < <=; such as"),
        ("{source: a, claims: [{text: a, expect: 'test_los: a > b'}]}", "claims.0.expect: 'test_los' is not one of"),
        ("{source: a, claims: [{text: a, expect: 'test_loss: a > b', why: b}]}", "claims.0.why: Extra inputs"),
        ("{source: a, claims: [{text: a, expect: 'test_loss: a > b at dpth=8'}]}", "claims.0.expect: at: 'dpth' is not one of"),
        ("[1, 2]", "is not a config"),
        ("source: [", "not valid YAML"),
    ],
)
def test_a_file_that_cannot_be_used_is_named_with_what_is_wrong(tmp_path: Path, content: str, words: str):
    (tmp_path / "x.yaml").write_text(content)

    with pytest.raises(config.ConfigError) as found:
        claims.read(tmp_path / "x.yaml")
    assert str(found.value).startswith(str(tmp_path / "x.yaml"))
    assert words in str(found.value)


def test_primaries_are_those_of_every_config_each_once(tmp_path: Path):
    better, worse = "test_accuracy: identity > plain", "test_accuracy: identity < plain"
    folders = []
    for lr, text in ((0.1, better), (0.2, worse), (0.3, better)):
        named = (f"name=lr{lr}", f"training.lr={lr}", f"compare.primary='{text}'")
        folders.append(fabricated.experiment(tmp_path, better_by_ten, *SMALL, *named)[0])
    found = claims.primaries(runs.read_results(folders))

    assert [(of.expectation.text, of.verdict, len(of.places)) for of in found] == [
        (better, Verdict.SUPPORTED, 3), (worse, Verdict.NOT_SUPPORTED, 3),
    ]  # fmt: skip
    assert claims.primaries(fabricated.results(tmp_path / "none", better_by_ten, *SMALL)) == []


def test_a_primary_that_cannot_be_read_is_refused_with_its_line(tmp_path: Path):
    (tmp_path / "x.yaml").write_text("seeds: 2\ncompare:\n  primary: 'test_acuracy: identity > plain'\n")

    with pytest.raises(config.ConfigError, match=r"x\.yaml:3: compare\.primary: 'test_acuracy' is not .* mean test_accuracy\?"):
        config.load(tmp_path / "x.yaml")


@pytest.mark.parametrize("form", report.FORMATS)
def test_the_primary_contrast_stands_in_every_format_of_the_report(tmp_path: Path, form: str):
    primary = "test_accuracy: identity > plain + 0.05"
    found = fabricated.results(tmp_path, better_by_ten, *SMALL, f"compare.primary='{primary}'")
    page = report.FORMATS[form](found)

    assert primary.replace(">", "&gt;") in page if form == "html" else primary in page
    assert "all else is descriptive" in page
