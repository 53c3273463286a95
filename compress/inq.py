"""INQ: incremental network quantization to powers of two (Zhou et al., ICLR 2017).

Of each layer the weights of largest magnitude become powers of two and are frozen, the others are
trained on; a larger share each round. The control for SLQ and DNQ.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

from compress.gradual import GradualRun
from compress.levels import LevelWeight, power_of_two_levels
from compress.method import Family, Method, at_least
from compress.sites import Site, weight_of
from compress.slq import all_but_last, check_bits, check_fractions


def magnitude(weight: torch.Tensor, distance: torch.Tensor) -> torch.Tensor:
    """Large weights first."""
    del distance
    return weight.abs()


@dataclass(frozen=True)
class INQ(Method):
    """Powers of two, large weights first."""

    name: ClassVar[str] = "inq"
    family: ClassVar[Family] = "bits"

    bits: int = 5
    """Bits of an index, 2 to 8."""
    fractions: tuple[float, ...] = (0.5, 0.75, 0.875, 1.0)
    """Share of the weights that is frozen after each round."""
    steps_per_round: int = 100

    def __post_init__(self) -> None:
        check_bits(self.name, self.bits)
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
                rank=magnitude,
                levels=power_of_two_levels,
            )
            for site in sites
        ]
        return GradualRun(weights, len(self.fractions), self.steps_per_round)
