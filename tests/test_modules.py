"""`resexp probe MODULE:FACTORY`: any network, measured as resexp measures its own; what it refuses; what it never changes."""

import copy
import csv
import io
import json
import math
import random
import subprocess
import sys

import numpy as np
import pytest
import torch
import torchvision
from torch import nn
from torch.nn import functional

import resexp
from resexp import config, initial_diagnostics, tables, training
from resexp.comparison import Flow, Inputs
from resexp.config import ConfigError
from resexp.modules.boundaries import Call, default_boundaries, matches


class Sequence(nn.Module):
    """A classifier of token sequences: an LSTM, whose output is a tuple."""

    def __init__(self):
        super().__init__()
        self.embedding, self.lstm, self.head = nn.Embedding(50, 16), nn.LSTM(16, 32, 2, batch_first=True), nn.Linear(32, 5)

    def forward(self, x):
        states, _ = self.lstm(self.embedding(x))
        return self.head(states[:, -1])


class Attention(nn.Module):
    """A pre-norm transformer block, as in small language models."""

    def __init__(self, width):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x):
        q, k, v = self.qkv(self.norm1(x)).chunk(3, -1)
        x = x + self.out(functional.scaled_dot_product_attention(q, k, v, is_causal=True))
        return x + self.mlp(self.norm2(x))


class Language(nn.Module):
    """Token and position embeddings, blocks in a ModuleList, and logits for each position in a dict."""

    def __init__(self, blocks=4):
        super().__init__()
        self.tokens, self.positions = nn.Embedding(50, 16), nn.Embedding(12, 16)
        self.h = nn.ModuleList(Attention(16) for _ in range(blocks))
        self.head = nn.Linear(16, 50, bias=False)

    def forward(self, x):
        state = self.tokens(x) + self.positions(torch.arange(x.shape[1]))
        for block in self.h:
            state = block(state)
        return {"logits": self.head(state)}


class Recurrent(nn.Module):
    """One cell that is called once per time step."""

    def __init__(self):
        super().__init__()
        self.cell, self.head = nn.RNNCell(6, 16), nn.Linear(16, 4)

    def forward(self, x):
        state = None
        for time in range(x.shape[1]):
            state = self.cell(x[:, time], state)
        return self.head(state)


def plain(depth=50, width=64):
    hidden = [layer for _ in range(depth - 2) for layer in (nn.Linear(width, width), nn.ReLU())]
    return nn.Sequential(nn.Flatten(), nn.Linear(64, width), nn.ReLU(), *hidden, nn.Linear(width, 10))


@pytest.fixture(autouse=True)
def seeded(torch_state):
    torch.manual_seed(0)


def measured(module, x, y=None, **options):
    return resexp.probe(module, x, y, **options)


# ---- what must not change -----------------------------------------------------------------------------------------------


def frozen(module):
    return module.requires_grad_(requires_grad=False)


def numpy_state():
    return np.random.get_state()[1].tolist()  # noqa: NPY002 - the global generator, which networks may use


def everything(module):
    state = {name: tensor.clone() for name, tensor in module.state_dict(keep_vars=True).items()}
    grads = {name: None if p.grad is None else p.grad.clone() for name, p in module.named_parameters()}
    flags = {name: p.requires_grad for name, p in module.named_parameters()}
    modes = {name: (m.training, len(m._forward_hooks), len(m._forward_pre_hooks)) for name, m in module.named_modules()}
    return state, grads, flags, modes


def test_the_network_and_all_random_states_stay_as_they_were():
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.2), nn.Flatten(), nn.LazyLinear(5))
    x = torch.randn(4, 3, 8, 8)
    network(x).sum().backward()  # gives every parameter a gradient
    network.eval()
    frozen(network[0])
    before, random_state = everything(network), (torch.get_rng_state(), random.getstate(), numpy_state())

    measured(network, x)

    after = everything(network)
    assert all(torch.equal(before[0][name], after[0][name]) for name in before[0])
    assert all(torch.equal(before[1][name], after[1][name]) for name in before[1])
    assert before[2:] == after[2:]
    assert torch.equal(random_state[0], torch.get_rng_state())
    assert random_state[1:] == (random.getstate(), numpy_state())


