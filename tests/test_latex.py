"""LaTeX: text is printed as it is, the table is one that pdflatex sets, the paragraph of methods says no more than is known."""

import re
import shutil
import string
import subprocess
from pathlib import Path

import fabricated
import pytest

from resexp import comparison, runs
from resexp.tables.latex import as_latex, latex

CELLS = ("network.depth=[2,64]", "network.init=[he]", "network.norm=[none,layer]", "seeds=4")
PLAIN, RESIDUAL = (0.50, 0.60, 0.70, 0.64), (0.61, 0.66, 0.83, 0.70)


def values(trial):
    network = trial.settings.network
    if trial.arm == "plain" and network.depth == 64 and network.norm == "none":
        return {"test_accuracy": 0.1, "outcome": "at_chance"} if trial.seed else {"test_accuracy": 0.9, "slope_start": -0.79}
    if trial.arm == "plain" and network.depth == 64:
        return {"outcome": "diverged"}
    return {"test_accuracy": (PLAIN if trial.arm == "plain" else RESIDUAL)[trial.seed], "slope_start": -0.79}


def table(tmp_path, *overrides, values=values, **options):
    return as_latex(comparison.compare_results(fabricated.results(tmp_path, values, *CELLS, *overrides), **options), test=True)


def rows(text):
    """The cells of each row of the body."""
    body = text.partition("\\midrule\n")[2].partition("\\bottomrule")[0]
    return [line.removesuffix(r" \\").split(" & ") for line in body.splitlines() if line.endswith(r"\\")]


# ---- text -------------------------------------------------------------------------------------------------------------------


def test_letters_digits_and_points_are_left_as_they_are():
    text = string.ascii_letters + string.digits + " .,;:!?()[]/=+-*'@"

    assert latex(text) == text


@pytest.mark.parametrize(
    ("text", "printed"),
    [
        ("a_b%c&d#e$f", r"a\_b\%c\&d\#e\$f"),
        ("{x}", r"\{x\}"),
        ("\\input{x}", r"\textbackslash{}input\{x\}"),
        ("~^", r"\textasciitilde{}\textasciicircum{}"),
        ("a < b > c | d", r"a $<$ b $>$ c \textbar{} d"),
        ("±1", r"$\pm$1"),
        ("a--b", "a-{}-b"),
        ("\u7f51 é 😀", "? \\'{e} ?"),
    ],
)
def test_what_latex_would_read_as_a_command_is_escaped(text, printed):
    assert latex(text) == printed


# ---- the table --------------------------------------------------------------------------------------------------------------


def test_every_row_has_a_cell_for_every_column(tmp_path):
    text = table(tmp_path)
    columns = re.search(r"\\begin\{tabular\}\{@\{\}(\w+)@\{\}\}", text).group(1)
    head = re.search(r"\\toprule\n(.*) \\\\", text).group(1).split(" & ")
    first, second = rows(text)[:2]

    assert {len(columns), len(head)} == {len(row) for row in rows(text)} == {11}
    assert first == ["2", "none", "plain", "4/4", r"61.0 $\pm$ 8.4", r"39.0 $\pm$ 8.4", "", "$-$0.79", "", "", ""]
    assert second[:6] == ["", "", "identity", "4/4", r"70.0 $\pm$ 9.4", r"30.0 $\pm$ 9.4"]
    assert second[6] == "+9.0 [+3.3, +14.7]"  # no star: three other pairs count, too
    assert second[8:] == ["0.12", "0.25", "0.12"]  # 2/16, of two contrasts, 2/16
    assert "Holm: corrected for all contrasts of the table" in text


def test_where_outcomes_are_mixed_or_diverged_counts_stand_in_the_place_of_means(tmp_path):
    every = rows(table(tmp_path))
    found = {(row[2], row[3]): row for row in every}

    assert found["plain", "1/4 (3 at chance)"][4] == "median 10.0 (10.0 to 90.0)"
    assert found["plain", "0/4 4 diverged"][4] == "--"
    counts = [row[6] for row in every if row[6].startswith("counts")]
    assert sorted(of.split("; ")[0] for of in counts) == [
        "counts: p = 0.029",
        "counts: p = 0.14",
    ]  # scipy: 0 and 1 against 4 of 4
    assert all("; ranks: p = " in of for of in counts)
    assert "nan" not in str(every)


