"""Dead layers: configs that can only give dead layers are refused, and dead layers of trained networks are reported."""

import csv
import io
import itertools
import json
from pathlib import Path
from typing import Any

import fabricated
import pytest
import torch
from torch.nn import functional

from resexp import comparison, config, pairs, runs, tables, training
from resexp.config import ConfigError
from resexp.networks import Network, build_network, initialize
from resexp.report import FORMATS
from resexp.training.measures import dead_layers

IMAGE, CLASSES, STEPS, BATCH = (1, 8, 8), 4, 3, 16


def still_zero(network: Network) -> list[float]:
    """After training, for each block the share of output units in which the last layer of the branch is still 0."""
    optimizer = torch.optim.SGD(network.parameters(), 0.05)
    generator = torch.Generator().manual_seed(1)
    for step in range(STEPS):
        x = torch.randn(BATCH, *IMAGE, generator=generator)
        labels = torch.randint(0, CLASSES, (BATCH,), generator=generator)
        noise = network.sample_noise(BATCH, lambda block, step=step: torch.Generator().manual_seed(99 * step + block))
        optimizer.zero_grad()
        functional.cross_entropy(network(x, None, noise), labels).backward()
        optimizer.step()
    shares = []
    for block in network.blocks:
        *_, last = [module for module in block.branch.modules() if "weight" in dict(module.named_parameters(recurse=False))]
        rows = [
            parameter.detach().flatten(1) if parameter.ndim > 1 else parameter.detach()[:, None]
            for parameter in last.parameters()
        ]
        shares.append((torch.cat(rows, 1) == 0).all(1).double().mean().item())
    return shares


def zeroed(family: str, shortcut: Any, placement: str, norm: str, activation: str, rule: str) -> Network:
    fixup = rule == "fixup"
    network = build_network(
        family, depth=8, width=16, shortcut=shortcut, input_shape=IMAGE, classes=CLASSES, placement=placement, norm=norm,
        activation=activation, scalars=fixup,
    )  # fmt: skip
    initialize(network, 0, "fixup" if fixup else "he", zero_init_residual=not fixup)
    return network


def overrides(family: str, shortcut: str, placement: str, norm: str, activation: str, rule: str) -> list[str]:
    """Config overrides for the same network."""
    init = "network.init=fixup" if rule == "fixup" else "network.init=he"
    return [
        f"network.family={family}", "network.depth=8", "network.width=16", f"network.shortcut={shortcut}",
        f"network.placement={placement}", f"network.norm={norm}", f"network.activation={activation}", init,
        f"network.zero_init_residual={str(rule == 'zero_init_residual').lower()}",
    ]  # fmt: skip


def refused(overrides: list[str]) -> bool:
    try:
        config.load("digits", overrides)
    except ConfigError as error:
        return error.key in ("network.init", "network.zero_init_residual")
    return False


# ---- refused configs ----------------------------------------------------------------------------------------------------


def test_zero_branches_are_allowed_if_they_can_learn():
    base = ["network.norm=none", "network.init=he", "network.zero_init_residual=true"]

    for allowed in (
        base,
        [*base, "network.placement=pre"],
        [*base, "network.placement=branch", "network.activation=gelu"],
        [*base, "network.placement=branch", "network.activation=tanh"],
        [*base, "network.placement=branch", "network.depth=2"],  # no branch
        [*base, "network.placement=branch", "network.shortcut=plain"],  # plain networks have no zero branches
        ["network.placement=branch", "network.norm=none", "network.init=he"],
        ["network.placement=branch", "network.shortcut=rezero"],
    ):
        assert not refused(allowed), allowed


