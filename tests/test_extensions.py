"""Variants of users on the command line: --import, entry points, digests, and every process that trains."""

import hashlib
import json
import os
import runpy
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import resexp
from resexp import config, extensions, runs

MINE = """
import resexp

resexp.SHORTCUTS["mine"] = resexp.constant("mine")
resexp.SHORTCUT_PROPERTIES["mine"] = resexp.ShortcutProperties(
    is_constant=True, is_linear=True, has_weights=False, factors=lambda parameters, index, blocks: (1.0, 1.0)
)
resexp.SHORTCUTS["learned"] = resexp.SHORTCUTS["rezero"]
"""
ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def clean(monkeypatch, torch_state):
    """The dicts of variants, the list of imports and the modules are as before afterwards."""
    monkeypatch.setenv(extensions.VARIABLE, "")
    saved = {group: dict(variants.entries) for group, variants in extensions.GROUPS.items()}
    properties, names, modules = dict(config.SHORTCUT_PROPERTIES), dict(config.CUSTOM_NAMES), set(sys.modules)
    path = list(sys.path)
    extensions._imported.cache_clear()
    extensions._offered.cache_clear()
    yield
    for group, variants in extensions.GROUPS.items():
        variants.entries.clear()
        variants.entries.update(saved[group])
    config.SHORTCUT_PROPERTIES.clear()
    config.SHORTCUT_PROPERTIES.update(properties)
    config.CUSTOM_NAMES.clear()
    config.CUSTOM_NAMES.update(names)
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        if not name.startswith(("resexp.", "torch")):
            del sys.modules[name]
    extensions._imported.cache_clear()
    extensions._offered.cache_clear()


