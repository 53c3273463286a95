"""Fixed levels of a layer, to which its weights go a share at a time."""

from collections.abc import Callable

import numpy as np
import torch

from compress.clusters import cluster_count, first_centroids, lloyd, nearest
from compress.formats import Codebook
from compress.gradual import FrozenWeight

Rank = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""From weights and their distances to the nearest level to a score; the highest freeze first."""

Levels = Callable[[torch.Tensor, int], torch.Tensor]
"""From a weight and bits to the levels: ascending, float32, zero among them."""


def codebook_levels(weight: torch.Tensor, bits: int) -> torch.Tensor:
    """The centroids of direct k-means."""
    first = first_centroids(weight, cluster_count(bits))
    fixed = torch.zeros(len(first), dtype=torch.bool, device=weight.device)
    fixed[len(first) // 2] = True
    return lloyd(weight, first, fixed).float()


def power_of_two_levels(weight: torch.Tensor, bits: int) -> torch.Tensor:
    """0 and plus and minus ``2 ** n2 ... 2 ** n1``, ascending, float32.

    ``n1 = floor(log2(4 s / 3))`` with ``s`` the largest magnitude, and ``2 ** (bits - 2)`` powers.
    """
    largest = float(weight.abs().max()) if weight.numel() else 0.0
    highest = np.floor(np.log2(4 * (largest or 1.0) / 3))
    positive = np.exp2(highest - np.arange(1 << bits - 2, dtype=np.float64))[::-1]
    levels = np.concatenate([-positive[::-1], [0.0], positive]).astype(np.float32)
    return torch.from_numpy(np.unique(levels)).to(weight.device)


class LevelWeight(FrozenWeight):
    """A weight whose elements become the nearest of fixed levels, a share at a time."""

    def __init__(
        self,
        name: str,
        weight: torch.Tensor,
        *,
        bits: int,
        fractions: tuple[float, ...],
        rank: Rank,
        levels: Levels,
    ) -> None:
        super().__init__(name, weight)
        self.bits, self.fractions, self.rank = bits, fractions, rank
        self.levels = levels(weight.detach(), bits)
        self.codes = torch.zeros_like(weight, dtype=torch.int64)

    def advance(self, round_index: int) -> None:
        """Freeze the free elements that rank highest, until the round's share is frozen."""
        weight = self.weight.detach()
        codes = torch.where(self.mask, self.codes, nearest(weight.float(), self.levels))
        last = round_index + 1 == len(self.fractions)
        share = 1.0 if last else self.fractions[round_index]
        wanted = round(share * weight.numel())
        score = self.rank(weight, (weight - self.levels[codes]).abs()).reshape(-1).double()
        score = torch.where(self.mask.reshape(-1), torch.inf, score)
        mask = torch.zeros_like(score, dtype=torch.bool)
        mask[score.argsort(descending=True, stable=True)[:wanted]] = True
        self.codes = codes
        self.freeze(mask.reshape(weight.shape), self.levels[codes])

    def compressed(self) -> Codebook:
        """Indices into the levels."""
        indices = self.codes.to(torch.uint8).cpu().numpy()
        return Codebook(indices, self.levels.cpu().numpy(), self.bits)
