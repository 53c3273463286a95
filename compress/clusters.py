"""k-means of the weights of one layer: one dimension, so that clusters are intervals."""

import math

import torch

LLOYD_ITERATIONS = 10
POWERS_UP_TO_BITS = 4
"""Above this, powers of two crowd around zero, and ten iterations do not mend that."""
_BINS = 2048


def cluster_count(bits: int, full: bool = False) -> int:
    """An odd number, so that zero is one of the centroids.

    The paper's ``2 ** (bits - 1) + 1``; or, ``full``, as many as indices of ``bits`` bits can tell
    apart: ``2 ** bits - 1``.
    """
    return (1 << bits) - 1 if full else (1 << bits - 1) + 1


def first_centroids(weights: torch.Tensor, count: int) -> torch.Tensor:
    """``count`` (odd) centroids around zero, ascending, in double precision.

    Up to 9 they are 0 and plus and minus ``n, n/2, n/4, ...`` where ``n`` is the largest power of
    two that is no larger than every weight; more are as dense as the best ones are where there
    are many: in proportion to the cube root of the density of the magnitudes.
    """
    pairs = count // 2
    magnitudes = weights.detach().abs().double().reshape(-1)
    largest = float(magnitudes.max()) if magnitudes.numel() else 0.0
    if largest == 0.0 or count <= cluster_count(POWERS_UP_TO_BITS):
        highest = math.floor(math.log2(largest or 1.0))
        steps = torch.arange(pairs, dtype=torch.float64, device=weights.device)
        positive = torch.exp2(highest - steps).flip(0)
    else:
        positive = _by_density(magnitudes, largest, pairs)
    return torch.cat([-positive.flip(0), positive.new_zeros(1), positive])


def _by_density(magnitudes: torch.Tensor, largest: float, count: int) -> torch.Tensor:
    """``count`` ascending positions whose density is the cube root of that of ``magnitudes``."""
    edges = torch.linspace(0, largest, _BINS + 1, dtype=torch.float64)
    histogram = torch.histc(magnitudes.cpu(), _BINS, 0, largest)
    mass = torch.cat([edges.new_zeros(1), histogram.pow(1 / 3).cumsum(0)])
    wanted = (torch.arange(count, dtype=torch.float64) + 0.75) / count * mass[-1]
    bins = torch.searchsorted(mass, wanted).clamp(1, _BINS)
    inside = (wanted - mass[bins - 1]) / (mass[bins] - mass[bins - 1]).clamp(min=1e-300)
    return (edges[bins - 1] + inside * (edges[bins] - edges[bins - 1])).to(magnitudes.device)


def nearest(weights: torch.Tensor, centroids: torch.Tensor) -> torch.Tensor:
    """Index of the nearest of the ascending ``centroids`` for each weight, as int64."""
    middles = (centroids[1:] + centroids[:-1]) / 2
    return torch.bucketize(weights.to(centroids.dtype).contiguous(), middles)


def lloyd(
    weights: torch.Tensor,
    centroids: torch.Tensor,
    fixed: torch.Tensor,
    iterations: int = LLOYD_ITERATIONS,
) -> torch.Tensor:
    """Centroids after Lloyd's iterations, still ascending.

    Args:
        weights: any shape.
        centroids: ascending, float64 [K].
        fixed: bool [K]; these centroids stay where they are.
        iterations: how often all centroids move to the means of their clusters.
    """
    ordered = weights.detach().reshape(-1).to(centroids.dtype).sort().values
    sums = torch.cat([ordered.new_zeros(1), ordered.cumsum(0)])
    for _ in range(iterations):
        middles = (centroids[1:] + centroids[:-1]) / 2
        inner = torch.searchsorted(ordered, middles)
        ends = torch.cat([inner.new_zeros(1), inner, inner.new_full((1,), len(ordered))])
        counts = ends.diff()
        means = sums[ends].diff() / counts.clamp(min=1)
        moved = torch.where((counts > 0) & ~fixed, means, centroids)
        if torch.equal(moved, centroids):
            break
        centroids = moved.sort().values  # rounding may swap two that are equal but for it
    return centroids
