"""Gradient correlation, path lengths and eps_bound against slow reference computations; probes do not change the network.

Shapes: B batch, D width, L blocks, T trials.
"""

import copy
import csv
import itertools
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from resexp import config, probes, training
from resexp.networks import Network, build_network, initialize
from resexp.shortcuts import ONE, ZERO, join

B, SIDE, K = 6, 4, 3
CELLS = {
    "mlp": {"family": "mlp", "depth": 6, "width": 16, "block_layers": 1},
    "cnn": {"family": "cnn", "depth": 8, "width": 4, "block_layers": 2, "input_shape": (1, SIDE, SIDE)},
}


def network_of(cell: str = "mlp", seed: int = 0, init: str = "he", **more: Any) -> Network:
    arguments = {"input_shape": (1, SIDE, SIDE), "classes": K, "shortcut": "identity", "norm": "batch", **CELLS[cell], **more}
    network = build_network(arguments.pop("family"), **arguments)
    initialize(network, seed, init)
    return network


def gaussian(count: int = B, side: int = SIDE, seed: int = 0) -> Tensor:
    return torch.randn(count, 1, side, side, generator=torch.Generator().manual_seed(seed))


def labels(count: int = B) -> Tensor:
    return torch.arange(count) % K


# ---- probes do not change training ------------------------------------------------------------------------------------------


def traces(network: Network, boundaries: Sequence[Tensor], optimizer: torch.optim.Optimizer) -> list[Any]:
    """Copies of everything that a probe could touch."""
    leaves = [*network.parameters(), *boundaries]
    tensors = [*(t for leaf in leaves for t in (leaf.detach(), leaf.grad)), *network.buffers()]
    moments = [value for parameter_state in optimizer.state.values() for value in parameter_state.values()]
    random_states = [torch.get_rng_state(), torch.from_numpy(np.random.get_state()[1].copy())]  # noqa: NPY002 - the global state
    modes = torch.tensor([module.training for module in network.modules()])
    hooks = torch.tensor([len(module._forward_hooks) + len(module._forward_pre_hooks) for module in network.modules()])
    requires_grad = torch.tensor([parameter.requires_grad for parameter in network.parameters()])
    return copy.deepcopy([*tensors, *moments, *random_states, modes, hooks, requires_grad])


