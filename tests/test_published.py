"""Published errors next to measured ones: only for the same network and the same recipe."""

import json
from dataclasses import asdict

import pytest

from resexp import config
from resexp.config import ConfigError
from resexp.inference import summarize
from resexp.tables import published
from resexp.tables.published import published_lines, published_results

HE2015, HE2016 = "arXiv:1512.03385", "arXiv:1603.05027"
IDELBAYEV, SUTRADHAR = "github.com/akamaster/pytorch_resnet_cifar10", "github.com/surajit-13-sutradhar/resnet"
BOTTLENECK = ("network.block=bottleneck", "network.shortcut=projection")
WARM = "training.warmup={steps: 400, factor: 0.1}"
LONG = ("training.steps=null", "training.epochs=200", "training.milestones=[39000, 58500]")
FIRST_EPOCH = "training.warmup={steps: 390, factor: 0.1}"


def arms(name, *overrides, seeds=5):
    """(depth, placement, arm) -> published results of this network."""
    trials = config.load(name, overrides).trials
    cells = {(t.settings.network.depth, t.settings.network.placement, t.arm): t.settings for t in trials}
    return {cell: published_results(settings, seeds) for cell, settings in cells.items()}


def residual_matches(name, *overrides):
    """Published results of the only network that is not plain."""
    (matches,) = arms(name, "network.plain=false", *overrides).values()
    return matches


def comparable(matches, source):
    """(error or None for a failure, table) of the results of a source that are comparable with a measurement."""
    return [(match.error, match.where) for match in matches if match.source == source and not match.differences]


def accuracies(*values):
    return summarize(["above_chance"] * len(values), values)


# ---- networks without a match----------------------------------------------------------------------------------------------

D20 = ("cifar10-he2015", "network.depth=20")
D110 = ("cifar10-he2016-shortcuts", "network.shortcut=identity")


@pytest.mark.parametrize(
    "cell",
    [
        pytest.param((*D20, "network.width=32"), id="another width"),
        pytest.param((*D20, "network.depth=26"), id="a depth between two published ones"),
        pytest.param((*D20, "network.norm=layer"), id="another normalization"),
        pytest.param((*D20, "network.norm=none"), id="no normalization"),
        pytest.param((*D20, "network.activation=gelu"), id="another activation"),
        pytest.param((*D20, "network.init=pytorch"), id="another initialization"),
        pytest.param((*D20, "network.init_scale=1"), id="another init_scale"),
        pytest.param((*D20, "network.zero_init_residual=true"), id="zero-initialized branches"),
        pytest.param((*D20, "network.placement=pre"), id="pre-activation at depth 20"),
        pytest.param((*D20, "network.block=bottleneck"), id="bottleneck blocks at depth 20"),
        pytest.param((*D20, "network.block_layers=1"), id="one-layer blocks at depth 20"),
        pytest.param((*D20, "network.shortcut=projection"), id="option B"),
        pytest.param((*D20, "network.family=mlp"), id="an mlp"),
        pytest.param((*D110, "network.shortcut={scaled: {scale: 1, branch: 1}}"), id="scaled 1 is not scaled 0.5"),
        pytest.param((*D110, "network.shortcut={scaled: {scale: 1, branch: 0.5}}"), id="only the branch scaled"),
        pytest.param((*D110, "network.shortcut={gate: {bias: -8}}"), id="a bias beyond the table"),
        pytest.param((*D110, "network.shortcut={gate: {bias: -5.5}}"), id="a bias between two rows"),
        pytest.param((*D110, "network.shortcut={gate-shortcut: {bias: -5}}"), id="a bias of the other gate"),
        pytest.param((*D110, "network.shortcut={dropout: {p: 0.4}}"), id="another dropout rate"),
        pytest.param((*D110, "network.shortcut=rezero"), id="a shortcut of another paper"),
        pytest.param((*D110, "network.shortcut=projection-all", "network.placement=pre"), id="two changes at once"),
        pytest.param((*D110, "network.depth=164", "network.block=bottleneck"), id="bottlenecks without projections"),
    ],
)
def test_another_network_has_no_published_result(cell):
    assert residual_matches(*cell) == []