@pytest.mark.parametrize(("placement", "rule"), [*itertools.product(config.PLACEMENT_NAMES, ("zero_init_residual", "fixup"))])
def test_exactly_those_configs_are_refused_of_which_training_changes_no_branch(placement: str, rule: str):
    norms = ("none",) if rule == "fixup" else ("none", "batch", "layer")
    shortcuts = ("identity", "projection-all", "gate", "rezero", "skipinit", "stochastic-depth", "{scaled: {scale: 0}}")
    for norm, activation, shortcut in itertools.product(norms, ("relu", "tanh", "gelu"), shortcuts):
        if shortcut.startswith("{") and (activation, placement) != ("relu", "post"):
            continue  # only biases have an effect; always refused
        value: Any = {"scaled": {"scale": 0}} if shortcut.startswith("{") else shortcut
        case = ("mlp", shortcut, placement, norm, activation, rule)
        shares = still_zero(zeroed("mlp", value, *case[2:]))

        assert refused(overrides(*case)) == all(share == 1 for share in shares), (case, shares)


def test_a_refusal_names_the_remedies():
    with pytest.raises(ConfigError, match="derivative 0; write placement: post, activation: gelu or zero_init_residual: false"):
        config.load("digits", ["network.placement=branch", "network.norm=none", "network.zero_init_residual=true"])
    with pytest.raises(ConfigError, match="another init such as he"):
        config.load("digits", ["network.placement=branch", "network.norm=none", "network.init=fixup"])


def test_an_experiment_that_is_now_refused_remains_readable(tmp_path: Path):
    path = tmp_path / "experiment.yaml"
    path.write_text("name: old\nnetwork: {placement: branch, zero_init_residual: true, norm: none}\n", encoding="utf-8")

    assert config.load(path, shortcuts=None).name == "old"
    with pytest.raises(ConfigError):
        config.load(path)


# ---- dead channels --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("placement", [name for name in config.PLACEMENT_NAMES if name != "branch"])
def test_padded_channels_are_reported_exactly_if_training_changes_none_of_them(placement: str):
    for norm, activation, shortcut in itertools.product(
        ("none", "batch", "layer"), ("relu", "gelu"), ("identity", "projection")
    ):
        case = ("cnn", shortcut, placement, norm, activation, "zero_init_residual")
        cell = config.load("digits", overrides(*case)).trials[-1].settings.network
        _, second, third = still_zero(zeroed(*case))

        assert pairs.padded_channels_dead(cell) == (second > 0.4 and third > 0.6), (case, second, third)


def test_the_summary_of_dead_padded_channels_names_the_remedy(tiny: Any):
    overrides = ("network.family=cnn", "network.depth=8", "network.norm=batch")
    (summary,) = pairs.pair_summaries(tiny(*overrides, "network.zero_init_residual=true"), "cpu")
    (other_summary,) = pairs.pair_summaries(tiny(*overrides), "cpu")

    assert [line for line in tables.pair_notes(summary) if "network.shortcut=projection" in line]
    assert tables.pair_warnings(other_summary) == []


# ---- dead layers from gradients.csv -------------------------------------------------------------------------------------


def log(folder: Path, *norms: dict[str, float]) -> Path:
    """gradients.csv with a dict of weight_grad_norm by layer for each step 0, 1, 2, ..."""
    folder.mkdir(parents=True, exist_ok=True)
    for step, step_norms in enumerate(norms):
        rows = [(step, 0, index, name, 9, norm, norm / 3, 1.0, 0.1) for index, (name, norm) in enumerate(step_norms.items())]
        runs.append(folder / "gradients.csv", rows)
    return folder


NAN = float("nan")
LOGS = {
    "every layer has a gradient": ([{"stem": 1.0, "a": 1.0}] * 3, []),
    "one never has": ([{"stem": 1.0, "a": 0.0}] * 3, ["a"]),
    "two never have": ([{"stem": 0.0, "a": 0.0, "b": 1.0}] * 4, ["stem", "a"]),
    "no gradient at the first steps only": ([{"a": 0.0}, {"a": 0.0}, {"a": 1.0}], []),
    "no gradient after the first step": ([{"a": 1.0}, {"a": 0.0}, {"a": 0.0}], []),
    "small is not 0": ([{"a": 1e-320}] * 3, []),
    "not finite is not 0": ([{"a": NAN}] * 3, []),
    "minus 0 is 0": ([{"a": -0.0}] * 3, ["a"]),
    "a log that ends too early": ([{"a": 0.0}] * 2, []),
    "no log": ([], []),
}