@pytest.mark.parametrize("mode", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("name", probes.PROBES)
def test_a_probe_does_not_change_weights_buffers_gradients_optimizer_random_state_or_mode(name, cell, mode):
    network = network_of(cell).train(mode)
    optimizer = torch.optim.Adam(network.parameters())
    boundaries: list[Tensor] = []
    loss = functional.cross_entropy(network(gaussian(), boundaries), labels())
    for boundary in boundaries:
        boundary.retain_grad()
    loss.backward()
    optimizer.step()
    x = gaussian()
    before, images = traces(network, boundaries, optimizer), x.clone()
    (step_rows,) = probes.end(probes.begin([name], network, boundaries, 1, optimizer))
    rows_by_probe = step_rows | probes.fixed_batch_probes([name], network, x, labels())

    assert list(rows_by_probe) == [name]
    assert rows_by_probe[name]
    after = traces(network, boundaries, optimizer)
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert torch.equal(x, images)
    assert not x.requires_grad


PROBE_SETS = [(name,) for name in probes.PROBES] + [tuple(probes.PROBES)]


@pytest.mark.parametrize("chosen", PROBE_SETS, ids="+".join)
@pytest.mark.parametrize("shortcut", ["identity", "dropout"])
@pytest.mark.usefixtures("torch_state")
def test_trained_weights_do_not_depend_on_the_chosen_probes(shortcut, chosen, tiny, tmp_path):
    recipe = ("network.norm=batch", f"network.shortcut={shortcut}", "training.clip_norm=0.5")
    trial = tiny(*recipe, "gradients.probes=[]").trials[1]
    probed = tiny(*recipe, f"gradients.probes=[{', '.join(chosen)}]").trials[1]
    for variant, folder in ((trial, "without"), (probed, "with")):
        training.train_stack([variant], tmp_path / folder, variant.name, "cpu")

    for file in ("weights.pt", "best.pt", "metrics.csv", "predictions.csv.gz"):
        without_probes, with_probes = (tmp_path / folder / "trials" / trial.name / file for folder in ("without", "with"))
        assert without_probes.read_bytes() == with_probes.read_bytes()


# ---- gradient correlation ---------------------------------------------------------------------------------------------------


def mean_over_seeds(measure: Callable[[int], float], seeds: int = 5) -> float:
    return float(np.mean([measure(seed) for seed in range(seeds)]))


def test_the_mean_is_over_all_pairs_of_gradients_of_single_inputs():
    """Without batch norm, each input can pass through the network separately."""
    network, x = network_of(norm="layer").double(), gaussian().double()
    gradients = []
    for image in x.split(1):
        image.requires_grad_()
        gradients.append(torch.autograd.grad(network(image)[0, 0], image)[0].flatten().numpy())
    cosines = [a @ b / np.linalg.norm(a) / np.linalg.norm(b) for a, b in itertools.combinations(gradients, 2)]
    pairs, mean, sd = probes.gradient_correlation(network, x)

    assert pairs == B * (B - 1) / 2
    assert (mean, sd) == pytest.approx((np.mean(cosines), np.std(cosines)), rel=1e-9)


def test_input_gradients_use_batch_statistics_as_constants():
    """One pass with momentum 1 sets the running statistics to those of the batch, with the unbiased variance."""
    network, x = network_of(depth=3).double(), gaussian().double()
    fixed = copy.deepcopy(network)
    norms = [module for module in fixed.modules() if isinstance(module, nn.BatchNorm1d)]
    for norm in norms:
        norm.momentum = 1.0
    fixed(x)
    for norm in norms:
        norm.running_var *= (B - 1) / B
    x.requires_grad_()
    (expected,) = torch.autograd.grad(fixed.eval()(x)[:, 0].sum(), x)

    torch.testing.assert_close(probes.input_gradients(network, x), expected.flatten(1), rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(probes.input_gradients(network.eval(), x), expected.flatten(1), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("depth", [1, 2, 3, 4])
def test_in_plain_networks_with_batch_norm_each_relu_layer_halves_the_correlation(depth):
    """1 / 2^L: Balduzzi et al. 2017, for random inputs."""

    def measure(seed: int) -> float:
        network = network_of(seed=seed, depth=depth + 1, width=256, shortcut="plain", input_shape=(1, 16, 16))
        return probes.gradient_correlation(network, gaussian(64, 16, seed))[1]

    assert mean_over_seeds(measure) == pytest.approx(0.5**depth, rel=0.2)


@pytest.mark.parametrize("depth", [1, 4])
def test_with_gradients_through_batch_statistics_the_mean_cosine_would_not_depend_on_depth(depth):
    """The gradients of a batch sum to 0 after the first batch norm, independent of the layers that follow."""

    def through_statistics(seed: int) -> float:
        network = network_of(seed=seed, depth=depth + 1, width=256, shortcut="plain", input_shape=(1, 16, 16)).double()
        x = gaussian(64, 16, seed).double().requires_grad_()
        (gradients,) = torch.autograd.grad(network(x)[:, 0].sum(), x)
        directions = functional.normalize(gradients.flatten(1))
        return float(((directions @ directions.T).sum() - len(x)) / (len(x) * (len(x) - 1)))

    assert mean_over_seeds(through_statistics) == pytest.approx(-1 / 63, rel=0.15)


def test_in_residual_networks_with_batch_norm_the_correlation_decreases_sub_exponentially():
    def measure(blocks: int) -> float:
        return mean_over_seeds(
            lambda seed: probes.gradient_correlation(
                network_of(seed=seed, depth=blocks + 2, width=256, placement="pre", input_shape=(1, 16, 16)),
                gaussian(64, 16, seed),
            )[1],
            3,
        )

    few, some, many = measure(4), measure(16), measure(50)
    assert few > some > many > 0.01
    rates = math.log(few / some) / 12, math.log(some / many) / 34
    assert rates[1] < rates[0] / 2  # for an exponential they would be equal
    powers = math.log(few / some) / math.log(16 / 4), math.log(some / many) / math.log(50 / 16)
    assert powers == pytest.approx((0.65, 0.65), abs=0.25)  # the exponents of a power law are equal


class BareNetwork(nn.Module):
    """Blocks x + W relu(BN(x)) and a linear classifier, without a stem."""

    def __init__(self, blocks: int, width: int, seed: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.norms = nn.ModuleList(nn.BatchNorm1d(width) for _ in range(blocks))
        weights = [torch.randn(width, width, generator=generator) * (2 / width) ** 0.5 for _ in range(blocks + 1)]
        self.weights = nn.ParameterList(weights)

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(1)
        for norm, weight in zip(self.norms, self.weights, strict=False):
            x = x + functional.relu(norm(x)) @ weight
        return x @ self.weights[-1]


@pytest.mark.parametrize(("blocks", "expected"), [(4, 0.452), (16, 0.206), (50, 0.089)])
def test_bare_residual_blocks_with_batch_norm_have_the_known_correlation(blocks, expected):
    correlation = mean_over_seeds(
        lambda seed: probes.gradient_correlation(BareNetwork(blocks, 256, seed), gaussian(64, 16, seed))[1]
    )

    assert correlation == pytest.approx(expected, rel=0.2)


def test_inputs_without_a_gradient_are_left_out_and_without_pairs_the_correlation_is_nan():
    network = network_of(norm="none", shortcut="plain").double()
    x = gaussian().double()
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.Linear):
                module.bias.zero_()
    x[0] = 0.0
    without_first = probes.gradient_correlation(network, x[1:])
    assert probes.gradient_correlation(network, x) == pytest.approx(without_first, rel=1e-12)
    assert without_first[0] == (B - 1) * (B - 2) / 2

    pairs, mean, sd = probes.gradient_correlation(network, x[:2])
    assert pairs == 0
    assert math.isnan(mean)
    assert math.isnan(sd)


def test_gradients_below_the_range_of_float32_have_the_same_correlation():
    network, x = network_of(norm="none", shortcut="plain"), gaussian()
    expected = probes.gradient_correlation(network, x)
    with torch.no_grad():
        network.classifier.weight.mul_(1e-37)
        network.blocks[-1].branch.layer1.weight.mul_(1e-20)
        network.blocks[-1].branch.layer1.bias.mul_(1e-20)

    assert probes.gradient_correlation(network, x) == pytest.approx(expected, rel=1e-4)


# ---- path lengths -----------------------------------------------------------------------------------------------------------


def loss_along(network: Network, x: Tensor, taken: Sequence[bool]) -> tuple[Tensor, Tensor]:
    """(x_0, loss), where the gradient of block l passes through the branch if `taken[l]`, otherwise through the shortcut."""
    first = network.stem(x).detach().requires_grad_()
    x = first
    for block, via_branch in zip(network.blocks, taken, strict=True):
        h = block.before(x)
        a, shortcut = block.shortcut(h if block.shares_activation else x)
        branch = join(a, block.branch(h), ZERO)
        if via_branch:
            shortcut = shortcut.detach() if isinstance(shortcut, Tensor) else shortcut
        else:
            branch = branch.detach()
        x = block.after(join(ONE, branch, shortcut))
    return first, functional.cross_entropy(network.classifier(network.tail(x)), labels())


def by_brute_force(network: Network, x: Tensor) -> Tensor:
    """g_k, one backward pass for each of the 2^L paths."""
    count = len(network.blocks)
    gradients = [torch.zeros(())] * (count + 1)
    for taken in itertools.product((False, True), repeat=count):
        first, loss = loss_along(network, x, taken)
        gradient = (
            torch.autograd.grad(loss, first, materialize_grads=True)[0] if loss.requires_grad else torch.zeros_like(first)
        )
        gradients[sum(taken)] = gradients[sum(taken)] + gradient
    return torch.stack(gradients)


def total_gradient(network: Network, x: Tensor) -> Tensor:
    """dL/dx_0 from the forward pass of the network."""
    boundaries: list[Tensor] = []
    logits = network(x, boundaries)
    return torch.autograd.grad(functional.cross_entropy(logits, labels(len(x))), boundaries[0])[0]


SHORTCUTS = ["identity", "projection-all", "gate", "gate-shortcut", "skipinit", {"scaled": {"scale": 0.5, "branch": 0.7}}]


PLACEMENTS = ["post", "pre", "branch", "post-norm", "pre-act-only"]


@pytest.mark.parametrize(
    ("cell", "paths", "shortcut", "placement"),
    [
        *(("mlp", 16, *arm) for arm in itertools.product(SHORTCUTS, PLACEMENTS)),
        *(("cnn", 8, *arm) for arm in itertools.product(["identity", "gate"], PLACEMENTS[:3])),
    ],
    ids=str,
)
def test_the_gradient_of_each_path_length_is_the_sum_over_all_its_paths(cell, paths, shortcut, placement):
    network, x = network_of(cell, shortcut=shortcut, placement=placement).double(), gaussian().double()
    assert 2 ** len(network.blocks) == paths
    gradients, expected = probes.gradients_by_path_length(network, x, labels()), by_brute_force(network, x)

    torch.testing.assert_close(gradients, expected, rtol=1e-9, atol=1e-14)
    torch.testing.assert_close(gradients.sum(0), total_gradient(network, x), rtol=1e-9, atol=1e-14)
    total = expected.sum(0).flatten().numpy()
    for length, share, norm in probes.path_lengths(network, x, labels()):
        part = expected[length].flatten().numpy()
        assert share == pytest.approx(part @ total / (total @ total), rel=1e-9, abs=1e-12)
        assert norm == pytest.approx(math.sqrt(B) * np.linalg.norm(part), rel=1e-9)


@pytest.mark.parametrize("norm", ["none", "batch", "layer", "group"])
@pytest.mark.parametrize("cell", CELLS)
def test_shares_sum_to_1_and_gradients_by_path_length_to_the_total_gradient(cell, norm):
    width = 16 if cell == "mlp" else 8
    network, x = network_of(cell, norm=norm, width=width, depth=20, seed=3), gaussian()
    rows = probes.path_lengths(network, x, labels())

    assert [length for length, _, _ in rows] == list(range(len(network.blocks) + 1))
    assert sum(share for _, share, _ in rows) == pytest.approx(1.0, abs=1e-6)
    gradients, total = probes.gradients_by_path_length(network, x, labels()), total_gradient(network.double(), x.double())
    torch.testing.assert_close(gradients.sum(0), total, rtol=1e-8, atol=float(total.abs().max()) * 1e-10)


def test_with_identity_branches_path_lengths_are_binomial():
    network, x = network_of(depth=56, norm="none").double(), gaussian().double()
    with torch.no_grad():
        for block in network.blocks:
            block.branch.layer1.weight.copy_(torch.eye(16))
            block.branch.layer1.bias.zero_()
    shares = [share for _, share, _ in probes.path_lengths(network, x, labels())]

    assert shares == pytest.approx([math.comb(54, k) / 2**54 for k in range(55)], rel=1e-9)
    assert sum(shares[5:18]) == pytest.approx(0.00454, abs=5e-6)  # Veit et al. 2016: 0.45% of all paths


@pytest.mark.parametrize("placement", ["post", "pre", "branch"])
@pytest.mark.parametrize("cell", CELLS)
def test_without_shortcuts_every_path_passes_through_all_branches(cell, placement):
    network, x = network_of(cell, shortcut="plain", placement=placement), gaussian()
    *rest, last = probes.path_lengths(network, x, labels())

    assert last[:2] == (len(network.blocks), pytest.approx(1.0, abs=1e-12))
    assert {row[1:] for row in rest} == {(0.0, 0.0)}


def test_with_zero_branches_every_path_bypasses_them_and_without_blocks_there_is_one_path():
    shares = [row[1] for row in probes.path_lengths(network_of(shortcut="rezero"), gaussian(), labels())]

    assert shares == pytest.approx([1.0, 0.0, 0.0, 0.0, 0.0], abs=1e-12)
    ((length, share, _),) = probes.path_lengths(network_of(depth=2), gaussian(), labels())
    assert (length, share) == (0, pytest.approx(1.0, abs=1e-12))


def test_norms_of_path_lengths_have_the_unit_of_activation_grad_norm():
    network, x = network_of(depth=2), gaussian()
    boundaries: list[Tensor] = []
    loss = functional.cross_entropy(network(x, boundaries), labels())
    boundaries[0].retain_grad()
    loss.backward()
    ((_, _, _, grad_norm, _),) = probes.end(probes.begin(["signal"], network, boundaries))[0]["signal"]

    assert probes.path_lengths(network, x, labels())[0][2] == pytest.approx(grad_norm, rel=1e-4)


# ---- eps_bound --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", [torch.optim.Adam, torch.optim.AdamW])
def test_below_eps_agrees_with_a_float64_computation_from_the_gradients(optimizer):
    """v_t = sum of (1 - b) b^(t - i) g_i^2 over the steps so far, v_hat = v_t / (1 - b^t)."""
    network, b, eps = network_of(norm="none"), 0.9, 1e-2
    adam = optimizer(network.parameters(), 1e-2, (0.5, b), eps, fused=True)
    layers = {name: module for name, module in network.named_modules() if isinstance(module, nn.Linear)}
    history: dict[str, list[np.ndarray]] = {name: [] for name in layers}
    for t in range(1, 6):
        adam.zero_grad()
        boundaries: list[Tensor] = []
        (0.1 * functional.cross_entropy(network(gaussian(seed=t), boundaries), labels())).backward()
        measurement = probes.begin(["eps_bound"], network, boundaries, 1, adam)
        adam.step()
        (step_rows,) = probes.end(measurement)
        expected = []
        for name, layer in layers.items():
            history[name].append(layer.weight.grad.double().numpy().copy())
            v = sum((1 - b) * b ** (t - i) * g**2 for i, g in enumerate(history[name], start=1))
            expected.append(np.mean(np.sqrt(v / (1 - b**t)) < eps))

        assert [row[:2] for row in step_rows["eps_bound"]] == list(
            enumerate(["stem", *(f"blocks.{n}.layer1" for n in range(4)), "classifier"])
        )
        assert [row[2] for row in step_rows["eps_bound"]] == pytest.approx(expected, abs=1e-12)
        assert all(0 < share < 1 for share in expected)


def test_weights_without_a_gradient_are_below_eps_and_optimizers_without_eps_give_no_rows():
    network = network_of()
    adam = torch.optim.Adam(network.parameters())
    (rows,) = probes.end(probes.begin(["eps_bound"], network, [], 1, adam))
    assert {row[2] for row in rows["eps_bound"]} == {1.0}
    assert not adam.state

    sgd = torch.optim.SGD(network.parameters(), 0.1)
    assert probes.end(probes.begin(["eps_bound"], network, [], 2, sgd)) == [{"eps_bound": []}] * 2


# ---- probes in a config and their logs --------------------------------------------------------------------------------------

ALL = f"gradients.probes=[{', '.join(probes.PROBES)}]"
FIXED_BATCH_PROBES = ("gradient_correlation", "path_lengths")
OPTIONAL_PROBES = (*FIXED_BATCH_PROBES, "eps_bound")


def rows(folder: Path, trial: config.Trial, probe: str) -> list[dict[str, str]]:
    with (folder / "trials" / trial.name / f"{probe}.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_eps_bound_is_refused_for_optimizers_without_eps(tiny):
    with pytest.raises(config.ConfigError, match=r"gradients.probes: 'eps_bound' has no effect with training.optimizer: sgd"):
        tiny("training.optimizer=sgd", "gradients.probes=[signal, eps_bound]")

    assert tiny("training.optimizer=[sgd, adamw]", "gradients.probes=[eps_bound]").trials


@pytest.mark.usefixtures("torch_state")
def test_every_logging_step_has_rows_in_the_log_of_each_probe(tiny, tmp_path):
    trial = tiny(ALL, "training.steps=14", "gradients.every=6").trials[1]
    training.train_stack([trial], tmp_path, trial.name, "cpu")

    steps = [*range(11), 12]
    assert [int(row["step"]) for row in rows(tmp_path, trial, "gradient_correlation")] == steps
    assert {int(row["pairs"]) for row in rows(tmp_path, trial, "gradient_correlation")} == {64 * 63 // 2}
    assert [(int(row["step"]), int(row["length"])) for row in rows(tmp_path, trial, "path_lengths")] == [
        (step, length) for step in steps for length in (0, 1)
    ]
    assert [(int(row["step"]), row["layer"]) for row in rows(tmp_path, trial, "eps_bound")] == [
        (step, layer) for step in steps for layer in ("stem", "blocks.0.layer1", "blocks.0.layer2", "classifier")
    ]


@pytest.mark.usefixtures("torch_state")
def test_with_sgd_there_is_no_log_of_eps_bound(tiny, tmp_path):
    trial = next(t for t in tiny("training.optimizer=[sgd, adam]", ALL).trials if t.settings.training.optimizer == "sgd")
    training.train_stack([trial], tmp_path, trial.name, "cpu")

    assert not (tmp_path / "trials" / trial.name / "eps_bound.csv").exists()
    assert rows(tmp_path, trial, "path_lengths")


@pytest.mark.parametrize("norm", ["batch", "layer"])
@pytest.mark.parametrize("shortcut", ["identity", "gate"])
@pytest.mark.usefixtures("torch_state")
def test_probes_of_a_stack_give_the_rows_of_separately_trained_networks(shortcut, norm, tiny, tmp_path):
    recipe = (f"network.norm={norm}", f"network.shortcut={shortcut}", "precision=float64", "seeds=2", "training.eps=1e-3")
    experiment = tiny(*recipe, ALL)
    kinds = [config.stack_kind(trial) for trial in experiment.trials]
    trials = [trial for trial, kind in zip(experiment.trials, kinds, strict=True) if kind == kinds[-1]]
    assert len(trials) > 1
    training.train_stack(trials, tmp_path / "stack", "stack", "cpu")
    for trial in trials:
        training.train_stack([trial], tmp_path / "separate", trial.name, "cpu")
        for probe in OPTIONAL_PROBES:
            stacked, separate = (rows(tmp_path / folder, trial, probe) for folder in ("stack", "separate"))
            for row, other in zip(stacked, separate, strict=True):
                text_columns = [key for key in row if key == "layer"]

                assert [row.pop(key) for key in text_columns] == [other.pop(key) for key in text_columns]
                assert [float(cell) for cell in row.values()] == pytest.approx(
                    [float(cell) for cell in other.values()], rel=1e-6, abs=1e-9
                )


@pytest.mark.parametrize("steps", [2, 5])
@pytest.mark.usefixtures("torch_state")
def test_a_killed_and_resumed_stack_has_the_logs_of_an_uninterrupted_one(steps, tiny, tmp_path):
    trials = tiny(ALL, "network.norm=batch", "training.checkpoint_every=3").trials
    training.train_stack(trials, tmp_path / "uninterrupted", "stack", "cpu")
    calls: list[None] = []

    def die() -> bool:
        calls.append(None)
        if len(calls) > steps:
            raise KeyboardInterrupt
        return False

    with pytest.raises(KeyboardInterrupt):
        training.train_stack(trials, tmp_path / "resumed", "stack", "cpu", die)
    training.train_stack(trials, tmp_path / "resumed", "stack", "cpu")

    for trial, probe in itertools.product(trials, OPTIONAL_PROBES):
        assert rows(tmp_path / "resumed", trial, probe) == rows(tmp_path / "uninterrupted", trial, probe)