@pytest.mark.parametrize(
    ("override", "difference"),
    [
        pytest.param("data.limit=40000", "data.limit 40000, not none", id="fewer images"),
        pytest.param("data.validation=5000", "data.validation 5000, not 0", id="images held out"),
        pytest.param("data.augment=none", "data.augment none, not crop-flip", id="augmentation"),
        pytest.param("training.steps=400", "training.steps 400, not 64000", id="steps"),
        pytest.param("training.epochs=1", "training.epochs 1, not 64000 steps", id="epochs instead of steps"),
        pytest.param("training.lr=0.01", "training.lr 0.01, not 0.1", id="lr"),
        pytest.param("training.nesterov=true", "training.nesterov true, not false", id="nesterov"),
        pytest.param("training.milestones=[100]", "training.milestones [100], not [32000, 48000]", id="milestones"),
        pytest.param(WARM, "training.warmup steps 400 factor 0.1, not none", id="an additional warmup"),
        pytest.param("training.schedule=cosine", "training.schedule cosine, not step", id="schedule, stated once"),
        pytest.param("training.optimizer=adam", "training.optimizer adam, not sgd", id="optimizer, stated once"),
    ],
)
def test_each_differing_key_of_the_recipe_is_stated_in_one_phrase(override, difference):
    drops = {"training.schedule=cosine": ("training.milestones=[]",), "training.optimizer=adam": ("training.momentum=0",)}
    (match,) = [match for match in residual_matches(*D20, override, *drops.get(override, ())) if match.source == HE2015]

    assert match.differences == [difference]


def test_settings_that_a_publication_does_not_state_are_not_compared():
    """These are precision, device, seeds, logging, and for this publication the per-channel statistics."""
    free = ("precision=float64", "device=cpu", "seeds=[7]", "gradients.every=10", "data.normalize=none")
    matches = residual_matches(*D20, *free, *LONG)

    assert comparable(matches, IDELBAYEV) == [(8.27, "README")]


# ---- every published number -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("depth", "error"), [(20, 8.75), (32, 7.51), (44, 7.17), (56, 6.97), (1202, 7.93)])
def test_he_2015_table_6_is_a_single_run_of_each_depth(depth, error):
    matches = residual_matches("cifar10-he2015", f"network.depth={depth}")
    (match,) = [match for match in matches if match.source == HE2015]

    assert (error, None, "table 6", 1, "single") == (match.error, match.sd, match.where, match.runs, match.statistic)
    assert match.differences == []


def test_he_2015_table_6_is_a_mean_of_five_warmed_up_runs_at_110_layers():
    (match,) = [match for match in residual_matches("cifar10-he2015", "network.depth=110", WARM) if match.source == HE2015]
    (cold,) = [match for match in residual_matches("cifar10-he2015", "network.depth=110") if match.source == HE2015]

    assert (match.error, match.sd, match.runs, match.statistic) == (6.61, 0.16, 5, "mean")
    assert "6.43" in match.note
    assert match.differences == []
    assert cold.differences == ["training.warmup none, not steps 400 factor 0.1"]


TABLE_1 = {
    "identity": 6.61,
    "plain": None,
    "scaled-scale0.5-branch1": None,
    "scaled-scale0.5-branch0.5": 12.35,
    "gate-bias0": None,
    "gate-bias-1": None,
    "gate-bias-2": None,
    "gate-bias-3": None,
    "gate-bias-4": None,
    "gate-bias-5": None,
    "gate-bias-6": 8.70,
    "gate-bias-7": 9.81,
    "gate-shortcut-bias0": 12.86,
    "gate-shortcut-bias-6": 6.91,
    "projection-all": 12.22,
    "dropout-p0.5": None,
}
TABLE_2 = {  # ResNet-110, ResNet-164
    "post": (6.61, 5.93),
    "post-norm": (8.17, 6.50),
    "branch": (7.84, 6.14),
    "pre-act-only": (6.71, 5.91),
    "pre": (6.37, 5.46),
}


def test_every_arm_of_the_shipped_shortcuts_has_its_error_in_table_1():
    matches_by_cell = arms("cifar10-he2016-shortcuts")

    assert len(matches_by_cell) == 11
    for (_, _, arm), matches in matches_by_cell.items():
        ((error, where),) = comparable(matches, HE2016)
        assert TABLE_1[arm] == error
        assert where in ("table 1", "tables 1-3")
        assert {(5, "median")} == {(match.runs, match.statistic) for match in matches if match.source == HE2016}


