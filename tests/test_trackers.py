"""Curves elsewhere: what each tracker's own reader finds is what the logs have, once."""

import csv
import math
import os
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import fabricated
import pytest

from resexp import config, runs, trackers
from resexp.cli import running
from resexp.trackers import tensorboard as event_files

SMALL = ("network.depth=[8]", "network.norm=none", "network.init=he", "seeds=2")
NAME = "identity-d8-s1"


def values(_trial):
    return {"test_accuracy": 0.9, "flow": 0.5}


@pytest.fixture
def run(tmp_path):
    return fabricated.experiment(tmp_path / "runs", values, *SMALL)


def expected(folder, name=NAME):
    """(tag, step) -> value, read by hand from the logs of a trial."""
    logs, found = runs.trial_folder(folder, name), {}
    tags = {
        "train_loss": "train/loss",
        "val_loss": "val/loss",
        "train_accuracy": "train/accuracy",
        "val_accuracy": "val/accuracy",
    }
    with (logs / "metrics.csv").open() as file:
        for row in csv.DictReader(file):
            cells = {**{tag: row[column] for column, tag in tags.items()}, "train/lr": row["lr"]}
            found |= {(tag, int(row["step"])): float(cell) for tag, cell in cells.items()}
    with (logs / "signals.csv").open() as file:
        for row in csv.DictReader(file):
            for column in ("activation_grad_norm", "activation_rms"):
                found[f"{column}/{row['block']}", int(row["step"])] = float(row[column])
    return found


def events(place):
    """(tag, step) -> values, by TensorBoard's own accumulator."""
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    reader = accumulator.EventAccumulator(str(place), size_guidance={"scalars": 0, "tensors": 0})
    reader.Reload()
    found = defaultdict(list)
    for tag in reader.Tags()["scalars"]:
        for event in reader.Scalars(tag):
            found[tag, event.step].append(event.value)
    for tag in reader.Tags()["tensors"]:
        for event in reader.Tensors(tag):
            found[tag, event.step].append(float(event.tensor_proto.float_val[0]))
    return found


def approximately(found):
    return {key: pytest.approx(value, rel=1e-6) for key, value in found.items()}  # events are float32


# ---- points -------------------------------------------------------------------------------------------------------------


def test_points_are_the_cells_of_the_logs(run):
    folder, _ = run
    logs = runs.trial_folder(folder, NAME)
    runs.append(logs / "metrics.csv", [(40, 2, 0.001, 0.5, 0.75, math.inf, 0.5)])
    found = {(point.tag, point.step): point.value for point in trackers.points(logs)}

    assert found == expected(folder)
    assert found["val/loss", 40] == math.inf


# ---- TensorBoard ----------------------------------------------------------------------------------------------------------


def test_event_files_hold_every_point_once_however_often_one_looks(run):
    folder, experiment = run
    look = trackers.live(folder, [trial.name for trial in experiment.trials])
    look()
    look()

    assert {key: [value] for key, value in approximately(expected(folder)).items()} == events(folder / "tensorboard" / NAME)


def test_a_later_start_goes_on_where_the_event_files_ended(run):
    folder, _ = run
    logs = runs.trial_folder(folder, NAME)
    event_files.Curves(folder, NAME).go_on()
    runs.append(logs / "metrics.csv", [(40, 2, 0.001, 0.25, 0.9, 0.5, 0.8)])
    runs.append(logs / "signals.csv", [(40, 2, 0, "blocks.0", 1.0, 0.125)])
    event_files.Curves(folder, NAME).go_on()

    assert {key: [value] for key, value in approximately(expected(folder)).items()} == events(folder / "tensorboard" / NAME)
    assert len(list((folder / "tensorboard" / NAME).iterdir())) == 2


def test_a_torn_event_file_is_read_as_far_as_it_is_whole(run):
    folder, _ = run
    event_files.Curves(folder, NAME).go_on()
    (file,) = (folder / "tensorboard" / NAME).iterdir()
    file.write_bytes(file.read_bytes()[:-7])
    event_files.Curves(folder, NAME).go_on()
    found = events(folder / "tensorboard" / NAME)

    assert {key: values[0] for key, values in found.items()} == approximately(expected(folder))


# ---- export -------------------------------------------------------------------------------------------------------------


def test_export_to_tensorboard_puts_every_trial_into_the_folder_that_is_named(run, tmp_path, call):
    folder, experiment = run
    answer = call("export", "tensorboard", folder, "--to", tmp_path / "events")

    assert answer.code == 0
    assert answer.out.split() == [str(tmp_path / "events" / trial.name) for trial in experiment.trials]
    assert {key: [value] for key, value in approximately(expected(folder)).items()} == events(tmp_path / "events" / NAME)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # between MLflow and SQLAlchemy