def test_a_config_is_probed_as_before(call, tiny_file):
    assert call("probe", tiny_file, "--csv").out.startswith("cell,arm,quantity")


# ---- equal to what resexp measures of its own networks ----------------------------------------------------------------


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param(["network.depth=10", "network.norm=layer", "network.init=he"], id="mlp"),
        pytest.param(["network.depth=20", "network.family=cnn", "network.width=8", "network.norm=batch"], id="cnn"),
        pytest.param(["network.depth=10", "network.placement=pre", "network.shortcut=projection-all"], id="projection"),
    ],
)
def test_a_network_of_resexp_gives_the_same_values_in_every_column(changes):
    experiment = config.load(
        "digits", ["seeds=1", "network.norm=none", "network.init=pytorch", "network.plain=false", *changes]
    )
    (trial,) = experiment.trials
    (expected,) = initial_diagnostics.measure(experiment, "cpu")
    data = training.load_training_data(trial.settings.data, "cpu", "float32")
    x, y = next(training.batches(data, [0], trial.settings.training.batch_size, "none"))

    found = measured(training.build(trial, (1, 8, 8), 10), x, y)

    columns = zip(*(row[2:] for row in found.first.boundaries), strict=True)
    wanted = expected.activation_rms, expected.activation_grad_norm, expected.activation_cosine_distance
    for values, name in zip(columns, wanted, strict=True):
        assert values == pytest.approx(name, rel=1e-6)
    assert [row.weight_grad_norm for row in found.first.layers] == pytest.approx(expected.weight_grad_norm, rel=1e-6)
    assert found.slope.mean == pytest.approx(expected.slope, rel=1e-6)
    assert found.distance == pytest.approx(expected.distance, rel=1e-6)
    assert found.failed_checks == []


# ---- equal to backward hooks in float64 --------------------------------------------------------------------------------


def by_hooks(module, names, x, y):
    """(RMS of outputs, RMS over examples of output gradients, norms of weight gradients) from backward hooks in float64."""
    module, x = copy.deepcopy(module).double().train(), x.double() if x.is_floating_point() else x
    outputs, grads = {}, {}
    for name in names:
        submodule = module.get_submodule(name)

        def hook(_module, _inputs, output, name=name):
            tensor = output[0] if isinstance(output, tuple) else output
            outputs[name] = tensor.detach().clone()
            tensor.register_hook(lambda grad: grads.__setitem__(name, grad.clone()))

        submodule.register_forward_hook(hook)
    functional.cross_entropy(module(x), y).backward()
    rms = [outputs[name].square().mean().sqrt().item() for name in names]
    norms = [(grads[name].flatten(1).square().sum(1).mean().sqrt() * len(x)).item() for name in names]
    weights = {n.removesuffix(".weight"): p.grad.norm().item() for n, p in module.named_parameters() if p.ndim > 1}
    return rms, norms, weights


@pytest.mark.parametrize(
    ("make", "x", "names"),
    [
        pytest.param(
            lambda: torchvision.models.resnet18(num_classes=5),
            torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0)),
            [f"layer{stage}.{block}" for stage in (1, 2, 3, 4) for block in (0, 1)],
            id="resnet18",
        ),
        pytest.param(Sequence, torch.arange(4 * 9).reshape(4, 9), ["embedding", "lstm", "head"], id="LSTM"),
    ],
)
def test_values_equal_those_of_backward_hooks_in_float64(make, x, names):
    network, y = make().double(), torch.tensor([0, 1, 2, 3])
    rms, norms, weights = by_hooks(network, names, x, y)

    found = measured(network, x, y)

    rows = {row.block: row for row in found.first.boundaries}
    assert [rows[name].activation_rms for name in names] == pytest.approx(rms, rel=1e-6)
    assert [rows[name].activation_grad_norm for name in names] == pytest.approx(norms, rel=1e-6)
    assert {row.layer: row.weight_grad_norm for row in found.first.layers} == pytest.approx(weights, rel=1e-6)