@pytest.fixture
def mine(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(MINE, encoding="utf-8")
    return path


def trained(call, folder, tiny_file, *arguments):
    return call("train", tiny_file, "network.depth=8", "seeds=2", f"--runs={folder}", "--quiet", *arguments)


def results(folder, arm):
    """The logs and weights of the trials of an arm, without the name of the arm."""
    files = {}
    for trial in sorted((folder / "trials").iterdir()):
        if trial.name.startswith(arm):
            for name in ("metrics.csv", "gradients.csv", "signals.csv", "weights.pt", "predictions.csv.gz"):
                files[trial.name.removeprefix(arm), name] = hashlib.sha256((trial / name).read_bytes()).hexdigest()
    return files


# ---- the same bits as a shipped variant ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "shipped"), [("mine", "identity"), ("learned", "rezero")])
def test_a_custom_shortcut_gives_the_bits_of_the_same_shipped_one(call, in_process, tiny_file, tmp_path, mine, name, shipped):
    alone = ("training.stack=1",)  # custom shortcuts that are not constant are trained one at a time
    assert trained(call, tmp_path / "a", tiny_file, f"--import={mine}", f"network.shortcut={name}", *alone).code == 0
    assert trained(call, tmp_path / "b", tiny_file, f"network.shortcut={shipped}", *alone).code == 0

    first, second = results(tmp_path / "a" / "tiny", name), results(tmp_path / "b" / "tiny", shipped)
    assert len(first) == 10
    assert first == second


def test_a_constant_custom_shortcut_is_stacked_and_gives_the_same_bits(call, in_process, tiny_file, tmp_path, mine):
    trained(call, tmp_path / "a", tiny_file, f"--import={mine}", "network.shortcut=mine")
    trained(call, tmp_path / "b", tiny_file, "network.shortcut=identity")

    assert len(runs.read_plan(tmp_path / "a" / "tiny").stacks) == len(runs.read_plan(tmp_path / "b" / "tiny").stacks)
    assert results(tmp_path / "a" / "tiny", "mine") == results(tmp_path / "b" / "tiny", "identity")


def test_theory_uses_the_factors_of_a_custom_shortcut(call, in_process, tiny_file, mine):
    def slopes(name):
        answer = call("probe", tiny_file, "network.depth=16", f"network.shortcut={name}", f"--import={mine}", "--json")
        return [arm["prediction"]["slope"] for arm in json.loads(answer.out)["arms"] if arm["arm"] == name]

    assert slopes("mine") == slopes("identity")
    assert slopes("mine") != [None]


# ---- processes ------------------------------------------------------------------------------------------------------------


def program(*arguments, **options):
    command = [sys.executable, "-m", "resexp", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=240, **options)


def test_a_killed_command_resumes_and_its_result_is_reproduced_and_dissected(
    tiny_file, tmp_path, mine, call, in_process, monkeypatch
):
    """The workers import the file; results are those of the shipped shortcut with the same function."""
    settings = ("network.depth=8", "seeds=2", "training.steps=100", "training.stack=1", "training.checkpoint_every=5")
    arguments = ("train", str(tiny_file), *settings, "--quiet")
    custom = (*arguments, f"--runs={tmp_path / 'a'}", "--jobs=1", f"--import={mine}", "network.shortcut=learned")
    process = subprocess.Popen([sys.executable, "-m", "resexp", *custom], start_new_session=True, stderr=subprocess.DEVNULL)
    folder = tmp_path / "a" / "tiny"
    until = time.monotonic() + 120
    while not list(folder.glob("trials/*/metrics.csv")) and time.monotonic() < until:
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert len(list(folder.glob("trials/*/result.json"))) < 4

    resumed = program(*custom)
    assert resumed.returncode == 0, resumed.stderr
    assert call(*arguments, f"--runs={tmp_path / 'b'}", "network.shortcut=rezero").code == 0
    assert results(folder, "learned") == results(tmp_path / "b" / "tiny", "rezero")
    for command in (("reproduce", folder, f"--runs={tmp_path / 'c'}"), ("dissect", folder)):
        monkeypatch.setenv(extensions.VARIABLE, "")
        answer = call(*command, f"--import={mine}", "--quiet", "--json")
        assert answer.code == 0, answer.err
        assert [name for name, _ in json.loads(os.environ[extensions.VARIABLE])] == [str(mine)]  # workers inherit it
    assert list(folder.glob("trials/learned-*/lesion.csv"))


def test_two_shards_train_the_same_bits(tiny_file, tmp_path, mine, call, in_process):
    settings = ("network.depth=8", "seeds=2", "training.stack=1", "--quiet")
    for shard in ("1/2", "2/2"):
        answer = call(
            "train", tiny_file, *settings, f"--runs={tmp_path / 'a'}", f"--import={mine}", "network.shortcut=learned",
            f"--shard={shard}",
        )  # fmt: skip
        assert answer.code == 0, answer.err
    call("train", tiny_file, *settings, f"--runs={tmp_path / 'b'}", "network.shortcut=rezero")

    assert results(tmp_path / "a" / "tiny", "learned") == results(tmp_path / "b" / "tiny", "rezero")


def test_ray_imports_the_file_on_its_nodes(tiny_file, tmp_path, mine, call, in_process):
    pytest.importorskip("ray")
    settings = ("train", tiny_file, "network.depth=8", "seeds=1", "training.stack=2", "--quiet")
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    arguments = (f"--runs={tmp_path / 'a'}", f"--import={mine}", "network.shortcut=mine", "--executor=ray")
    answer = program(*settings, *arguments, env=environment)
    call(*settings, f"--runs={tmp_path / 'b'}", "network.shortcut=identity")

    assert answer.returncode == 0, answer.stderr
    assert results(tmp_path / "a" / "tiny", "mine") == results(tmp_path / "b" / "tiny", "identity")


# ---- digests --------------------------------------------------------------------------------------------------------------


def test_the_digest_of_the_file_is_recorded(call, in_process, tiny_file, tmp_path, mine):
    trained(call, tmp_path, tiny_file, f"--import={mine}", "network.shortcut=mine")

    (record,) = runs.launches(tmp_path / "tiny")[-1].imports
    assert (record.name, record.sha256) == ("mine.py", hashlib.sha256(mine.read_bytes()).hexdigest())


@pytest.mark.parametrize("command", ["train", "reproduce", "dissect"])
def test_a_changed_or_missing_file_is_refused(call, in_process, tiny_file, tmp_path, mine, command, monkeypatch):
    trained(call, tmp_path, tiny_file, f"--import={mine}", "network.shortcut=mine")
    extensions._imported.cache_clear()
    call_again = (command, tmp_path / "tiny", f"--runs={tmp_path}")

    monkeypatch.setenv(extensions.VARIABLE, "")
    config.CUSTOM_NAMES.clear()
    missing = call(*call_again)
    mine.write_text(MINE + "# changed\n", encoding="utf-8")
    resexp.SHORTCUTS.pop("mine"), resexp.SHORTCUTS.pop("learned")
    changed = call(*call_again, f"--import={mine}")

    assert (missing.code, changed.code) == (2, 2)
    assert "add --import" in missing.err
    assert "mine.py has changed since this experiment began" in changed.err


def test_a_moved_file_is_accepted(call, in_process, tiny_file, tmp_path, mine, monkeypatch):
    trained(call, tmp_path, tiny_file, f"--import={mine}", "network.shortcut=mine")
    moved = tmp_path / "elsewhere" / "mine.py"
    moved.parent.mkdir()
    mine.rename(moved)
    resexp.SHORTCUTS.pop("mine"), resexp.SHORTCUTS.pop("learned")
    extensions._imported.cache_clear()
    monkeypatch.setenv(extensions.VARIABLE, "")

    assert trained(call, tmp_path, tiny_file, f"--import={moved}", "network.shortcut=mine").code == 0


# ---- entry points -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def package(tmp_path, monkeypatch):
    """The example package, installed: its source and its metadata are on the path."""
    folder = tmp_path / "site"
    metadata = folder / "resexp_channel_scale-0.1.0.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: resexp-channel-scale\nVersion: 0.1.0\n", encoding="utf-8")
    (metadata / "entry_points.txt").write_text(
        "[resexp.shortcuts]\nchannel-scale = resexp_channel_scale:ChannelScale\n", encoding="utf-8"
    )
    monkeypatch.syspath_prepend(folder)
    monkeypatch.syspath_prepend(ROOT / "examples" / "resexp-channel-scale" / "src")
    return folder


