"""LaTeX: escaped text, a table that pdflatex compiles, and a paragraph on methods."""

import re
import shutil
import string
import subprocess
from pathlib import Path

import fabricated
import pytest

from resexp import comparison, runs
from resexp.tables.latex import as_latex
from resexp.tables.writers import latex_text

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
    results = fabricated.results(tmp_path, values, *CELLS, *overrides)
    return as_latex(comparison.compare_results(results, **options), p_values=True)


def rows(text):
    """The cells of each row of the body."""
    body = text.partition("\\midrule\n")[2].partition("\\bottomrule")[0]
    return [line.removesuffix(r" \\").split(" & ") for line in body.splitlines() if line.endswith(r"\\")]


# ---- text -------------------------------------------------------------------------------------------------------------------


def test_letters_digits_and_punctuation_are_unchanged():
    text = string.ascii_letters + string.digits + " .,;:!?()[]/=+-*'@"

    assert latex_text(text) == text


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
def test_characters_with_a_meaning_in_latex_are_escaped(text, printed):
    assert latex_text(text) == printed


# ---- the table --------------------------------------------------------------------------------------------------------------


def test_every_row_has_a_value_for_every_column(tmp_path):
    text = table(tmp_path)
    columns = re.search(r"\\begin\{tabular\}\{@\{\}(\w+)@\{\}\}", text).group(1)
    head = re.search(r"\\toprule\n(.*) \\\\", text).group(1).split(" & ")
    first, second = rows(text)[:2]

    assert {len(columns), len(head)} == {len(row) for row in rows(text)} == {11}
    assert first == ["2", "none", "plain", "4/4", r"61.0 $\pm$ 8.4", r"39.0 $\pm$ 8.4", "", "$-$0.79", "", "", ""]
    assert second[:6] == ["", "", "identity", "4/4", r"70.0 $\pm$ 9.4", r"30.0 $\pm$ 9.4"]
    assert second[6] == "+9.0 [+3.3, +14.7]"  # no star: the correction includes three other pairs
    assert second[8:] == ["0.12", "0.25", "0.12"]  # 2/16, of two contrasts, 2/16
    assert "corrected for all contrasts of the table" in text


def test_counts_replace_means_if_outcomes_differ_or_networks_diverged(tmp_path):
    all_rows = rows(table(tmp_path))
    by_outcomes = {(row[2], row[3]): row for row in all_rows}

    assert by_outcomes["plain", "1/4 (3 at chance)"][4] == "median 10.0 (10.0 to 90.0)"
    assert by_outcomes["plain", "0/4 (4 diverged)"][4] == "--"
    counts = [row[6] for row in all_rows if row[6].startswith("counts")]
    assert sorted(text.split("; ")[0] for text in counts) == [
        "counts: p = 0.029",
        "counts: p = 0.14",
    ]  # scipy: 0 and 1 against 4 of 4
    assert all("; ranks: p = " in text for text in counts)
    assert "nan" not in str(all_rows)


def test_diverged_networks_are_listed_with_their_step(tmp_path):
    def one_diverged(trial):
        diverges = (trial.arm, trial.seed) == ("plain", 1)
        result = {"outcome": "diverged", "steps": 101} if diverges else {"test_accuracy": 0.9}
        return {**result, "slope_start": 0.0}

    assert (
        table(tmp_path, values=one_diverged).count("plain: diverged: seed 1 at step 101.")
        == len(rows(table(tmp_path / "b"))) / 2
    )


def test_losses_are_not_in_percent(tmp_path):
    text = table(tmp_path, values=lambda trial: {"test_accuracy": 0.5, "test_loss": 1.25 + trial.seed}, metric="test_loss")

    assert "& mean &" in text
    assert r"2.75 $\pm$ 1.291" in text


