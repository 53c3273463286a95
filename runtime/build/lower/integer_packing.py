"""How weights of integer kernels are stored."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.generic]
LANES = 16
"""Output channels side by side."""
_BLOCK = 64
"""Channels of a depthwise convolution that are computed together."""
_TAPS = 4


@dataclass(frozen=True, slots=True)
class DotPacking:
    """[F, taps..., C] becomes [F / (16 blocks), taps, C / group, blocks, 16, group], zeros added:
    what one step of a kernel multiplies lies in a row.
    """

    blocks: int
    """Vectors of 16 output channels in a tile."""
    group: int
    """Input channels that one instruction sums up."""
    winograd: ClassVar[int] = 0
    phases: ClassVar[tuple[int, ...]] = ()

    def shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Shape of the packed weight."""
        filters, *taps, inner = shape
        wide = self.blocks * LANES
        count = int(np.prod(taps, dtype=np.int64))
        steps = -(-inner // self.group)
        return (-(-filters // wide), count, steps, self.blocks, LANES, self.group)

    def apply(self, value: Array) -> Array:
        """The packed weight."""
        tiles, taps, steps, blocks, lanes, group = self.shape(value.shape)
        flat = value.reshape(value.shape[0], taps, value.shape[-1])
        padded = np.zeros((tiles * blocks * lanes, taps, steps * group), value.dtype)
        padded[: flat.shape[0], :, : flat.shape[2]] = flat
        split = padded.reshape(tiles, blocks, lanes, taps, steps, group)
        return np.ascontiguousarray(split.transpose(0, 3, 4, 1, 2, 5))


@dataclass(frozen=True, slots=True)
class DepthwisePacking:
    """[C, taps..., 1] becomes [taps, C]; or, for VNNI, [C / 64, taps / 4, 4, 64] in the order in
    which unpacking bytes leaves them: vector j, lane 16 q + 4 l + t holds tap t of channel
    16 q + 4 j + l.
    """

    dot: bool
    winograd: ClassVar[int] = 0
    phases: ClassVar[tuple[int, ...]] = ()

    def shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Shape of the packed weight."""
        channels, *taps, _ = shape
        count = int(np.prod(taps, dtype=np.int64))
        if not self.dot:
            return (count, channels)
        return (-(-channels // _BLOCK), -(-count // _TAPS), 4, _BLOCK)

    def apply(self, value: Array) -> Array:
        """The packed weight."""
        channels = value.shape[0]
        flat = value.reshape(channels, -1)
        if not self.dot:
            return np.ascontiguousarray(flat.T)
        blocks, groups, _, _ = self.shape(value.shape)
        padded = np.zeros((blocks * _BLOCK, groups * _TAPS), value.dtype)
        padded[:channels, : flat.shape[1]] = flat
        # Axes: block, q, j, l, tap group, t.
        split = padded.reshape(blocks, 4, 4, 4, groups, _TAPS)
        return np.ascontiguousarray(split.transpose(0, 4, 2, 1, 3, 5)).reshape(
            self.shape(value.shape)
        )


IntegerPacking = DotPacking | DepthwisePacking