# ---- boundaries ---------------------------------------------------------------------------------------------------------


def calls(*names_and_kinds):
    return [Call(name, 0, kind) for name, kind in names_and_kinds]


def test_the_default_boundaries_are_the_deepest_modules_of_one_class_that_follow_one_another():
    stages = [(f"layer{n}", nn.Sequential) for n in range(4)]
    blocks = [(f"layer{n}.{m}", nn.TransformerEncoderLayer) for n in range(4) for m in range(2)]
    inner = [(f"{name}.{part}", kind) for name, _ in blocks for part, kind in (("a", nn.Conv2d), ("b", nn.ReLU))]

    found = default_boundaries(calls(*inner, *blocks, *stages))

    assert [call.name for call in found.calls] == [name for name, _ in blocks]


@pytest.mark.parametrize(
    ("make", "x", "names"),
    [
        pytest.param(plain, torch.randn(4, 64), [str(2 * n) for n in range(1, 50)], id="activations"),
        pytest.param(Language, torch.arange(48).reshape(4, 12) % 50, ["input", "h.0", "h.1", "h.2", "h.3"], id="ModuleList"),
        pytest.param(
            Recurrent, torch.randn(4, 5, 6), ["input", "cell", "cell#2", "cell#3", "cell#4", "cell#5"], id="repeated calls"
        ),
        pytest.param(Sequence, torch.arange(36).reshape(4, 9), ["embedding", "lstm", "head"], id="leaves"),
    ],
)
def test_the_names_of_the_boundaries(make, x, names):
    assert [row.block for row in measured(make(), x).first.boundaries] == names


def test_a_glob_selects_boundaries_and_its_star_ends_at_a_dot():
    network = torchvision.models.resnet18(num_classes=5)

    found = measured(network, torch.randn(4, 3, 32, 32), at=["layer*"])

    assert [row.block for row in found.first.boundaries] == ["input", "layer1", "layer2", "layer3", "layer4"]
    assert matches("layer1.0", "layer*.*")
    assert not matches("layer1.0", "layer*")


def test_a_relu_in_place_after_a_boundary_does_not_change_it():
    layers = [nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 8)]
    x, y = torch.randn(6, 8), torch.arange(6)

    def network(in_place):
        relus = [nn.ReLU(inplace=in_place) for _ in layers]
        return nn.Sequential(*(module for pair in zip(layers, relus, strict=True) for module in pair))

    in_place, apart = (measured(network(flag), x, y, at=["0", "2", "4"]).first for flag in (True, False))

    assert in_place.boundaries == apart.boundaries
    assert in_place.layers == apart.layers


# ---- verdicts -----------------------------------------------------------------------------------------------------------


def test_a_plain_network_with_default_initialization_has_vanishing_gradients_and_collapsed_inputs():
    found = measured(plain(), torch.randn(16, 64))

    assert (found.flow, found.inputs) == (Flow.VANISHING, Inputs.COLLAPSED)
    assert found.slope.mean == pytest.approx(math.log10(1 / math.sqrt(6)), abs=0.05)  # a factor of 1/6 of the square per layer
    assert found.gradient_growth.mean == pytest.approx(48 * found.slope.mean)


def test_a_transformer_has_stable_gradients():
    assert measured(Language(), torch.arange(48).reshape(4, 12) % 50).flow == Flow.STABLE