def test_gates_with_other_biases_of_table_1_failed():
    biases = ", ".join(f"{{gate: {{bias: -{n}}}}}" for n in range(1, 6))
    matches_by_cell = arms("cifar10-he2016-shortcuts", f"network.shortcut=[{biases}]", "network.plain=false")

    assert [comparable(matches, HE2016) for matches in matches_by_cell.values()] == [[(None, "table 1")]] * 5
    assert all(match.failed for matches in matches_by_cell.values() for match in matches)


def test_every_placement_of_the_shipped_config_has_its_error_in_table_2():
    matches_by_cell = arms("cifar10-he2016-placements", "network.plain=false")

    assert {placement: error for placement, (error, _) in TABLE_2.items()} == {
        placement: comparable(matches, HE2016)[0][0] for (_, placement, _), matches in matches_by_cell.items()
    }


def test_resnet_164_has_its_errors_in_table_2():
    matches_by_cell = arms("cifar10-he2016-placements", "network.depth=164", *BOTTLENECK, "network.plain=false")

    assert {placement: [error] for placement, (_, error) in TABLE_2.items()} == {
        placement: [match.error for match in matches] for (_, placement, _), matches in matches_by_cell.items()
    }
    assert all(match.differences == [] for matches in matches_by_cell.values() for match in matches)


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        pytest.param(("network.block_layers=1",), [(9.90, "median")], id="one-layer units, original"),
        pytest.param(("network.block_layers=1", "network.placement=pre"), [(8.91, "median")], id="one-layer units, pre"),
        pytest.param(("network.depth=1001", *BOTTLENECK), [(7.61, "median")], id="1001, original"),
        pytest.param(
            ("network.depth=1001", *BOTTLENECK, "network.placement=pre"), [(4.92, "median"), (4.89, "mean")], id="1001, pre"
        ),
    ],
)
def test_he_2016_table_3(overrides, expected):
    matches = residual_matches(*D110, *overrides)

    assert expected == [(match.error, match.statistic) for match in matches]
    assert [match.sd for match in matches if match.statistic == "mean"] in ([], [0.14])


def test_the_note_on_1001_layers_states_the_error_with_smaller_batches():
    (median, _) = residual_matches(*D110, "network.depth=1001", *BOTTLENECK, "network.placement=pre")

    assert median.note == "4.62 with mini-batches of 64"


@pytest.mark.parametrize(
    ("depth", "error", "warmup"),
    [
        (20, 8.27, "training.warmup=null"),
        (32, 7.37, "training.warmup=null"),
        (44, 6.90, "training.warmup=null"),
        (56, 6.61, "training.warmup=null"),
        (110, 6.32, FIRST_EPOCH),
        (1202, 6.18, FIRST_EPOCH),
    ],
)
def test_idelbayev_trains_200_epochs_and_reports_the_best(depth, error, warmup):
    matches = residual_matches("cifar10-he2015", f"network.depth={depth}", *LONG, warmup)

    assert [(error, "README")] == comparable(matches, IDELBAYEV)
    assert comparable(matches, HE2015) == []
    assert "best test error" in next(match.note for match in matches if match.source == IDELBAYEV)


def test_only_sutradhar_lists_plain_networks_of_he_2015_and_none_is_comparable():
    """No config key can express half precision and initialization by fan-out."""
    plain = {20: 9.63, 32: 9.92, 44: 10.36, 56: 14.22}
    residual = {20: 8.24, 32: 7.36, 44: 7.38, 56: 8.30, 110: 6.96}
    matches_by_cell = arms("cifar10-he2015", "network.depth=[20, 32, 44, 56, 110]")
    tables = {"plain": plain, "identity": residual}

    for (depth, _, arm), matches in matches_by_cell.items():
        expected = tables[arm].get(depth)
        theirs = [match for match in matches if match.source == SUTRADHAR]
        assert ([expected] if expected else []) == [match.error for match in theirs]
        assert all("half precision except for plain-56, initial weights by fan-out" in match.differences for match in theirs)
        assert comparable(matches, SUTRADHAR) == []
        assert [len(match.differences) for match in theirs] == [2 if depth == 110 else 1] * len(theirs)  # warmup at 110 layers
    assert {SUTRADHAR} == {
        match.source
        for (depth, _, arm), cell_matches in matches_by_cell.items()
        if arm == "plain" and depth < 110
        for match in cell_matches
    }


