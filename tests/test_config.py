"""The experiment: strict YAML, overrides, grid -> trials, execution plan."""

import inspect
import itertools
import json
import tracemalloc
from contextlib import suppress
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import TypeAdapter, ValidationError

from resexp import config, runs, training
from resexp.cli import program
from resexp.config import ConfigError, Experiment
from resexp.config.parsing import parse_yaml
from resexp.config.rules import depths_near
from resexp.datasets import DATASETS
from resexp.networks import ACTIVATIONS, INITS, NORMS, PLACEMENTS
from resexp.probes import PROBES
from resexp.shortcuts import SHORTCUTS

SHIPPED = sorted(config.shipped())
MINIMAL = "seeds: 5"  # a config that only repeats one default


@pytest.fixture
def written(tmp_path: Path):
    """Writes a config and loads it."""

    def load(text: str, *overrides: str) -> Experiment:
        path = tmp_path / "mine.yaml"
        path.write_text(text, encoding="utf-8")
        return config.load(path, overrides)

    return load


def value(experiment: Experiment, key: str) -> Any:
    """The value of a dotted key for the residual arm; seeds are those of the experiment."""
    if key == "seeds":
        return tuple(experiment.settings["seeds"])
    setting: Any = experiment.trials[-1].settings
    for part in key.split("."):
        setting = getattr(setting, part)
    return setting


def names(experiment: Experiment) -> list[str]:
    return [trial.name for trial in experiment.trials]


# ---- equivalent configs -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("seeds: 5 # a remark\n", id="a comment"),
        pytest.param("network: {}\n", id="an empty section"),
        pytest.param("\ufeffseeds: 5\n", id="a byte order mark"),
        pytest.param("name: mine\nquestion: ~\n", id="the file's stem as name, no question"),
        pytest.param("training: {momentum: 0.0, nesterov: false}", id="repeated defaults that have no effect with adam"),
        pytest.param("training: {betas: [0.9, 0.999], milestones: []}", id="repeated default lists"),
        pytest.param("training: {lr: 1e-3}", id="1e-3 written as PyYAML would read text"),
        pytest.param("seeds: [0, 1, 2, 3, 4]", id="seeds written out"),
        pytest.param("network: {depth: [8], shortcut: [identity]}", id="lists of one for the two keys that always vary"),
    ],
)
def test_a_config_that_only_repeats_defaults_is_the_default(written, text):
    default = written(MINIMAL)

    assert written(text) == default
    assert len(default.trials) == 2 * 5


def test_defaults_are_the_documented_ones(written):
    default = written(MINIMAL)
    expected = {
        "name": "mine",
        "question": None,
        "data.name": "digits",
        "data.validation": 0.1,
        "data.normalize": "channel",
        "data.augment": "none",
        "data.download": False,
        "network.family": "mlp",
        "network.width": 64,
        "network.shortcut": "identity",
        "network.block_layers": 2,
        "network.placement": "post",
        "network.norm": "none",
        "network.activation": "relu",
        "network.init": "pytorch",
        "network.init_scale": None,
        "training.epochs": 20,
        "training.steps": None,
        "training.batch_size": 64,
        "training.optimizer": "adam",
        "training.lr": 0.001,
        "training.schedule": "constant",
        "training.checkpoint_every": "60s",
        "seeds": (0, 1, 2, 3, 4),
        "device": "auto",
        "precision": "float32",
        "deterministic": True,
        "gradients.every": 25,
        "gradients.probes": ("gradient_norm", "signal"),
        "compare.margin": 0.01,
    }

    assert {key: value(default, key) for key in expected} == expected


@pytest.mark.parametrize("name", SHIPPED)
def test_a_stored_experiment_loads_as_the_same_trials(name, tmp_path):
    """The file experiment.yaml is the complete experiment."""
    original = config.load(name)
    stored = tmp_path / "experiment.yaml"
    stored.write_text(runs.to_yaml(original.settings), encoding="utf-8")

    assert config.load(stored, shortcuts=None) == original


@pytest.mark.parametrize(
    "text",
    [
        "training: {optimizer: [sgd, adam], momentum: 0.9, lr: [1e-3, 1e-5]}\nnetwork: {init_scale: [null, 2]}",
        "training: {steps: 7, schedule: step, milestones: [3, 5], warmup: {steps: 2, factor: 0.1}, eps: 1e-16}",
        "data: {name: image-folder, root: 'no', image_size: 8}\nquestion: 'yes: or no?'\nseeds: [7, 3]",
    ],
    ids=["axes under training", "schedule and warmup", "texts that YAML could misread"],
)
def test_rare_keys_are_stored_and_loaded_unchanged(written, tmp_path, text):
    original = written(text)
    stored = tmp_path / "experiment.yaml"
    stored.write_text(runs.to_yaml(original.settings), encoding="utf-8")

    assert config.load(stored, shortcuts=None) == original


def test_loaded_settings_cannot_be_changed(written):
    with pytest.raises(ValidationError, match="frozen"):
        written(MINIMAL).shared.network.depth = 10


# ---- YAML scalars -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1e-3", 0.001),
        ("1E5", 100000.0),
        ("-1.5e+3", -1500.0),
        (".5", 0.5),
        ("1.", 1.0),
        ("0", 0),
        ("-12", -12),
        ("true", True),
        ("FALSE", False),
        ("~", None),
        ("no", "no"),
        ("off", "off"),
        ("yes", "yes"),
        ("1:30", "1:30"),
        ("010", "010"),
        ("0x10", "0x10"),
        ("1_000", "1_000"),
        ("2020-01-01", "2020-01-01"),
        ("None", "None"),
        ("'1e-3'", "1e-3"),
    ],
)
def test_scalars_have_the_type_that_they_look_like(text, expected):
    document, _ = parse_yaml(f"key: {text}", "a.yaml")

    assert document == {"key": expected}
    assert type(document["key"]) is type(expected)


def test_the_line_of_every_key_is_known():
    _, lines = parse_yaml("a:\n  b: 1\n\n  c: {d: 2}\n", "a.yaml")

    assert lines == {"a": 1, "a.b": 2, "a.c": 4, "a.c.d": 4}


# ---- refused values ---------------------------------------------------------------------------------------------------


def refusal(path: Path, *overrides: str) -> str:
    with pytest.raises(ConfigError) as caught:
        config.load(path, overrides)
    message = str(caught.value)
    assert "\n" not in message
    return message


