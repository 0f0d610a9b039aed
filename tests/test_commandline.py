"""First commands of new users: each is accepted, or refused with one line that suggests a valid form."""

import codecs
import itertools
import re
import shlex

import fabricated
import pytest

from resexp import comparison, config, tables
from resexp.config import ConfigError
from resexp.config.keys import KEYS, LISTS, SHORT, suggested_key
from resexp.config.synonyms import KEYS as KEY_SYNONYMS
from resexp.config.synonyms import VALUES as VALUE_SYNONYMS

MINIMAL = "seeds: 1\n"


@pytest.fixture
def written(tmp_path):
    """Writes mine.yaml, as text or as bytes, and loads it."""

    def load(content, *overrides):
        path = tmp_path / "mine.yaml"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return config.load(path, overrides)

    return load


@pytest.fixture
def refusal(written):
    """The one-line error about a config and its overrides."""

    def message(content, *overrides):
        with pytest.raises(ConfigError) as caught:
            written(content, *overrides)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    return message


# ---- accepted: other notations with the same meaning ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("question", "Deeper, wider, or both?", "Deeper, wider, or both?"),
        ("question", "why: not #1 [or {2}", "why: not #1 [or {2}"),
        ("question", "'quoted: text'", "quoted: text"),
        ("question", "~", None),
        ("data.root", "C:\\data, old", "C:\\data, old"),
        ("compare.primary", "test_accuracy: identity > plain at depth=8, norm=none", None),
    ],
)
def test_a_text_value_may_contain_commas_and_colons(written, key, text, value):
    settings = written(MINIMAL, f"{key}={text}").settings
    section, _, name = key.rpartition(".")

    assert (settings[section] if section else settings)[name] == (text if key == "compare.primary" else value)


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        (["depth=8"], ["network.depth=8"]),
        (["lr=1e-2", "epochs=3"], ["training.lr=0.01", "training.epochs=3"]),
        (["network.depth=8,64"], ["network.depth=[8,64]"]),
        (["depth=8, 64"], ["network.depth=[8,64]"]),
        (["depth=8,"], ["network.depth=[8]"]),
        (["network.depth=(8, 64)"], ["network.depth=[8,64]"]),
        (["training.lr=0.1,0.01"], ["training.lr=[0.1,0.01]"]),
        (["training.weight_decay=0,1e-4"], ["training.weight_decay=[0,1e-4]"]),
        (["network.init_scale=1,2"], ["network.init_scale=[1,2]"]),
        (["network.norm=none,layer"], ["network.norm=[none,layer]"]),
        (["seeds=3,5"], ["seeds=[3,5]"]),
        (["gradients.probes=signal,gradient_norm"], ["gradients.probes=[signal,gradient_norm]"]),
        (["training.betas=0.8,0.99"], ["training.betas=[0.8,0.99]"]),
        (["schedule=step", "milestones=20,40"], ["training.schedule=step", "training.milestones=[20,40]"]),
        (["training.lr = 0.01"], ["training.lr=0.01"]),
        (["training.lr", "=", "0.01", "seeds=2"], ["training.lr=0.01", "seeds=2"]),
        (["training.lr=", "0.01"], ["training.lr=0.01"]),
        (["training.lr", "=0.01"], ["training.lr=0.01"]),
        (["network.init_scale=", "seeds=2"], ["network.init_scale=null", "seeds=2"]),
        (["network.depth=8,", "64", "seeds=2"], ["network.depth=[8,64]", "seeds=2"]),
        (["network.depth=[8,", "64]"], ["network.depth=[8,64]"]),
        (["network.shortcut={gate:{bias:-6}}"], ["network.shortcut={gate: {bias: -6}}"]),
        (["shortcut=identity,{gate:{bias:-4}}"], ["network.shortcut=[identity, {gate: {bias: -4}}]"]),
        (["network.shortcut={scaled: {scale: 0.5, branch: 2}}"], ["network.shortcut=[{scaled: {scale: 0.5, branch: 2}}]"]),
        (["training.warmup={steps:3,factor:0.1}"], ["training.warmup={steps: 3, factor: 0.1}"]),
    ],
    ids=" ".join,
)
def test_sections_and_brackets_are_optional_in_an_override(written, typed, meant):
    assert written(MINIMAL, *typed) == written(MINIMAL, *meant)


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        (
            "depth: 20\nwidth: 64\nshortcut: identity\ndevice: cpu\n",
            "network: {depth: 20, width: 64, shortcut: identity}\ndevice: cpu\n",
        ),
        ("lr: 0.1\nsteps: 5\nlimit: 64\n", "training: {lr: 0.1, steps: 5}\ndata: {limit: 64}\n"),
        ("depth: 8, 16\nnorm: none,layer\n", "network: {depth: [8, 16], norm: [none, layer]}\n"),
        ("seeds: 3, 4\n", "seeds: [3, 4]\n"),
        ("depth: 8\ntraining: {lr: 0.1}\n", "network: {depth: 8}\ntraining: {lr: 0.1}\n"),
    ],
)
def test_sections_and_brackets_are_optional_in_a_file_too(written, text, meant):
    assert written(text) == written(meant)
    assert set(written(text).settings) == set(written(MINIMAL).settings)  # stored settings have the long form


