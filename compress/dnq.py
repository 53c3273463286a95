"""DNQ: dynamic network quantization (Xu et al., arXiv 1812.02375): the quantizer.

Bit widths differ from layer to layer; `compress.widths` searches them, with the paper's controller
or otherwise. Given its width, a layer is quantized to fixed levels a share at a time, and the
quantization distance ``|w - Q(w)|`` says which weights come first.

Reconstruction: the paper's abstract fixes the controller, policy gradient and quantization distance
as the criterion; levels, shares and the order (largest distance first, so that the others can make
up for it) are choices of ours. ``order`` has the alternatives.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

from compress.gradual import GradualRun
from compress.inq import magnitude
from compress.levels import Levels, LevelWeight, Rank, codebook_levels, power_of_two_levels
from compress.method import Family, Method, at_least, one_of
from compress.sites import Site, weight_of
from compress.slq import all_but_last, check_bits, check_fractions


def _largest_distance(weight: torch.Tensor, distance: torch.Tensor) -> torch.Tensor:
    del weight
    return distance


def _smallest_distance(weight: torch.Tensor, distance: torch.Tensor) -> torch.Tensor:
    del weight
    return -distance


_RANKS: dict[str, Rank] = {
    "largest": _largest_distance,
    "smallest": _smallest_distance,
    "magnitude": magnitude,
}
_LEVELS: dict[str, Levels] = {"codebook": codebook_levels, "powers": power_of_two_levels}


@dataclass(frozen=True)
class DNQ(Method):
    """Levels of a layer's own, taken by quantization distance."""

    name: ClassVar[str] = "dnq"
    family: ClassVar[Family] = "bits"

    bits: int = 4
    """Bits of an index, 2 to 8; one rule of a recipe per layer gives each its own."""
    levels: str = "codebook"
    """``codebook``: k-means centroids as in SLQ; ``powers``: of two as in INQ, of which more bits
    than 5 only add ever smaller ones."""
    order: str = "largest"
    """Which distance is frozen first: ``largest``, ``smallest``, or ``magnitude`` as in INQ."""
    fractions: tuple[float, ...] = (0.5, 0.75, 0.875, 1.0)
    """Share of the weights that is frozen after each round."""
    steps_per_round: int = 100

    def __post_init__(self) -> None:
        check_bits(self.name, self.bits)
        one_of(self.name, "order", self.order, tuple(_RANKS))
        one_of(self.name, "levels", self.levels, tuple(_LEVELS))
        check_fractions(self.name, self.fractions)
        at_least(self.name, steps_per_round=(self.steps_per_round, 1))

    def default_sites(self, sites: Sequence[Site]) -> tuple[Site, ...]:
        """All convolutions and products but the classifier."""
        return all_but_last(sites)

    def begin(self, model: nn.Module, sites: tuple[Site, ...]) -> GradualRun:
        """The first share is frozen at once."""
        weights = [
            LevelWeight(
                site.weight,
                weight_of(model, site),
                bits=self.bits,
                fractions=self.fractions,
                rank=_RANKS[self.order],
                levels=_LEVELS[self.levels],
            )
            for site in sites
        ]
        return GradualRun(weights, len(self.fractions), self.steps_per_round)