def test_an_installed_package_adds_a_shortcut(call, in_process, tiny_file, tmp_path, package):
    answer = trained(call, tmp_path / "runs", tiny_file, "network.shortcut=channel-scale")

    assert answer.code == 0, answer.err
    (record,) = runs.launches(tmp_path / "runs" / "tiny")[-1].imports
    assert record.name == "resexp.shortcuts:channel-scale (resexp-channel-scale 0.1.0)"


def test_a_package_is_not_imported_unless_a_config_uses_it(call, in_process, tiny_file, tmp_path, package):
    trained(call, tmp_path / "runs", tiny_file)

    assert "resexp_channel_scale" not in sys.modules


@pytest.mark.parametrize(
    ("line", "words"),
    [
        pytest.param("channel-scale = other:Scale", "both offer 'channel-scale'", id="two packages"),
        pytest.param("identity = other:Scale", "offers 'identity', which resexp contains", id="shipped name"),
    ],
)
def test_a_conflict_between_packages_is_refused(call, tiny_file, package, line, words):
    metadata = package / "other-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: other\nVersion: 1.0\n", encoding="utf-8")
    (metadata / "entry_points.txt").write_text(f"[resexp.shortcuts]\n{line}\n", encoding="utf-8")

    answer = call("train", tiny_file)

    assert answer.code == 2
    assert words in answer.err
    assert "other" in answer.err


# ---- errors ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "words"),
    [
        pytest.param("x = (", "SyntaxError at mine.py:1", id="syntax"),
        pytest.param("\n1 / 0", "ZeroDivisionError at mine.py:2", id="exception"),
        pytest.param("import sys; sys.exit(0)", "SystemExit", id="exit"),
        pytest.param("import absent_package", "ModuleNotFoundError at mine.py:1", id="missing module"),
        pytest.param("x = 1", "adds no variant", id="nothing"),
        pytest.param("import resexp; resexp.SHORTCUTS['identity'] = lambda spec: None", "already exists", id="shipped name"),
        pytest.param("print('hello'); x = 1", "adds no variant", id="prints"),
    ],
)
def test_a_broken_file_gives_one_clear_line(call, tiny_file, mine, code, words):
    mine.write_text(code, encoding="utf-8")

    answer = call("train", tiny_file, f"--import={mine}", "--json")

    assert (answer.code, answer.out) == (2, "")
    assert words in answer.err.splitlines()[-1]
    assert "Traceback" not in answer.err


@pytest.mark.parametrize(
    ("reference", "words"),
    [("absent.py", "no such file"), ("absent_module", "ModuleNotFoundError"), (".", "neither")],
)
def test_a_missing_file_gives_one_clear_line(call, tiny_file, reference, words):
    answer = call("train", tiny_file, f"--import={reference}")

    assert answer.code == 2
    assert words in answer.err


@pytest.mark.parametrize(
    "setting", ["network.shortcut=mine2", "network.activation=mine2", "network.norm=mine2", "data.name=mine2"]
)
def test_an_unknown_name_points_to_import(call, tiny_file, setting):
    answer = call("train", tiny_file, setting)

    assert answer.code == 2
    assert "--import FILE.py" in answer.err


def test_a_file_that_differs_on_a_node_is_refused(monkeypatch, mine):
    record = {"name": "mine.py", "sha256": "0" * 64}
    monkeypatch.setenv(extensions.VARIABLE, json.dumps([[str(mine), record]]))

    with pytest.raises(config.ConfigError, match="differs on this machine"):
        extensions.load_inherited()


def test_a_config_imports_nothing(call, in_process, tiny_file, tmp_path, mine, monkeypatch):
    monkeypatch.chdir(tmp_path)

    assert trained(call, tmp_path / "runs", tiny_file, "network.shortcut=mine").code == 2
    assert "mine" not in sys.modules


def test_the_code_of_the_documentation_runs(tmp_path, call, in_process, tiny_file, monkeypatch):
    page = (ROOT / "docs" / "networks.md").read_text(encoding="utf-8")
    code = page.split("<!-- begin channel_scale.py -->")[1].split("```python\n")[1].split("```")[0]
    test = page.split("<!-- begin test_channel_scale.py -->")[1].split("```python\n")[1].split("```")[0]
    (tmp_path / "channel_scale.py").write_text(code, encoding="utf-8")
    (tmp_path / "test_channel_scale.py").write_text(test, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)

    for name, value in runpy.run_path(str(tmp_path / "test_channel_scale.py")).items():
        if name.startswith("test_"):
            value()
    assert len(code.strip().splitlines()) <= 15
    resexp.SHORTCUTS.pop("channel-scale")
    sys.modules.pop("channel_scale")
    answer = trained(
        call, tmp_path / "runs", tiny_file, f"--import={tmp_path / 'channel_scale.py'}", "network.shortcut=channel-scale"
    )
    assert answer.code == 0, answer.err