def test_the_files_contain_exactly_the_numbers_of_this_test():
    typed = [8.75, 7.51, 7.17, 6.97, 6.61, 7.93, *TABLE_1.values(), 9.90, 8.91, 7.61, 4.92, 4.89]
    typed += [error for placement, row in TABLE_2.items() for error in row[placement == "post" :]]
    typed += [8.27, 7.37, 6.90, 6.61, 6.32, 6.18, 9.63, 9.92, 10.36, 14.22, 8.24, 7.36, 7.38, 8.30, 6.96]

    assert sorted(map(str, typed)) == sorted(str(entry.value.error) for entry in published.entries())


# ---- shipped configs ------------------------------------------------------------------------------------------------------


def test_the_shipped_residual_networks_of_he_2015_are_comparable_with_table_6():
    residual = {cell: matches for cell, matches in arms("cifar10-he2015").items() if cell[2] == "identity"}

    assert {depth: comparable(matches, HE2015)[0][0] for (depth, _, _), matches in residual.items()} == {
        20: 8.75,
        32: 7.51,
        44: 7.17,
        56: 6.97,
    }


def test_the_differences_of_the_small_mnist_networks_are_listed():
    matches_by_cell = arms("mnist-cnn")
    (match,) = [candidate for candidate in matches_by_cell[20, "post", "identity"] if candidate.source == HE2015]

    assert matches_by_cell[8, "post", "identity"] == []
    assert match.differences == [
        "data.name mnist, not cifar10",
        "data.validation 0.1, not 0",
        "data.normalize channel, not pixel",
        "data.augment none, not crop-flip",
        "training.epochs 1, not 64000 steps",
        "training.optimizer adam, not sgd",
        "training.lr 0.001, not 0.1",
        "training.weight_decay 0, not 0.0001",
        "training.schedule cosine, not step",
    ]


def test_with_other_images_only_the_images_and_the_number_of_other_differences_are_printed():
    rows = [(f"d{depth}", arm, accuracies(0.9), matches) for (depth, _, arm), matches in arms("mnist-cnn").items()]
    text = " ".join(line.strip() for line in published_lines(rows))

    assert f"{HE2015} table 6 has identity at d20; not compared: data.name mnist, not cifar10 and 8 more" in text
    assert "training.lr" not in text


def test_the_published_networks_on_digits_differ_in_the_images():
    digits = ("data.name=digits", "data.augment=none")
    matches = residual_matches(*D20, *digits)

    assert published_lines([("d20", "identity", accuracies(0.9), [match for match in matches if match.source == HE2015])])[
        1:
    ] == [
        "arXiv:1512.03385 table 6 has identity at d20; not compared: data.name digits,",
        "  not cifar10 and 1 more",
    ]
    assert {"data.name digits, not cifar10", "data.augment none, not crop-flip"} == {
        phrase for match in matches if match.source == HE2015 for phrase in match.differences
    }
    assert all(match.differences for match in matches)


@pytest.mark.parametrize("name", ["digits", "tutorial", "mnist-mlp"])
def test_an_mlp_has_no_published_result(name):
    assert not any(arms(name).values())


# ---- equal networks, written differently -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param("gate", "{gate: {bias: -6}}", id="a default is a value"),
        pytest.param("{gate: {bias: -6.0}}", "{gate: {bias: -6}}", id="an integer equals a float"),
        pytest.param("{scaled: {scale: 0.5}}", "{scaled: {scale: 0.5, branch: 1}}", id="a default of one of two parameters"),
        pytest.param("{scaled: {branch: 1, scale: 0.5}}", "{scaled: {scale: 0.5, branch: 1}}", id="in another order"),
        pytest.param("dropout", "{dropout: {p: 0.5}}", id="dropout"),
    ],
)
def test_equivalent_spellings_of_a_shortcut_are_the_same_network(one, other):
    first, second = (residual_matches(*D110, f"network.shortcut={shortcut}") for shortcut in (one, other))

    assert first == second != []


