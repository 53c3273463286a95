"""GPTQ: rounding to a codebook with feedback, layer by layer, from unlabelled inputs (Frantar et
al., GPTQ: Accurate Post-Training Quantization for Generative Pre-trained Transformers, 2022).

The network as it was is the teacher: every layer is fitted to give its original outputs from inputs
that come out of layers which are rounded already. Takes no training, but requests.

Deviations: values are k-means centroids, not an even grid; the weights are fitted to the changed
inputs before they are rounded, biases after it; how far to go is judged by other requests.
"""

from dataclasses import dataclass
from typing import ClassVar

from compress.direct import KMeans


@dataclass(frozen=True)
class GPTQ(KMeans):
    """Codebooks by reconstruction (`compress.reconstruction`); without requests as `KMeans`."""

    name: ClassVar[str] = "gptq"
    fits_requests: ClassVar[bool] = True

    bits: int = 4
    """Bits of an index, 2 to 8."""
    per_channel: bool = True
    """Give each output its own scale (4 bytes per output) on top of the codebook."""
    full: bool = True
    """Use all ``2 ** bits - 1`` centroids that indices can tell apart, not SLQ's number."""