def test_the_self_check_detects_gradients_that_flow_around_a_boundary():
    class Dense(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers, self.head = nn.ModuleList(nn.Linear(8, 8) for _ in range(4)), nn.Linear(40, 3)

        def forward(self, x):
            outputs = [x]
            for layer in self.layers:
                outputs.append(torch.tanh(layer(outputs[-1])))
            return self.head(torch.cat(outputs, 1))

    checks = {check.name: check.error for check in measured(Dense(), torch.randn(6, 8)).failed_checks}

    assert "chain rule layers.0 to layers.1" in checks
    assert "loss along a direction of the weights" not in checks


def test_the_self_check_detects_a_wrong_backward_pass():
    class Wrong(torch.autograd.Function):
        @staticmethod
        def forward(_context, x):
            return x.clone()

        @staticmethod
        def backward(_context, grad):
            return 2 * grad

    class Layer(nn.Linear):
        def forward(self, x):
            return Wrong.apply(super().forward(x))

    found = measured(nn.Sequential(Layer(8, 8), Layer(8, 8), Layer(8, 8)), torch.randn(6, 8))

    assert found.failed_checks[0].name == "loss along a direction of the weights"


@pytest.mark.parametrize(
    ("make", "remark"),
    [
        pytest.param(lambda: plain(6), None, id="nothing to remark"),
        pytest.param(
            lambda: nn.Sequential(plain(6)[:3].requires_grad_(requires_grad=False), *plain(6)[3:]), "frozen", id="frozen"
        ),
        pytest.param(lambda: nn.Sequential(plain(6), nn.BatchNorm1d(10)), "batch norm", id="batch norm"),
        pytest.param(lambda: nn.Sequential(plain(6), nn.Dropout(0.1)), "dropout", id="dropout"),
    ],
)
def test_what_is_unusual_is_remarked(make, remark):
    remarks = measured(make(), torch.randn(4, 64)).first.remarks

    assert remarks == () if remark is None else remark in remarks[0]


def test_unused_parameters_are_named():
    class Unused(nn.Sequential):
        def __init__(self):
            super().__init__(*plain(6))
            self.extra = nn.Linear(3, 3)

        def forward(self, x):
            for layer in list(self)[:-1]:
                x = layer(x)
            return x

    assert "extra" in measured(Unused(), torch.randn(4, 64)).first.remarks[0]


def test_bfloat16_is_measured_with_norms_in_float64():
    network = plain(8)
    x, y = torch.randn(16, 64), torch.arange(16) % 10

    low, high = measured(network.bfloat16(), x, y), measured(network.float(), x, y)

    for coarse, exact in zip(low.first.boundaries, high.first.boundaries, strict=True):
        assert coarse.activation_rms == pytest.approx(exact.activation_rms, rel=0.02)
        assert coarse.activation_grad_norm == pytest.approx(exact.activation_grad_norm, rel=0.1)


def test_a_mean_squared_error_and_a_custom_loss():
    network, x, y = plain(6), torch.randn(4, 64), torch.randn(4, 10)

    squared = measured(network, x, y, loss="mse")
    custom = measured(network, x, y, loss=lambda output, target: (output - target).square().mean())

    assert squared.first.loss == pytest.approx(functional.mse_loss(network(x), y).item(), rel=1e-6)
    assert custom.first == squared.first


# ---- the command --------------------------------------------------------------------------------------------------------

NETWORKS = """
import os
import torch
from torch import nn

def make():
    print("building")
    hidden = [layer for _ in range(2) for layer in (nn.Linear(16, 16), nn.ReLU())]
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), *hidden, nn.Linear(16, 10))

class Broken(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(64, 10)

class Raises(Broken):
    def forward(self, x):
        return self.layer(x.flatten(1))[:, 99, :]

class Infinite(Broken):
    def forward(self, x):
        return self.layer(x.flatten(1)) / 0.0 * 0.0

class Cuda(Broken):
    def forward(self, x):
        return self.layer(x.flatten(1).cuda())

class Trains(Broken):
    def forward(self, x):
        output = self.layer(x.flatten(1))
        output.sum().backward()
        torch.optim.SGD(self.parameters(), 0.1).step()
        return self.layer(x.flatten(1))

class Detached(Broken):
    def forward(self, x):
        return self.layer(x.flatten(1)).detach()

class Exits(Broken):
    def forward(self, x):
        raise SystemExit(0)

class Own(Exception):
    pass

class OwnError(Broken):
    def forward(self, x):
        raise Own("no " + "luck " * 200)

class Empty(nn.Module):
    def forward(self, x):
        return x.flatten(1)

class Text(Broken):
    def forward(self, x):
        self.layer(x.flatten(1))
        return "ten classes"

class Huge(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(10**6, 10**6)

class Lazy(Broken):
    def __init__(self):
        super().__init__()
        self.layer = nn.LazyLinear(10)

class Weights(Broken):
    def __init__(self):
        super().__init__()
        self.layer.weight.data.fill_(float("nan"))

class Summed(Broken):
    def forward(self, x):
        return self.layer(x.flatten(1)).sum(0, keepdim=True)

class Native(nn.Sequential):
    def forward(self, x):
        os.write(1, b"from native code")
        return super().forward(x)

def native():
    return Native(*make())

def needs_argument(width):
    return nn.Linear(width, 10)

def text():
    return "a network"

number = 7
"""


@pytest.fixture
def networks(tmp_path, monkeypatch):
    path = tmp_path / "net.py"
    path.write_text(NETWORKS, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    path_before, modules_before = list(sys.path), set(sys.modules)
    yield "net.py"
    sys.path[:] = path_before
    for name in set(sys.modules) - modules_before:
        if name == "net":
            del sys.modules[name]


def test_json_contains_every_measurement_and_nothing_else(call, networks):
    answer = call("probe", f"{networks}:make", "--input", "1,8,8", "--seeds", "2", "--json")

    document = json.loads(answer.out)
    assert document["schema"] == tables.schema_name("probe-module")
    assert [len(m["boundaries"]) for m in document["measurements"]] == [3, 3]
    assert document["quantities"].keys() == {"gradient_growth", "slope", "distance", "activation_growth", "loss"}
    assert "building" not in answer.out


def test_csv_has_a_row_for_each_seed_position_and_quantity(call, networks):
    rows = list(csv.DictReader(io.StringIO(call("probe", f"{networks}:make", "--input", "1,8,8", "--seeds", "2", "--csv").out)))

    assert len(rows) == 2 * (3 * 3 + 4 * 2)
    assert {row["quantity"] for row in rows if row["kind"] == "layer"} == {"weight_norm", "weight_grad_norm"}


def test_a_module_is_imported_from_the_current_folder(call, networks):
    assert call("probe", "net:make", "--input", "1,8,8").code == 0


def test_the_batch_of_a_data_set_is_the_first_one_of_training(call, networks, tmp_path):
    (tmp_path / "first.py").write_text(
        "import net, torch\n"
        "class Kept(torch.nn.Sequential):\n"
        "    def forward(self, x):\n"
        "        torch.save(x.detach().clone(), 'x.pt')\n"
        "        return super().forward(x)\n"
        "def make():\n"
        "    return Kept(*net.make())\n",
        encoding="utf-8",
    )

    call("probe", "first.py:make", "--input", "digits", "--batch", "8", "--seeds", "1")

    data = training.load_training_data(config.load("digits").shared.data, "cpu", "float32")
    expected, _ = next(training.batches(data, [0], 8, "none"))
    assert torch.equal(torch.load(tmp_path / "x.pt").float(), expected)


@pytest.mark.parametrize(("condition", "code"), [("gradient_growth > -2", 0), ("loss < 0.1", 3), ("slope > 99", 3)])
def test_a_condition_decides_the_exit_status(call, networks, condition, code):
    assert call("probe", f"{networks}:make", "--input", "1,8,8", "--expect", condition).code == code


def test_a_chart_is_written(call, networks, tmp_path):
    call("probe", f"{networks}:make", "--input", "1,8,8", "--figure", "chart.svg")

    assert "cosine distance" in (tmp_path / "chart.svg").read_text(encoding="utf-8")


BROKEN = {
    "Raises": ["Raises raised IndexError at net.py:18"],
    "Infinite": ["the loss is nan"],
    "Cuda": ["Cuda raised", "net.py:26"],
    "Trains": ["trains", "layer.weight"],
    "Detached": ["does not depend on any parameter"],
    "Exits": ["SystemExit"],
    "OwnError": ["Own at net.py", "no luck", "..."],
    "Empty": ["no parameters"],
    "Text": ["returns str", "--loss"],
    "Huge": ["GB of parameters"],
    "Lazy": ["layer.weight is lazy"],
    "Weights": ["layer.weight is not finite"],
    "Summed": ["(1, 10) for a batch of 32"],
    "needs_argument": ["TypeError", "without arguments"],
    "text": ["returned str", "torch.nn.Module"],
    "number": ["int", "function or class"],
    "mak": ["did you mean make"],
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_network_gives_one_clear_line(call, networks, name):
    answer = call("probe", f"{networks}:{name}", "--input", "1,8,8")

    assert answer.code == 2
    assert answer.out == ""
    line = answer.err.splitlines()[-1]
    assert len(line) < 600
    assert [word for word in BROKEN[name] if word not in line] == []
    assert "Traceback" not in answer.err


def test_the_first_boundary_that_is_not_finite_is_named():
    class Logarithm(nn.ReLU):
        def forward(self, x):
            return torch.log(-1 - x.abs())

    with pytest.raises(ConfigError, match=r"not finite .* from 4 on"):
        measured(nn.Sequential(*plain(6)[:4], Logarithm(), *plain(6)[5:]), torch.randn(4, 64))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        pytest.param(["net.py:make"], "--input", id="no input"),
        pytest.param(["net.py:make", "--input", "3x32"], "3,32,32", id="not a shape"),
        pytest.param(["net.py:make", "--input", "1,9,9"], "check --input", id="wrong shape"),
        pytest.param(["absent.py:make", "--input", "1,8,8"], "no such file", id="no file"),
        pytest.param(["absent.module:make", "--input", "1,8,8"], "ModuleNotFoundError", id="no module"),
        pytest.param(["net.py:make", "--input", "1,8,8", "--at", "layer*"], "matches no module", id="glob without a match"),
        pytest.param(["net.py:make", "--input", "1,8,8", "--classes", "99"], "--classes", id="too many classes"),
        pytest.param(["net.py:make", "--input", "1,8,8", "--loss", "hinge"], "--loss", id="unknown loss"),
        pytest.param(
            ["net.py:make", "--input", "1,8,8", "--loss", "net.py:text"], "the loss raised TypeError", id="broken loss"
        ),
        pytest.param(["net.py:make", "--input", "1,8,8", "--expect", "accuracy > 1"], "--expect", id="unknown quantity"),
        pytest.param(["net.py:make", "--input", "1,8,8", "--figure", "x.gif"], "png", id="unknown format"),
        pytest.param(["net.py:make", "depth=8", "--input", "1,8,8"], "depth=8", id="override"),
        pytest.param(["digits", "--input", "1,8,8"], "MODULE:FACTORY", id="option for networks"),
    ],
)
def test_a_wrong_option_gives_one_clear_line(call, networks, arguments, words):
    answer = call("probe", *arguments)

    assert (answer.code, answer.out) == (2, "")
    assert words in answer.err.splitlines()[-1]


def test_help_does_not_import_torch():
    code = "import sys, resexp.cli.probing; print('torch' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "False"


def test_what_native_code_prints_does_not_mix_with_the_result(networks):
    command = [sys.executable, "-m", "resexp", "probe", f"{networks}:native", "--input", "1,8,8", "--seeds", "1", "--json"]
    result = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)

    assert json.loads(result.stdout)["gradients"] == "stable"
    assert "from native code" in result.stderr
