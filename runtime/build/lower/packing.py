"""How a constant is stored for its kernel: as it is, or blocked by output channel."""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.generic]

# What a kernel's rows are multiplied with, by output tile (Lavin and Gray 2016, section 4).
WINOGRAD = {
    2: ((1, 0, 0), (1 / 2, 1 / 2, 1 / 2), (1 / 2, -1 / 2, 1 / 2), (0, 0, 1)),
    4: (
        (1 / 4, 0, 0),
        (-1 / 6, -1 / 6, -1 / 6),
        (-1 / 6, 1 / 6, -1 / 6),
        (1 / 24, 1 / 12, 1 / 6),
        (1 / 24, -1 / 12, 1 / 6),
        (0, 0, 1),
    ),
}


@dataclass(frozen=True, slots=True)
class Packing:
    """Output channels, padded to a multiple of ``block``, are split and their inner part goes last.

    A weight of shape (F, C, KH, KW) becomes (ceil(F / block), C, KH, KW, block): the kernel then
    reads the weights of one register tile as consecutive bytes.
    """

    block: int
    phases: tuple[int, ...] = ()
    """Strides of a transposed convolution, whose weight (C, F, KH, KW) is first sorted by output
    phase: output x only meets taps r with (x + padding - r) divisible by the stride, so the taps
    of each remainder form a small convolution of their own, with output channels (F, phases)."""

    winograd: int = 0
    """Output tile of a Winograd convolution, whose 3x3 kernels are transformed to ones of
    (winograd + 2)^2 taps, which go first."""

    def shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Shape of the packed constant."""
        if self.winograd:
            channels, inner, *_ = shape
            taps = self.winograd + 2
            return (taps, taps, -(-channels // self.block), inner, self.block)
        channels, *rest = self._sorted_shape(shape)
        return (-(-channels // self.block), *rest, self.block)

    def apply(self, value: Array) -> Array:
        """The packed constant; padding is zero."""
        if self.winograd:
            plain = Packing(self.block).apply(self._transformed(value))
            return np.ascontiguousarray(plain.transpose(2, 3, 0, 1, 4))
        value = self._sorted(value) if self.phases else value
        blocks, *rest, block = Packing(self.block).shape(value.shape)
        padded = np.zeros((blocks * block, *rest), value.dtype)
        padded[: value.shape[0]] = value
        split = padded.reshape(-1, block, *value.shape[1:])
        return np.ascontiguousarray(np.moveaxis(split, 1, -1))

    def _transformed(self, value: Array) -> Array:
        matrix = np.array(WINOGRAD[self.winograd])
        exact: Array = np.einsum("ir,fcrs,js->fcij", matrix, value.astype("f8"), matrix)
        return exact.astype(value.dtype)

    def _sorted_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        if not self.phases:
            return shape
        inner, channels, *kernel = shape
        taps = [-(-k // s) for k, s in zip(kernel, self.phases, strict=True)]
        return (channels * math.prod(self.phases), inner, *taps)

    def _sorted(self, value: Array) -> Array:
        inner, channels, *kernel = value.shape
        taps = [-(-k // s) for k, s in zip(kernel, self.phases, strict=True)]
        filled = np.zeros(
            (inner, channels, *(t * s for t, s in zip(taps, self.phases, strict=True))), value.dtype
        )
        filled[tuple(slice(extent) for extent in value.shape)] = value
        pairs = [extent for t, s in zip(taps, self.phases, strict=True) for extent in (t, s)]
        split = filled.reshape(inner, channels, *pairs)
        rank = len(kernel)
        order = (1, *(3 + 2 * k for k in range(rank)), 0, *(2 + 2 * k for k in range(rank)))
        return split.transpose(order).reshape(self._sorted_shape(value.shape))
