"""MLQ: multi-level quantization to three values (Xu et al., Deep Neural Network Compression with
Single and Multiple Level Quantization, AAAI 2018).

Three k-means clusters per layer. A layer goes from float (state 0) to having its two outer clusters
frozen (state 1), then all three (state 2); layers advance a group at a time, and those that are
not quantized yet make up for the loss (incremental layer compensation).

Choices of ours, where the released code has only fragments: groups overlap, so that a round takes
one group to state 1 and the one before to state 2; the middle centroid is exactly zero.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import nn

from compress.clusters import lloyd, nearest
from compress.formats import Ternary
from compress.gradual import FrozenWeight, GradualRun
from compress.method import Family, Method, at_least, one_of
from compress.sites import Site, weight_of
from compress.ternary import inner

_SPREAD = 1.5
"""Times the mean of the positive (negative) weights: where the outer centroids begin."""


def three_centroids(weight: torch.Tensor) -> torch.Tensor:
    """Centroids of three clusters, the middle one zero; ascending, float64 on float32 values."""
    positive, negative = weight[weight > 0], weight[weight < 0]
    high = _SPREAD * float(positive.mean()) if positive.numel() else 0.0
    low = _SPREAD * float(negative.mean()) if negative.numel() else 0.0
    start = torch.tensor([low, 0.0, high], dtype=torch.float64, device=weight.device)
    fixed = torch.tensor([False, True, False], device=weight.device)
    return lloyd(weight, start, fixed).float().double()


class MultiLevelWeight(FrozenWeight):
    """A weight in state 0, 1 or 2."""

    def __init__(self, name: str, weight: torch.Tensor, *, outer_round: int, last_round: int):
        """The outer clusters are frozen in one round, the inner one in another or the same."""
        super().__init__(name, weight)
        self.outer_round, self.last_round = outer_round, last_round
        self.state = 0
        self.centroids = torch.zeros(3, dtype=torch.float64, device=weight.device)
        self.codes = torch.ones_like(weight, dtype=torch.int64)

    def advance(self, round_index: int) -> None:
        """Freeze the outer clusters, or all, when it is time."""
        if round_index == self.outer_round:
            self.centroids = three_centroids(self.weight.detach())
            self._freeze(outer_only=True)
            self.state = 1
        if round_index == self.last_round:
            self._freeze(outer_only=False)
            self.state = 2

    def compressed(self) -> Ternary:
        """Codes and the magnitudes of the outer centroids."""
        low, _, high = self.centroids.tolist()
        codes = (self.codes - 1).to(torch.int8).cpu().numpy()
        return Ternary(codes, float(np.float32(-low)), float(np.float32(high)))

    def _freeze(self, *, outer_only: bool) -> None:
        found = nearest(self.weight.detach(), self.centroids)
        self.codes = torch.where(self.mask, self.codes, found)
        mask = self.codes != 1 if outer_only else torch.ones_like(self.mask)
        self.freeze(mask, self.centroids.float()[self.codes])


@dataclass(frozen=True)
class MLQ(Method):
    """Ternary weights, outer clusters first, layers one after the other."""

    name: ClassVar[str] = "mlq"
    family: ClassVar[Family] = "bits"

    order: str = "front"
    """Layers ``front`` to back, ``back`` to front, or by ``distortion``, the largest first."""
    layers_per_round: int = 1
    """Layers that advance together; 0 for all at once."""
    boundary_first: bool = True
    """Whether the outer clusters are frozen a round before the inner one."""
    steps_per_round: int = 100

    def __post_init__(self) -> None:
        one_of(self.name, "order", self.order, ("front", "back", "distortion"))
        at_least(
            self.name,
            layers_per_round=(self.layers_per_round, 0),
            steps_per_round=(self.steps_per_round, 1),
        )

    def default_sites(self, sites: Sequence[Site]) -> tuple[Site, ...]:
        """All convolutions and products but the first and the last."""
        return inner(sites)

    def begin(self, model: nn.Module, sites: tuple[Site, ...]) -> GradualRun:
        """The first group's outer clusters are frozen at once."""
        ordered = self._ordered(model, sites)
        together = self.layers_per_round or max(len(ordered), 1)
        later = 1 if self.boundary_first else 0
        weights = [
            MultiLevelWeight(
                site.weight,
                weight_of(model, site),
                outer_round=i // together,
                last_round=i // together + later,
            )
            for i, site in enumerate(ordered)
        ]
        rounds = max((w.last_round + 1 for w in weights), default=0)
        return GradualRun(weights, rounds, self.steps_per_round)

    def _ordered(self, model: nn.Module, sites: tuple[Site, ...]) -> list[Site]:
        if self.order == "distortion":
            return sorted(sites, key=lambda s: -_distortion(weight_of(model, s)))
        return list(sites) if self.order == "front" else list(reversed(sites))


def _distortion(weight: torch.Tensor) -> float:
    """Squared error of making ``weight`` ternary, relative to its square."""
    weight = weight.detach()
    centroids = three_centroids(weight)
    error = weight.double() - centroids[nearest(weight, centroids)]
    return float(error.square().sum() / weight.double().square().sum().clamp(min=1e-30))
