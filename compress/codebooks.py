"""The k-means codebook of one layer, some of whose clusters are frozen."""

from collections.abc import Callable

import numpy as np
import torch

from compress.clusters import first_centroids, lloyd, nearest
from compress.formats import Codebook
from compress.gradual import FrozenWeight
from compress.payload import Scale

Order = Callable[["CodebookWeight", torch.Tensor], torch.Tensor]
"""From a weight and the cluster of each element to the clusters' rank, the first to freeze at 0."""


class CodebookWeight(FrozenWeight):
    """A weight whose elements become centroids, cluster by cluster."""

    def __init__(
        self,
        name: str,
        weight: torch.Tensor,
        *,
        bits: int,
        clusters: int,
        fractions: tuple[float, ...],
        order: Order,
        scale_axis: int | None = None,
    ) -> None:
        """``fractions`` are the shares of ``clusters`` that are frozen after each round."""
        super().__init__(name, weight)
        self.bits, self.order = bits, order
        self.counts = cumulative_counts(clusters, fractions)
        self.axis = scale_axis
        self.scale = None if scale_axis is None else channel_scale(weight, scale_axis)
        self.centroids = first_centroids(self.normal(), clusters)
        self.fixed = torch.zeros(len(self.centroids), dtype=torch.bool, device=weight.device)
        """Which centroids belong to frozen elements and may not move any more."""
        self.codes = torch.zeros_like(weight, dtype=torch.int64)

    def normal(self) -> torch.Tensor:
        """The weight divided by the scale of its channels."""
        weight = self.weight.detach()
        return weight if self.scale is None else weight / self.scale

    def advance(self, round_index: int) -> None:
        """Cluster again around the frozen centroids, then freeze the next clusters in order."""
        normal = self.normal()
        still = self.fixed.clone()
        still[len(still) // 2] = True  # exact zero is kept
        self.centroids = _as_stored(lloyd(normal, self.centroids, still))
        codes = torch.where(self.mask, self.codes, nearest(normal, self.centroids))
        if round_index + 1 == len(self.counts):
            self.fixed[:] = True
        else:
            rank = self.order(self, codes)
            rank = torch.where(self.fixed, -1, rank)
            self.fixed[rank.argsort(stable=True)[: self.counts[round_index]]] = True
        self.codes = codes
        self.freeze(self.fixed[codes], self._values(codes))

    def compressed(self) -> Codebook:
        """Indices into the centroids."""
        scale = None
        if self.scale is not None and self.axis is not None:
            scale = Scale(_numpy(self.scale.reshape(-1)), self.axis)
        indices = self.codes.to(torch.uint8).cpu().numpy()
        return Codebook(indices, _numpy(self.centroids), self.bits, scale)

    def _values(self, codes: torch.Tensor) -> torch.Tensor:
        values = self.centroids.float()[codes]
        return values if self.scale is None else values * self.scale


def channel_scale(weight: torch.Tensor, axis: int) -> torch.Tensor:
    """Root mean square of each channel, 1 for empty ones; broadcasts with ``weight``."""
    others = [i for i in range(weight.dim()) if i != axis]
    scale = weight.detach().float().square().mean(others, keepdim=True).sqrt()
    return torch.where(scale > 0, scale, torch.ones_like(scale))


def cumulative_counts(clusters: int, fractions: tuple[float, ...]) -> tuple[int, ...]:
    """Clusters frozen after each round: zero and these fractions of the pairs, rising.

    For 17 clusters and quarters up to a half, then halves of the rest: 5, 9, 13, 15, 17.
    """
    pairs = clusters // 2
    counts = {1 + 2 * int(np.ceil(pairs * share - 1e-9)) for share in fractions}
    return tuple(sorted(counts | {clusters}))


def _as_stored(centroids: torch.Tensor) -> torch.Tensor:
    """Rounded to float32, so that the frozen weights and the stored codebook are the same bits."""
    return centroids.float().double()


def _numpy(values: torch.Tensor) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    found: np.ndarray[tuple[int, ...], np.dtype[np.float32]] = values.float().cpu().numpy()
    return found
