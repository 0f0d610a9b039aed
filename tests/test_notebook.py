"""docs/resexp.ipynb: its cells run in their order, and what they give is what its text says. Needs no jupyter."""

import ast
import json
import tempfile
from pathlib import Path

import altair as alt
import pytest

import resexp

ROOT = Path(__file__).parent.parent
NOTEBOOK = json.loads((ROOT / "docs" / "resexp.ipynb").read_text(encoding="utf-8"))
CODE = ["".join(cell["source"]) for cell in NOTEBOOK["cells"] if cell["cell_type"] == "code"]


def shown(source: str, names: dict):
    """Runs a cell; the value of its last line, where that is an expression."""
    tree = ast.parse(source)
    last = ast.Expression(tree.body.pop().value) if isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, "cell", "exec"), names)
    return eval(compile(last, "cell", "eval"), names) if last else None


@pytest.fixture
def place(tmp_path, monkeypatch, torch_state):
    """Temporary folders lie in `tmp_path`; a shortcut that is added and the way charts are shown are put back."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    before = dict(resexp.SHORTCUTS)
    with alt.renderers.enable("default"):
        yield tmp_path
    resexp.SHORTCUTS.clear()
    resexp.SHORTCUTS.update(before)


@pytest.mark.slow
def test_its_cells_give_what_its_text_says(place, capsys):
    names = {}
    run, means, start, table, expected, chart, frame, between = (shown(source, names) for source in CODE)

    assert repr(run).startswith("<digits: 12 of 12 trials finished; arms plain identity; depth 4 16; ")
    assert Path(names["folder"]).is_relative_to(place)
    accuracy = means["test_accuracy"]
    assert accuracy[16, "plain"] == pytest.approx(0.2, abs=0.08)  # a fifth
    assert accuracy[16, "identity"] == pytest.approx(0.95, abs=0.03)
    shrinks = (start["plain"].iloc[-1] / start["plain"].iloc[0]) ** (1 / 7)
    assert shrinks == pytest.approx(6, abs=1)
    assert start["identity"].iloc[-1] / start["identity"].iloc[0] == pytest.approx(1, abs=0.3)
    assert table is None
    assert expected.met
    assert chart.to_dict()["$schema"]
    assert len(names["run"].trials) == 18
    assert frame["arm"].tolist() == ["plain", "identity", "half"] * 2
    assert between.met
    assert "residual - plain" in capsys.readouterr().out


def test_its_outputs_are_stored_from_one_run_in_order_and_small():
    cells = [cell for cell in NOTEBOOK["cells"] if cell["cell_type"] == "code"]

    assert NOTEBOOK["nbformat"] == 4
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    assert all(cell["outputs"] for cell in cells)
    assert not [output for cell in cells for output in cell["outputs"] if output["output_type"] == "error"]
    assert (ROOT / "docs" / "resexp.ipynb").stat().st_size < 100_000
