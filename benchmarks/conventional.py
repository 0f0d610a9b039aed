"""The loops that resexp is measured against: the one that people write, and the least that one network can cost.

`conventional` is the loop of a tutorial: a Dataset with transforms, a DataLoader, Adam, `loss.item()` after every step, the
accuracy on held-out images after every epoch; one network after another. `bare` repeats the update on one fixed batch.
"""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms


class Pictures(Dataset):
    """Images as PIL pictures, through the usual transforms, as torchvision's own data sets hand them out."""

    def __init__(self, pixels: Tensor, labels: Tensor) -> None:
        self.pixels, self.labels = pixels, labels
        self.transform = transforms.Compose([transforms.ToTensor(), transforms.Normalize((0.5,), (0.5,))])

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        picture = transforms.functional.to_pil_image(self.pixels[index])
        return self.transform(picture), int(self.labels[index])


class Residual(nn.Module):
    """x' = relu(F(x) + x), or relu(F(x))."""

    def __init__(self, branch: nn.Module, shortcut: nn.Module | None) -> None:
        super().__init__()
        self.branch, self.shortcut = branch, shortcut

    def forward(self, x: Tensor) -> Tensor:
        out = self.branch(x)
        return functional.relu(out if self.shortcut is None else out + self.shortcut(x))


class Halved(nn.Module):
    """Option A: every second pixel, zero channels behind."""

    def forward(self, x: Tensor) -> Tensor:
        return functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 0, x.shape[1]))


def mlp(depth: int, width: int, *, residual: bool) -> nn.Module:
    """784 inputs, two layers a block, 10 classes."""

    def block() -> nn.Module:
        branch = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width))
        return Residual(branch, nn.Identity() if residual else None)

    blocks = [block() for _ in range((depth - 2) // 2)]
    return nn.Sequential(nn.Flatten(), nn.Linear(784, width), nn.ReLU(), *blocks, nn.Linear(width, 10))


def resnet20(*, residual: bool) -> nn.Module:
    """The CIFAR network of He et al. 2015, in PyTorch's default memory layout."""

    def block(inputs: int, outputs: int) -> nn.Module:
        stride = 1 if inputs == outputs else 2
        branch = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(),
            nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False), nn.BatchNorm2d(outputs),
        )  # fmt: skip
        return Residual(branch, (nn.Identity() if stride == 1 else Halved()) if residual else None)

    stages = [16, 16, 16, 16, 32, 32, 32, 64, 64, 64]
    blocks = [block(*ends) for ends in pairwise(stages)]
    stem = [nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU()]
    return nn.Sequential(*stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))


def conventional(network: nn.Module, training: Dataset, held_out: Dataset, epochs: int, batch: int = 128) -> int:
    """Trains and returns the number of images that the updates saw."""
    loader, rest = DataLoader(training, batch, shuffle=True, drop_last=True), DataLoader(held_out, 1000)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    seen = 0
    for _ in range(epochs):
        network.train()
        for x, labels in loader:
            optimizer.zero_grad()
            loss = functional.cross_entropy(network(x), labels)
            loss.backward()
            optimizer.step()
            loss.item()
            seen += len(labels)
        network.eval()
        with torch.no_grad():
            for x, labels in rest:
                (network(x).argmax(1) == labels).sum().item()
    return seen


def bare(network: nn.Module, x: Tensor, labels: Tensor, optimizer: torch.optim.Optimizer, steps: int) -> None:
    """Nothing but the update, on one fixed batch."""
    for _ in range(steps):
        optimizer.zero_grad()
        functional.cross_entropy(network(x), labels).backward()
        optimizer.step()