@pytest.mark.parametrize("case", LOGS)
def test_dead_layers_have_no_gradient_at_any_logging_step(case: str, tmp_path: Path):
    norms, expected = LOGS[case]

    assert dead_layers(log(tmp_path, *norms)) == expected


DEAD_BRANCH = ("network.norm=none", "network.init=he", "network.shortcut=[identity, {scaled: {branch: 0}}]", "training.steps=6")
BRANCH = ["blocks.0.layer1", "blocks.0.layer2"]


def trained(experiment: config.Experiment, folder: Path) -> dict[str, dict[str, Any]]:
    trials = experiment.trials
    assert training.train_stack(trials, folder, "stack", "cpu") == "finished"
    return {trial.arm: json.loads((runs.trial_folder(folder, trial.name) / "result.json").read_text()) for trial in trials}


@pytest.mark.parametrize(
    ("overrides", "dead"),
    [
        (DEAD_BRANCH, {"plain": [], "identity": [], "scaled-branch0": BRANCH}),
        (("network.norm=none", "network.init=he", "network.zero_init_residual=true"), {"plain": [], "identity": []}),
        (("network.norm=none", "network.init=fixup"), {"plain": [], "identity": []}),
    ],
    ids=["a branch with factor 0", "zero_init_residual", "fixup"],
)
def test_a_result_lists_its_dead_layers_and_zero_branches_that_learn_are_not_dead(
    overrides: tuple[str, ...], dead: dict[str, list[str]], tiny: Any, tmp_path: Path, torch_state: None
):
    results = trained(tiny(*overrides), tmp_path)

    assert {arm: result["dead_layers"] for arm, result in results.items()} == dead


def test_without_logged_gradient_norms_a_result_has_no_dead_layers_key(tiny: Any, tmp_path: Path, torch_state: None):
    results = trained(tiny(*DEAD_BRANCH, "gradients.probes=[signal]"), tmp_path)

    assert not any("dead_layers" in result for result in results.values())


def test_rows_logged_before_an_interruption_count(tiny: Any, tmp_path: Path, torch_state: None):
    experiment = tiny(*DEAD_BRANCH)
    answers = iter([False, False, False, True])
    assert training.train_stack(experiment.trials, tmp_path, "stack", "cpu", lambda: next(answers)) == "interrupted"

    assert trained(experiment, tmp_path)["scaled-branch0"]["dead_layers"] == BRANCH


# ---- dead layers in tables and reports ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> runs.Results:
    """identity has two dead layers in seed 1; the results of plain have no dead_layers key."""

    def values(trial: config.Trial) -> dict[str, Any]:
        dead = {"dead_layers": BRANCH if trial.seed else []} if trial.arm == "identity" else {}
        return {"test_accuracy": 0.9, **dead}

    return fabricated.results(tmp_path_factory.mktemp("runs"), values, "network.depth=4", "network.norm=none",
                              "network.init=he", "seeds=2")  # fmt: skip


@pytest.mark.parametrize("form", tables.FORMATS)
def test_every_table_lists_dead_layers(form: str, results: runs.Results):
    text = tables.FORMATS[form](comparison.compare_results(results))
    plain = text.replace("\n      ", " ")

    if form == "json":
        arms = {arm["name"]: arm["dead_layers"] for arm in json.loads(text)["cells"][0]["arms"]}
        assert arms == {"plain": [], "identity": [[1, BRANCH]]}
    elif form == "csv":
        rows = {row["arm"]: row["dead_layers"] for row in csv.DictReader(io.StringIO(text))}
        assert rows == {"plain": "", "identity": "; ".join(BRANCH)}
    else:
        assert plain.count("no gradient reached blocks.0.layer1 and blocks.0.layer2 in 1 of 2 seeds") == 1