REFUSED = [
    # text, line, dotted key, parts of the message
    ("norm off", "network:\n  norm: no", 2, "network.norm", ["'no'", "none, batch, layer, group", "did you mean none?"]),
    ("null for a name", "network: {norm: ~}", 1, "network.norm", ["null", "none, batch, layer, group"]),
    ("duplicate key", "seeds: 1\nnetwork:\n  depth: 8\n  depth: 20", 4, "network.depth", ["twice", "line 3"]),
    ("duplicate section", "data: {}\nseeds: 1\ndata: {}", 3, "data", ["twice", "line 1"]),
    ("a time for seeds", "seeds: 1:30", 1, "seeds", ["'1:30'", "whole numbers"]),
    ("an octal depth", "network: {depth: 010}", 1, "network.depth", ["'010'", "must be a whole number"]),
    ("an alias", "network: &n {depth: 8}\ndata: *n", 1, "data", ["aliases", "repeat the value"]),
    ("unknown section", "seeds: 1\nnetwrk: {depth: 8}", 2, "netwrk", ["unknown key", "did you mean network?"]),
    ("unknown key", "network:\n  depth: 8\n  widht: 8", 3, "network.widht", ["unknown key", "did you mean width?"]),
    ("unknown inner key", "training: {warmup: {steps: 1, factr: 1}}", 1, "training.warmup.factor", ["is missing"]),
    ("a dotted key in the file", "network.depth: 8", 1, "network.depth", ["unknown key"]),
    ("section of null", "network:\n", 1, "network", ["null must be a mapping"]),
    ("section of text", "network: deep", 1, "network", ["'deep' must be a mapping"]),
    ("section of a list", "network: [{depth: 8}]", 1, "network", ["must be a mapping"]),
    ("nested garbage", "network: {depth: [8, [9]]}", 1, "network.depth", ["[9] must be a whole number"]),
    ("a mapping for a number", "training: {lr: {a: 1}}", 1, "training.lr", ["must be a number"]),
    ("text for a number", "training:\n  lr: fast", 2, "training.lr", ["'fast' must be a number"]),
    ("quoted number", "training: {lr: '1e-3'}", 1, "training.lr", ["'1e-3' must be a number"]),
    ("learning rates beyond the range of floats", f"training: {{lr: [1, {10**400}]}}", 1, "training.lr", ["must be a number"]),
    ("infinite learning rate", "training: {lr: .inf}", 1, "training.lr", ["must be a finite number"]),
    ("a learning rate that is not a number", "training: {lr: .nan}", 1, "training.lr", ["nan"]),
    ("half an epoch", "training: {epochs: 2.5}", 1, "training.epochs", ["2.5 must be a whole number"]),
    ("yes for true", "data: {download: yes}", 1, "data.download", ["'yes' must be true or false"]),
    ("no seeds", "seeds: 0", 1, "seeds", ["must be at least 1", "seeds 0 to n-1"]),
    ("an empty list of seeds", "seeds: []", 1, "seeds", ["list of whole numbers"]),
    ("a repeated seed", "seeds: [1, 1]", 1, "seeds", ["contains seed 1 twice"]),
    ("a negative seed", "seeds: [0, -1]", 1, "seeds", ["0 or more"]),
    ("true seeds", "seeds: true", 1, "seeds", ["true must be a number n"]),
    ("no width", "network: {width: 0}", 1, "network.width", ["0 must be greater than 0"]),
    ("depth below stem and classifier", "network: {depth: 1}", 1, "network.depth", ["1 must be at least 2"]),
    ("odd depth of an mlp", "network: {depth: [8, 9]}", 1, "network.depth", ["nearest are 8 and 10"]),
    ("invalid depth of a cnn", "network: {family: cnn, depth: 24}", 1, "network.depth", ["3 block_layers", "20 and 26"]),
    (
        "misspelled shortcut",
        "network: {shortcut: idenity}",
        1,
        "network.shortcut",
        ["projection-all", "did you mean identity?"],
    ),
    ("one of two misspelled", "network:\n  shortcut: [identity, skipint]", 2, "network.shortcut", ["did you mean skipinit?"]),
    ("a shortcut of number", "network: {shortcut: 3}", 1, "network.shortcut", ["must be a name or one mapping"]),
    ("a parameter too many", "network: {shortcut: {identity: {p: 1}}}", 1, "network.shortcut", ["takes no parameters"]),
    ("no such parameter", "network: {shortcut: {gate: {bais: -6}}}", 1, "network.shortcut", ["'bais'", "did you mean bias"]),
    (
        "dropout of all",
        "network: {shortcut: {dropout: {p: 1.0}}}",
        1,
        "network.shortcut",
        ["p of dropout: 1.0 must be less than 1"],
    ),
    ("text as bias", "network: {shortcut: {gate: {bias: low}}}", 1, "network.shortcut", ["bias of gate", "must be a number"]),
    ("never kept", "network: {shortcut: {stochastic-depth: {survival: 0}}}", 1, "network.shortcut", ["must be greater than 0"]),
    ("one network twice", "network: {shortcut: [gate, {gate: {bias: -6}}]}", 1, "network.shortcut", ["appears twice"]),
    ("a bottleneck mlp", "network: {block: bottleneck, depth: 11}", 1, "network.block", ["write block: basic"]),
    ("no such bottleneck", "network: {family: cnn, block: bottleneck, depth: 58}", 1, "network.depth", ["9", "56 and 65"]),
    ("fixup with a normalization layer", "network: {init: fixup, norm: layer}", 1, "network.init", ["write norm: none"]),
    ("fixup with an init_scale", "network: {init: fixup, init_scale: 2}", 1, "network.init_scale", ["would undo"]),
    (
        "layers of a bottleneck",
        "network: {family: cnn, depth: 11, block: bottleneck, block_layers: 3}",
        1,
        "network.block_layers",
        ["has no effect"],
    ),
    ("a graph on a cpu", "device: cpu\ncompile: cuda-graph", 2, "compile", ["only on cuda", "compile: true"]),
    ("unknown compilation", "compile: cuda-grahp", 1, "compile", ["true, false or cuda-graph", "did you mean cuda-graph?"]),
    ("an activation twice", "network: {activation: [tat, {tat: {eta: 0.9}}]}", 1, "network.activation", ["appears twice"]),
    ("no such activation", "network: {activation: {swish: {beta: 1}}}", 1, "network.activation", ["did you mean silu"]),
    ("an activation of number", "network: {activation: 3}", 1, "network.activation", ["must be a name or one mapping"]),
    ("an activation without", "network: {activation: {relu: {slope: 0}}}", 1, "network.activation", ["takes no parameters"]),
    ("too correlated", "network: {activation: {tat: {eta: 1}}}", 1, "network.activation", ["eta of tat", "less than 1"]),
    ("a steep slope", "network: {activation: {leaky-relu: {slope: 2}}}", 1, "network.activation", ["slope of leaky-relu"]),
    ("no such slope", "network: {activation: {leaky-relu: {alpha: 0}}}", 1, "network.activation", ["only slope"]),
    ("amplified", "network: {shortcut: {decayed: {final: 1.5}}}", 1, "network.shortcut", ["final of decayed", "at most 1"]),
    ("mirrored tanh", "network: {init: looks-linear, activation: tanh}", 1, "network.init", ["tanh(z) - tanh(-z)"]),
    ("an odd mirror", "network: {init: looks-linear, width: 33}", 1, "network.width", ["33 must be even"]),
    ("a scaled mirror", "network: {init: looks-linear, init_scale: 2}", 1, "network.init_scale", ["would undo"]),
    (
        "a zero branch in ReLU-like activations",
        "network: {zero_init_residual: true, placement: branch, activation: {leaky-relu: {slope: 0}}}",
        1,
        "network.zero_init_residual",
        ["leaky-relu(0), which has derivative 0"],
    ),
    ("projection in an mlp", "network: {shortcut: projection}", 1, "network.shortcut", ["use projection-all"]),
    ("delta-orthogonal mlp", "network: {init: delta-orthogonal}", 1, "network.init", ["convolutions"]),
    ("groups of 12", "network: {norm: group, width: 12}", 1, "network.width", ["multiple of 8", "nearest: 16"]),
    ("groups of one unit", "network: {norm: group, width: 8}", 1, "network.width", ["at least 2 units", "nearest: 16"]),
    (
        "groups of 12 channels",
        "network: {family: cnn, norm: group, width: 12}",
        1,
        "network.width",
        ["multiple of 8", "nearest: 8 and 16"],
    ),
    (
        "a parameter-matched baseline without plain networks",
        "network: {plain: false, plain_width: parameters, shortcut: gate}",
        1,
        "network.plain_width",
        ["no effect with network.plain: false", "applies only with true"],
    ),
    (
        "a parameter-matched baseline of shortcuts without parameters",
        "network: {plain_width: parameters, shortcut: [identity, dropout]}",
        1,
        "network.plain_width",
        ["no effect with network.shortcut: dropout, identity", "shortcuts with parameters"],
    ),
    ("an empty axis", "training: {lr: []}", 1, "training.lr", ["an empty list leaves nothing to train"]),
    ("a repeated axis value", "training: {lr: [1e-3, 0.001]}", 1, "training.lr", ["0.001 appears twice"]),
    ("values with one name", "training: {lr: [0.1, 0.10000000001]}", 1, "training.lr", ["appears twice"]),
    ("steps and epochs", "training:\n  steps: 9\n  epochs: 1", 2, "training.steps", ["remove one of the two"]),
    ("momentum under adam", "training: {momentum: 0.9}", 1, "training.momentum", ["with training.optimizer: adam", "sgd"]),
    (
        "betas under sgd",
        "training: {optimizer: sgd, betas: [0.5, 0.9]}",
        1,
        "training.betas",
        ["applies only with adam or adamw"],
    ),
    ("milestones, constant learning rate", "training: {milestones: [3]}", 1, "training.milestones", ["applies only with step"]),
    ("image size of digits", "data: {image_size: 8}", 1, "data.image_size", ["applies only with image-folder"]),
    ("steps without milestones", "training:\n  schedule: step", 1, "training.milestones", ["is required with schedule: step"]),
    (
        "decreasing milestones",
        "training: {schedule: step, milestones: [5, 3]}",
        1,
        "training.milestones",
        ["must be in increasing order"],
    ),
    ("nesterov without momentum", "training: {optimizer: sgd, nesterov: true}", 1, "training.nesterov", ["momentum above 0"]),
    ("a batch of one", "network: {norm: batch}\ntraining: {batch_size: 1}", 2, "training.batch_size", ["at least 2"]),
    ("mirrored digits", "data: {augment: crop-flip}", 1, "data.augment", ["refused for digits", "use none"]),
    ("folder without a size", "data: {name: image-folder, root: x}", 1, "data.image_size", ["is required"]),
    ("folder without a root", "data: {name: image-folder, image_size: 8}", 1, "data.root", ["is required"]),
    ("all held out", "data: {validation: 1.0}", 1, "data.validation", ["a fraction in [0, 1)"]),
    ("misspelled probe", "gradients: {probes: [signl]}", 1, "gradients.probes", ["did you mean signal?"]),
    ("a probe twice", "gradients: {probes: [signal, signal]}", 1, "gradients.probes", ["twice"]),
    ("unknown device", "device: gpu", 1, "device", ["auto, cpu, cuda, cuda:<number>, mps"]),
    ("unknown precision", "precision: float16", 1, "precision", ["did you mean bfloat16?"]),
    ("tf32 on a cpu", "device: cpu\nprecision: tf32", 2, "precision", ["only on cuda"]),
    ("an interval with other digits", "training: {checkpoint_every: 1٣s}", 1, "training.checkpoint_every", ["60s"]),
    ("a parameter of null", "network: {shortcut: {gate: {bias: ~}}}", 1, "network.shortcut", ["bias", "finite number"]),
    ("an infinite parameter", "network: {shortcut: {gate: {bias: .inf}}}", 1, "network.shortcut", ["bias", "finite number"]),
    (
        "a question with a color code",
        'question: "\\e[31mwhy?"',
        1,
        "question",
        ["'\\x1b[31mwhy?'", "without control characters"],
    ),
    (
        "a question with a change of direction",
        'question: "\\u202ewhy?"',
        1,
        "question",
        ["'\\u202ewhy?'", "without control characters"],
    ),
    ("an unpaired surrogate", 'data: {root: "\\ud800"}', 1, "data.root", ["text without unpaired surrogates"]),
    ("a path with a NUL", 'data: {root: "a\\0b"}', 1, "data.root", ["without control characters"]),
    ("a key with a color code", 'seeds: 1\n"\\e[2J\\n": 1', 2, "\\x1b[2J\\n", ["unknown key"]),
    ("an invalid interval", "training: {checkpoint_every: soon}", 1, "training.checkpoint_every", ["60s"]),
    ("one beta", "training: {betas: [0.9]}", 1, "training.betas", ["more entries"]),
]


