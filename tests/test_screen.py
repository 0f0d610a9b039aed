"""The display: rows of runs/ in, text out; nothing in between has a state."""

import itertools
import math

import fabricated
import pytest
from rich.console import Console

from resexp import runs, screen

SMALL = ("network.depth=[8,64]", "network.norm=[none]", "network.init=[pytorch]", "seeds=2")


def values(_trial):
    return {"test_accuracy": 0.9, "flow": 0.01}


def drawn(shot, width=80):
    console = Console(width=width, record=True, file=None, force_terminal=False, legacy_windows=False)
    with console.capture() as capture:
        console.print(screen.render(shot))
    return capture.get()


def test_a_finished_experiment_shows_both_arms_side_by_side(tmp_path):
    folder, found = fabricated.experiment(tmp_path, values, *SMALL)
    text = drawn(screen.snapshot(folder, found, 10.0, {}))

    assert "8 of 8 trials" in text
    assert "90.0 (2)" in text
    assert max(map(len, text.splitlines())) <= 80


def test_a_running_trial_shows_epoch_accuracy_and_how_its_gradient_darkens(tmp_path):
    folder, found = fabricated.experiment(tmp_path, values, *SMALL)
    place = runs.trial_folder(folder, found.trials[0].name)
    (place / "result.json").unlink()
    runs.set_status(place, "running", step=20, steps=40)
    text = drawn(screen.snapshot(folder, found, 10.0, {}, 0.5))

    assert "7 of 8 trials  1 running" in text
    assert "d8 norm-none init-pytorch s0 1 90.0 ▃▅█" in " ".join(text.split())
    assert "left" in text


def test_trials_of_a_stack_have_their_means_before_any_of_them_has_ended(tmp_path):
    folder, found = fabricated.experiment(tmp_path, values, *SMALL[:-1], "seeds=5")
    for trial in found.trials:
        place = runs.trial_folder(folder, trial.name)
        (place / "result.json").unlink()
        runs.set_status(place, "running", step=20, steps=40)
    text = drawn(screen.snapshot(folder, found, 10.0, {}, 0.5))

    assert "0 of 20 trials  20 running" in text
    assert text.count("90.0 (5)") == 4
    assert "12 more" in text


@pytest.mark.parametrize(
    ("flow", "bar"),
    [
        pytest.param([], "", id="no reading yet"),
        pytest.param([1.0, 1.0, 1.0], "███", id="flat"),
        pytest.param([1e-6, 1e-3, 1.0], " ▄█", id="three decades a block"),
        pytest.param([0.0, math.nan, 1.0], "  █", id="underflow and nan are dark"),
        pytest.param([1e9, 1e3, 1.0], "███", id="explosion is bright, no more"),
        pytest.param([1.0, 0.0], "", id="nothing to be relative to"),
    ],
)
def test_the_gradient_bar_is_relative_to_the_last_block(flow, bar):
    assert screen.gradient_bar(flow).plain == bar


def test_deep_networks_are_thinned_to_the_bars_width():
    assert len(screen.gradient_bar([1.0] * 500).plain) == screen.BAR_WIDTH


@pytest.mark.parametrize(("seconds", "text"), [(0, "0:00"), (61, "1:01"), (3723, "1:02:03")])
def test_time_is_written_as_a_clock(seconds, text):
    assert screen.clock(seconds) == text


def test_work_counts_steps_weighted_with_depth(tmp_path):
    def only_shallow(trial):
        return values(trial) if trial.settings.network.depth == 8 else {}

    folder, found = fabricated.experiment(tmp_path, only_shallow, *SMALL)
    share = screen.work_done(screen.snapshot(folder, found, 0.0, {}).rows)

    assert pytest.approx(share) == 8 / 72


def test_finished_rows_are_read_once(tmp_path):
    folder, found = fabricated.experiment(tmp_path, values, *SMALL)
    kept = {}
    first = screen.snapshot(folder, found, 0.0, kept)
    for path in folder.glob("trials/*/*"):
        path.unlink()

    assert screen.snapshot(folder, found, 0.0, kept).rows == first.rows


def test_a_replay_passes_through_waiting_running_and_finished(tmp_path):
    folder, found = fabricated.experiment(tmp_path, values, *SMALL)
    schedule = screen._schedule(folder, found)

    assert schedule[found.trials[0].name] == [(0.1, 0), (pytest.approx(0.7), 20)]
    assert schedule[found.trials[2].name][0][0] == pytest.approx(0.8)
    for until, state in ((-1, "waiting"), (0, "running"), (20, "finished")):
        assert screen.read_row(folder, found, found.trials[0], until).state == state
    shots = list(itertools.islice(screen.replay(folder, found, speed=1e9), 2))
    assert all(row.state == "finished" for row in shots[-1].rows)


def test_plain_lines_come_once_per_epoch(tmp_path):
    folder, found = fabricated.experiment(tmp_path, values, *SMALL)
    printed = {}
    lines = screen.epoch_lines(folder, found, printed, {})

    assert len(lines) == 2 * len(found.trials)
    assert lines[1].startswith(f"{found.trials[0].name}  epoch 1  train loss 0.09524  train 90.0 %  val 90.0 %")
    assert screen.epoch_lines(folder, found, printed, {}) == []