def test_export_to_mlflow_is_read_back_by_its_client(run, tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow")
    pytest.importorskip("alembic")
    folder, experiment = run
    where = f"sqlite:///{tmp_path / 'mlflow.db'}"
    sent = trackers.TRACKERS["mlflow"](folder, experiment, where)
    again = trackers.TRACKERS["mlflow"](folder, experiment, where)
    client = mlflow.MlflowClient(where)
    found_runs = client.search_runs([client.get_experiment_by_name("digits").experiment_id])
    (found,) = [of for of in found_runs if of.info.run_name == NAME]
    history = [
        ((tag, metric.step), metric.value)
        for tag in {tag for tag, _ in expected(folder)}
        for metric in client.get_metric_history(found.info.run_id, tag)
    ]

    assert sent == again
    assert sorted(sent) == sorted(f"digits/{of.info.run_id}" for of in found_runs)
    assert sorted(history) == sorted(expected(folder).items())
    assert found.data.params["network.depth"] == "8"
    assert found.data.metrics["test_accuracy"] == 0.9
    assert found.info.status == "FINISHED"


def wandb_records(file):
    """The records of an offline run, by W&B's own schema: LevelDB's log format, blocks of 32 KiB behind a header of 7 bytes."""
    from wandb.proto import wandb_internal_pb2  # noqa: PLC0415 - an extra

    data, place, record = file.read_bytes(), 7, b""
    while place + 7 <= len(data):
        left = 2**15 - place % 2**15
        if left < 7:
            place += left
            continue
        length, kind = int.from_bytes(data[place + 4 : place + 6], "little"), data[place + 6]
        record += data[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # whole, or the last part
            found = wandb_internal_pb2.Record()
            found.ParseFromString(record)
            yield found
            record = b""


def test_export_to_wandb_offline_is_read_back_from_its_own_records(run, tmp_path):
    pytest.importorskip("wandb")
    folder, experiment = run
    command = [sys.executable, "-m", "resexp", "export", "wandb", str(folder)]
    done = subprocess.run(
        command,
        cwd=tmp_path,
        env={**os.environ, "WANDB_MODE": "offline"},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    (file,) = (tmp_path / "wandb").glob(f"offline-run-*/run-digits-{NAME}.wandb")
    found, told = {}, {}
    for record in wandb_records(file):
        items = {item.key or "/".join(item.nested_key): item.value_json for item in record.history.item}
        step = record.history.step.num if record.HasField("history") else None
        found |= {(name, step): float(value) for name, value in items.items() if not name.startswith("_")}
        told |= {item.key: item.value_json for item in record.run.config.update}

    assert done.stdout.split() == [f"digits/digits-{trial.name}" for trial in experiment.trials]
    assert found == expected(folder)
    assert told["network.depth"] == "8"
    runs.refuse_links(folder)  # what it left lets the experiment be trained on


def test_what_a_tracker_refuses_is_one_line(run, call, monkeypatch):
    pytest.importorskip("wandb")
    pytest.importorskip("mlflow")
    monkeypatch.setenv("WANDB_MODE", "nonsense")

    of_mlflow, of_wandb = call("export", "mlflow", run[0], "--to", "nowhere://x"), call("export", "wandb", run[0])

    assert (of_mlflow.code, of_wandb.code) == (1, 1)
    assert (of_mlflow.err.count("\n"), of_wandb.err.count("\n")) == (1, 1)
    assert of_mlflow.err.startswith("resexp: mlflow: ")
    assert "nowhere://x" in of_mlflow.err
    assert of_wandb.err.startswith("resexp: wandb: ")
    assert "'online', 'offline'" in of_wandb.err


def test_event_files_that_a_training_may_write_are_not_exported_to(run, tmp_path, call):
    folder = run[0]
    with runs.lock(folder):
        refused = call("export", "tensorboard", folder)
        assert call("export", "tensorboard", folder, "--to", tmp_path / "events").code == 0

    assert refused.code == 2
    assert "may be written by a training that goes on; wait for it, or name another folder with --to" in refused.err
    assert not (folder / "tensorboard").exists()
    assert call("export", "tensorboard", folder).code == 0


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), runs.RunsError("metrics.csv: damaged")])
def test_curves_that_cannot_be_written_do_not_end_the_training(error, capsys):
    looks = []

    def watcher():
        looks.append(len(looks))
        if len(looks) == 2:
            raise error

    assert len(list(running._watched(iter([None] * 5), watcher, Path("runs")))) == 6
    assert looks == [0, 1]
    told = capsys.readouterr().err
    assert told.count("curves:") == 1
    assert str(error) in told


@pytest.mark.parametrize(("tracker", "module"), [("tensorboard", "tensorboard"), ("wandb", "wandb"), ("mlflow", "mlflow")])
def test_a_tracker_that_is_not_installed_is_one_line_that_says_what_to_install(run, call, monkeypatch, tracker, module):
    for name in [name for name in sys.modules if name.split(".")[0] == module]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, module, None)

    answer = call("export", tracker, run[0])

    assert answer.code == 2
    assert answer.err.count("\n") == 1
    assert f"{module} is not installed; pip install " in answer.err


def test_an_unknown_tracker_is_refused(run, call):
    answer = call("export", "aim", run[0])

    assert answer.code == 2
    assert "'aim' is not one of tensorboard, wandb, mlflow" in answer.err


def test_settings_are_told_by_dotted_key():
    experiment = config.load("digits", [*SMALL, "network.shortcut=identity"])
    found = trackers.settings_of(experiment.trials[0])

    assert found["network.depth"] == 8
    assert (found["arm"], found["seed"], found["training.lr"]) == ("plain", 0, 0.001)