@pytest.mark.parametrize(("text", "line", "key", "parts"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED])
def test_a_bad_value_is_refused_with_file_line_key_and_remedy(tmp_path, text, line, key, parts):
    path = tmp_path / "mine.yaml"
    path.write_text(text, encoding="utf-8")

    message = refusal(path)

    assert message.startswith(f"{path}:{line}: {key}: ")
    assert [part for part in parts if part not in message] == []


@pytest.mark.parametrize(
    ("content", "line", "problem"),
    [
        pytest.param(b"- 1\n- 2\n", "", "is not a config: a mapping", id="a list"),
        pytest.param(b"just text", "", "is not a config: a mapping", id="text"),
        pytest.param(b"a: [1\n", ":2", "not valid YAML", id="an open bracket"),
        pytest.param(b"seeds: 1\na: b: c\n", ":2", "not valid YAML: mapping values are not allowed here", id="two colons"),
        pytest.param(b"a: 1\n---\nb: 2\n", ":2", "not valid YAML", id="two documents"),
        pytest.param(b"1: 2\n", ":1", "key '1' is not text", id="a number as key"),
        pytest.param(b"seeds: !!python/object:os.system 1", ":1", "tags (!...) are not supported", id="a python tag"),
        pytest.param(b"seeds: !!bool maybe", ":1", "tags (!...) are not supported", id="a tag that the value does not fit"),
        pytest.param(b"? [a]\n: 1", ":1", "key of several values is not text", id="a list as key"),
        pytest.param(b"'a\x85b': 1\n'\xe2\x80\xae': 2", "", "is not a text file", id="an incomplete character"),
        pytest.param(b"\xff\xfe\x00", "", "is not a text file (UTF-8 YAML expected)", id="half of UTF-16"),
        pytest.param("question: café".encode("cp1252"), "", "is not a text file (UTF-8 YAML expected)", id="cp1252"),
        pytest.param(b"", "", "is empty", id="an empty file"),
        pytest.param(b"\xef\xbb\xbf", "", "is empty", id="only a byte order mark"),
        pytest.param(b"# a remark\n", "", "is empty", id="only a comment"),
        pytest.param(b"---\n", "", "is empty", id="an empty document"),
        pytest.param(b"{}\n", "", "is empty", id="an empty mapping"),
        pytest.param(b"seeds: 1\x00", "", "not valid YAML", id="a NUL byte"),
        pytest.param(b"[" * 1500, ":1", "is not a config: nested deeper than 8 levels", id="fifteen hundred brackets"),
        pytest.param(b"- " * 1500, ":1", "is not a config: nested deeper than 8 levels", id="fifteen hundred dashes"),
        pytest.param(
            b"a: [" + b"1," * 60_000 + b"]", ":1", "is not a config: more than 50000 values", id="sixty thousand values"
        ),
        pytest.param(b"? " + b"k" * 2000 + b"\n: 1", ":1", "key 'kkkkkk", id="a key of two thousand characters"),
        pytest.param(b"#" * 1_000_001, "", "is larger than the limit of 1000000 bytes", id="one byte more than a megabyte"),
    ],
)
def test_a_file_that_is_not_a_config_is_refused_and_named(tmp_path, content, line, problem):
    path = tmp_path / "mine.yaml"
    path.write_bytes(content)

    assert refusal(path).startswith(f"{path}{line}: {problem}")


def test_a_folder_is_not_a_config(tmp_path):
    assert refusal(tmp_path) == f"{tmp_path}: is a folder; name a YAML file"


def test_a_missing_file_is_named(tmp_path):
    assert refusal(tmp_path / "none.yaml") == f"{tmp_path / 'none.yaml'}: no such file"


def test_a_misspelled_shipped_config_is_answered_with_the_nearest_one():
    message = refusal(Path("digts"))

    assert message.startswith("digts: neither a file nor a shipped config (")
    assert message.endswith("did you mean digits?")


