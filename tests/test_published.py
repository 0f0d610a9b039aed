"""Published figures beside measured ones: never beside another network, never under another recipe."""

import json
from dataclasses import asdict

import pytest

from resexp import config
from resexp.config import ConfigError
from resexp.inference import summarize
from resexp.tables import published
from resexp.tables.published import published_for, published_lines

HE2015, HE2016 = "arXiv:1512.03385", "arXiv:1603.05027"
IDELBAYEV, SUTRADHAR = "github.com/akamaster/pytorch_resnet_cifar10", "github.com/surajit-13-sutradhar/resnet"
BOTTLENECK = ("network.block=bottleneck", "network.shortcut=projection")
WARM = "training.warmup={steps: 400, factor: 0.1}"
LONG = ("training.steps=null", "training.epochs=200", "training.milestones=[39000, 58500]")
FIRST_EPOCH = "training.warmup={steps: 390, factor: 0.1}"


def arms(name, *overrides, seeds=5):
    """(depth, placement, arm) -> what is published on that network."""
    trials = config.load(name, overrides).trials
    cells = {(t.settings.network.depth, t.settings.network.placement, t.arm): t.settings for t in trials}
    return {cell: published_for(settings, seeds) for cell, settings in cells.items()}


def alone(name, *overrides):
    """What is published on the one network that is not plain."""
    (found,) = [matches for (_, _, arm), matches in arms(name, "network.plain=false", *overrides).items()]
    return found


def beside(matches, source):
    """(error, or None for a failure, and where) of those figures of a source that may stand beside a measurement."""
    return [(of.error, of.where) for of in matches if of.source == source and not of.differences]


def accuracies(*values):
    return summarize(["above_chance"] * len(values), values)


# ---- what must not match ------------------------------------------------------------------------------------------------

D20 = ("cifar10-he2015", "network.depth=20")
D110 = ("cifar10-he2016-shortcuts", "network.shortcut=identity")


@pytest.mark.parametrize(
    "cell",
    [
        pytest.param((*D20, "network.width=32"), id="another width"),
        pytest.param((*D20, "network.depth=26"), id="a depth between two published ones"),
        pytest.param((*D20, "network.norm=layer"), id="another norm"),
        pytest.param((*D20, "network.norm=none"), id="no norm"),
        pytest.param((*D20, "network.activation=gelu"), id="another activation"),
        pytest.param((*D20, "network.init=pytorch"), id="another init"),
        pytest.param((*D20, "network.init_scale=1"), id="another init_scale"),
        pytest.param((*D20, "network.zero_init_residual=true"), id="branches that start at zero"),
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
        pytest.param((*D110, "network.shortcut={dropout: {p: 0.4}}"), id="another share dropped"),
        pytest.param((*D110, "network.shortcut=rezero"), id="a shortcut of another paper"),
        pytest.param((*D110, "network.shortcut=projection-all", "network.placement=pre"), id="two changes at once"),
        pytest.param((*D110, "network.depth=164", "network.block=bottleneck"), id="bottlenecks without projections"),
    ],
)
def test_another_network_has_nothing_published(cell):
    assert alone(*cell) == []


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
        pytest.param(WARM, "training.warmup steps 400 factor 0.1, not none", id="a warm-up where there was none"),
        pytest.param("training.schedule=cosine", "training.schedule cosine, not step", id="a schedule, once"),
        pytest.param("training.optimizer=adam", "training.optimizer adam, not sgd", id="an optimizer, once"),
    ],
)
def test_each_key_of_the_recipe_that_differs_is_said_in_one_phrase(override, difference):
    drops = {"training.schedule=cosine": ("training.milestones=[]",), "training.optimizer=adam": ("training.momentum=0",)}
    (match,) = [of for of in alone(*D20, override, *drops.get(override, ())) if of.source == HE2015]

    assert match.differences == [difference]