def test_the_section_is_optional_exactly_if_no_other_key_has_the_same_name():
    last = [key.rpartition(".")[2] for key in KEYS]

    assert {key for key in KEYS if "." in key} - set(SHORT.values()) == {"data.name"}  # "name" is the name of the experiment
    assert [name for name in SHORT if last.count(name) > 1] == []
    assert set(config.AXES) <= set(SHORT.values())


def test_an_override_changes_a_key_that_is_without_its_section_in_the_file(written):
    assert written("depth: 8\nwidth: 4\n", "network.depth=16") == written("network: {depth: 16, width: 4}")
    assert written("network: {depth: 8, width: 4}\n", "depth=16") == written("network: {depth: 16, width: 4}")


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_a_byte_order_mark_selects_the_encoding(written, encoding):
    text = "question: café?\r\nseeds: 1\r\n"
    mark = {"utf-16-le": codecs.BOM_UTF16_LE, "utf-16-be": codecs.BOM_UTF16_BE}.get(encoding, b"")

    assert written(mark + text.encode(encoding)) == written(text)
    assert written(text).question == "café?"


# ---- refused, with the text to write --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "line", "parts"),
    [
        ("depth: 8\nnetwork: {depth: 20}\n", 1, ["depth", "section network", "move it there"]),
        ("depth: 8\nnetwork: {width: 20}\n", 1, ["depth", "section network", "move it there"]),
        ("seeds: 1\nlr: 0,01\n", 2, ["training.lr", "write 0.01"]),
        ("training: {optimizer: sgd,\n  momentum: '0,9'}\n", 2, ["training.momentum", "write 0.9"]),
        ("seeds: 1\nepoch: 5\n", 2, ["epoch", "did you mean training.epochs?"]),
        ("seeds: 1\nwidht: 5\n", 2, ["widht", "did you mean network.width?"]),
        ("training:\n  depth: 5\n", 2, ["training.depth", "did you mean network.depth?"]),
        ("seeds: 1\nnetwork.depth: 5\n", 2, ["network.depth", "network: {depth: ...}"]),
        ("seeds: 1\nshortcut: {gate:{bias:-6}}\n", 2, ["network.shortcut", "space after each colon"]),
        ("seeds: 1\nshortcut: halved\n", 2, ["network.shortcut", "--import FILE.py"]),
    ],
)
def test_an_error_in_a_file_names_the_line_and_the_text_to_write(refusal, text, line, parts):
    message = refusal(text)

    assert f"mine.yaml:{line}: {parts[0]}: " in message
    assert [part for part in parts if part not in message] == []