def test_a_file_whose_stem_is_not_a_folder_name_needs_a_name(tmp_path):
    path = tmp_path / "my first try.yaml"
    path.write_text("seeds: 1")

    assert refusal(path).startswith(f"{path}: name: 'my first try' must be a folder name")
    assert config.load(path, ["name=first"]).name == "first"


@pytest.mark.parametrize(
    ("family", "block_layers", "depth", "expected"),
    [
        ("mlp", 2, 2, [2]),
        ("mlp", 2, 64, [64]),
        ("mlp", 1, 7, [7]),
        ("mlp", 3, 10, [8, 11]),
        ("cnn", 2, 2, [2]),
        ("cnn", 2, 20, [20]),
        ("cnn", 2, 110, [110]),
        ("cnn", 2, 55, [50, 56]),
        ("cnn", 1, 6, [5, 8]),
        ("cnn", 1, 3, [2, 5]),
    ],
)
def test_a_depth_is_stem_plus_blocks_plus_classifier(family, block_layers, depth, expected):
    step = block_layers * (3 if family == "cnn" else 1)
    possible = range(2, 200, step)  # every valid depth
    below, above = max(d for d in possible if d <= depth), min(d for d in possible if d >= depth)

    assert depths_near(depth, family, block_layers) == expected == sorted({below, above})


# ---- limits -----------------------------------------------------------------------------------------------------------

LARGEST = {  # the largest allowed value of a key
    "network.depth": 100_000,
    "network.width": 100_000,
    "training.epochs": 1_000_000,
    "training.steps": 10**9,
    "training.batch_size": 10_000_000,
    "training.stack": 1_000,
    "training.threads": 1_000,
    "training.checkpoint_every": 10**9,
    "gradients.every": 10**9,
    "data.limit": 10**9,
    "data.validation": 10**9,
    "seeds": 10_000,
}


@pytest.mark.parametrize("key", LARGEST)
def test_the_largest_number_is_allowed_and_the_next_one_refused(written, tmp_path, key):
    path = tmp_path / "mine.yaml"
    last = LARGEST[key]

    assert written(MINIMAL, f"{key}={last}")
    assert f"{key}: {last + 1} must be " in refusal(path, f"{key}={last + 1}")
    assert f"{key}: 1{'0' * 30} must be " in refusal(path, f"{key}=1{'0' * 30}")


@pytest.mark.parametrize(
    ("text", "key", "words"),
    [
        pytest.param("network: {family: cnn, depth: 6002, block_layers: 2000}", "network.block_layers", "1000", id="layers"),
        pytest.param("data: {name: image-folder, root: x, image_size: 1000000000}", "data.image_size", "10000", id="pixels"),
        pytest.param("training: {warmup: {steps: 10000000000, factor: 1}}", "training.warmup.steps", "1000000000", id="warmup"),
        pytest.param(f"question: {'why ' * 2000}", "question", "4096", id="a question of eight thousand characters"),
        pytest.param(f"seeds: [{10**16}]", "seeds", "none above 9007199254740991", id="a seed that JSON cannot hold"),
        pytest.param(f"seeds: {list(range(10_001))}", "seeds", "at most 10000 seeds", id="ten thousand and one seeds"),
        pytest.param(
            f"training: {{schedule: step, milestones: {list(range(1, 1002))}}}",
            "training.milestones",
            "no more entries than 1000",
            id="a thousand and one milestones",
        ),
        pytest.param(
            f"training: {{lr: {list(range(1, 1002))}}}",
            "training.lr",
            "has 1001 values; reduce them to at most 1000",
            id="an axis",
        ),
        pytest.param(
            "".join(
                f"{section}: {{{name}: {list(range(1, 1001))}, {other}: {list(range(1, 1001))}}}\n"
                for section, name, other in (("network", "width", "init_scale"), ("training", "lr", "eps"))
            ),
            "network.width",
            "1000 (network.width) x 1000 (network.init_scale) x 1000 (training.lr) x 1000 (training.eps) x 5 (seeds) "
            "= 5000000000000",
            id="five trillion trials",
        ),
        pytest.param(
            "seeds: 10000\nnetwork: {init_scale: [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]}", "seeds", "at most 100000", id="trials"
        ),
    ],
)
def test_values_beyond_every_practical_config_are_refused(tmp_path, text, key, words):
    path = tmp_path / "mine.yaml"
    path.write_text(text, encoding="utf-8")

    message = refusal(path)

    assert f": {key}: " in message
    assert words in message
    assert len(message) < 500


def test_ten_thousand_seeds_are_stored_and_loaded(written, tmp_path):
    original = written(f"seeds: {[2**53 - 1 - seed for seed in range(10_000)]}")
    (tmp_path / "experiment.yaml").write_text(runs.to_yaml(original.settings), encoding="utf-8")

    assert config.load(tmp_path / "experiment.yaml", shortcuts=None) == original


def test_a_thousand_shortcuts_are_stored_and_loaded(written, tmp_path):
    shortcuts = [{"gate": {"bias": -1 - 1e-7 * number}} for number in range(999)]
    original = written(runs.to_yaml({"network": {"shortcut": shortcuts}, "seeds": 1}))
    (tmp_path / "experiment.yaml").write_text(runs.to_yaml(original.settings), encoding="utf-8")

    assert len(original.trials) == 1000
    assert config.load(tmp_path / "experiment.yaml", shortcuts=None) == original