def test_what_a_publication_does_not_state_is_not_compared():
    """Precision, device, seeds, readings; for this one the per-channel statistics too."""
    free = ("precision=float64", "device=cpu", "seeds=[7]", "gradients.every=10", "data.normalize=none")
    matches = alone(*D20, *free, *LONG)

    assert beside(matches, IDELBAYEV) == [(8.27, "README")]


# ---- every number, typed once more ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("depth", "error"), [(20, 8.75), (32, 7.51), (44, 7.17), (56, 6.97), (1202, 7.93)])
def test_he_2015_table_6_is_a_single_run_of_each_depth(depth, error):
    matches = alone("cifar10-he2015", f"network.depth={depth}")
    (match,) = [of for of in matches if of.source == HE2015]

    assert (error, None, "table 6", 1, "single") == (match.error, match.sd, match.where, match.runs, match.statistic)
    assert match.differences == []


def test_he_2015_table_6_is_a_mean_of_five_warmed_up_runs_at_110_layers():
    (match,) = [of for of in alone("cifar10-he2015", "network.depth=110", WARM) if of.source == HE2015]
    (cold,) = [of for of in alone("cifar10-he2015", "network.depth=110") if of.source == HE2015]

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


def test_every_arm_of_the_shipped_shortcuts_stands_in_table_1():
    found = arms("cifar10-he2016-shortcuts")

    assert len(found) == 11
    for (_, _, arm), matches in found.items():
        ((error, where),) = beside(matches, HE2016)
        assert TABLE_1[arm] == error
        assert where in ("table 1", "tables 1-3")
        assert {(5, "median")} == {(of.runs, of.statistic) for of in matches if of.source == HE2016}


def test_the_gates_between_the_shipped_ones_failed_as_well():
    biases = ", ".join(f"{{gate: {{bias: -{n}}}}}" for n in range(1, 6))
    found = arms("cifar10-he2016-shortcuts", f"network.shortcut=[{biases}]", "network.plain=false")

    assert [beside(matches, HE2016) for matches in found.values()] == [[(None, "table 1")]] * 5
    assert all(of.failed for matches in found.values() for of in matches)


def test_every_placement_of_the_shipped_config_stands_in_table_2():
    found = arms("cifar10-he2016-placements", "network.plain=false")

    assert {place: error for place, (error, _) in TABLE_2.items()} == {
        place: beside(matches, HE2016)[0][0] for (_, place, _), matches in found.items()
    }


def test_resnet_164_has_bottlenecks_with_projections_where_shapes_change():
    found = arms("cifar10-he2016-placements", "network.depth=164", *BOTTLENECK, "network.plain=false")

    assert {place: [error] for place, (_, error) in TABLE_2.items()} == {
        place: [of.error for of in matches] for (_, place, _), matches in found.items()
    }
    assert all(of.differences == [] for matches in found.values() for of in matches)


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
    matches = alone(*D110, *overrides)

    assert expected == [(of.error, of.statistic) for of in matches]
    assert [of.sd for of in matches if of.statistic == "mean"] in ([], [0.14])


def test_the_smaller_batches_of_1001_layers_stand_in_its_note():
    (median, _) = alone(*D110, "network.depth=1001", *BOTTLENECK, "network.placement=pre")

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
def test_idelbayevs_runs_take_200_epochs_and_keep_the_best(depth, error, warmup):
    matches = alone("cifar10-he2015", f"network.depth={depth}", *LONG, warmup)

    assert [(error, "README")] == beside(matches, IDELBAYEV)
    assert beside(matches, HE2015) == []
    assert "best test epoch" in next(of.note for of in matches if of.source == IDELBAYEV)


