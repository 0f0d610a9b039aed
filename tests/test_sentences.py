"""docs/sentences.md lists every sentence template with its condition, and some test case prints every template."""

import math
import runpy
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import fabricated
import pandas as pd
import pytest

from resexp import claims, compare_frame, config, inference, runs, tables
from resexp.comparison import DepthTrend, compare_results, questions
from resexp.config import Trial
from resexp.figures import FIGURES, gradient_profile, training_error
from resexp.inference import Degradation, DegradationVerdict, Difference
from resexp.report.content import Content, collect
from resexp.runs import GradientRow, ModuleMeasurement, SelfCheck, SignalRow
from resexp.tables import ModuleProbe, formats, module_probe_lines, question_text
from resexp.tables.answer import answer
from resexp.tables.budget import longer_commands
from resexp.tables.definitions import DEFINITIONS
from resexp.tables.findings import findings, headline, pair_verdicts
from resexp.tables.frames import Frames
from resexp.tables.learning_rate_transfer import learning_rate_transfer
from resexp.tables.remedies import Diagnosis, advice
from resexp.tables.reversals import reversals
from resexp.tables.sentences import Sentence
from resexp.tables.text_layout import plain_lines

GENERATOR = runpy.run_path(str(Path(__file__).parent.parent / "benchmarks" / "sentences.py"))
Values = dict[str, Any]


def test_docs_list_the_current_sentences():
    assert GENERATOR["DOCUMENT"].read_text(encoding="utf-8") == GENERATOR["document"]()


def test_every_verdict_has_a_rule_and_every_sentence_a_condition():
    missing = [
        (name, str(key))
        for _, name, collection in GENERATOR["collections"]()
        for key, sentence in collection.items()
        if not sentence.condition and type(key) not in GENERATOR["RULES"]
    ]

    assert missing == []
    assert all(set(enum) <= set(rules) for enum, rules in GENERATOR["RULES"].items())


GLOSSARY = " ".join((Path(__file__).parent.parent / "docs" / "glossary.md").read_text(encoding="utf-8").split())


@pytest.mark.parametrize("term", DEFINITIONS)
def test_definitions_are_those_of_the_glossary(term: str):
    marked = {"*": "`*`", "±": "+- or ±"}.get(term, term)

    assert f"- **{marked}**: {DEFINITIONS[term].removesuffix('.')}" in GLOSSARY


def test_the_definition_of_a_shown_difference_states_the_levels_and_the_number_of_seeds():
    levels = f"p <= {inference.ALPHA:g} after Holm's correction ({inference.RANK_TEST_ALPHA:g} by ranks, if outcomes differ"

    assert levels in DEFINITIONS["*"]
    assert f"at least {inference.MIN_SEEDS} seeds in each arm" in DEFINITIONS["*"]


# ---- all templates are printed ----------------------------------------------------------------------------------------------

JITTER = (0.001, -0.002, 0.003, 0.0, -0.001)
DEEPEST = "network.depth=[8,64]"
CONDITIONS = ("network.norm=[none,layer]", "network.init=[pytorch,he,xavier,orthogonal]", "seeds=5")


def network(test: float, train: float | None = None, *, growth: tuple[float, float] = (0.0, 0.0), **more: Any) -> Values:
    """One network; growth: orders of magnitude over 31 blocks, at initialization and at the end of epoch 1."""
    slopes = {"slope_start": growth[0] / 31, "slope_end": growth[1] / 31}
    return {"test_accuracy": test, "train_accuracy": test if train is None else train, **slopes, **more}


CHANCE = network(0.1, outcome="at_chance", growth=(0.0, -5.0))
DIVERGED = {"outcome": "diverged"}
# (plain, identity) at depth 64 under each condition; a list has one network for each seed; {} is not trained
CASES: dict[tuple[str, str], tuple[Values | list[Values], Values | list[Values]]] = {
    ("none", "pytorch"): (CHANCE, network(0.9)),
    ("none", "he"): (network(0.9, growth=(-3.0, 3.0)), {**CHANCE, "slope_start": 0.2}),
    ("none", "xavier"): (network(0.8, 0.9), network(0.9, 1.0)),
    ("none", "orthogonal"): (network(0.9), network(0.7, 0.9)),
    ("layer", "pytorch"): (network(0.7, 0.9), network(0.9, 1.0)),
    ("layer", "he"): ([CHANCE, network(0.9), CHANCE, network(0.9), CHANCE], network(0.5)),
    ("layer", "xavier"): (CHANCE, [CHANCE, CHANCE, DIVERGED, CHANCE, CHANCE]),
    ("layer", "orthogonal"): ([network(0.9), {}, network(0.9), {}, {}], [{}, network(0.9), {}, network(0.9), {}]),
}