BILLION_LAUGHS = "a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 10)
)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(BILLION_LAUGHS.encode(), id="a billion laughs"),
        pytest.param(b"a: &a [*a]", id="a list that contains itself"),
        pytest.param(b"\n" * 30_000_000, id="thirty megabytes"),
        pytest.param(b"{" * 900_000, id="nine hundred thousand brackets"),
        pytest.param(b"seeds: " + b"9" * 4_300, id="a number of four thousand digits"),
    ],
)
def test_refusing_a_file_takes_little_memory(tmp_path, content):
    path = tmp_path / "mine.yaml"
    path.write_bytes(content)
    tracemalloc.start()
    try:
        refusal(path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak < 10_000_000


def test_an_override_has_the_same_depth_limit_as_a_file(written, tmp_path):
    assert written(MINIMAL, "network.shortcut.gate.bias=-1").trials[-1].arm == "gate-bias-1"
    assert "is not an override" in refusal(tmp_path / "mine.yaml", "network." + "a." * 5000 + "b=1")


# ---- names that become folders ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a", "digits-2", "Mine_1.5", "con-2", "console", "com10", "nul1", "x" * 60, "0"])
def test_a_safe_name_is_accepted(written, name):
    assert written(f"name: '{name}'").name == name


@pytest.mark.parametrize(
    "name",
    [
        "../x", "..", ".", "/x", "/etc/passwd", "C:", "C:\\x", "a/b", "a\\b", ".hidden", "", " ", "a b", "a ", "x" * 61, "a.",
        "a\n", "-x", "~", "$HOME", "a*", "\u0430", "\uff41", "a\uff0eb", "a\uff0fb", "a\u2215b", "é", "१", "a\0", "a\x1b",
        "\u202ea",
    ],
)  # fmt: skip
def test_a_name_that_could_leave_the_folder_is_refused(tmp_path, name):
    path = tmp_path / "mine.yaml"
    path.write_text(f"name: {json.dumps(name)}", encoding="utf-8")

    assert refusal(path).startswith(f"{path}:1: name: {name!r}"[:80])
    assert "must be a folder name of at most 60 characters: letters, digits, '.', '_', '-'" in refusal(path)


@pytest.mark.parametrize("name", ["CON", "con", "Nul", "aux", "prn", "COM1", "lpt9", "nul.txt", "Con.a.b"])
def test_a_name_that_windows_reserves_for_a_device_is_refused(tmp_path, name):
    (tmp_path / "mine.yaml").write_text(MINIMAL)

    assert f"name: {name!r} is a reserved device name on Windows" in refusal(tmp_path / "mine.yaml", f"name={name}")


def test_the_data_folder_may_be_anywhere(written):
    for root in ("../x", "/srv/data", "C:\\data", "~", "zwei Wörter"):
        assert written(f"data: {{root: {json.dumps(root)}}}").shared.data.root == root


@pytest.mark.parametrize("name", ["plain-d8-s0", "gate-bias-6-lr1e-05-s3", "scaled-scale1e+20-s0", "0", "a" * 200, "con-s0"])
def test_names_of_trials_and_stacks_contain_letters_digits_and_four_signs(name):
    assert TypeAdapter(config.TrialName).validate_python(name) == name


@pytest.mark.parametrize(
    "name",
    ["", "..", "a..b", "../a", "a/b", "a\\b", ".a", "-a", "+a", "a b", "a:b", "é", "a" * 201, "nul", "aux.s0", "a.", "a\n"],
)
def test_other_names_of_trials_are_refused(name):
    with pytest.raises(ValidationError, match="cannot name a trial"):
        TypeAdapter(config.TrialName).validate_python(name)


@pytest.mark.parametrize(
    ("shortcut", "arm"),
    [
        ("half time", "half time"),
        ("../mine", "../mine"),
        ("mein-kürzel", "mein-kürzel"),
        ("nul.1", "nul.1"),
        ("{mine: {mode: a/b}}", "mine-modea/b"),
        ("{mine: {a b: 1}}", "mine-a b1"),
        (f"{{mine: {{mode: {'x' * 300}}}}}", f"mine-mode{'x' * 47}..."),
    ],
)
def test_a_custom_shortcut_whose_name_is_not_a_folder_name_is_refused(tmp_path, shortcut, arm):
    path = tmp_path / "mine.yaml"
    path.write_text(f"network: {{shortcut: [identity, {shortcut}]}}", encoding="utf-8")

    with pytest.raises(ConfigError, match="cannot name a trial; use at most 200 letters, digits") as caught:
        config.load(path, shortcuts=None)

    assert str(caught.value).startswith(f"{path}:1: network.shortcut: '{arm}")


@pytest.mark.parametrize("pair", ["[mine, Mine]", "[gate-bias-1, {gate: {bias: -1}}]"], ids=["letter case", "parameters"])
def test_two_networks_never_share_a_folder(tmp_path, pair):
    path = tmp_path / "mine.yaml"
    path.write_text(f"network: {{shortcut: {pair}}}\nseeds: 1")

    with pytest.raises(ConfigError, match="two networks would be trained as"):
        config.load(path, shortcuts=None)


def test_paths_with_all_axes_stay_under_200_characters_or_are_refused_with_the_axes(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text(
        "training: {weight_decay: [0.0001], eps: [1e-8], lr: [0.001], optimizer: [adamw], batch_size: [128]}\n"
        "network: {zero_init_residual: [false], init_scale: [0.5], init: [xavier], activation: [relu], norm: [layer],\n"
        "          placement: [branch], block_layers: [2], shortcut: [gate], width: [64], depth: [110], family: [mlp]}\n"
        "seeds: 1"
    )
    longest = max(len(trial.name) for trial in config.load(path).trials)

    assert config.load(path, ["name=" + "n" * (150 - longest)])
    message = refusal(path, "name=" + "n" * (151 - longest))
    assert "is longer than 150 characters; shorten the name of the experiment or of the shortcut, or vary fewer keys" in message
    assert "(network.family, network.depth, network.width, " in message


# ---- control characters -----------------------------------------------------------------------------------------------

CONTROLS = "\x1b[31mred\x1b]0;title\x07\b\r\x7f\x9b2J\u202e\u2028\udc80"


@pytest.mark.parametrize("text", ["", "plain", "Qu'est-ce que ça change\u202f?", "日本語 🎲 👨‍👩‍👧", "עברית", "a\tb\n"])
def test_text_without_control_characters_is_unchanged(text):
    assert config.escape_controls(text, kept="\n\t") == text


def test_control_characters_are_escaped():
    assert config.escape_controls(CONTROLS) == r"\x1b[31mred\x1b]0;title\x07\x08\r\x7f\x9b2J\u202e\u2028\udc80"
    assert config.escape_controls("a\nb\tc") == r"a\nb\tc"


@pytest.mark.parametrize(
    "print_text", [program.print_result, program.log, lambda text: program.fail(text, 2)], ids=["result", "remark", "error"]
)
def test_printed_text_has_no_control_characters_and_no_markup(print_text, capsys):
    with suppress(SystemExit):
        print_text(f"mine.yaml:100: [red]a[/red] [b]\n{CONTROLS}")
    printed = "".join(capsys.readouterr()).removeprefix("resexp: ")

    assert printed == f"mine.yaml:100: [red]a[/red] [b]\n{config.escape_controls(CONTROLS)}\n"


# ---- overrides --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("overrides", "key", "expected"),
    [
        ([], "training.lr", 0.5),
        (["training.lr=1e-2"], "training.lr", 0.01),
        (["training.lr=1e-2", "training.lr=1e-4"], "training.lr", 0.0001),
        (["training.batch_size=8"], "training.batch_size", 8),
        (["seeds=2"], "seeds", (0, 1)),
        (["network.init_scale="], "network.init_scale", None),
        (["name=other"], "name", "other"),
    ],
    ids=["none", "over the file", "the last wins", "over a default", "top level", "empty means null", "name"],
)
def test_the_file_overrides_defaults_and_the_command_line_overrides_the_file(written, overrides, key, expected):
    assert value(written("network: {init_scale: 2}\ntraining: {lr: 0.5}\n", *overrides), key) == expected


@pytest.mark.parametrize("written_key", ["epochs", "steps"])
@pytest.mark.parametrize("override_key", ["epochs", "steps"])
def test_epochs_or_steps_on_the_command_line_replace_both_in_the_file(written, written_key, override_key):
    training = written(f"training: {{{written_key}: 7}}", f"training.{override_key}=3").shared.training

    assert {"epochs": training.epochs, "steps": training.steps} == {"epochs": None, "steps": None, override_key: 3}


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("training.lr", "is not an override: write training.lr=VALUE"),
        ("=3", "is not an override: write key=value"),
        ("training..lr=3", "is not an override: write training.lr=3"),
        ("training.lr=quick", "training.lr: 'quick' must be a number"),
        ("netwrk.depth=8", "netwrk.depth: unknown key; did you mean network.depth?"),
        ("network.depth=[8", "not valid YAML"),
        ("network.depth=9", "network.depth: 9 is not a valid depth for this mlp"),
        ("name=\x1b", "not valid YAML"),
        ("a.a.a.a.a.a.a.a.a=1", "is not an override: write key=value"),
        ("training.momentum=0.9", "training.momentum: has no effect with training.optimizer: adam"),
    ],
)
def test_a_bad_override_is_quoted(tmp_path, override, message):
    path = tmp_path / "mine.yaml"
    path.write_text("training:\n  lr: 0.5\n")

    error = refusal(path, override)

    assert error.startswith(f"override {override!r}")
    assert message in error


def test_an_override_may_add_an_axis(written):
    assert names(written("seeds: 1", "network.depth=[2,4]")) == [
        "plain-d2-s0",
        "identity-d2-s0",
        "plain-d4-s0",
        "identity-d4-s0",
    ]


# ---- the grid ---------------------------------------------------------------------------------------------------------