HINTS = [
    # typed, the override that the refusal says to write
    ("training.lr=0,01", "training.lr=0.01"),
    ("training.lr=0,1", "training.lr=0.1"),
    ("training.weight_decay=0,1", "training.weight_decay=[0,1]"),
    ("training.momentum=0,9", "training.momentum=0.9"),
    ("training.batch_size=1,000", "training.batch_size=1000"),
    ("training.steps=10,000", "training.steps=10000"),
    ("training.steps=1e4", "training.steps=10000"),
    ("training.lr=\N{MINUS SIGN}1", "training.lr=-1"),
    ("training.lr=\N{LEFT DOUBLE QUOTATION MARK}0.1\N{RIGHT DOUBLE QUOTATION MARK}", "training.lr=0.1"),
    ("training.epochs=None", "training.epochs=null"),
    ("network.depth=8:64", "network.depth=8,64"),
    ("network.plain=no", "network.plain=false"),
    ("network.shortcut=none", "network.shortcut=plain"),
    ("network.norm=bn", "network.norm=batch"),
    ("network.norm=BatchNorm", "network.norm=batch"),
    ("network.init=kaiming", "network.init=he"),
    ("network.activation=ReLU", "network.activation=relu"),
    ("training.optimizer=Adam", "training.optimizer=adam"),
    ("data.name=MNIST", "data.name=mnist"),
    ("device=gpu", "device=cuda"),
    ("device=cuda0", "device=cuda"),
]


@pytest.mark.parametrize(("typed", "hint"), HINTS)
def test_a_wrong_value_is_answered_with_the_value_to_write(refusal, typed, hint):
    message = refusal(MINIMAL, typed)

    assert message.startswith(f"override {typed!r}: {typed.partition('=')[0]}: ")
    assert re.search(rf"; (write|did you mean) (.* )?{re.escape(hint.partition('=')[2])}(?=$|\?| )", message)


@pytest.mark.parametrize(
    ("typed", "key"),
    [
        ("Depth", "network.depth"),
        ("Network.Depth", "network.depth"),
        ("training.depth", "network.depth"),
        ("batch-size", "training.batch_size"),
        ("batch", "training.batch_size"),
        ("dataset", "data.name"),
        ("seed", "seeds"),
        ("epoch", "training.epochs"),
        ("learning_rate", "training.lr"),
        ("layers", "network.depth"),
        ("data", "data.name"),
    ],
)
def test_a_wrong_key_is_answered_with_the_dotted_key(refusal, typed, key):
    assert key in refusal(MINIMAL, f"{typed}=3").removeprefix(f"override '{typed}=3': {typed}: ")


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["depth", "8"], "write network.depth=VALUE"),
        (["depth:8"], "write network.depth=8"),
        (["network.depth=8", "64"], "separate several values with commas: network.depth=8,64"),
        (["network.shortcut=gate(bias=-6)"], "write parameters as in {gate: {bias: -6}}"),
    ],
)
def test_an_argument_that_is_not_an_override_is_answered_with_one(refusal, words, hint):
    assert hint in refusal(MINIMAL, *words)


def test_every_synonym_means_a_valid_key_or_value():
    allowed = {
        *config.SHORTCUT_NAMES,
        *config.ACTIVATION_NAMES,
        *config.NORM_NAMES,
        *config.INIT_NAMES,
        *config.DATASET_NAMES,
        "true",
        "false",
    }
    allowed |= {"cuda", "mps", "mlp", "cnn", "step", "float32", "float64", "bfloat16"}

    assert set(KEY_SYNONYMS.values()) <= set(KEYS)
    assert set(VALUE_SYNONYMS.values()) <= allowed
    assert {key: suggested_key(key) for key in KEYS} == {key: key for key in KEYS}
    assert set(LISTS) <= set(KEYS)


@pytest.mark.parametrize(
    ("typed", "near"),
    [
        ("mine.yml", "mine.yaml"),
        ("mine", "mine.yaml"),
        ("./digits.yaml", "digits"),
        ("Digits", "digits"),
        (".\\mine.yaml", "mine.yaml"),
    ],
)
def test_a_missing_config_is_answered_with_a_similar_name(tmp_path, monkeypatch, typed, near):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_text(MINIMAL)

    with pytest.raises(ConfigError, match=rf"did you mean {re.escape(near)}\?"):
        config.load(typed)


