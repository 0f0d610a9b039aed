"""docs/resexp.ipynb: the cells run in order, and their results match the text. Needs no Jupyter."""

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


def run_cell(source: str, names: dict):
    """Runs a cell; returns the value of the last line if it is an expression."""
    tree = ast.parse(source)
    last = ast.Expression(tree.body.pop().value) if isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, "cell", "exec"), names)
    return eval(compile(last, "cell", "eval"), names) if last else None


@pytest.fixture
def workspace(tmp_path, monkeypatch, torch_state):
    """Creates temporary folders in `tmp_path`; restores the shortcuts and the renderer of charts."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    before = dict(resexp.SHORTCUTS)
    with alt.renderers.enable("default"):
        yield tmp_path
    resexp.SHORTCUTS.clear()
    resexp.SHORTCUTS.update(before)


def test_results_of_the_cells_match_the_text(workspace, capsys):
    names = {}
    run, means, initial_gradients, table, verdicts, chart, frame, ordered = (run_cell(source, names) for source in CODE)

    assert repr(run).startswith("<digits: 12 of 12 trials finished; arms plain identity; depth 4 16; ")
    assert Path(names["folder"]).is_relative_to(workspace)
    accuracy = means["test_accuracy"]
    assert accuracy[16, "plain"] == pytest.approx(0.2, abs=0.08)  # a fifth
    assert accuracy[16, "identity"] == pytest.approx(0.95, abs=0.03)
    shrinkage = (initial_gradients["plain"].iloc[-1] / initial_gradients["plain"].iloc[0]) ** (1 / 7)
    assert shrinkage == pytest.approx(6, abs=1)
    assert initial_gradients["identity"].iloc[-1] / initial_gradients["identity"].iloc[0] == pytest.approx(1, abs=0.3)
    assert table is None
    assert verdicts.met
    assert chart.to_dict()["$schema"]
    assert len(names["run"].trials) == 18
    assert frame["arm"].tolist() == ["plain", "identity", "half"] * 2
    assert ordered.met
    assert "residual - plain" in capsys.readouterr().out


def test_stored_outputs_are_complete_in_order_and_small():
    cells = [cell for cell in NOTEBOOK["cells"] if cell["cell_type"] == "code"]

    assert NOTEBOOK["nbformat"] == 4
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    assert all(cell["outputs"] for cell in cells)
    assert not [output for cell in cells for output in cell["outputs"] if output["output_type"] == "error"]
    assert (ROOT / "docs" / "resexp.ipynb").stat().st_size < 100_000