def test_the_grid_is_the_product_of_all_axes_and_seeds_with_each_plain_network_once(written):
    experiment = written(
        "training: {lr: [0.1, 0.01]}\n"
        "network: {init: [pytorch, he], norm: [none, layer], depth: [4, 8], shortcut: [identity, skipinit, projection-all]}\n"
        "seeds: [3, 1]\n"
    )
    arms = ("plain", "identity", "skipinit", "projection-all")
    cells = itertools.product(("d4", "d8"), ("none", "layer"), ("pytorch", "he"), ("0.1", "0.01"), (3, 1))
    expected = {f"{arm}-{d}-norm-{norm}-init-{init}-lr{lr}-s{s}" for d, norm, init, lr, s in cells for arm in arms}

    assert set(names(experiment)) == expected
    assert len(names(experiment)) == len(expected) == 4 * 16 * 2


def test_excluded_combinations_are_not_trained_and_all_others_are(written):
    grid = "network: {init: [he, xavier, pytorch], norm: [none, layer], depth: [4, 8]}\nseeds: 2\n"

    everything = names(written(grid))
    experiment = written(f"{grid}exclude: [{{init: [he, xavier], norm: layer}}, {{network.depth: 8, init: pytorch}}]")

    left_out = {name for name in everything if "norm-layer-init-he" in name or "norm-layer-init-xavier" in name}
    left_out |= {name for name in everything if "-d8-" in name and "init-pytorch" in name}
    assert 0 < len(left_out) < len(everything)
    assert names(experiment) == [name for name in everything if name not in left_out]
    assert config.experiment_from(experiment.settings) == experiment


@pytest.mark.parametrize(
    ("exclude", "message"),
    [
        ("3", "must be a list of combinations"),
        ("[{}]", "must be a list of combinations"),
        ("[{ini: he}]", "'ini' is not one of network.family"),
        ("[{init: hee}]", "init: 'hee' is not one of pytorch, he"),
        ("[{init: [he, xavier]}]", "leaves nothing to train"),
    ],
)
def test_a_bad_exclusion_is_refused(written, exclude, message):
    with pytest.raises(ConfigError, match=message) as caught:
        written(f"network: {{init: [he, xavier]}}\nexclude: {exclude}")

    assert caught.value.key == "exclude"


def test_an_exclusion_of_a_value_that_an_override_removes_has_no_effect(written):
    grid = "network: {init: [he, xavier], norm: [none, layer]}\nexclude: [{init: he, norm: layer}]"

    assert names(written(grid, "network.init=xavier")) == names(written("network: {init: xavier, norm: [none, layer]}"))


def test_every_trial_has_the_settings_in_its_name(written):
    for trial in written("network: {depth: [4, 8], norm: [none, layer]}\nseeds: [3, 1]").trials:
        network = trial.settings.network

        assert trial.name == f"{trial.arm}-d{network.depth}-norm-{network.norm}-s{trial.seed}"
        assert trial.arm == network.shortcut


def test_all_cells_of_a_seed_come_before_the_next_seed(written):
    seeds = [trial.seed for trial in written("network: {depth: [4, 8]}\nseeds: [3, 1]").trials]

    assert seeds == [3] * 4 + [1] * 4


def test_names_have_a_fixed_order_of_keys_for_any_order_of_the_file(written):
    text = "network: {init: [pytorch], norm: [none], depth: 8}\nseeds: 1"

    assert names(written(text))[0] == "plain-d8-norm-none-init-pytorch-s0"


def test_every_axis_has_a_position_in_the_name(written):
    text = (
        "training: {weight_decay: [0], eps: [1e-16], lr: [1e-3], optimizer: [adam], batch_size: [64]}\n"
        "network: {zero_init_residual: [false], init_scale: [2], init: [he], activation: [relu], norm: [none],\n"
        "          placement: [post], block_layers: [2], shortcut: [identity], width: [64], depth: [8], family: [mlp]}\n"
        "seeds: 1"
    )

    assert names(written(text))[1] == (
        "identity-mlp-d8-w64-layers2-post-norm-none-relu-init-he-scale2-zero-init-residual-false-batch64-adam-lr0.001-eps1e-16-decay0-s0"
    )


@pytest.mark.parametrize(
    ("network", "arms"),
    [
        ("shortcut: identity", ["plain", "identity"]),
        ("shortcut: [identity, skipinit]", ["plain", "identity", "skipinit"]),
        ("shortcut: [skipinit, plain]", ["plain", "skipinit"]),
        ("shortcut: plain", ["plain"]),
        ("shortcut: [identity, skipinit], plain: false", ["identity", "skipinit"]),
    ],
)
def test_a_cell_has_its_plain_network_once_or_not_at_all(written, network, arms):
    assert [trial.arm for trial in written(f"network: {{{network}}}\nseeds: 1").trials] == arms


def test_a_custom_shortcut_is_an_arm(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("network: {shortcut: [identity, mine]}\nseeds: 1")
    experiment = config.load(path, shortcuts=[*config.SHORTCUT_NAMES, "mine"])

    assert [trial.arm for trial in experiment.trials] == ["plain", "identity", "mine"]
    assert config.load(path, shortcuts=None) == experiment
    assert "'mine' is not one of plain, identity" in refusal(path)


def test_momentum_is_allowed_if_one_of_two_optimizers_uses_it(written):
    assert len(written("training: {optimizer: [sgd, adam], momentum: 0.9}\nseeds: 1").trials) == 4


def test_every_residual_trial_is_paired_with_the_plain_trial_of_its_cell_and_seed(written):
    experiment = written("network: {depth: [4, 8], shortcut: [identity, skipinit]}\nseeds: 2")
    pairs = [(plain.name, residual.name) for plain, residual in config.pairs(experiment.trials, experiment.axes)]

    assert pairs == [
        (f"plain-d{d}-s{s}", f"{arm}-d{d}-s{s}") for s in (0, 1) for d in (4, 8) for arm in ("identity", "skipinit")
    ]


def test_each_shortcut_with_parameters_has_a_parameter_matched_baseline(written):
    text = "network: {depth: [2, 8], shortcut: [identity, gate, {gate: {bias: -1}}], plain_width: parameters}\nseeds: 1"
    experiment = written(text)
    arms = [trial.arm for trial in experiment.trials if trial.settings.network.depth == 8]
    baselines = {trial.arm: trial for trial in experiment.trials if trial.parameters_of is not None}

    assert arms == ["plain", "identity", "plain-as-gate", "gate", "gate-bias-1"]
    assert [trial.arm for trial in experiment.trials if trial.settings.network.depth == 2] == [
        "plain", "identity", "gate", "gate-bias-1",
    ]  # fmt: skip
    assert {arm: trial.parameters_of for arm, trial in baselines.items()} == {"plain-as-gate": "gate"}
    assert {trial.settings.network.shortcut for trial in baselines.values()} == {"plain"}
    assert [trial.arm for trial in written(text.replace("parameters", "same")).trials if trial.arm.startswith("plain-as")] == []


def test_a_residual_trial_is_also_paired_with_its_parameter_matched_baseline(written):
    text = "network: {depth: 8, shortcut: [identity, gate, {gate: {bias: -1}}], plain_width: parameters}\nseeds: 1"
    experiment = written(text)

    assert [(plain.arm, residual.arm) for plain, residual in config.pairs(experiment.trials, experiment.axes)] == [
        ("plain", "identity"), ("plain", "gate"), ("plain-as-gate", "gate"),
        ("plain", "gate-bias-1"), ("plain-as-gate", "gate-bias-1"),
    ]  # fmt: skip


# ---- differences between experiments ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        "seeds=[7]",
        "network.depth=[8,32]",
        "network.shortcut=skipinit",
        "network.norm=[layer]",
        "question=why?",
        "data.root=elsewhere",
        "data.download=true",
        "training.checkpoint_every=5",
        "compare.margin=0.5",
    ],
)
def test_added_values_and_free_keys_keep_the_experiment_the_same(written, change):
    text = "network: {norm: [none, layer]}"
    new = written(text, change)

    assert new != written(text)
    assert config.shared_differences(written(text).settings, new.settings, new.axes) == []


