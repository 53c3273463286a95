"""What every estimator of accuracy is, and controls that cost nothing."""

from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol

import torch

from splitter.search.space.network import Family
from splitter.search.space.space import Architecture


class Estimator(Protocol):
    """Higher is better; what the numbers are is the estimator's own."""

    def score(self, architecture: Architecture) -> float:
        """How good the network of ``architecture`` is expected to be."""


@dataclass(frozen=True)
class ParameterCount:
    """Control: the number of parameters, in millions."""

    family: Family

    @cached_property
    def _known(self) -> dict[Architecture, float]:
        return {}

    def score(self, architecture: Architecture) -> float:
        """Millions of parameters."""
        if architecture not in self._known:
            with torch.device("meta"):
                network = self.family.network(architecture)
            self._known[architecture] = sum(p.numel() for p in network.parameters()) / 1e6
        return self._known[architecture]


@dataclass(frozen=True)
class MacCount:
    """Control: multiply-accumulates of one input, in millions."""

    family: Family
    _known: dict[Architecture, float] = field(default_factory=dict, repr=False)

    def score(self, architecture: Architecture) -> float:
        """Millions of multiply-accumulates."""
        if architecture not in self._known:
            self._known[architecture] = count_macs(self.family, architecture) / 1e6
        return self._known[architecture]


def count_macs(family: Family, architecture: Architecture) -> int:
    """Multiply-accumulates of convolutions and linear layers, for one input."""
    total = 0

    def count(module: torch.nn.Module, _: object, made: torch.Tensor) -> None:
        nonlocal total
        if isinstance(module, torch.nn.Conv2d):
            total += made.numel() // made.shape[0] * module.weight[0].numel()
        elif isinstance(module, torch.nn.Linear):
            total += module.weight.numel()

    with torch.device("meta"):
        network = family.network(architecture).eval()
        for module in network.modules():
            module.register_forward_hook(count)
        network(torch.empty((1, *family.input_shape)))
    return total