def of_cases(trial: Trial) -> Values:
    settings = trial.settings.network
    if settings.depth == 8:
        return network(0.9 + JITTER[trial.seed] * (1 if trial.arm == "plain" else -1))
    chosen = CASES[settings.norm, settings.init][trial.arm != "plain"]
    values = chosen[trial.seed] if isinstance(chosen, list) else chosen
    return jittered(trial, values)


def jittered(trial: Trial, values: Values) -> Values:
    """The values with a small change for each seed, so that arms and differences have an SD."""
    sign = 1 if trial.arm == "plain" else -1
    return {key: value + sign * JITTER[trial.seed] if key == "test_accuracy" else value for key, value in values.items()}


def everywhere(plain: Values, identity: Values) -> Callable[[Trial], Values]:
    """The given networks at depth 64, and 90% accuracy at depth 8."""
    return lambda trial: jittered(
        trial, network(0.9) if trial.settings.network.depth == 8 else plain if trial.arm == "plain" else identity
    )


def of_map(trial: Trial) -> Values:
    network_settings = trial.settings.network
    if trial.arm == "plain" and network_settings.depth == 16 and network_settings.init_scale == 2 and trial.seed == 1:
        return DIVERGED
    return network(0.8 if trial.arm == "identity" else 0.9 if network_settings.depth <= 8 else 0.1)


def of_reversal(trial: Trial) -> Values:
    """Less accurate without normalization and more accurate with it, at depth 64."""
    settings = trial.settings.network
    sign = 0 if trial.arm == "plain" or settings.depth == 8 else 1 if settings.norm == "layer" else -1
    spread = (
        40 * JITTER[trial.seed] * (settings.norm == "layer")
    )  # of training accuracy, so that the part of the difference is unclear
    test = 0.8 + sign * 0.1 + JITTER[trial.seed] * (1 if trial.arm == "plain" else -1)
    return network(test, 0.9 + sign * (0.05 + spread))


CLAIM = "test_accuracy: identity > plain @ 95%"
MAP = ("network.depth=[4,8,16]", "network.norm=none", "network.init=he", "network.init_scale=[0.5,1,2]", "seeds=2")
ONE = (DEEPEST, "network.norm=none", "network.init=he")
EXPERIMENTS: tuple[tuple[Callable[[Trial], Values], tuple[str, ...]], ...] = (
    (of_cases, (DEEPEST, *CONDITIONS)),
    (everywhere(CHANCE, network(0.9, dead_layers=["blocks.0.layer1"])), (*ONE, "seeds=5", "precision=bfloat16")),
    (everywhere(network(0.9, distance_start=0.1), CHANCE), (*ONE, "seeds=5")),
    (everywhere(network(0.5, growth=(-3.0, -3.0)), network(0.9)), (*ONE, "seeds=5")),
    (everywhere(network(0.9, growth=(-3.0, -3.0)), network(0.9)), (*ONE, "seeds=5", "training.lr=[0.1,0.01]")),
    (everywhere(network(0.9, growth=(3.0, 3.0)), network(0.9)), (*ONE, "seeds=1", "training.lr=[0.1,0.01]")),
    (everywhere(network(0.9, growth=(3.0, 3.0)), {}), (*ONE, "seeds=2")),
    (everywhere(network(0.9), DIVERGED), (*ONE, "seeds=2", "training.lr=[0.1,0.03,0.01]")),
    (everywhere(CHANCE, CHANCE), ("network.depth=[32,64]", *ONE[1:], "seeds=2", f"compare.primary={CLAIM}")),
    (of_map, MAP),
    (of_reversal, (DEEPEST, "network.norm=[none,layer]", "network.init=[he,xavier,orthogonal]", "seeds=5")),
)  # fmt: skip