@pytest.mark.parametrize(
    ("change", "difference"),
    [
        ("training.lr=0.5", ("training.lr", 0.001, 0.5)),
        ("training.lr=[0.001]", ("training.lr", 0.001, [0.001])),
        ("network.norm=none", ("network.norm", ["none", "layer"], "none")),
        ("network.width=8", ("network.width", 64, 8)),
        ("data.name=mnist", ("data.name", "digits", "mnist")),
        ("gradients.every=5", ("gradients.every", 25, 5)),
    ],
    ids=["a shared key", "a value becomes an axis", "an axis becomes a value", "width", "data", "logging interval"],
)
def test_a_changed_shared_key_makes_it_another_experiment(written, change, difference):
    text = "network: {norm: [none, layer]}"
    new = written(text, change)

    assert config.shared_differences(written(text).settings, new.settings, new.axes) == [difference]


# ---- the execution plan -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("overrides", "device", "cores", "threads"),
    [
        pytest.param(["seeds=1"], "cpu", 8, 1, id="an mlp: one"),
        pytest.param(["network.family=cnn", "seeds=1"], "cpu", 8, 4, id="two cnns share eight cores"),
        pytest.param(["network.family=cnn", "seeds=5"], "cpu", 8, 1, id="more cnns than cores"),
        pytest.param(["network.family=cnn", "seeds=1"], "cuda:0", 8, 1, id="an accelerator"),
        pytest.param(["training.threads=3"], "cpu", 2, 3, id="set in the config"),
    ],
)
def test_threads_follow_a_rule_over_family_trials_and_cores(written, overrides, device, cores, threads):
    plan = config.make_plan(written(MINIMAL, *overrides), device, cores)

    assert {stack.threads for stack in plan.stacks} == {threads}
    assert plan.threads == threads


def stacks(experiment, device="cpu", cores=1):
    """The arms and seeds of each planned stack."""
    trials = {trial.name: trial for trial in experiment.trials}
    plan = config.make_plan(experiment, device, cores)
    assert sorted(name for stack in plan.stacks for name in stack.trials) == sorted(trials)
    assert len({stack.name for stack in plan.stacks}) == len(plan.stacks)
    return [[f"{trials[name].arm} {trials[name].seed}" for name in stack.trials] for stack in plan.stacks]


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("network: {family: cnn}", id="convolutions"),
        pytest.param("training: {stack: 1}", id="stacks of one"),
        pytest.param("network: {depth: 2, shortcut: [identity, gate]}", id="depth 2, where all arms are one network"),
        pytest.param("network: {depth: [8, 16], plain: false}\ndata: {name: digits}", id="one trial per cell"),
    ],
)
def test_a_trial_that_is_not_stacked_has_a_separate_stack(written, text):
    experiment = written(f"{text}\nseeds: {1 if 'plain' in text else 2}")

    assert sorted(map(len, stacks(experiment))) == [1] * len(experiment.trials)


def test_seeds_and_constant_shortcuts_of_one_shape_are_one_stack(written):
    text = "network: {shortcut: [identity, {scaled: {scale: 0.5}}, gate, rezero, depth-scaled, decayed]}\nseeds: 2"

    assert sorted(stacks(written(text)), key=len) == [
        ["gate 0", "gate 1"],
        ["rezero 0", "rezero 1"],
        [f"{arm} {seed}" for seed in (0, 1) for arm in ("plain", "identity", "scaled-scale0.5", "depth-scaled", "decayed")],
    ]


def test_convolutional_networks_are_stacked_only_on_request_and_only_with_constant_or_mapped_shortcuts(written):
    """A gate or a learned scalar would need other axes."""
    text = "network: {family: cnn, shortcut: [identity, projection, gate, rezero]}\ntraining: {stack: 4}\nseeds: 2"

    assert sorted(sorted(stack) for stack in stacks(written(text))) == [
        ["gate 0"],
        ["gate 1"],
        ["identity 0", "identity 1", "plain 0", "plain 1"],
        ["projection 0", "projection 1"],
        ["rezero 0"],
        ["rezero 1"],
    ]


@pytest.mark.parametrize(
    "axis",
    [
        "network: {depth: [8, 16]}",
        "network: {norm: [none, layer]}",
        "training: {lr: [0.1, 0.01]}",
        "network: {init: [he, fixup]}",
    ],
)
def test_trials_that_differ_in_more_than_seed_and_shortcut_are_never_in_one_stack(written, axis):
    experiment = written(f"{axis}\nseeds: 2")
    settings = {trial.name: config.conditions(trial.settings) for trial in experiment.trials}

    for stack in config.make_plan(experiment, "cpu", 1).stacks:
        assert all(settings[name] == settings[stack.trials[0]] for name in stack.trials)
    assert len(stacks(experiment)) == 2


@pytest.mark.parametrize(
    "axis",
    [
        "init: [he, xavier, orthogonal, identity, looks-linear]",
        "init_scale: [0.5, 1, 2]",
        "zero_init_residual: [true, false]\n  init_scale: [1, 2]",
    ],
)
def test_trials_that_differ_in_initialization_are_one_stack(written, axis):
    experiment = written(f"network:\n  {axis}\nseeds: 2")

    assert list(map(len, stacks(experiment))) == [len(experiment.trials)]


def test_the_parameter_matched_baseline_has_another_width_and_a_separate_stack(written):
    planned = stacks(written("network: {shortcut: [gate], plain_width: parameters}\nseeds: 2"))

    assert sorted(planned) == [["gate 0", "gate 1"], ["plain 0", "plain 1"], ["plain-as-gate 0", "plain-as-gate 1"]]


@pytest.mark.parametrize(
    ("cores", "device", "sizes"),
    [
        pytest.param(1, "cpu", [10], id="one core"),
        pytest.param(2, "cpu", [5, 5], id="no core is idle"),
        pytest.param(4, "cpu", [2, 2, 3, 3], id="stacks as equal as possible"),
        pytest.param(64, "cpu", [1] * 10, id="more cores than trials"),
        pytest.param(64, "cuda:0", [10], id="an accelerator is one core"),
    ],
)
def test_a_stack_is_split_so_that_no_core_is_idle(written, cores, device, sizes):
    assert sorted(map(len, stacks(written("seeds: 5"), device, cores))) == sizes


@pytest.mark.parametrize(("device", "sizes"), [("cpu", [20, 20]), ("cuda:0", [40])])
def test_a_stack_has_a_maximum_size(written, device, sizes):
    assert sorted(map(len, stacks(written("seeds: 20"), device, 1))) == sizes


@pytest.mark.parametrize(("size", "sizes"), [(4, [2, 4, 4]), (3, [1, 3, 3, 3]), (50, [10])])
def test_the_size_of_a_stack_in_the_config_holds_for_any_number_of_cores(written, size, sizes):
    assert sorted(map(len, stacks(written(f"training: {{stack: {size}}}\nseeds: 5"), "cpu", 8))) == sizes


def test_the_most_expensive_stacks_come_first(written):
    planned = config.make_plan(written("network: {depth: [8, 64, 32]}\nseeds: 1"), "cpu", 1).stacks

    assert [stack.trials[0] for stack in planned] == ["plain-d64-s0", "plain-d32-s0", "plain-d8-s0"]