def test_layers_per_block_have_no_effect_on_a_bottleneck():
    """A list of blocks can combine block_layers with a bottleneck."""
    blocks = "network.block=[basic, bottleneck]"
    overrides = (blocks, "network.depth=164", "network.block_layers=1", "network.shortcut=projection", "network.plain=false")
    trials = config.load(D110[0], overrides).trials
    (errors,) = [
        [match.error for match in published_results(trial.settings, 5)]
        for trial in trials
        if trial.settings.network.block == "bottleneck" and trial.seed == 0
    ]

    assert errors == [5.93]


# ---- text and data ----------------------------------------------------------------------------------------------------------


def test_measured_and_published_errors_are_printed_side_by_side_with_their_samples():
    rows = [
        ("d20", "identity", accuracies(0.910, 0.914, 0.918), residual_matches(*D20)),
        (
            "d110",
            "dropout-p0.5",
            summarize(["at_chance", "above_chance"], [0.1, 0.9]),
            residual_matches(*D110, "network.shortcut=dropout"),
        ),
        ("d110", "projection-all", summarize(["diverged"], [None]), residual_matches(*D110, "network.shortcut=projection-all")),
    ]
    lines = published_lines(rows)

    assert lines[:3] == ["Published (test error, percent)", lines[1], ""]
    assert lines[1].split() == ["network", "measured", "published", "where"]
    assert lines[3].startswith("arXiv:1512.03385: 5 seeds; published: a single run (")
    assert [line.split() for line in lines if "table" in line and line.startswith("  ")] == [
        ["identity", "at", "d20", "8.60", "±", "0.40", "8.75", "table", "6"],
        ["dropout-p0.5", "at", "d110", "median", "50.00", ">", "20", "table", "1"],
        ["projection-all", "at", "d110", "-", "12.22", "table", "1"],
    ]


def test_numbers_of_seeds_and_runs_are_stated_and_are_not_a_difference():
    one, five = (arms(*D110, "network.plain=false", seeds=seeds)[110, "post", "identity"] for seeds in (1, 5))

    assert {match.source: match.samples for match in one if not match.differences}[
        HE2016
    ] == "1 seed; published: median of 5 runs"
    assert {match.source: match.samples for match in five if not match.differences}[
        HE2015
    ] == "5 seeds; published: mean of 5 runs"


def test_a_published_standard_deviation_is_printed():
    rows = [("d110", "identity", accuracies(0.93), residual_matches(*D110))]

    assert any(line.split()[3:7] == ["7.00", "6.61", "±", "0.16"] for line in published_lines(rows))


def test_another_recipe_is_one_line_per_publication_without_errors():
    overrides = ("network.depth=[20, 56]", "training.steps=400", "training.milestones=[200, 300]", "network.plain=false")
    matches_by_cell = arms("cifar10-he2015", *overrides)
    lines = published_lines(
        [(f"d{depth}", arm, accuracies(0.5), cell_matches) for (depth, _, arm), cell_matches in matches_by_cell.items()]
    )
    text = " ".join(line.strip() for line in lines)

    assert text.count("not compared:") == 3
    assert (
        "arXiv:1512.03385 table 6 has identity at d20, identity at d56; not compared: training.steps 400, not 64000; "
        "training.milestones [200, 300], not [32000, 48000]"
    ) in text
    assert not any(str(match.error) in text for matches in matches_by_cell.values() for match in matches)
    assert lines[0] == "Published (test error, percent)"


def test_without_published_results_there_is_no_line():
    assert published_lines([("d64", "identity", accuracies(0.9), [])]) == []


@pytest.mark.parametrize(
    "axes", ["", "norm-batch init-he ", "w16 layers2 norm-batch relu init-he batch128 sgd lr0.1 decay0.0001 "]
)
@pytest.mark.parametrize("name", ["cifar10-he2015", "cifar10-he2016-shortcuts", "cifar10-he2016-placements", "mnist-cnn"])
def test_the_lines_fit_a_terminal_of_80_columns(name, axes):
    matches_by_cell = arms(name)
    rows = [
        (f"d{depth} {axes}{placement}", arm, accuracies(0.9, 0.8), matches)
        for (depth, placement, arm), matches in matches_by_cell.items()
    ]
    lines = published_lines(rows)

    assert max(map(len, lines)) <= 80
    assert lines[0].split()[-2:] in (["measured", "published"], ["error,", "percent)"])


