"""The display: text from the rows of runs/, without any state."""

import itertools
import math

import fabricated
import pytest
from rich.console import Console

from resexp import runs, screen
from resexp.figures import FIGURES, FigureData
from resexp.screen import snapshots
from resexp.tables.terminal import BAR_WIDTH

SMALL = ("network.depth=[8,64]", "network.norm=[none]", "network.init=[pytorch]", "seeds=2")


def values(_trial):
    return {"test_accuracy": 0.9, "flow": 0.01}


def drawn(shot, width=80, height=50):
    console = Console(width=width, record=True, file=None, force_terminal=False, legacy_windows=False)
    with console.capture() as capture:
        console.print(screen.render(shot, width, height))
    return capture.get()


def diverges(trial):
    """All networks learn; those of seed 1 diverge at step 17, after an epoch with 82.6%."""
    return (
        {"outcome": "diverged", "test_accuracy": None, "val_accuracy": 0.826, "steps": 17} if trial.seed == 1 else values(trial)
    )


def test_a_finished_experiment_shows_both_arms_side_by_side(tmp_path):
    folder, experiment = fabricated.experiment(tmp_path, values, *SMALL)
    text = drawn(screen.snapshot(folder, experiment, 10.0, {}))

    assert "8 of 8 trials" in text
    assert "90.0 (2)" in text
    assert max(map(len, text.splitlines())) <= 80


def test_a_running_trial_shows_epoch_accuracy_and_gradient_bar(tmp_path):
    folder, experiment = fabricated.experiment(tmp_path, values, *SMALL)
    trial_path = runs.trial_folder(folder, experiment.trials[0].name)
    (trial_path / "result.json").unlink()
    runs.set_status(trial_path, "running", step=20, steps=40)
    text = drawn(screen.snapshot(folder, experiment, 10.0, {}, 0.5))

    assert "7 of 8 trials finished, 1 running" in text
    assert "d8 norm-none init-pytorch s0 1 90.0 ▃▅█" in " ".join(text.split())
    assert "left" in text


def test_means_are_shown_before_any_trial_of_a_stack_has_finished(tmp_path):
    folder, experiment = fabricated.experiment(tmp_path, values, *SMALL[:-1], "seeds=5")
    for trial in experiment.trials:
        trial_path = runs.trial_folder(folder, trial.name)
        (trial_path / "result.json").unlink()
        runs.set_status(trial_path, "running", step=20, steps=40)
    text = drawn(screen.snapshot(folder, experiment, 10.0, {}, 0.5))

    assert "0 of 20 trials finished, 20 running" in text
    assert text.count("90.0 (5)") == 4
    assert "12 more" in text


@pytest.mark.parametrize(
    ("norms", "bar"),
    [
        pytest.param([], "", id="no logging step yet"),
        pytest.param([1.0, 1.0, 1.0], "███", id="constant"),
        pytest.param([1e-6, 1e-3, 1.0], " ▄█", id="3 orders of magnitude per block"),
        pytest.param([0.0, math.nan, 1.0], "  █", id="underflow and nan are dark"),
        pytest.param([1e9, 1e3, 1.0], "███", id="values above 1 are full"),
        pytest.param([1.0, 0.0], "", id="last block without a gradient"),
    ],
)
def test_the_gradient_bar_is_relative_to_the_last_block(norms, bar):
    assert screen.gradient_bar(norms).plain == bar


def test_the_gradient_bar_of_a_deep_network_has_the_maximum_width():
    assert len(screen.gradient_bar([1.0] * 500).plain) == BAR_WIDTH


@pytest.mark.parametrize(("seconds", "text"), [(0, "0:00"), (61, "1:01"), (3723, "1:02:03")])
def test_durations_are_formatted_as_hours_minutes_and_seconds(seconds, text):
    assert screen.clock(seconds) == text


def test_completed_work_is_weighted_by_depth(tmp_path):
    def only_shallow(trial):
        return values(trial) if trial.settings.network.depth == 8 else {}

    folder, experiment = fabricated.experiment(tmp_path, only_shallow, *SMALL)
    share = screen.work_done(screen.snapshot(folder, experiment, 0.0, {}).rows)

    assert pytest.approx(share) == 8 / 72


def test_rows_of_finished_trials_are_read_once(tmp_path):
    folder, experiment = fabricated.experiment(tmp_path, values, *SMALL)
    finished = {}
    first = screen.snapshot(folder, experiment, 0.0, finished)
    for path in folder.glob("trials/*/*"):
        path.unlink()

    assert screen.snapshot(folder, experiment, 0.0, finished).rows == first.rows