@pytest.mark.parametrize("form", FORMATS)
def test_every_report_lists_dead_layers(form: str, results: runs.Results):
    assert "blocks.0.layer1 and blocks.0.layer2" in " ".join(FORMATS[form](results).split())


def test_the_summary_of_training_lists_trials_with_dead_layers(results: runs.Results):
    (line,) = tables.dead_trials(results.records)

    assert line.startswith("identity: the gradient of 2 layers was exactly 0")
    assert line.endswith(": identity-d4-s1")


# ---- precision of gradient norms -----------------------------------------------------------------------------------------


def test_the_summary_of_a_float32_pair_has_no_precision_gap(tiny: Any):
    (summary,) = pairs.pair_summaries(tiny(), "cpu")

    assert "precision" not in summary.content
    assert not any("precision_gap" in values.content for values in summary.at_start.values())


def test_the_precision_gap_is_the_largest_relative_difference_from_float32(tiny: Any):
    overrides = ("network.depth=[10]", "network.norm=none", "network.init=he")
    experiment = tiny(*overrides, "precision=bfloat16")
    (summary,) = pairs.pair_summaries(experiment, "cpu")
    for trial in experiment.trials:
        norms = {}
        for precision in ("float32", "bfloat16"):  # with hooks on the blocks instead of boundaries
            (same,) = [t for t in tiny(*overrides, f"precision={precision}").trials if t.name == trial.name]
            data = training.load_training_data(same.settings.data, "cpu", "float32")
            network = training.build(same, data.input_shape, data.classes)
            outputs: list[torch.Tensor] = []
            for module in (network.stem, *network.blocks):
                module.register_forward_hook(lambda _module, _inputs, output, outputs=outputs: outputs.append(output))
            x, labels = next(training.batches(data, [same.seed], same.settings.training.batch_size, "none"))
            with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
                logits = network(x)
            grads = torch.autograd.grad(functional.cross_entropy(logits, labels), outputs)
            norms[precision] = torch.stack([grad.double().norm() for grad in grads])
        gap = (norms["bfloat16"] / norms["float32"] - 1).abs().max().item()

        assert summary.precision == "bfloat16"
        assert summary.at_start[trial.arm].precision_gap == pytest.approx(gap, rel=1e-6)
        assert gap > 0


@pytest.mark.parametrize(("gap", "has_warning"), [(0.0, False), (0.05, False), (0.051, True), (0.27, True), (None, False)])
def test_a_precision_gap_of_more_than_5_percent_gives_a_warning(gap: float | None, has_warning: bool, tiny: Any):  # noqa: FBT001 - a parameter
    (summary,) = pairs.pair_summaries(tiny("precision=bfloat16"), "cpu")
    gaps = {"plain": gap, "identity": 0.0}
    at_start = {arm: values.model_copy(update={"precision_gap": gaps[arm]}) for arm, values in summary.at_start.items()}
    summary = summary.model_copy(update={"at_start": at_start})

    assert bool(tables.pair_warnings(summary)) == has_warning
    assert tables.pair_warnings(summary) == [line for line in tables.pair_notes(summary) if "bfloat16" in line]


@pytest.mark.parametrize("precision", ["float64", "bfloat16"])
def test_tables_state_the_precision_of_gradients(precision: str, tmp_path: Path):
    cell = ("network.depth=4", "network.norm=none", "network.init=he", "seeds=2")
    results = fabricated.results(tmp_path, lambda _: {"test_accuracy": 0.5}, *cell, f"precision={precision}")

    texts = [tables.FORMATS[form](comparison.compare_results(results)) for form in ("table", "md", "tex")]
    for text in [*texts, *(write(results) for write in FORMATS.values())]:
        assert ("measured in bfloat16" in text) == (precision == "bfloat16")
        assert "read in float" not in text
