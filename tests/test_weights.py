"""Weights: a published layout gives the same logits, exported files are read without resexp, bad files are one line."""

import json
import pickle
import struct

import fabricated
import pytest
import torch
from torch import nn
from torch.nn import functional

import resexp
from resexp import config, runs, training, weights
from resexp.networks import build_network


class BasicBlock(nn.Module):
    """The block of akamaster/pytorch_resnet_cifar10, written again, with option A."""

    def __init__(self, inputs, channels, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.extra = channels - inputs

    def forward(self, x):
        branch = self.bn2(self.conv2(functional.relu(self.bn1(self.conv1(x)))))
        half = self.extra // 2
        shortcut = functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, half, half)) if self.extra else x
        return functional.relu(branch + shortcut)


class ResNet20(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = nn.Sequential(*(BasicBlock(16, 16, 1) for _ in range(3)))
        self.layer2 = nn.Sequential(BasicBlock(16, 32, 2), *(BasicBlock(32, 32, 1) for _ in range(2)))
        self.layer3 = nn.Sequential(BasicBlock(32, 64, 2), *(BasicBlock(64, 64, 1) for _ in range(2)))
        self.linear = nn.Linear(64, 10)

    def forward(self, x):
        x = self.layer3(self.layer2(self.layer1(functional.relu(self.bn1(self.conv1(x))))))
        return self.linear(x.mean((2, 3)))


def published():
    """The other network with non-trivial statistics of batch norm, and its state dict as it is published."""
    torch.manual_seed(0)
    network = ResNet20()
    for name, tensor in network.state_dict().items():
        if name.endswith(("running_mean", "bias")):
            tensor.uniform_(-0.2, 0.2)
        elif name.endswith("running_var"):
            tensor.uniform_(0.5, 2)
    state = {f"module.{name}": value for name, value in network.state_dict().items() if "num_batches_tracked" not in name}
    return network.eval(), state


def own_network(**changes):
    arguments = {"depth": 20, "width": 16, "shortcut": "identity", "norm": "batch", "pad": "both"} | changes
    return build_network("cnn", input_shape=(3, 32, 32), classes=10, **arguments)


def refusal(network, given, rename=None):
    """The message of a refusal; the network is unchanged."""
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    with pytest.raises(config.ConfigError) as caught:
        resexp.load_weights(network, given, rename)
    assert "\n" not in str(caught.value)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    return str(caught.value)


# ---- weights from elsewhere ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("source", ["dict", "file", "safetensors"])
def test_published_weights_without_counters_give_the_same_logits(tmp_path, source):
    theirs, state = published()
    ours = own_network()
    assert (len(state), len(ours.state_dict())) == (97, 116)
    given = state
    if source == "file":
        given = tmp_path / "resnet20.th"
        torch.save({"state_dict": state, "best_prec1": 91.7}, given)
    if source == "safetensors":
        library = pytest.importorskip("safetensors.torch")
        given = tmp_path / "resnet20.safetensors"
        library.save_file(state, given)

    if source == "safetensors":  # the file is sorted by name
        names = [name.removeprefix("module.") for name in state]
        own_names = [name for name in ours.state_dict() if "num_batches_tracked" not in name]
        resexp.load_weights(ours, given, dict(zip(names, own_names, strict=True)))
    else:
        resexp.load_weights(ours, given)

    x = torch.randn(4, 3, 32, 32)
    with torch.no_grad():
        assert torch.allclose(ours.eval()(x), theirs(x), rtol=0, atol=1e-6)


def test_names_are_assigned_before_the_order_counts():
    state = own_network().state_dict()
    network = own_network()
    resexp.load_weights(network, dict(reversed(state.items())))

    assert all(torch.equal(tensor, state[name]) for name, tensor in network.state_dict().items())


def test_weights_can_be_renamed_by_a_function():
    state = {f"their.{name}": tensor for name, tensor in own_network().state_dict().items()}
    network = own_network()
    resexp.load_weights(network, state, lambda name: name.removeprefix("their."))

    assert torch.equal(network.state_dict()["classifier.weight"], state["their.classifier.weight"])


def test_what_does_not_fit_is_named():
    state = own_network().state_dict()
    missing = {name: tensor for name, tensor in state.items() if name != "classifier.bias"}
    misshapen = state | {"classifier.weight": torch.zeros(100, 64)}
    not_finite = state | {"stem.layer.weight": torch.full_like(state["stem.layer.weight"], float("nan"))}

    assert refusal(own_network(), missing) == "weights: missing: classifier.bias"
    assert refusal(own_network(), state | {"head": torch.zeros(1)}) == "weights: unexpected: head"
    assert "wrong shape: classifier.weight (100, 64) instead of (10, 64)" in refusal(own_network(), misshapen)
    assert refusal(own_network(), not_finite) == "weights: not finite: stem.layer.weight"
    assert "epoch" in refusal(own_network(), state | {"epoch": 3})
    assert "`rename`" in refusal(own_network(), state, {"nowhere": "stem.layer.weight"})
    assert "classifier.bias" in refusal(own_network(), state, lambda _name: "classifier.bias")


def test_other_layouts_are_refused_with_the_first_weight_that_differs():
    _, state = published()

    assert "layer2.0.conv1.weight (32, 16, 3, 3), which would be blocks.3." in refusal(own_network(depth=26), state)
    assert "conv1.weight (16, 3, 3, 3), which would be stem.layer.weight (8, 3, 3, 3)" in refusal(own_network(width=8), state)


class Payload:
    """A pickle that creates a folder when it is read with full trust."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        import os  # noqa: PLC0415 - only for this test

        return os.mkdir, (str(self.path),)


def test_bad_files_are_refused_in_one_line_and_execute_nothing(tmp_path):
    network, executed = own_network(), tmp_path / "executed"
    torch.save({"weight": Payload(executed)}, tmp_path / "payload.pt")
    (tmp_path / "pickle.th").write_bytes(pickle.dumps(Payload(executed)))
    torch.save(network.state_dict(), tmp_path / "whole.pt")
    whole = (tmp_path / "whole.pt").read_bytes()
    (tmp_path / "truncated.pt").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "empty.pt").write_bytes(b"")
    (tmp_path / "text.pt").write_text("weights\n")
    torch.save([torch.zeros(2)], tmp_path / "list.pt")

    for name in ("payload.pt", "pickle.th", "truncated.pt", "empty.pt", "text.pt", "list.pt", "missing.pt"):
        assert refusal(network, tmp_path / name).startswith(f"{tmp_path / name}: ")
    assert not executed.exists()


def test_a_damaged_safetensors_file_is_refused_in_one_line(tmp_path):
    library = pytest.importorskip("safetensors.torch")
    network = own_network()
    whole = library.save(network.state_dict())
    for name, content in {"truncated": whole[:-5], "header": whole[:4], "long": struct.pack("<Q", 2**60) + whole[8:]}.items():
        path = tmp_path / f"{name}.safetensors"
        path.write_bytes(content)
        assert "not a complete safetensors file" in refusal(network, path)


# ---- export -------------------------------------------------------------------------------------------------------------

SMALL = ("network.depth=[8]", "network.norm=none", "network.init=he", "seeds=2")


@pytest.fixture
def trained(tmp_path):
    """An experiment whose trials have random weights; the last one diverged."""
    folder, experiment = fabricated.experiment(tmp_path / "runs", lambda _trial: {}, *SMALL)
    for trial in experiment.trials:
        trial_folder = runs.trial_folder(folder, trial.name)
        trial_folder.mkdir(parents=True, exist_ok=True)
        is_last = trial is experiment.trials[-1]
        fabricated.finish(folder, trial, {"outcome": "diverged" if is_last else "above_chance", "test_accuracy": 0.9})
        torch.save(training.build(trial, (1, 8, 8), 10).state_dict(), trial_folder / "weights.pt")
        result = json.loads((trial_folder / "result.json").read_text())
        runs.write_result(trial_folder, {key: value for key, value in result.items() if key not in ("sha256", "seal")})
    return folder, experiment


def read_by_hand(path):
    """The format: the length of the header in 8 bytes, a header in JSON, raw little-endian data."""
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    metadata, data = header.pop("__metadata__"), content[8 + length :]
    tensors = {
        name: torch.frombuffer(bytearray(data[slice(*entry["data_offsets"])]), dtype=torch.float32).reshape(entry["shape"])
        for name, entry in header.items()
    }
    return metadata, tensors


def test_exported_weights_are_read_without_resexp_and_loaded_again(trained, call, tmp_path):
    pytest.importorskip("safetensors")
    folder, experiment = trained
    answer = call("export", "safetensors", folder, "--to", tmp_path / "out")
    trial = experiment.trials[0]
    metadata, tensors = read_by_hand(tmp_path / "out" / f"{trial.name}.safetensors")
    original = torch.load(runs.trial_folder(folder, trial.name) / "weights.pt", weights_only=True)

    assert answer.code == 0
    assert answer.out.split() == [str(tmp_path / "out" / f"{other.name}.safetensors") for other in experiment.trials[:-1]]
    assert tensors.keys() == original.keys()
    assert all(torch.equal(tensor, original[name]) for name, tensor in tensors.items())
    assert (metadata["resexp"], metadata["trial"], metadata["seed"]) == (resexp.__version__, trial.name, str(trial.seed))
    assert json.loads(metadata["config"])["network"]["depth"] == 8
    assert metadata["weights_sha256"] == runs.result(runs.trial_folder(folder, trial.name)).sha256["weights.pt"]

    network = training.build(trial, (1, 8, 8), 10)
    resexp.load_weights(network, tmp_path / "out" / f"{trial.name}.safetensors")
    assert all(torch.equal(tensor, original[name]) for name, tensor in network.state_dict().items())


def test_damaged_or_missing_weights_end_the_export_with_one_line(trained, call):
    pytest.importorskip("safetensors")
    folder, experiment = trained
    path = runs.trial_folder(folder, experiment.trials[0].name) / "weights.pt"
    path.write_bytes(path.read_bytes()[:-1])
    answer = call("export", "safetensors", folder)

    assert answer.code == 2
    assert answer.err.count("\n") == 1
    assert str(path) in answer.err
    assert not (folder / weights.FOLDER).exists()