def printed(content: Content) -> list[str]:
    """The sentences of a report on figures and pairs, and the comparison in the terminal."""
    data = content.data
    judgments = [*claims.judge(config.parse_expectation(CLAIM), data.results), *claims.primaries(data.results)]
    lines = [*answer(data.comparison, data.pair_findings, []), headline(data.comparison.cells, data.pair_findings, data.recipe)]
    lines += [*plain_lines(pair_verdicts(data.pair_findings)), *(pair.evidence for pair in data.pair_findings)]
    lines += reversals(data.pair_findings)
    lines += [figure.title(data) for figure in FIGURES.values()]
    lines += [line for picture in content.pictures for line in picture.sentences]
    return [*lines, tables.FORMATS["table"](data.comparison, tables.verdict_lines(tables.PRIMARY, judgments))]


def over_depth(
    verdict: DegradationVerdict, *, growth: float, above_chance: tuple[int, int] = (3, 3), closing: bool = False
) -> DepthTrend:
    contrast = Difference(0.05, 0.02, 0.08, 3, 0.01)
    degradation = Degradation((8, 16, 64), 3, dict.fromkeys(range(3), 8), contrast, 0.2, 0.1, verdict)
    change = Difference(-0.02, -0.03, -0.01, 3, 0.004) if closing else None
    return DepthTrend({"norm": "none"}, "plain", degradation, growth / 31, None, above_chance, change=change, growth=growth)


def test_every_template_is_printed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    formatted: set[str] = set()

    def recorded(sentence: Sentence, *values: object, **named: object) -> str:
        formatted.add(sentence.text)
        return sentence.text.format(*values, **named)

    monkeypatch.setattr(Sentence, "format", recorded)
    text = ""
    for number, (values, overrides) in enumerate(EXPERIMENTS):
        results = fabricated.results(tmp_path / str(number), values, *overrides)
        text += "\n".join(printed(collect(results)))
    rows = [
        over_depth(DegradationVerdict.DEGRADES, growth=0.0, closing=True),
        over_depth(DegradationVerdict.DOES_NOT_DEGRADE, growth=-3.0),
        over_depth(DegradationVerdict.INCONCLUSIVE, growth=0.0),
    ]
    text += "\n".join(
        [
            *training_error.sentences(rows),
            *map(formats.bound_text, rows),
            *map(formats.closing_text, rows),
            formats.looks_text((5, 10)),
        ]
    )
    text += "\n".join(
        [
            *two_experiments(tmp_path),
            str(compare_frame(FRAME, arm="arm", pair="seed", metric="score")),
            *of_one_value(tmp_path / "tuned"),
            of_learning_rates(tmp_path / "rates"),
            *advice(DIAGNOSES),
            *(question_text(question, config.load("lesson")) for question in questions(config.load("lesson"))),
            *map(profile_words, PROFILES),
            *(line for probe in module_probes() for line in module_words(probe)),
        ]
    )
    templates = {sentence.text for _, _, collection in GENERATOR["collections"]() for sentence in collection.values()}
    constant = {template for template in templates if "{" not in template and template in text}

    assert sorted(templates - formatted - constant) == []


def module_probes() -> Iterator[ModuleProbe]:
    """Any networks at initialization: every verdict, advice and result of the self-checks."""
    weights, chain = (SelfCheck(name, 1.0, 1.0, 1.0) for name in ("loss along a direction of the weights", "chain rule a to b"))
    for growth, distance, checks in (
        (-3.0, 0.1, (weights, chain)),
        (3.0, 0.1, (weights, replace(chain, difference=2.0))),
        (0.0, 1e-4, (replace(weights, difference=2.0), chain)),
        (0.0, 0.1, ()),
        (math.inf, math.nan, ()),
    ):
        gradients = (10**growth if growth < math.inf else 0.0, 1.0)
        rows = tuple(SignalRow(index, f"b{index}", 1.0, gradient, distance) for index, gradient in enumerate(gradients))
        layer = GradientRow(0, "layer", 1, 1.0, 1.0, 1.0, math.nan)
        yield ModuleProbe("net", [ModuleMeasurement(0, 8, 1.0, "rule", rows, (0, 0), (layer,), math.nan, ("remark",), checks)])