def test_sutradhars_runs_are_the_only_ones_of_plain_networks_and_stand_beside_none():
    """Half precision and a start by fan-out are nothing that a config can say."""
    plain = {20: 9.63, 32: 9.92, 44: 10.36, 56: 14.22}
    residual = {20: 8.24, 32: 7.36, 44: 7.38, 56: 8.30, 110: 6.96}
    found = arms("cifar10-he2015", "network.depth=[20, 32, 44, 56, 110]")
    tables = {"plain": plain, "identity": residual}

    for (depth, _, arm), matches in found.items():
        expected = tables[arm].get(depth)
        theirs = [of for of in matches if of.source == SUTRADHAR]
        assert ([expected] if expected else []) == [of.error for of in theirs]
        assert all("half precision but for plain-56, first weights by fan-out" in of.differences for of in theirs)
        assert beside(matches, SUTRADHAR) == []
        assert [len(of.differences) for of in theirs] == [2 if depth == 110 else 1] * len(theirs)  # and a warm-up
    assert {SUTRADHAR} == {of.source for (depth, _, arm), ms in found.items() if arm == "plain" and depth < 110 for of in ms}


def test_no_figure_stands_in_the_files_that_is_not_typed_in_this_file():
    typed = [8.75, 7.51, 7.17, 6.97, 6.61, 7.93, *TABLE_1.values(), 9.90, 8.91, 7.61, 4.92, 4.89]
    typed += [figure for place, row in TABLE_2.items() for figure in row[place == "post" :]]
    typed += [8.27, 7.37, 6.90, 6.61, 6.32, 6.18, 9.63, 9.92, 10.36, 14.22, 8.24, 7.36, 7.38, 8.30, 6.96]

    assert sorted(map(str, typed)) == sorted(str(entry.figure.error) for entry in published.entries())


# ---- shipped configs ------------------------------------------------------------------------------------------------------


def test_the_shipped_residual_networks_of_he_2015_stand_beside_table_6():
    residual = {cell: matches for cell, matches in arms("cifar10-he2015").items() if cell[2] == "identity"}

    assert {depth: beside(matches, HE2015)[0][0] for (depth, _, _), matches in residual.items()} == {
        20: 8.75,
        32: 7.51,
        44: 7.17,
        56: 6.97,
    }


def test_the_small_mnist_networks_differ_in_all_that_makes_them_small():
    found = arms("mnist-cnn")
    (match,) = [of for of in found[20, "post", "identity"] if of.source == HE2015]

    assert found[8, "post", "identity"] == []
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


def test_of_other_images_only_the_images_are_named_and_how_much_else_differs():
    rows = [(f"d{depth}", arm, accuracies(0.9), of) for (depth, _, arm), of in arms("mnist-cnn").items()]
    text = " ".join(line.strip() for line in published_lines(rows))

    assert f"{HE2015} table 6 has d20 identity; not set beside: data.name mnist, not cifar10 and 8 more" in text
    assert "training.lr" not in text


def test_the_published_networks_on_digits_differ_in_the_images():
    digits = ("data.name=digits", "data.augment=none")
    found = alone(*D20, *digits)

    assert published_lines([("d20", "identity", accuracies(0.9), [of for of in found if of.source == HE2015])])[1:] == [
        "arXiv:1512.03385 table 6 has d20 identity; not set beside: data.name digits, not",
        "  cifar10 and 1 more",
    ]
    assert {"data.name digits, not cifar10", "data.augment none, not crop-flip"} == {
        phrase for of in found if of.source == HE2015 for phrase in of.differences
    }
    assert all(of.differences for of in found)


@pytest.mark.parametrize("name", ["digits", "tutorial", "mnist-mlp"])
def test_an_mlp_has_nothing_published(name):
    assert not any(arms(name).values())