def test_a_published_result_is_complete_in_json():
    match = residual_matches(*D20, "training.lr=0.01")[0]

    assert json.loads(json.dumps(asdict(match))) == {
        "source": HE2015,
        "where": "table 6",
        "error": 8.75,
        "sd": None,
        "runs": 1,
        "statistic": "single",
        "failed": False,
        "note": "the paper does not state whether it trained on 50,000 or 45,000 images",
        "differences": ["training.lr 0.01, not 0.1"],
        "samples": "5 seeds; published: a single run",
    }


# ---- the files --------------------------------------------------------------------------------------------------------------

FILE = """
authors: A
title: T
reference: arXiv:0000.00000
network: {family: cnn, depth: 20, width: 16}
recipe: {training.steps: 100}
entries:
  - {where: table 1, error: 5.0, runs: 1, statistic: single}
"""


def test_the_package_contains_four_publications_with_their_sources():
    files = sorted(published.FOLDER.iterdir())
    sources = [published.Publication.model_validate(published.read_document(path)[0]) for path in files]

    assert published.FOLDER.parent.name == "resexp"
    assert [source.reference for source in sources] == [HE2015, HE2016, IDELBAYEV, SUTRADHAR]
    assert all(source.authors and source.title for source in sources)


def test_a_custom_file_is_read(tmp_path):
    (tmp_path / "own.yaml").write_text(FILE)
    (entry,) = published.entries(tmp_path)

    assert (entry.value.error, entry.stated) == (5.0, ("training.steps",))
    assert entry.settings.network.depth == 20


@pytest.mark.parametrize(
    ("old", "new"),
    [
        pytest.param("title: T", "title: T\nnever: half precision", id="a publication"),
        pytest.param("error: 5.0", "error: 5.0, never: half precision", id="an entry"),
    ],
)
def test_a_setting_that_no_key_can_express_always_differs(tmp_path, monkeypatch, old, new):
    (tmp_path / "own.yaml").write_text(FILE.replace(old, new))
    (entry,) = published.entries(tmp_path)
    monkeypatch.setattr(published, "entries", lambda: (entry,))
    (match,) = published_results(entry.settings, 1)

    assert match.differences == ["half precision"]
    assert published_lines([("d20", "identity", accuracies(0.9), [match])])[1:] == [
        "arXiv:0000.00000 table 1 has identity at d20; not compared: half precision",
    ]


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        pytest.param("title: T", "title: [", "not valid YAML", id="not YAML"),
        pytest.param("title: T", "", "title: Field required", id="no title"),
        pytest.param("reference: arXiv:0000.00000", "", "reference: Field required", id="no source"),
        pytest.param("error: 5.0", "error: 0", "entries.0.error", id="an error of 0"),
        pytest.param("error: 5.0, ", "", "entries.0: .*either an error in percent or fail", id="neither error nor failure"),
        pytest.param("error: 5.0", "error: 5.0, fail: true", "either an error in percent or fail", id="both"),
        pytest.param("runs: 1", "runs: 5", "statistic: single is not possible with runs: 5", id="a single run of five"),
        pytest.param("runs: 1", "runs: 1, seed: 1", "entries.0.seed", id="an unknown key"),
        pytest.param("statistic: single", "statistic: best", "entries.0.statistic", id="an unknown statistic"),
        pytest.param("width: 16", "widht: 16", "entries.0: network.widht: unknown key; did you mean width", id="a network key"),
        pytest.param("depth: 20", "depth: 21", "entries.0: network.depth: 21 is not a valid depth", id="an impossible network"),
        pytest.param("depth: 20", "depth: [20, 32]", "entries.0: a published value has one network", id="a list of networks"),
        pytest.param("training.steps", "training.stops", "entries.0: training.stops: unknown key", id="a recipe key"),
        pytest.param("training.steps", "network.depth", "recipe.network.depth", id="a network in the recipe"),
    ],
)
def test_an_invalid_file_is_refused_with_its_name_and_the_key(tmp_path, old, new, problem):
    (tmp_path / "own.yaml").write_text(FILE.replace(old, new))

    with pytest.raises(ConfigError, match=rf"own\.yaml.*{problem}"):
        published.entries(tmp_path)