def test_a_custom_shortcut_is_never_stacked(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("network: {shortcut: mine}\nseeds: 2")
    planned = stacks(config.load(path, shortcuts=None))

    assert sorted(planned) == [["mine 0"], ["mine 1"], ["plain 0", "plain 1"]]


def test_an_experiment_keeps_its_plan_on_another_machine(written):
    experiment = written("network: {family: cnn}")
    plan = config.make_plan(experiment, "cpu", 2)

    assert config.make_plan(experiment, "cuda:0", 64, existing=plan) == plan


def test_added_trials_are_appended_and_old_stacks_stay(written):
    old = config.make_plan(written("network: {family: cnn}\nseeds: 1"), "cpu", 8)
    extended = written("network: {family: cnn, depth: [8, 14]}\nseeds: 2")
    new = config.make_plan(extended, "cpu", 8, existing=old)

    assert new.stacks[: len(old.stacks)] == old.stacks
    assert sorted(name for stack in new.stacks for name in stack.trials) == sorted(names(extended))


# ---- names ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("listed", "built"),
    [
        (config.SHORTCUT_NAMES, SHORTCUTS),
        (config.NORM_NAMES, NORMS),
        (config.PLACEMENT_NAMES, PLACEMENTS),
        (config.INIT_NAMES, INITS),
        (config.ACTIVATION_NAMES, ACTIVATIONS),
        (config.DATASET_NAMES, DATASETS),
        (config.PROBE_NAMES, PROBES),
    ],
    ids=["shortcuts", "normalization layers", "placements", "inits", "activations", "datasets", "probes"],
)
def test_the_lists_without_torch_name_exactly_the_registered_entries(listed, built):
    assert list(listed) == list(built)


@pytest.mark.parametrize(
    ("model", "field", "listed"),
    [
        (config.NetworkSettings, "norm", config.NORM_NAMES),
        (config.NetworkSettings, "placement", config.PLACEMENT_NAMES),
        (config.NetworkSettings, "init", config.INIT_NAMES),
        (config.DataSettings, "name", config.DATASET_NAMES),
    ],
)
def test_the_literals_of_the_models_are_the_listed_names(model, field, listed):
    assert get_args(model.model_fields[field].annotation) == listed


def test_the_schema_offers_the_listed_probes():
    probes = config.schema()["$defs"]["GradientSettings"]["properties"]["probes"]

    assert probes["items"]["enum"] == list(config.PROBE_NAMES)


# ---- the JSON schema --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def schema_errors():
    jsonschema = pytest.importorskip("jsonschema")
    jsonschema.Draft202012Validator.check_schema(config.schema())
    validator = jsonschema.Draft202012Validator(config.schema())
    return lambda text: [error.json_path for error in validator.iter_errors(parse_yaml(text, "a.yaml")[0] or {})]


@pytest.mark.parametrize("name", SHIPPED)
def test_the_schema_accepts_every_shipped_config(schema_errors, name):
    assert schema_errors(config.shipped()[name].read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    ("text", "paths"),
    [
        ("network: {depth: [8, 20], shortcut: [identity, plain]}\ntraining: {lr: [1e-3, 0.1]}\nseeds: [3, 4]", []),
        ("training: {warmup: {steps: 4, factor: 0.1}, clip_norm: ~}\ndata: {validation: 500}", []),
        ("depth: [8, 20]\nlr: 0.1\nmilestones: []\ntraining_: 1", ["$"]),
        ("depth: [8, 20]\nlr: 0.1\nmilestones: []", []),
        ("depth: 8\ntraining: {lr: 0.1}", []),
        ("depth: 8\nnetwork: {width: 4}", ["$"]),
        ("depth: 1", ["$.depth"]),
        ("network: {norm: no}", ["$.network.norm"]),
        ("network: {activation: [silu, {tat: {eta: 0.8}}, {leaky-relu: {}}]}", []),
        ("network: {activation: swish}", ["$.network.activation"]),
        ("network: {activation: {tat: {eta: 1}}}", ["$.network.activation"]),
        ("network: {activation: {relu: {}}}", ["$.network.activation"]),
        ("network: {widht: 3}", ["$.network"]),
        ("training: {epochs: two}", ["$.training.epochs"]),
        ("network: {depth: []}", ["$.network.depth"]),
        ("seeds: 0", ["$.seeds"]),
        ("seeds: 10001", ["$.seeds"]),
        ("network: {depth: 100001}", ["$.network.depth"]),
        ("network: {width: [8, 100001]}", ["$.network.width"]),
        ("training: {batch_size: 10000001, epochs: 1000001}", ["$.training.epochs", "$.training.batch_size"]),
        (f"training: {{milestones: {list(range(1, 1002))}}}", ["$.training.milestones"]),
        (f"training: {{lr: {list(range(1, 1002))}}}", ["$.training.lr"]),
        ("training: {checkpoint_every: soon}", ["$.training.checkpoint_every"]),
    ],
)
def test_the_schema_agrees_with_the_loader(schema_errors, text, paths):
    assert schema_errors(text) == paths


@pytest.mark.parametrize("name", [*config.SHORTCUT_NAMES, *config.ACTIVATION_NAMES])
def test_the_parameters_and_defaults_of_a_variant_equal_those_of_its_builder(name):
    """Constant shortcuts read theirs from the properties; the other builders state them."""
    builder = SHORTCUTS[name] if name in SHORTCUTS else ACTIVATIONS[name]
    built = inspect.signature(builder).parameters.values()
    defaults = {parameter.name: parameter.default for parameter in built if parameter.default is not inspect.Parameter.empty}
    reads_properties = any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in built)

    assert reads_properties == (name in SHORTCUTS and config.shortcut_properties(name).is_constant)
    assert reads_properties or config.variant(name) == (name, defaults)


def test_parameters_of_a_shortcut_appear_in_its_arm_and_in_its_network(tmp_path):
    path = tmp_path / "table.yaml"
    path.write_text("network: {depth: 4, shortcut: [gate, {gate: {bias: 0}}, {scaled: {scale: 0.5, branch: 0.5}}]}\nseeds: 1")
    trials = config.load(path).trials
    networks = [training.build(trial, (1, 8, 8), 10) for trial in trials]

    assert [trial.arm for trial in trials] == ["plain", "gate", "gate-bias0", "scaled-scale0.5-branch0.5"]
    assert [network.blocks[0].shortcut.bias[0].item() for network in networks[1:3]] == [-6.0, 0.0]
    assert (networks[3].blocks[0].shortcut.s, networks[3].blocks[0].shortcut.a) == (0.5, 0.5)


# ---- activations with parameters ---------------------------------------------------------------------------------------


def test_an_activation_with_parameters_is_an_axis_a_tag_and_an_override(written, tmp_path):
    experiment = written("network: {activation: [relu, {tat: {eta: 0.8}}, leaky-relu], shortcut: plain, depth: 32}\nseeds: 1")
    stored = tmp_path / "experiment.yaml"
    stored.write_text(runs.to_yaml(experiment.settings), encoding="utf-8")

    assert [trial.name for trial in experiment.trials] == [
        "plain-d32-relu-s0",
        "plain-d32-tat-eta0.8-s0",
        "plain-d32-leaky-relu-s0",
    ]
    assert config.load(stored, shortcuts=None) == experiment
    for override in ("activation={tat:{eta:0.8}}", "network.activation.tat.eta=0.8", "network.activation={tat: {eta: 0.8}}"):
        assert written("shortcut: plain", override).shared.network.activation == {"tat": {"eta": 0.8}}
    several = written("shortcut: plain", "activation={tat: {eta: 0.8}},silu")
    assert several.settings["network"]["activation"] == [{"tat": {"eta": 0.8}}, "silu"]


def test_variant_gives_the_parameters_that_are_not_written_their_defaults():
    assert config.variant("tat") == ("tat", {"eta": 0.9})
    assert config.variant({"leaky-relu": {"slope": 0.2}}) == ("leaky-relu", {"slope": 0.2})
    assert config.variant("identity") == ("identity", {})
    assert config.variant({"mine": {"p": 1}}) == ("mine", {"p": 1})


def test_activations_of_one_stack_are_equal(written):
    planned = stacks(written("network: {activation: [{tat: {eta: 0.8}}, {tat: {eta: 0.9}}], shortcut: identity}\nseeds: 2"))

    assert len(planned) == 2