# ---- equal networks, written differently -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param("gate", "{gate: {bias: -6}}", id="a default is a value"),
        pytest.param("{gate: {bias: -6.0}}", "{gate: {bias: -6}}", id="whole numbers are numbers"),
        pytest.param("{scaled: {scale: 0.5}}", "{scaled: {scale: 0.5, branch: 1}}", id="half of the parameters"),
        pytest.param("{scaled: {branch: 1, scale: 0.5}}", "{scaled: {scale: 0.5, branch: 1}}", id="in another order"),
        pytest.param("dropout", "{dropout: {p: 0.5}}", id="dropout"),
    ],
)
def test_the_same_shortcut_in_other_words_is_the_same_network(one, other):
    first, second = (alone(*D110, f"network.shortcut={shortcut}") for shortcut in (one, other))

    assert first == second != []


def test_layers_per_block_mean_nothing_to_a_bottleneck():
    """A list of blocks may leave block_layers beside a bottleneck."""
    blocks = "network.block=[basic, bottleneck]"
    overrides = (blocks, "network.depth=164", "network.block_layers=1", "network.shortcut=projection", "network.plain=false")
    trials = config.load(D110[0], overrides).trials
    (errors,) = [
        [of.error for of in published_for(trial.settings, 5)]
        for trial in trials
        if trial.settings.network.block == "bottleneck" and trial.seed == 0
    ]

    assert errors == [5.93]


# ---- text and data ----------------------------------------------------------------------------------------------------------


def test_measured_and_published_stand_side_by_side_with_their_samples():
    rows = [
        ("d20", "identity", accuracies(0.910, 0.914, 0.918), alone(*D20)),
        (
            "d110",
            "dropout-p0.5",
            summarize(["at_chance", "above_chance"], [0.1, 0.9]),
            alone(*D110, "network.shortcut=dropout"),
        ),
        ("d110", "projection-all", summarize(["diverged"], [None]), alone(*D110, "network.shortcut=projection-all")),
    ]
    lines = published_lines(rows)

    assert lines[0].split() == ["Published", "(test", "error,", "percent)", "measured", "published"]
    assert lines[1].startswith("arXiv:1512.03385: 5 seeds; published: a single run (")
    assert [line.split() for line in lines if "table" in line and line.startswith("  ")] == [
        ["d20", "identity", "8.60", "±", "0.40", "8.75", "table", "6"],
        ["d110", "dropout-p0.5", "median", "50.00", ">", "20", "table", "1"],
        ["d110", "projection-all", "-", "12.22", "table", "1"],
    ]


def test_seeds_and_runs_are_said_and_never_a_difference():
    one, five = (arms(*D110, "network.plain=false", seeds=seeds)[110, "post", "identity"] for seeds in (1, 5))

    assert {of.source: of.samples for of in one if not of.differences}[HE2016] == "1 seed; published: median of 5 runs"
    assert {of.source: of.samples for of in five if not of.differences}[HE2015] == "5 seeds; published: mean of 5 runs"


def test_a_published_spread_is_printed():
    rows = [("d110", "identity", accuracies(0.93), alone(*D110))]

    assert any("7.00           6.61 ± 0.16" in line for line in published_lines(rows))


def test_another_recipe_is_one_line_for_each_publication_and_no_figure():
    overrides = ("network.depth=[20, 56]", "training.steps=400", "training.milestones=[200, 300]", "network.plain=false")
    found = arms("cifar10-he2015", *overrides)
    lines = published_lines([(f"d{depth}", arm, accuracies(0.5), ms) for (depth, _, arm), ms in found.items()])
    text = " ".join(line.strip() for line in lines)

    assert text.count("not set beside:") == 3
    assert (
        "arXiv:1512.03385 table 6 has d20 identity, d56 identity; not set beside: training.steps 400, not 64000; "
        "training.milestones [200, 300], not [32000, 48000]"
    ) in text
    assert not any(str(of.error) in text for matches in found.values() for of in matches)
    assert lines[0] == "Published (test error, percent)"


def test_nothing_published_is_no_line():
    assert published_lines([("d64", "identity", accuracies(0.9), [])]) == []


