"""Trackers: the reader of each tracker finds every point of the logs exactly once."""

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
    """(tag, step) -> value, read directly from the logs of a trial."""
    logs, values = runs.trial_folder(folder, name), {}
    tags = {
        "train_loss": "train/loss",
        "val_loss": "val/loss",
        "train_accuracy": "train/accuracy",
        "val_accuracy": "val/accuracy",
    }
    with (logs / "metrics.csv").open() as file:
        for row in csv.DictReader(file):
            cells = {**{tag: row[column] for column, tag in tags.items()}, "train/lr": row["lr"]}
            values |= {(tag, int(row["step"])): float(cell) for tag, cell in cells.items()}
    with (logs / "signals.csv").open() as file:
        for row in csv.DictReader(file):
            for column in ("activation_grad_norm", "activation_rms"):
                values[f"{column}/{row['block']}", int(row["step"])] = float(row[column])
    with (logs / "gradients.csv").open() as file:
        for row in csv.DictReader(file):
            for column in ("weight_grad_norm", "update_ratio"):
                values[f"{column}/{row['layer']}", int(row["step"])] = float(row[column])
    return values


def events(folder):
    """(tag, step) -> values, read by the event accumulator of TensorBoard."""
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    reader = accumulator.EventAccumulator(str(folder), size_guidance={"scalars": 0, "tensors": 0})
    reader.Reload()
    points = defaultdict(list)
    for tag in reader.Tags()["scalars"]:
        for event in reader.Scalars(tag):
            points[tag, event.step].append(event.value)
    for tag in reader.Tags()["tensors"]:
        for event in reader.Tensors(tag):
            points[tag, event.step].append(float(event.tensor_proto.float_val[0]))
    return points


def approximately(points):
    return {key: pytest.approx(value, rel=1e-6) for key, value in points.items()}  # events are float32


# ---- points -------------------------------------------------------------------------------------------------------------


def test_points_have_the_values_of_the_logs(run):
    folder, _ = run
    logs = runs.trial_folder(folder, NAME)
    runs.append(logs / "metrics.csv", [(40, 2, 0.001, 0.5, 0.75, math.inf, 0.5)])
    points = {(point.tag, point.step): point.value for point in trackers.points(logs)}

    assert points == expected(folder)
    assert points["val/loss", 40] == math.inf


# ---- TensorBoard ----------------------------------------------------------------------------------------------------------


def test_repeated_updates_write_every_point_once(run):
    folder, experiment = run
    update = trackers.live(folder, [trial.name for trial in experiment.trials])
    update()
    update()

    assert {key: [value] for key, value in approximately(expected(folder)).items()} == events(folder / "tensorboard" / NAME)


def test_a_later_start_continues_existing_event_files(run):
    folder, _ = run
    logs = runs.trial_folder(folder, NAME)
    event_files.Curves(folder, NAME).update()
    runs.append(logs / "metrics.csv", [(40, 2, 0.001, 0.25, 0.9, 0.5, 0.8)])
    runs.append(logs / "signals.csv", [(40, 2, 0, "blocks.0", 1.0, 0.125, 0.5)])
    event_files.Curves(folder, NAME).update()

    assert {key: [value] for key, value in approximately(expected(folder)).items()} == events(folder / "tensorboard" / NAME)
    assert len(list((folder / "tensorboard" / NAME).iterdir())) == 2


def test_the_complete_records_of_a_truncated_event_file_are_read(run):
    folder, _ = run
    event_files.Curves(folder, NAME).update()
    (file,) = (folder / "tensorboard" / NAME).iterdir()
    file.write_bytes(file.read_bytes()[:-7])
    event_files.Curves(folder, NAME).update()
    points = events(folder / "tensorboard" / NAME)

    assert {key: values[0] for key, values in points.items()} == approximately(expected(folder))


# ---- export -------------------------------------------------------------------------------------------------------------


def test_export_to_tensorboard_writes_every_trial_to_the_given_folder(run, tmp_path, call):
    folder, experiment = run
    answer = call("export", "tensorboard", folder, "--to", tmp_path / "events")

    assert answer.code == 0
    assert answer.out.split() == [str(tmp_path / "events" / trial.name) for trial in experiment.trials]
    assert {key: [value] for key, value in approximately(expected(folder)).items()} == events(tmp_path / "events" / NAME)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # between MLflow and SQLAlchemy