def test_a_replay_passes_through_waiting_running_and_finished(tmp_path):
    folder, experiment = fabricated.experiment(tmp_path, values, *SMALL)
    schedule = snapshots._schedule(folder, experiment)

    assert schedule[experiment.trials[0].name] == [(0.1, 0), (pytest.approx(0.7), 20)]
    assert schedule[experiment.trials[2].name][0][0] == pytest.approx(0.8)
    for until, state in ((-1, "waiting"), (0, "running"), (20, "finished")):
        assert screen.read_row(folder, experiment, experiment.trials[0], until).state == state
    shots = list(itertools.islice(screen.replay(folder, experiment, speed=1e9), 2))
    assert all(row.state == "finished" for row in shots[-1].rows)


def test_each_epoch_is_printed_once(tmp_path):
    folder, experiment = fabricated.experiment(tmp_path, values, *SMALL)
    printed = {}
    rows = screen.snapshot(folder, experiment, 0.0, {}).rows
    lines = screen.epoch_lines(folder, rows, printed)

    assert len(lines) == 2 * len(experiment.trials)
    assert lines[1].startswith(f"{experiment.trials[0].name}  epoch 1  train loss 0.09524  train 90.0%  val 90.0%")
    assert screen.epoch_lines(folder, rows, printed) == []


# ---- networks that diverge --------------------------------------------------------------------------------------------------


def test_a_diverged_network_shows_its_step_and_no_accuracy(tmp_path):
    folder, experiment = fabricated.experiment(tmp_path, diverges, *SMALL)
    shot = screen.snapshot(folder, experiment, 10.0, {})
    by_seed = {row.trial.seed: (row.diverged, row.val_accuracy) for row in shot.rows}
    text = drawn(shot)

    assert by_seed == {0: (None, 0.9), 1: (17, None)}
    assert "8 of 8 trials finished, 4 diverged" in text
    assert text.count("90.0 (1)") == text.count("1 diverged") == 4
    assert "plain-d8-norm-none-init-pytorch-s1 at step 17" in " ".join(text.split())
    assert "and 1 more" in text
    assert "82.6" not in text


def test_a_diverged_network_is_shown_while_the_others_of_its_stack_still_train(tmp_path):
    folder, experiment = fabricated.experiment(tmp_path, values, *SMALL)
    trial_path = runs.trial_folder(folder, experiment.trials[0].name)
    (trial_path / "result.json").unlink()
    runs.set_status(trial_path, "running", step=17, steps=40, diverged=17)
    shot = screen.snapshot(folder, experiment, 10.0, {})

    assert (shot.rows[0].is_training, shot.rows[0].diverged, shot.rows[0].val_accuracy) == (False, 17, None)
    assert screen.work_done(shot.rows) == 1.0
    assert "7 of 8 trials finished, 1 diverged" in drawn(shot)


def test_a_replay_ends_with_the_divergence(tmp_path):
    folder, experiment = fabricated.experiment(
        tmp_path, lambda trial: {**diverges(trial), "steps": 30}, *SMALL[:-1], "seeds=[1]"
    )
    *_, last = screen.replay(folder, experiment, speed=1e9)
    early = screen.read_row(folder, experiment, experiment.trials[0], 20)

    assert [(row.state, row.diverged, row.val_accuracy) for row in last.rows] == [("finished", 30, None)] * 4
    assert (early.state, early.diverged, early.val_accuracy) == ("running", None, 0.826)


def test_the_last_line_of_a_diverged_trial_is_its_divergence(tmp_path):
    folder, experiment = fabricated.experiment(tmp_path, diverges, *SMALL[:-1], "seeds=[1]")
    rows, printed = screen.snapshot(folder, experiment, 0.0, {}).rows, {}
    lines = [line for line in screen.epoch_lines(folder, rows, printed) if line.startswith(experiment.trials[0].name)]

    assert len(lines) == 3
    assert lines[-1].endswith("diverged at step 17")
    assert screen.epoch_lines(folder, rows, printed) == []


