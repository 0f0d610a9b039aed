"""Every shipped config loads, has a question, and trains a few steps; recipes equal the published ones."""

import pytest
import torch

from resexp import config, datasets, executors, runs, training

NAMES = list(config.shipped())


@pytest.fixture
def noise_data(monkeypatch, torch_state, tmp_path):
    """Published data sets and the image folder replaced by noise of the same shape."""
    shapes = {**datasets.SHAPES, "image-folder": datasets.SHAPES["cifar10"]}
    monkeypatch.setenv("RESEXP_DATA", str(tmp_path))

    def noise(name):
        shape, classes = shapes[name]

        def read(_source, split):
            labels = torch.arange(100 if split == "train" else 20) % classes
            pixels = torch.randint(0, 256, (len(labels), *shape), dtype=torch.uint8)
            return datasets.Images(pixels, labels, tuple(map(str, range(classes))))

        return read

    for name in ("mnist", "fashion-mnist", "cifar10", "cifar100", "image-folder"):
        monkeypatch.setitem(datasets.DATASETS, name, noise(name))
    training.load_training_data.cache_clear()
    training.test_images.cache_clear()
    yield
    training.load_training_data.cache_clear()
    training.test_images.cache_clear()


def test_the_list_of_shipped_configs():
    assert list(SMALL) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_it_has_a_question_and_a_comment(name):
    text = config.shipped()[name].read_text(encoding="utf-8")

    assert config.load(name).question.endswith("?")
    assert text.startswith(f"# yaml-language-server: $schema={config.SCHEMA_FILE}\n# ")
    assert (config.shipped()[name].parent / config.SCHEMA_FILE).is_file()


ATLAS, CNN = ("network.depth=4", "network.init_scale=[1,2]"), ("network.depth=8", "network.width=8")
SMALL = {  # a part of each grid: some of its networks take minutes
    "atlas-norms": ATLAS, "atlas": ATLAS, "cifar10-he2015": CNN, "cifar10-he2016-placements": CNN,
    "cifar10-he2016-shortcuts": CNN, "color-cnn": (*CNN, "data.limit=50", "data.validation=10"),
    "depth-scaling": ("network.depth=[6,14]", "training.lr=[1e-4,1e-3]"),
    "digits-tuned": ("network.depth=8", "training.lr=[1e-4,3e-3]"),
    "digits": ("network.depth=8",), "fashion-cnn": CNN,
    "lesson": ("network.depth=[8,16]",), "mnist-cnn": CNN, "mnist-mlp": ("network.depth=8",),
    "mnist-trainability": ("data.limit=50", "network.depth=[8,16]", "network.width=8"),
    "shortcut-length": ("network.depth=8",), "tutorial": ("network.depth=[2,8]",), "without-shortcuts": ("network.depth=8",),
}  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_it_trains_a_few_steps_to_a_result(name, noise_data, tmp_path):
    experiment = config.load(name, ["seeds=1", "training.steps=2", "training.batch_size=8", "device=cpu", *SMALL[name]])
    executors.train_here(experiment, tmp_path / "run")

    results = [state.result for state in runs.trial_records(tmp_path / "run", experiment)]
    assert len(results) == len(experiment.trials)
    assert all(result.outcome in ("above_chance", "at_chance") for result in results)


@pytest.mark.parametrize("name", ["mnist-mlp", "mnist-cnn", "fashion-cnn"])
def test_it_trains_on_the_real_images(name, real_data, torch_state, tmp_path):
    overrides = [
        f"data.root={real_data}", "data.limit=500", "data.limit_test=100", "data.validation=100", "seeds=1",
        "network.depth=8", "network.width=4", "training.steps=2", "device=cpu",
    ]  # fmt: skip
    experiment = config.load(name, overrides)
    executors.train_here(experiment, tmp_path / "run")

    assert all(state.result.steps == 2 for state in runs.trial_records(tmp_path / "run", experiment))


def test_the_demo_has_six_conditions_at_two_depths():
    experiment = config.load("digits")

    assert len(experiment.trials) == 2 * 2 * 3 * 2 * 4
    assert experiment.settings["network"]["depth"] == [8, 64]
    assert (experiment.shared.training.epochs, experiment.shared.training.batch_size) == (20, 64)