def test_the_client_of_mlflow_reads_what_was_exported(run, tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow")
    pytest.importorskip("alembic")
    folder, experiment = run
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    first = trackers.TRACKERS["mlflow"](folder, experiment, uri)
    second = trackers.TRACKERS["mlflow"](folder, experiment, uri)
    client = mlflow.MlflowClient(uri)
    mlflow_runs = client.search_runs([client.get_experiment_by_name("digits").experiment_id])
    (mlflow_run,) = [candidate for candidate in mlflow_runs if candidate.info.run_name == NAME]
    history = [
        ((tag, metric.step), metric.value)
        for tag in {tag for tag, _ in expected(folder)}
        for metric in client.get_metric_history(mlflow_run.info.run_id, tag)
    ]

    assert first == second
    assert sorted(first) == sorted(f"digits/{exported.info.run_id}" for exported in mlflow_runs)
    assert sorted(history) == sorted(expected(folder).items())
    assert mlflow_run.data.params["network.depth"] == "8"
    assert mlflow_run.data.metrics["test_accuracy"] == 0.9
    assert mlflow_run.info.status == "FINISHED"


def wandb_records(file):
    """The records of an offline run, in the log format of LevelDB: blocks of 32 KiB after a header of 7 bytes."""
    from wandb.proto import wandb_internal_pb2  # noqa: PLC0415 - an extra

    data, offset, content = file.read_bytes(), 7, b""
    while offset + 7 <= len(data):
        remaining = 2**15 - offset % 2**15
        if remaining < 7:
            offset += remaining
            continue
        length, kind = int.from_bytes(data[offset + 4 : offset + 6], "little"), data[offset + 6]
        content += data[offset + 7 : offset + 7 + length]
        offset += 7 + length
        if kind in (1, 4):  # a complete record, or its last fragment
            record = wandb_internal_pb2.Record()
            record.ParseFromString(content)
            yield record
            content = b""


def test_an_offline_export_to_wandb_contains_every_point_and_setting(run, tmp_path):
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
    points, settings = {}, {}
    for record in wandb_records(file):
        items = {item.key or "/".join(item.nested_key): item.value_json for item in record.history.item}
        step = record.history.step.num if record.HasField("history") else None
        points |= {(name, step): float(value) for name, value in items.items() if not name.startswith("_")}
        settings |= {item.key: item.value_json for item in record.run.config.update}

    assert done.stdout.split() == [f"digits/digits-{trial.name}" for trial in experiment.trials]
    assert points == expected(folder)
    assert settings["network.depth"] == "8"
    runs.refuse_links(folder)  # the export adds no links, so the experiment can be continued


def test_a_second_export_to_trackio_stores_no_point_twice(run, call, monkeypatch, tmp_path):
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    trackio = pytest.importorskip("trackio")
    folder, experiment = run
    answers = [call("export", "trackio", folder) for _ in range(2)]
    logs = trackio.SQLiteStorage.get_logs("digits", NAME)
    points = {(tag, row["step"]): row[tag] for row in logs for tag in row if "/" in tag and not tag.startswith("result/")}

    assert [answer.out.split() for answer in answers] == [[f"digits/{trial.name}" for trial in experiment.trials]] * 2
    assert points == expected(folder)
    assert len(logs) == len({step for _, step in points})
    assert logs[-1]["result/test_accuracy"] == 0.9


def test_an_error_of_a_tracker_is_one_line(run, call, monkeypatch):
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


def test_event_files_are_not_exported_to_a_folder_that_training_may_write(run, tmp_path, call):
    folder = run[0]
    with runs.lock(folder):
        refused = call("export", "tensorboard", folder)
        assert call("export", "tensorboard", folder, "--to", tmp_path / "events").code == 0

    assert refused.code == 2
    assert "training may still be writing here; wait for it, or choose another folder with --to" in refused.err
    assert not (folder / "tensorboard").exists()
    assert call("export", "tensorboard", folder).code == 0


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), runs.RunsError("metrics.csv: damaged")])
def test_curves_that_cannot_be_written_do_not_end_the_training(error, capsys):
    calls = []

    def watcher():
        calls.append(len(calls))
        if len(calls) == 2:
            raise error

    assert len(list(running._watched(iter([None] * 5), watcher, Path("runs")))) == 6
    assert calls == [0, 1]
    message = capsys.readouterr().err
    assert message.count("curves") == 1
    assert str(error) in message


@pytest.mark.parametrize(
    ("tracker", "module"), [("tensorboard", "tensorboard"), ("wandb", "wandb"), ("trackio", "trackio"), ("mlflow", "mlflow")]
)
def test_a_missing_tracker_is_an_error_of_one_line_with_the_command_to_install_it(run, call, monkeypatch, tracker, module):
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
    assert "'aim' is not one of tensorboard, wandb, trackio, mlflow" in answer.err


def test_settings_have_dotted_keys():
    experiment = config.load("digits", [*SMALL, "network.shortcut=identity"])
    settings = trackers.settings_of(experiment.trials[0])

    assert settings["network.depth"] == 8
    assert (settings["arm"], settings["seed"], settings["training.lr"]) == ("plain", 0, 0.001)