def test_a_long_question_is_shown_completely_between_name_and_progress(tmp_path):
    question = " ".join(f"word{number}" for number in range(40)) + "?"
    folder, experiment = fabricated.experiment(tmp_path, values, *SMALL, f"question={question}")
    lines = drawn(screen.snapshot(folder, experiment, 10.0, {})).splitlines()
    (progress,) = (number for number, line in enumerate(lines) if "trials finished" in line)

    assert lines[0].strip() == experiment.name
    assert " ".join(" ".join(lines[1:progress]).split()) == question
    assert max(map(len, lines)) <= 80


# ---- many arms ------------------------------------------------------------------------------------------------------------


ARMS = ["plain", "identity", "gate-bias-3", "scaled", "rezero", "stochastic-depth-survival0.25", "skipinit", "dropout"]
SHORTCUTS = "network.shortcut=[identity,{gate: {bias: -3}},scaled,rezero,{stochastic-depth: {survival: 0.25}},skipinit,dropout]"
LABELS = ["d64 norm-layer init-pytorch", "d8 norm-none init-he"]


@pytest.mark.parametrize("width", [40, 80, 120, 200])
@pytest.mark.parametrize("count", range(1, 9))
def test_the_columns_of_the_arms_fill_the_width_of_the_terminal(count, width):
    shown, label_width, arm_width = screen.layout(ARMS[:count], LABELS, width)
    used = label_width + 1 + len(shown) * (arm_width + 1)

    assert list(shown) == ARMS[: len(shown)]
    assert len(shown) >= min(count, 6 if width >= 80 else 2)
    assert width - len(shown) - 1 <= used <= width
    assert arm_width >= len("2 diverged")


@pytest.mark.parametrize(("width", "note"), [(80, "2 more arms"), (120, None)])
def test_bars_and_names_are_complete_and_arms_that_do_not_fit_are_counted(tmp_path, width, note):
    folder, experiment = fabricated.experiment(tmp_path, values, *SMALL, SHORTCUTS)
    lines = drawn(screen.snapshot(folder, experiment, 10.0, {}), width).splitlines()
    text = "\n".join(lines)
    shown = ARMS if note is None else ARMS[:6]

    assert max(map(len, lines)) <= width
    assert "…" not in text
    assert "..." not in text
    assert (lines[-1].strip() == note) if note else ("more arms" not in text)
    assert text.count("90.0 (2)") == 2 * len(shown)
    assert text.count("████████▏") + text.count("█████████") == 2 * len(shown)


def test_in_a_small_terminal_the_last_cells_are_shown_and_the_others_are_counted(tmp_path):
    folder, experiment = fabricated.experiment(tmp_path, values, "seeds=2")
    shot = screen.snapshot(folder, experiment, 10.0, {})
    cells = len({row.cell for row in shot.rows})
    lines = drawn(shot, 80, 12).splitlines()
    shown = sum("90.0 (2)" in line for line in lines)

    assert len(lines) <= 12
    assert 0 < shown < cells
    assert lines[-1].strip() == f"{cells - shown} more configurations"
    assert shot.rows[-1].cell in lines[-2]


def test_arms_have_the_colors_of_the_charts_whichever_have_finished(tmp_path):
    def all_but_identity(trial):
        return values(trial) if trial.arm != "identity" else {}

    folder, experiment = fabricated.experiment(tmp_path, all_but_identity, *SMALL, SHORTCUTS)
    chart = FIGURES["accuracy"].chart(FigureData(runs.results_of(folder, experiment)))
    scale = chart.to_dict()["spec"]["layer"][0]["encoding"]["color"]["scale"]
    console = Console(width=200, force_terminal=True, color_system="truecolor", legacy_windows=False)
    with console.capture() as capture:
        console.print(screen.render(screen.snapshot(folder, experiment, 10.0, {}), 200))

    assert "identity" not in scale["domain"]
    for arm, color in zip(scale["domain"], scale["range"], strict=True):
        red, green, blue = (int(color[start : start + 2], 16) for start in (1, 3, 5))
        assert f"38;2;{red};{green};{blue}m{arm.split('-')[0]}" in capture.get()


@pytest.mark.parametrize(("share", "eighths"), [(0.0, 0), (1.0, 80), (0.5, 40), (0.0124, 1), (0.9, 72), (2.0, 80)])
def test_the_length_of_a_bar_is_its_share_rounded_to_an_eighth_of_a_character(share, eighths):
    parts = {"█": 8, **{char: number for number, char in enumerate(" ▏▎▍▌▋▊▉")}}

    assert sum(parts[char] for char in screen.bar(share, 10)) == eighths