# ---- the command line itself --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "hint"),
    [
        ("train digits --depth 56", "write network.depth=56"),
        ("train digits --network.depth=8,64", "write network.depth=8,64"),
        ("train --epochs 5 digits", "write training.epochs=5"),
        ("train digits -lr 0.1", "write training.lr=0.1"),
        ("train digits --seed 3", "write seeds=3"),
        ("train digits --shortcut --quiet", "write network.shortcut=VALUE"),
        ("probe digits --learning-rate=0.1", "write training.lr=0.1"),
        ("time digits --depth 8", "write network.depth=8"),
        ("show digits --depth 8", "write network.depth=8"),
        ("train digits --gpu", "write device=cuda"),
        ("train digits --resume", "the same command resumes"),
        ("train digits --dryrun", "write --dry-run"),
        ("train digits —dry-run", "write --dry-run"),
        ("compare digits --allow_missing", "write --allow-missing"),
        ("train --config digits", "write the config first"),
        ("train digits mnist-mlp", "a second config after digits"),
        ("train digits 'network.shortcut={gate:' '{bias:' '-6}}'", "write 'network.shortcut={gate: {bias: -6}}' in quotes"),
        ("trian digits", "did you mean train?"),
        ("Train digits", "write resexp train digits"),
        ("run digits depth=8", "write resexp train digits depth=8"),
        ("digits", "write resexp train digits"),
        ("mine.yaml seeds=2", "write resexp train mine.yaml seeds=2"),
        ("list", "write resexp ls"),
        ("help train", "write resexp train --help"),
        ("help", "write resexp --help"),
        ("compare --expect 'identity beats plain'", "'test_accuracy: identity > plain'"),
        ("compare --expect claims.yaml", "no such claims file"),
        ("compare --expect C:\\\\claims.yaml", "no such claims file"),
    ],
)
def test_a_typo_on_the_command_line_is_one_line_with_the_text_to_write(call, tmp_path, monkeypatch, line, hint):
    monkeypatch.chdir(tmp_path)
    answer = call(*shlex.split(line))

    assert hint in answer.err
    assert answer.err.startswith("resexp: ")
    assert answer.err.count("\n") == 1
    assert (answer.code, answer.out) == (2, "")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "line",
    ["train digits --runs digits --jobs none", "train digits --jobs none depth=8", "train --jobs none -- digits"],
)
def test_options_and_their_values_are_not_taken_for_configs(call, line):
    assert call(*shlex.split(line)).err == "resexp: --jobs: 'none' is neither auto nor a number of processes, 1 or more\n"


# ---- short and long names of axes ----------------------------------------------------------------------------------------


def test_tune_and_by_take_an_axis_by_its_short_and_by_its_long_name(tmp_path):
    accuracies = {0.1: 0.5, 0.01: 0.9}
    results = fabricated.results(
        tmp_path,
        lambda trial: {"test_accuracy": accuracies[trial.settings.training.lr]},
        "depth=8,64", "init=he", "norm=none", "seeds=2", "lr=0.1,0.01",
    )  # fmt: skip
    for short, long in [("lr", "training.lr"), ("depth", "network.depth")]:
        assert comparison.order_by(results, [long]) == comparison.order_by(results, [short])
        assert comparison.tuned(results, [long, short]) == comparison.tuned(results, [short])
        printed = [tables.FORMATS["table"](comparison.compare_results(results, tune=[key])) for key in (long, short)]
        assert printed[0] == printed[1]
    for axes in itertools.permutations(["depth", "training.lr"]):
        assert comparison.order_by(results, axes).columns[:2] == [axis.rpartition(".")[2] for axis in axes]
    with pytest.raises(
        ConfigError, match=r"--tune: 'training.lrr' does not vary here; keys that vary: depth, lr; did you mean lr\?"
    ):
        comparison.tuned(results, ["training.lrr"])
