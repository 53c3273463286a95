"""SLQ: single-level quantization (Xu et al., Deep Neural Network Compression with Single and
Multiple Level Quantization, AAAI 2018).

Every layer has a codebook of ``2 ** (bits - 1) + 1`` centroids, one of them exactly zero. Round by
round some clusters are frozen at their centroids, while the other weights are trained on.

Deviations: above 4 bits the first centroids follow the weights' density, since powers of two crowd
around zero; after folding a batch norm, or with ``per_channel``, a layer's codebook is scaled per
output. ``order`` chooses between the released schedule and the paper's idea.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

from compress.clusters import cluster_count
from compress.codebooks import CodebookWeight, Order, cumulative_counts
from compress.gradual import GradualRun
from compress.method import Family, Method, at_least, one_of
from compress.sites import Site, weight_of
from splitter.errors import UsageError

LOWEST_BITS, HIGHEST_BITS = 2, 8


def check_bits(method: str, bits: int) -> None:
    """Raise UsageError unless a codebook may have indices of ``bits`` bits."""
    if not LOWEST_BITS <= bits <= HIGHEST_BITS:
        raise UsageError(
            f"{method}: bits must be {LOWEST_BITS} to {HIGHEST_BITS}, not {bits}; for more leave "
            "the layer as it is, for fewer use mlq"
        )


def check_fractions(method: str, fractions: tuple[float, ...]) -> None:
    """Raise UsageError unless ``fractions`` rise from above 0 to at most 1."""
    rising = all(a < b for a, b in zip((0.0, *fractions), fractions, strict=False))
    if not fractions or not rising or fractions[-1] > 1:
        raise UsageError(
            f"{method}: fractions must rise from above 0 to at most 1, not {list(fractions)}"
        )


def magnitude_order(weight: CodebookWeight, codes: torch.Tensor) -> torch.Tensor:
    """Zero, then the pair of largest magnitude, inwards (the order of initialisation)."""
    del codes
    count = len(weight.centroids)
    place = torch.arange(count, device=weight.centroids.device)
    distance = (place - count // 2).abs()
    return torch.where(distance == 0, 0, 1 + count // 2 - distance)


def largest_loss_order(weight: CodebookWeight, codes: torch.Tensor) -> torch.Tensor:
    """Clusters by falling sum of squared distances of their elements from the centroid."""
    return _loss(weight, codes).argsort(descending=True, stable=True).argsort()


def smallest_loss_order(weight: CodebookWeight, codes: torch.Tensor) -> torch.Tensor:
    """The opposite, for comparison."""
    return _loss(weight, codes).argsort(stable=True).argsort()


def _loss(weight: CodebookWeight, codes: torch.Tensor) -> torch.Tensor:
    error = (weight.normal().double() - weight.centroids[codes]).square().reshape(-1)
    return torch.zeros_like(weight.centroids).index_add_(0, codes.reshape(-1), error)


_ORDERS: dict[str, Order] = {
    "magnitude": magnitude_order,
    "loss": largest_loss_order,
    "smallest-loss": smallest_loss_order,
}


def all_but_last(sites: Sequence[Site]) -> tuple[Site, ...]:
    """Convolutions and products, but not the classifier; tables of embeddings stay too."""
    return tuple(s for s in sites if s.kind != "embedding")[:-1]


@dataclass(frozen=True)
class SLQ(Method):
    """Clusters of each layer's weights, frozen round by round."""

    name: ClassVar[str] = "slq"
    family: ClassVar[Family] = "bits"

    bits: int = 4
    """Bits of an index, 2 to 8."""
    order: str = "loss"
    """``loss``: clusters of largest quantization loss first; ``magnitude``: zero, then the largest
    weights, as released; ``smallest-loss``: for comparison."""
    fractions: tuple[float, ...] = (0.25, 0.5, 0.75, 0.875, 1.0)
    """Share of the clusters that is frozen after each round."""
    steps_per_round: int = 100
    per_channel: bool = False
    """Give each output its own scale (4 bytes per output) on top of the codebook."""
    full: bool = False
    """Use all ``2 ** bits - 1`` centroids that indices can tell apart, not the paper's number."""

    def __post_init__(self) -> None:
        check_bits(self.name, self.bits)
        one_of(self.name, "order", self.order, tuple(_ORDERS))
        check_fractions(self.name, self.fractions)
        at_least(self.name, steps_per_round=(self.steps_per_round, 1))

    def default_sites(self, sites: Sequence[Site]) -> tuple[Site, ...]:
        """All convolutions and products but the classifier."""
        return all_but_last(sites)

    def begin(self, model: nn.Module, sites: tuple[Site, ...]) -> GradualRun:
        """The first round's clusters are frozen at once."""
        clusters = cluster_count(self.bits, self.full)
        weights = [
            CodebookWeight(
                site.weight,
                weight_of(model, site),
                bits=self.bits,
                clusters=clusters,
                fractions=self.fractions,
                order=_ORDERS[self.order],
                scale_axis=site.output_axis if self.per_channel else None,
            )
            for site in sites
        ]
        rounds = len(cumulative_counts(clusters, self.fractions))
        return GradualRun(weights, rounds, self.steps_per_round)