def test_diverged_networks_are_named_with_the_step(tmp_path):
    def made(trial):
        ended = {"outcome": "diverged", "steps": 101} if (trial.arm, trial.seed) == ("plain", 1) else {"test_accuracy": 0.9}
        return {**ended, "slope_start": 0.0}

    assert table(tmp_path, values=made).count("plain: diverged: seed 1 at step 101.") == len(rows(table(tmp_path / "b"))) / 2


def test_losses_are_no_percents(tmp_path):
    text = table(tmp_path, values=lambda trial: {"test_accuracy": 0.5, "test_loss": 1.25 + trial.seed}, metric="test_loss")

    assert r"mean $\pm$ sd &" in text
    assert r"2.75 $\pm$ 1.291" in text


@pytest.mark.parametrize(
    ("overrides", "there", "absent"),
    [
        pytest.param([], ["learning rate 0.001", "20 epochs"], [], id="nothing of the recipe varies"),
        pytest.param(["training.lr=[0.1,0.01]"], ["20 epochs"], ["learning rate"], id="the rate stands in the table"),
        pytest.param(["training.batch_size=[8,16]"], ["learning rate 0.001"], ["batches of"], id="the batches do"),
    ],
)
def test_methods_name_the_recipe_but_for_what_varies(tmp_path, overrides, there, absent):
    methods = table(tmp_path, *overrides).partition("Methods.")[2]

    assert [words for words in there if words not in methods] == []
    assert [words for words in absent if words in methods] == []
    assert "1,294 images to train on, 144 held out for validation, 359 to test" in methods
    assert "Nothing was tuned" in methods


def test_methods_name_what_was_tuned_and_where_it_ended(tmp_path):
    text = table(tmp_path, "training.lr=[0.1,0.01]", tune=["lr"], values=lambda _trial: {"test_accuracy": 0.5})

    assert (
        "Each arm at its best lr, selected by mean validation accuracy of one half of the seeds, reported on the other" in text
    )
    assert "lr 0.1 (ties with 1 other; lr at the edge of the grid)" in text


# ---- pdflatex ---------------------------------------------------------------------------------------------------------------

JUDGED = ["primary: test_accuracy: identity > plain @ 95%", "  a {b} \\c $d & #e ~f ^g |h \u7f51 100 % --"]


def test_pdflatex_sets_the_table_without_a_complaint(tmp_path, monkeypatch):
    program = shutil.which("pdflatex")
    if program is None:
        pytest.skip("pdflatex is not installed")
    monkeypatch.chdir(tmp_path)  # folders stand in the caption
    folders = [
        fabricated.experiment(Path(place), values, *CELLS, "name=a_b", f"seeds=[{first},{first + 1}]")[0]
        for place, first in (("100% {x} & #y_z", 0), ("~tilde^ $", 2))
    ]
    found = comparison.compare_results(runs.read_results(folders))
    document = "\n".join([r"\documentclass{article}", r"\usepackage{booktabs}", r"\begin{document}", as_latex(found, JUDGED),
                          table(tmp_path / "one"), r"\end{document}"])  # fmt: skip
    (tmp_path / "paper.tex").write_text(document, encoding="utf-8")
    command = [program, "-halt-on-error", "-interaction=nonstopmode", "paper.tex"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, check=False, timeout=60)

    assert result.returncode == 0, result.stdout.decode(errors="replace")[-2000:]
    assert (tmp_path / "paper.pdf").read_bytes().startswith(b"%PDF")
    assert not re.search(rb"Missing character|Undefined", result.stdout)
    assert result.stdout.count(b"Overfull") <= 1  # with the three columns of --test it is wider than an article's text
