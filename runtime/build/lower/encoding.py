"""How a compressed constant lies in the weights file: small codes, a table of values, factors.

Codes are stored in the order in which a kernel reads its weight, seen as [outer, rows, lanes]:
``lanes`` neighbouring codes side by side, so that one vector instruction works on the same bits of
all of them. Each lane packs a few rows together, `Encoding.group` of them into
`Encoding.planes` bytes: bit codes little-endian (row p in bits ``p * bits`` up), ternary digits as
``d0 + 3 d1 + 9 d2 + 27 d3 + 81 d4``. With one lane that is a plain stream of bits.
"""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.uint8]
Shape = tuple[int, ...]
Part = Literal["codes", "values", "scale"]

TERNARY = 0
"""The number of bits that stands for ternary digits."""
_TERNARY_GROUP = 5


@dataclass(frozen=True, slots=True)
class Encoding:
    """The form of one compressed constant, its values aside."""

    bits: int
    """Of a code, 1 to 8; `TERNARY` for digits 0, 1, 2 at five to a byte."""
    scaled: bool
    """Whether each output channel has a factor."""

    @property
    def values(self) -> int:
        """Entries of the table that codes point into."""
        return 3 if self.bits == TERNARY else 1 << self.bits

    @property
    def group(self) -> int:
        """Rows that one lane packs together."""
        return _TERNARY_GROUP if self.bits == TERNARY else 8 // math.gcd(8, self.bits)

    @property
    def planes(self) -> int:
        """Bytes into which one lane packs a group."""
        return 1 if self.bits == TERNARY else self.bits * self.group // 8

    def codes_shape(self, view: Shape) -> Shape:
        """Shape of the stored codes, for a weight seen as ``view`` = [outer, rows, lanes]."""
        outer, rows, lanes = view
        return (outer, -(-rows // self.group), self.planes, lanes)

    def pack(self, codes: Bytes) -> Bytes:
        """``codes`` [outer, rows, lanes] as they are stored."""
        outer, rows, lanes = codes.shape
        units = -(-rows // self.group)
        padded = np.zeros((outer, units * self.group, lanes), np.uint8)
        padded[:, :rows] = codes
        grouped = padded.reshape(outer, units, self.group, lanes)
        if self.bits == TERNARY:
            powers = (3 ** np.arange(_TERNARY_GROUP)).astype(np.uint8)
            total: Bytes = (grouped * powers[:, None]).sum(axis=2, dtype=np.uint8)
            return total[:, :, None]
        digits = np.unpackbits(grouped[..., None], axis=-1, bitorder="little")[..., : self.bits]
        stream = digits.transpose(0, 1, 3, 2, 4).reshape(outer, units, lanes, -1)
        planes = np.packbits(stream, axis=-1, bitorder="little")
        return np.ascontiguousarray(planes.transpose(0, 1, 3, 2))