def module_words(probe: ModuleProbe) -> Iterator[str]:
    """The sentences about any network, not wrapped."""
    yield from module_probe_lines.verdicts(probe)
    yield module_probe_lines.advice(probe)
    yield from module_probe_lines.check_lines(probe)


VANISHING = Diagnosis("plain", "all", -8.0, 0.001, "plain", "pytorch", None, "none", lr=0.01)
DIAGNOSES = (
    VANISHING,
    replace(VANISHING, growth=0.0),
    replace(VANISHING, growth=8.0, init_scale=4.0),
    replace(VANISHING, growth=8.0, shortcut="identity"),
    replace(VANISHING, trained=2, diverged=2),
    replace(VANISHING, growth=0.0, distance=0.3, trained=2),
)
DIFFERENT_BATCHES: Any = SimpleNamespace(equal=SimpleNamespace(content={"batches": False}))  # a pair summary


FRAME = pd.DataFrame({"arm": ["plain", "mine"], "seed": 0, "score": [1.0, 2.0]})


def two_experiments(folder: Path) -> list[str]:
    """The sentences for arms that are not pairs or have not finished, and for a pair summary with a difference."""
    settings = ["network.depth=[8]", "network.norm=none", "network.init=he", "seeds=2"]
    arms = [
        ["name=plain", "network.shortcut=[plain]"],
        ["name=identity", "network.shortcut=[identity]", "network.plain=false", "training.lr=0.1"],
    ]
    unmatched = runs.read_results([fabricated.experiment(folder, lambda _: network(0.9), *settings, *arm)[0] for arm in arms])
    waiting = fabricated.results(folder / "waiting", lambda t: network(0.9) if t.arm == "plain" else {}, *settings)
    lines = []
    for results in (unmatched, waiting):
        cells = compare_results(results)
        lines += [*answer(cells, findings(cells.cells), []), headline(cells.cells, findings(cells.cells), "a rate")]
    return [*lines, *answer(cells, [], [DIFFERENT_BATCHES])]


PROFILES = ({0: 0.0}, {0: 0.0, 10: -3.0}, {0: 0.0, 10: -3.0, 20: 0.0})  # step -> orders of magnitude over the network


def profile_words(growths: dict[int, float]) -> str:
    """The sentence on the gradient profile of one network of 7 block boundaries."""
    rows = [
        {
            "condition": "all", "arm": "plain", "depth": 14, "seed": 0, "step": step, "epoch": 0, "index": index, "block": "",
            "activation_grad_norm": 10.0 ** (growth * (6 - index) / 6), "activation_rms": 1.0, "staged": False,
            "activation_cosine_distance": 0.5,
        }
        for step, growth in growths.items()
        for index in range(7)
    ]  # fmt: skip
    empty = pd.DataFrame()
    return " ".join(gradient_profile.sentences(Frames(empty, empty, pd.DataFrame(rows), empty, empty)))


def of_learning_rates(folder: Path) -> str:
    """The notes on best learning rates over depth; plain networks of depth 64 are at chance."""
    grid = ("network.depth=[8,16,64]", *ONE[1:], "seeds=2", "training.lr=[0.1,0.03,0.01]")
    results = fabricated.results(folder, everywhere(CHANCE, network(0.9)), *grid)
    return "\n".join(learning_rate_transfer(compare_results(results, tune=["lr"])).notes)


def of_one_value(folder: Path) -> list[str]:
    """Sentences for a closing gap if the budget is an axis, best settings without a difference, evidence with test images."""
    grid = ("network.depth=[8]", "network.norm=none", "network.init=he", "seeds=5", "training.lr=[0.1,0.01]")
    lengths = [("name=short", "training.epochs=10"), ("name=long", "training.epochs=20")]
    folders = [fabricated.experiment(folder, everywhere(network(0.8), network(0.9)), *grid, *length)[0] for length in lengths]
    comparison = compare_results(runs.read_results(folders), tune=["lr"])
    closing = replace(comparison, depths=[over_depth(DegradationVerdict.DEGRADES, growth=0.0, closing=True)])
    arm = comparison.cells[0].arms[1]
    both = replace(arm, contrast=replace(arm.contrast, over_images=True))
    return [
        *answer(comparison, findings(comparison.cells), []),
        *longer_commands(closing),
        formats.tuned_text(replace(comparison.tuned[0], difference=None)),
        formats.evidence_text(both),
    ]
