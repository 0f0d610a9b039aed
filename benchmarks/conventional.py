"""Reference loops for resexp: the conventional training loop, and the lower bound of a bare update.

`conventional` is the loop of tutorials: a Dataset with transforms, a DataLoader, Adam, `loss.item()` after every step, and the
accuracy on held-out images after every epoch. Networks train one after another. `bare` repeats the update on one fixed batch.
"""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms


class PilImages(Dataset):
    """Images as PIL images with the usual transforms, as in the data sets of torchvision."""

    def __init__(self, pixels: Tensor, labels: Tensor) -> None:
        self.pixels, self.labels = pixels, labels
        self.transform = transforms.Compose([transforms.ToTensor(), transforms.Normalize((0.5,), (0.5,))])

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        image = transforms.functional.to_pil_image(self.pixels[index])
        return self.transform(image), int(self.labels[index])


class Residual(nn.Module):
    """x' = relu(F(x) + x), or relu(F(x)) without a shortcut."""

    def __init__(self, branch: nn.Module, shortcut: nn.Module | None) -> None:
        super().__init__()
        self.branch, self.shortcut = branch, shortcut

    def forward(self, x: Tensor) -> Tensor:
        out = self.branch(x)
        return functional.relu(out if self.shortcut is None else out + self.shortcut(x))


class OptionA(nn.Module):
    """Shortcut of option A: every second pixel, padded with zero channels."""

    def forward(self, x: Tensor) -> Tensor:
        return functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 0, x.shape[1]))


def mlp(depth: int, width: int, *, residual: bool) -> nn.Module:
    """MLP with 784 inputs, two layers per block and 10 classes."""

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
        return Residual(branch, (nn.Identity() if stride == 1 else OptionA()) if residual else None)

    stages = [16, 16, 16, 16, 32, 32, 32, 64, 64, 64]
    blocks = [block(*ends) for ends in pairwise(stages)]
    stem = [nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU()]
    return nn.Sequential(*stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))


def conventional(network: nn.Module, training: Dataset, held_out: Dataset, epochs: int, batch: int = 128) -> int:
    """Trains the network and returns the number of training images processed."""
    loader, held_out_loader = DataLoader(training, batch, shuffle=True, drop_last=True), DataLoader(held_out, 1000)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    count = 0
    for _ in range(epochs):
        network.train()
        for x, labels in loader:
            optimizer.zero_grad()
            loss = functional.cross_entropy(network(x), labels)
            loss.backward()
            optimizer.step()
            loss.item()
            count += len(labels)
        network.eval()
        with torch.no_grad():
            for x, labels in held_out_loader:
                (network(x).argmax(1) == labels).sum().item()
    return count


def bare(network: nn.Module, x: Tensor, labels: Tensor, optimizer: torch.optim.Optimizer, steps: int) -> None:
    """The update only, on one fixed batch."""
    for _ in range(steps):
        optimizer.zero_grad()
        functional.cross_entropy(network(x), labels).backward()
        optimizer.step()