def test_the_lesson_is_a_part_of_the_demo():
    demo, lesson = config.load("digits", ["seeds=2", "norm=none", "init=pytorch,he"]), config.load("lesson")

    assert len(lesson.trials) == 16
    assert [(t.arm, t.seed, config.conditions(t.settings)) for t in lesson.trials] == [
        (t.arm, t.seed, config.conditions(t.settings)) for t in demo.trials
    ]


def test_the_tuned_demo_is_the_demo_at_four_learning_rates():
    demo, tuned = config.load("digits", ["seeds=3"]), config.load("digits-tuned")
    rates = {trial.settings.training.lr for trial in tuned.trials}

    assert rates == {1e-4, 3e-4, 1e-3, 3e-3}
    assert len(tuned.trials) == 4 * len(demo.trials)
    at_default = [trial for trial in tuned.trials if trial.settings.training.lr == 1e-3]
    described = [[(t.arm, t.seed, config.conditions(t.settings)) for t in trials] for trials in (demo.trials, at_default)]
    assert described[0] == described[1]


def test_the_tutorial_starts_at_depth_2_where_all_arms_are_the_same_network():
    experiment = config.load("tutorial", ["seeds=1"])
    at_two = [trial for trial in experiment.trials if trial.settings.network.depth == 2]
    networks = [training.build(trial, (1, 28, 28), 10) for trial in at_two]

    assert [trial.arm for trial in at_two] == ["plain", "identity", "projection-all"]
    assert [(p.in_features, p.out_features) for p in networks[0].modules() if isinstance(p, torch.nn.Linear)] == [
        (784, 64),
        (64, 10),
    ]
    for other in networks[1:]:
        assert all(torch.equal(a, b) for a, b in zip(networks[0].parameters(), other.parameters(), strict=True))


def test_he2015_is_the_published_recipe():
    shared = config.load("cifar10-he2015").shared
    rates = [training.learning_rates(shared.training, 64000)(step) for step in (0, 31999, 32000, 47999, 48000, 63999)]

    assert rates == pytest.approx([0.1, 0.1, 0.01, 0.01, 0.001, 0.001])
    assert (shared.training.batch_size, shared.training.momentum, shared.training.weight_decay) == (128, 0.9, 1e-4)
    assert (shared.data.normalize, shared.data.augment, shared.data.validation) == ("pixel", "crop-flip", 0)
    assert (
        sum(p.numel() for p in training.build(config.load("cifar10-he2015").trials[0], (3, 32, 32), 10).parameters()) == 269_722
    )


@pytest.mark.parametrize("name", ["cifar10-he2016-shortcuts", "cifar10-he2016-placements"])
def test_he2016_is_he2015_with_a_warmup_at_110_layers(name):
    settings, before = config.load(name).shared, config.load("cifar10-he2015").shared
    rates = [training.learning_rates(settings.training, 64000)(step) for step in (0, 399, 400, 32000, 48000)]

    assert rates == pytest.approx([0.01, 0.01, 0.1, 0.01, 0.001])
    assert settings.training.model_copy(update={"warmup": None}) == before.training
    assert settings.data == before.data


def test_he2016_has_the_rows_of_its_tables():
    arms = list(dict.fromkeys(trial.arm for trial in config.load("cifar10-he2016-shortcuts").trials))
    placements = config.load("cifar10-he2016-placements").settings["network"]["placement"]

    assert arms == [
        "plain", "identity", "scaled-scale0.5-branch1", "scaled-scale0.5-branch0.5", "gate-bias0", "gate-bias-6", "gate-bias-7",
        "gate-shortcut-bias0", "gate-shortcut-bias-6", "projection-all", "dropout-p0.5",
    ]  # fmt: skip
    assert placements == ["post", "post-norm", "branch", "pre-act-only", "pre"]


def test_overrides_give_the_second_column_of_the_placements():
    overrides = ["network.depth=164", "network.block=bottleneck", "network.shortcut=projection"]
    overrides += ["name=cifar10-he2016-placements-164", "seeds=1"]
    trial = config.load("cifar10-he2016-placements", overrides).trials[-1]
    with torch.device("meta"):
        network = training.build(trial, (3, 32, 32), 10)

    assert (trial.settings.network.depth, trial.settings.network.block) == (164, "bottleneck")
    assert len(network.blocks) == 54