@pytest.mark.parametrize(
    "axes", ["", "norm-batch init-he ", "w16 layers2 norm-batch relu init-he batch128 sgd lr0.1 decay0.0001 "]
)
@pytest.mark.parametrize("name", ["cifar10-he2015", "cifar10-he2016-shortcuts", "cifar10-he2016-placements", "mnist-cnn"])
def test_the_lines_fit_a_terminal_of_80_columns(name, axes):
    found = arms(name)
    rows = [(f"d{depth} {axes}{place}", arm, accuracies(0.9, 0.8), of) for (depth, place, arm), of in found.items()]
    lines = published_lines(rows)

    assert max(map(len, lines)) <= 80
    assert lines[0].split()[-2:] in (["measured", "published"], ["error,", "percent)"])


def test_a_published_figure_goes_into_json_whole():
    figure = alone(*D20, "training.lr=0.01")[0]

    assert json.loads(json.dumps(asdict(figure))) == {
        "source": HE2015,
        "where": "table 6",
        "error": 8.75,
        "sd": None,
        "runs": 1,
        "statistic": "single",
        "failed": False,
        "note": "whether trained on 50,000 images or on 45,000 is not explicit",
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


def test_the_package_holds_four_publications_and_each_names_its_source():
    files = sorted(published.FOLDER.iterdir())
    sources = [published.Publication.model_validate(published.read_document(path)[0]) for path in files]

    assert published.FOLDER.parent.name == "resexp"
    assert [source.reference for source in sources] == [HE2015, HE2016, IDELBAYEV, SUTRADHAR]
    assert all(source.authors and source.title for source in sources)


def test_a_file_of_ones_own_is_read(tmp_path):
    (tmp_path / "own.yaml").write_text(FILE)
    (entry,) = published.entries(tmp_path)

    assert (entry.figure.error, entry.stated) == (5.0, ("training.steps",))
    assert entry.settings.network.depth == 20


@pytest.mark.parametrize(
    ("old", "new"),
    [
        pytest.param("title: T", "title: T\nnever: half precision", id="a publication"),
        pytest.param("error: 5.0", "error: 5.0, never: half precision", id="a figure"),
    ],
)
def test_what_no_key_can_say_always_differs(tmp_path, monkeypatch, old, new):
    (tmp_path / "own.yaml").write_text(FILE.replace(old, new))
    (entry,) = published.entries(tmp_path)
    monkeypatch.setattr(published, "entries", lambda: (entry,))
    (match,) = published_for(entry.settings, 1)

    assert match.differences == ["half precision"]
    assert published_lines([("d20", "identity", accuracies(0.9), [match])])[1:] == [
        "arXiv:0000.00000 table 1 has d20 identity; not set beside: half precision",
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
        pytest.param("runs: 1", "runs: 5", "statistic: single does not go with runs: 5", id="a single run of five"),
        pytest.param("runs: 1", "runs: 1, seed: 1", "entries.0.seed", id="an unknown key"),
        pytest.param("statistic: single", "statistic: best", "entries.0.statistic", id="an unknown statistic"),
        pytest.param("width: 16", "widht: 16", "entries.0: network.widht: unknown key; did you mean width", id="a network key"),
        pytest.param("depth: 20", "depth: 21", "entries.0: network.depth: 21 is not a valid depth", id="an impossible network"),
        pytest.param("depth: 20", "depth: [20, 32]", "entries.0: a figure belongs to one network", id="a list of networks"),
        pytest.param("training.steps", "training.stops", "entries.0: training.stops: unknown key", id="a recipe key"),
        pytest.param("training.steps", "network.depth", "recipe.network.depth", id="a network in the recipe"),
    ],
)
def test_a_damaged_file_is_named_with_the_key(tmp_path, old, new, problem):
    (tmp_path / "own.yaml").write_text(FILE.replace(old, new))

    with pytest.raises(ConfigError, match=rf"own\.yaml.*{problem}"):
        published.entries(tmp_path)
