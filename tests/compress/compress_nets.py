"""Small networks, also as ``compress_nets:NAME`` for the command line."""

from collections.abc import Callable

import torch
from torch import nn

Loop = Callable[[nn.Module, Callable[[], None], int], None]
"""``loop(net, after_step, steps)``"""


class Residual(nn.Module):
    """A stem, two 3x3 convolutions around a short cut (one strided, one grouped), a classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(2, 8, 3, padding=1, bias=False)
        self.bn0 = nn.BatchNorm2d(8)
        self.conv1 = nn.Conv2d(8, 12, 3, stride=2, padding=1)
        self.bn1 = nn.BatchNorm2d(12)
        self.conv2 = nn.Conv2d(12, 12, 3, padding=1, groups=2, bias=False)
        self.bn2 = nn.BatchNorm2d(12)
        self.head = nn.Linear(12, 3)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.bn0(self.stem(image)))
        x = torch.relu(self.bn1(self.conv1(x)))
        x = torch.relu(x + self.bn2(self.conv2(x)))
        return self.head(x.mean((2, 3)))


def residual() -> tuple[nn.Module, tuple[torch.Tensor, ...]]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Residual().eval(), (torch.randn(1, 2, 8, 8),)
