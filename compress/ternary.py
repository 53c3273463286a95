"""One-shot ternary: each layer to ``-a, 0, b``, at once, with the least squared error.

The control for MLQ, after Li et al., Ternary Weight Networks (2016), who approximate the best
threshold; here it is exact. With ``symmetric`` both magnitudes are one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import nn

from compress.formats import Ternary
from compress.gradual import FrozenWeight, GradualRun
from compress.method import Family, Method
from compress.sites import Site, weight_of


def inner(sites: Sequence[Site]) -> tuple[Site, ...]:
    """Convolutions and products but the first and the last."""
    return tuple(s for s in sites if s.kind != "embedding")[1:-1]


def best_magnitude(magnitudes: torch.Tensor) -> tuple[float, float]:
    """The level and the threshold for which 0 and the level are nearest to ``magnitudes``.

    Keeping the k largest, the best level is their mean, and the error falls by their sum squared
    over k; so the best k is where that is greatest. Elements at least the threshold are kept.
    """
    if not magnitudes.numel() or not float(magnitudes.max()):
        return 0.0, np.inf
    falling = magnitudes.double().reshape(-1).sort(descending=True).values
    sums = falling.cumsum(0)
    counts = torch.arange(1, len(falling) + 1, dtype=torch.float64, device=falling.device)
    best = int((sums.square() / counts).argmax())
    return float(sums[best] / counts[best]), float(falling[best])


class TernaryWeight(FrozenWeight):
    """A weight whose elements become one of three values."""

    def __init__(self, name: str, weight: torch.Tensor, *, symmetric: bool) -> None:
        super().__init__(name, weight)
        self.symmetric = symmetric
        self.negative = self.positive = 0.0
        self.codes = torch.zeros_like(weight, dtype=torch.int8)

    def advance(self, round_index: int) -> None:
        """Freeze everything."""
        del round_index
        weight = self.weight.detach()
        if self.symmetric:
            level, threshold = best_magnitude(weight.abs())
            self.negative = self.positive = float(np.float32(level))
            self.codes = (weight.abs() >= threshold).to(torch.int8) * weight.sign().to(torch.int8)
        else:
            above, high = best_magnitude(weight.clamp(min=0))
            below, low = best_magnitude((-weight).clamp(min=0))
            self.negative, self.positive = float(np.float32(below)), float(np.float32(above))
            self.codes = (weight >= high).to(torch.int8) - (-weight >= low).to(torch.int8)
        everything = torch.ones_like(self.mask)
        self.freeze(everything, torch.from_numpy(self.compressed().dense()).to(weight.device))

    def compressed(self) -> Ternary:
        """Codes and two magnitudes."""
        return Ternary(self.codes.cpu().numpy(), self.negative, self.positive)


@dataclass(frozen=True)
class OneShotTernary(Method):
    """Three values per layer, from the weights alone."""

    name: ClassVar[str] = "ternary"
    family: ClassVar[Family] = "bits"

    symmetric: bool = False
    """Whether the negative and the positive value have one magnitude."""

    def default_sites(self, sites: Sequence[Site]) -> tuple[Site, ...]:
        """All convolutions and products but the first and the last."""
        return inner(sites)

    def begin(self, model: nn.Module, sites: tuple[Site, ...]) -> GradualRun:
        """Everything is frozen at once."""
        weights = [
            TernaryWeight(s.weight, weight_of(model, s), symmetric=self.symmetric) for s in sites
        ]
        return GradualRun(weights, 1, 0)
