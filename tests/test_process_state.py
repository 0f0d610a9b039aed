"""Training from Python restores the caller's process: every global setting of torch that training changes is compared."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import resexp
from resexp import datasets, training
from resexp.config import Experiment
from resexp.executors import train_here

KINDS = (("cuda", "matmul"), ("mkldnn", "matmul"), ("cudnn", "conv"), ("cudnn", "rnn"))  # torch 2.8 has not all of them
PRECISE = [module for name, kind in KINDS if (module := getattr(getattr(torch.backends, name), kind, None)) is not None]


def state() -> dict[str, Any]:
    """The settings of this process; denormals are measured, because torch has no getter."""
    return {
        "threads": torch.get_num_threads(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "warn only": torch.is_deterministic_algorithms_warn_only_enabled(),
        "fill": torch.utils.deterministic.fill_uninitialized_memory,
        "denormal": (torch.tensor(1e-40) * 1).item() > 0,
        "benchmark": torch.backends.cudnn.benchmark,
        "cudnn tf32": torch.backends.cudnn.allow_tf32,
        "matmul tf32": torch.backends.cuda.matmul.allow_tf32,
        "matmul precision": torch.get_float32_matmul_precision(),
        "precisions": [getattr(module, "fp32_precision", None) for module in PRECISE],
        "gradients": torch.is_grad_enabled(),
        "dtype": torch.get_default_dtype(),
        "random": torch.get_rng_state().tolist(),
    }


@pytest.fixture(params=[False, True], ids=["torch's defaults", "the opposite of what training sets"])
def before(request: pytest.FixtureRequest) -> Iterator[dict[str, Any]]:
    """The state of a caller before training; the defaults of torch are restored afterwards."""
    changed: bool = request.param
    defaults = state()
    torch.set_num_threads(2 if changed else 1)
    torch.use_deterministic_algorithms(mode=False)
    if changed:
        torch.use_deterministic_algorithms(mode=True, warn_only=True)
        torch.backends.cudnn.benchmark = True
        torch.set_float32_matmul_precision("medium")
    yield state()
    torch.set_float32_matmul_precision(defaults["matmul precision"])
    torch.backends.cudnn.benchmark = defaults["benchmark"]
    torch.backends.cudnn.allow_tf32 = defaults["cudnn tf32"]
    torch.utils.deterministic.fill_uninitialized_memory = defaults["fill"]
    torch.set_flush_denormal(False)
    torch.set_num_threads(defaults["threads"])
    torch.use_deterministic_algorithms(defaults["deterministic"], warn_only=defaults["warn only"])


def test_training_from_python_restores_global_settings_of_torch(
    before: dict[str, Any], tiny_file: Path, tmp_path: Path
) -> None:
    resexp.train(tiny_file, runs_dir=tmp_path)
    assert state() == before


def test_training_that_raises_restores_them(
    before: dict[str, Any], tiny: Callable[..., Experiment], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[bool] = []

    def fail(*_arguments: object) -> str:
        seen.append(torch.are_deterministic_algorithms_enabled() and not torch.is_deterministic_algorithms_warn_only_enabled())
        raise KeyboardInterrupt

    monkeypatch.setattr(training, "train_stack", fail)
    with pytest.raises(KeyboardInterrupt):
        train_here(tiny(), tmp_path / "tiny")
    assert seen == [True]
    assert state() == before


def test_training_that_is_refused_restores_them(
    before: dict[str, Any], tiny: Callable[..., Experiment], tmp_path: Path
) -> None:
    with pytest.raises(datasets.DataError):
        train_here(tiny("training.batch_size=65"), tmp_path / "tiny")
    assert state() == before
    assert not (tmp_path / "tiny").exists()


def test_compiled_training_restores_the_recompilation_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    limit = torch._dynamo.config.recompile_limit
    with training.process_restored(compiled=True):
        training.prepare_process(1, deterministic=True, compiled=True, precision="float32")
        assert torch._dynamo.config.recompile_limit != limit
    assert torch._dynamo.config.recompile_limit == limit


def test_importing_the_executors_does_not_import_torch() -> None:
    script = "import sys, resexp, resexp.executors; print('torch' in sys.modules)"
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert answer.stdout == "False\n"
