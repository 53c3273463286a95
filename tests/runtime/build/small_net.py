"""A network with what matters to the builder: a branch, equal kernels, a tensor read twice."""

import torch
from torch import nn

import splitter


class SmallNet(nn.Module):
    """``second`` and ``third`` are one kernel; ``first`` has a ReLU and ``last`` a sum besides."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(8, 8, 3, padding=1)
        self.second = nn.Conv2d(8, 8, 3, padding=1)
        self.third = nn.Conv2d(8, 8, 3, padding=1)
        self.last = nn.Conv2d(8, 8, 3, padding=1)
        self.head = nn.Linear(8, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.relu(self.first(x))
        z = self.last(self.third(self.second(y)))
        return self.head((y + z).mean((2, 3)))


PLACEMENT = {
    "first": "camera",
    "second": "hub",
    "third": "hub",
    "last": "server",
    "last/mean": "server",
    "head": "server",
}


def small_program() -> splitter.Program:
    """The network with seeded weights and input."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return splitter.trace(SmallNet(), (torch.randn(1, 8, 12, 12),), name="small")
