"""Direct k-means: every weight becomes its layer's nearest centroid, at once.

The control for SLQ: the same codebooks without any training (Gong et al., Compressing Deep
Convolutional Networks using Vector Quantization, 2014).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from compress.clusters import cluster_count
from compress.codebooks import CodebookWeight
from compress.gradual import GradualRun
from compress.method import Family, Method
from compress.sites import Site, weight_of
from compress.slq import all_but_last, check_bits, magnitude_order


@dataclass(frozen=True)
class KMeans(Method):
    """One codebook per layer, from the weights alone."""

    name: ClassVar[str] = "kmeans"
    family: ClassVar[Family] = "bits"

    bits: int = 8
    """Bits of an index, 2 to 8."""
    per_channel: bool = False
    """Give each output its own scale (4 bytes per output) on top of the codebook."""
    full: bool = False
    """Use all ``2 ** bits - 1`` centroids that indices can tell apart, not SLQ's number."""

    def __post_init__(self) -> None:
        check_bits(self.name, self.bits)

    def default_sites(self, sites: Sequence[Site]) -> tuple[Site, ...]:
        """All convolutions and products but the classifier."""
        return all_but_last(sites)

    def begin(self, model: nn.Module, sites: tuple[Site, ...]) -> GradualRun:
        """Everything is frozen at once."""
        weights = [
            CodebookWeight(
                site.weight,
                weight_of(model, site),
                bits=self.bits,
                clusters=cluster_count(self.bits, self.full),
                fractions=(1.0,),
                order=magnitude_order,
                scale_axis=site.output_axis if self.per_channel else None,
            )
            for site in sites
        ]
        return GradualRun(weights, 1, 0)
