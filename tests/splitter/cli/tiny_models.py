"""Small networks for the command line, as ``tiny_models:NAME``."""

import torch
from torch import nn


class Tiny(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3, padding=1)
        self.second = nn.Conv2d(4, 4, 3, padding=1)
        self.head = nn.Linear(4, 5)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.second(torch.relu(self.first(image))))
        return self.head(x.mean((2, 3)))


class Fourier(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(8, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.fft.fft(self.first(x)).real


def without_inputs() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Tiny()


def tiny() -> tuple[nn.Module, tuple[torch.Tensor, ...]]:
    generator = torch.Generator().manual_seed(1)
    return without_inputs(), (torch.randn(1, 3, 8, 8, generator=generator),)


def deep() -> tuple[nn.Module, tuple[torch.Tensor, ...]]:
    """Many different kernels, so that compiling takes a while."""
    layers = [nn.Conv2d(3 + i, 4 + i, 3, padding=1) for i in range(60)]
    return nn.Sequential(*layers), (torch.zeros(1, 3, 32, 32),)


def heavy() -> tuple[nn.Module, tuple[torch.Tensor, ...]]:
    """Weights of 4 MB."""
    return nn.Linear(1000, 1000), (torch.ones(1, 1000),)


def unsupported() -> tuple[nn.Module, tuple[torch.Tensor, ...]]:
    return Fourier(), (torch.zeros(1, 8),)


def a_number() -> int:
    return 7


def failing() -> nn.Module:
    raise RuntimeError("the weights are at home")


not_callable = 7
