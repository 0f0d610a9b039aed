"""Probes well-known networks, and writes the table of docs/your-network.md.

python benchmarks/modules.py
"""

import re
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torchvision
from torch import nn
from torch.nn import functional

from resexp import modules, tables

DOCUMENT = Path(__file__).parent.parent / "docs" / "your-network.md"
SEEDS, BATCH, CLASSES = 3, 16, 10


class Attention(nn.Module):
    """A pre-norm transformer block, as in nanoGPT."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch, length, width = x.shape
        heads = (part.view(batch, length, 4, width // 4).transpose(1, 2) for part in self.qkv(self.norm1(x)).chunk(3, -1))
        mixed = functional.scaled_dot_product_attention(*heads, is_causal=True)
        x = x + self.out(mixed.transpose(1, 2).reshape(batch, length, width))
        return x + self.mlp(self.norm2(x))


class Language(nn.Module):
    """Twelve such blocks of width 128 on 64 tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens, self.positions = nn.Embedding(256, 128), nn.Embedding(64, 128)
        self.blocks, self.norm = nn.ModuleList(Attention(128) for _ in range(12)), nn.LayerNorm(128)
        self.head = nn.Linear(128, 256, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        state = self.tokens(x) + self.positions(torch.arange(x.shape[1]))
        for block in self.blocks:
            state = block(state)
        return self.head(self.norm(state))


class Recurrent(nn.Module):
    """A two-layer LSTM on 64 tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.lstm = nn.Embedding(256, 64), nn.LSTM(64, 128, 2, batch_first=True)
        self.head = nn.Linear(128, CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        states, _ = self.lstm(self.embedding(x))
        return self.head(states[:, -1])


def plain() -> nn.Module:
    hidden = [layer for _ in range(48) for layer in (nn.Linear(128, 128), nn.ReLU())]
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 128), nn.ReLU(), *hidden, nn.Linear(128, CLASSES))


def of_torchvision(name: str, **options: int) -> Callable[[], nn.Module]:
    return lambda: torchvision.models.get_model(name, num_classes=CLASSES, **options)


NETWORKS: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "50-layer MLP, PyTorch default initialization": (plain, "digits"),
    "resnet18": (of_torchvision("resnet18"), "3,64,64"),
    "resnet50": (of_torchvision("resnet50"), "3,64,64"),
    "vgg16": (of_torchvision("vgg16"), "3,64,64"),
    "vgg16_bn": (of_torchvision("vgg16_bn"), "3,64,64"),
    "densenet121": (of_torchvision("densenet121"), "3,64,64"),
    "vit_b_16": (of_torchvision("vit_b_16", image_size=64), "3,64,64"),
    "transformer, 12 pre-norm blocks": (Language, "tokens=256,64"),
    "LSTM, 2 layers": (Recurrent, "tokens=256,64"),
}


def table() -> str:
    """One row per network: boundaries, verdicts and seconds."""
    names = ("network", "input", "boundaries", "growth", "gradients", "inputs (distance)", "gradient around", "seconds")
    lines = [f"| {' | '.join(names)} |"]
    lines += ["| --- | --- | --- | ---: | --- | --- | --- | ---: |"]
    loss = modules.find_loss("cross-entropy")
    for name, (make, text) in NETWORKS.items():
        begin = time.perf_counter()
        inputs, measurements = modules.inputs_of(text, BATCH, None, None), []
        for seed, network in enumerate(modules.networks(make, SEEDS)):
            x, y = inputs.batch(seed)
            y = modules.targets_of(network, x, loss, None, seed) if y is None else y
            measurements.append(modules.measure(network, x, y, loss, (), seed, check=seed == 0))
        seconds = time.perf_counter() - begin
        probe = tables.ModuleProbe(name, measurements)
        growth = "-" if probe.gradient_growth is None else f"{probe.gradient_growth.mean:+.2f}"
        distance = "-" if probe.distance is None else f"{probe.distance:.2g}"
        around = "yes" if probe.failed_checks else "no"
        rule = f"{len(probe.boundaries)}: {probe.first.rule}"
        cells = (
            name,
            f"`{text}`",
            rule,
            growth,
            probe.flow or "dL/dx is 0",
            f"{probe.inputs} ({distance})",
            around,
            f"{seconds:.1f}",
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    page = DOCUMENT.read_text(encoding="utf-8")
    begin_mark, end_mark = "<!-- begin modules -->", "<!-- end modules -->"
    pattern = f"{begin_mark}.*?{end_mark}"
    DOCUMENT.write_text(re.sub(pattern, f"{begin_mark}\n\n{table()}\n\n{end_mark}", page, flags=re.DOTALL), encoding="utf-8")