SGD = ["training.optimizer=sgd", "training.momentum=0.9", "training.weight_decay=0.0001"]
CNN = ["network.family=cnn", "network.placement=pre", "network.zero_init_residual=true"]


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        pytest.param(
            [],
            ["fully connected (MLP), depth 2 and 64, width 64, blocks of 2 layers, activation after the addition, ReLU",
             "no normalization and layer norm, He initialization; shortcuts: identity", "20 epochs, batches of 64",
             "Adam (betas 0.9 and 0.999, eps 1e-08), no weight decay, learning rate 0.001, constant schedule"],
            id="default",
        ),
        pytest.param(["training.lr=[0.1,0.01]"], ["learning rate 0.1 and 0.01, constant"], id="the learning rate varies"),
        pytest.param(["training.batch_size=[8,16]"], ["batches of 8 and 16"], id="the batch size varies"),
        pytest.param(SGD, ["SGD with momentum 0.9, weight decay 0.0001, learning rate"], id="momentum and weight decay"),
        pytest.param([*SGD, "training.nesterov=true"], ["SGD with Nesterov momentum 0.9"], id="Nesterov momentum"),
        pytest.param(SGD[:1], ["SGD without momentum"], id="no momentum"),
        pytest.param(
            ["training.optimizer=adamw", "training.weight_decay=0.01", "training.decay=weights"],
            ["AdamW (betas 0.9 and 0.999, eps 1e-08), weight decay 0.01 of weights only"],
            id="decay of weights only",
        ),
        pytest.param(
            ["training.schedule=step", "training.milestones=[100,200]", "training.warmup={steps: 5, factor: 0.1}"],
            ["step schedule (factor 0.1 at 100 and 200), warmup at 0.1 x learning rate for 5 steps"],
            id="schedule",
        ),
        pytest.param(
            ["training.label_smoothing=0.1", "training.clip_norm=2"],
            ["label smoothing 0.1 and gradients clipped to norm 2"],
            id="regularization",
        ),
        pytest.param(["network.init_scale=2.5"], [r"He initialization with fan\_in * Var(W) = 2.5"], id="init_scale"),
        pytest.param(
            [*CNN, "network.depth=[8,14]", "network.norm=[batch]", "network.shortcut=[identity,projection]"],
            ["convolutional (CNN)", "basic blocks of 2 layers, full pre-activation", "batch norm",
             "He initialization, every branch 0 at initialization; shortcuts: identity, projection"],
            id="a convolutional network",
        ),
        pytest.param(
            ["network.family=cnn", "network.block=bottleneck", "network.depth=[11,20]"], ["bottleneck blocks"], id="bottleneck"
        ),
    ],
)  # fmt: skip
def test_methods_state_architecture_and_recipe_with_the_values_that_vary(tmp_path, overrides, words):
    methods = table(tmp_path, *overrides, values=lambda _trial: {"test_accuracy": 0.5}).partition("Methods.")[2]

    assert [text for text in words if text not in methods] == []
    assert "1,294 training images, 144 validation images and 359 test images" in methods
    assert "No setting was tuned" in methods


def test_a_parameter_matched_baseline_does_not_add_its_width_to_the_methods(tmp_path):
    overrides = ["network.shortcut=[gate]", "network.plain_width=parameters"]

    assert "width 64," in table(tmp_path, *overrides, values=lambda _trial: {"test_accuracy": 0.5})


RATES = ("network.depth=[8]", "network.norm=[none]", "training.lr=[0.1,0.01]")


def better_at_another_rate(trial):
    """plain is best at 0.1, identity at 0.01; each is 10 points worse at the other learning rate."""
    best = (trial.arm == "plain") == (trial.settings.training.lr == 0.1)
    accuracy = (PLAIN if trial.arm == "plain" else RESIDUAL)[trial.seed] - (0 if best else 0.1)
    return {"test_accuracy": accuracy, "val_accuracy": accuracy}


def test_tuned_results_have_a_second_table_and_separate_methods(tmp_path):
    text = table(tmp_path, *RATES, tune=["lr"], values=better_at_another_rate)
    equal, _, methods = text.partition("Methods.")
    first, second = equal.split(r"\end{table}")[:2]
    (plain, residual) = rows(second)

    assert len(rows(first)) == 4
    label = "depth 8, each at its best"
    assert plain == [label, "plain", r"61.0 $\pm$ 8.4", "", "lr 0.1 (lr at the edge of the grid)"]
    assert residual[:3] == ["", "identity", r"70.0 $\pm$ 9.4"]
    assert residual[3].startswith("+9.0 [")
    assert residual[4] == "lr 0.01 (lr at the edge of the grid)"
    assert "No setting was tuned" not in methods
    assert "tuned" not in methods.partition(r"\paragraph{Tuned settings.}")[0].lower()
    assert (
        "In the second table, each arm has its best lr, selected by mean validation accuracy of one half of the seeds"
        in methods
    )


def test_without_tuning_there_is_one_table(tmp_path):
    assert table(tmp_path, *RATES, values=better_at_another_rate).count(r"\begin{table}") == 1


# ---- pdflatex ---------------------------------------------------------------------------------------------------------------

JUDGMENTS = ["primary: test_accuracy: identity > plain @ 95%", "  a {b} \\c $d & #e ~f ^g |h \u7f51 100 % --"]


def test_pdflatex_compiles_the_table_without_warnings(tmp_path, monkeypatch):
    program = shutil.which("pdflatex")
    if program is None:
        pytest.skip("pdflatex is not installed")
    monkeypatch.chdir(tmp_path)  # the caption contains the folders
    folders = [
        fabricated.experiment(Path(folder), values, *CELLS, "name=a_b", f"seeds=[{first},{first + 1}]")[0]
        for folder, first in (("100% {x} & #y_z", 0), ("~tilde^ $", 2))
    ]
    compared = comparison.compare_results(runs.read_results(folders))
    tuned = table(tmp_path / "tuned", *RATES, tune=["lr"], values=better_at_another_rate)
    head = (r"\documentclass{article}", r"\usepackage{booktabs}", r"\begin{document}")
    document = "\n".join([*head, as_latex(compared, JUDGMENTS), table(tmp_path / "one"), tuned, r"\end{document}"])
    (tmp_path / "paper.tex").write_text(document, encoding="utf-8")
    command = [program, "-halt-on-error", "-interaction=nonstopmode", "paper.tex"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, check=False, timeout=60)

    assert result.returncode == 0, result.stdout.decode(errors="replace")[-2000:]
    assert (tmp_path / "paper.pdf").read_bytes().startswith(b"%PDF")
    assert not re.search(rb"Missing character|Undefined", result.stdout)
    assert result.stdout.count(b"Overfull") <= 2  # two tables have the columns of --p-values: wider than the text of an article
