"""How a constant is stored for its kernel: as it is, or blocked by output channel."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.generic]


@dataclass(frozen=True, slots=True)
class Packing:
    """Axis 0 (output channels), padded to a multiple of ``block``, is split; its rest goes last.

    A weight of shape (F, C, KH, KW) becomes (ceil(F / block), C, KH, KW, block): the kernel then
    reads the weights of one register tile as consecutive bytes.
    """

    block: int

    def shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Shape of the packed constant."""
        return (-(-shape[0] // self.block), *shape[1:], self.block)

    def apply(self, value: Array) -> Array:
        """The packed constant; padding is zero."""
        padded = np.zeros((self.shape(value.shape)[0] * self.block, *value.shape[1:]), value.dtype)
        padded[: value.shape[0]] = value
        split = padded.reshape(-1, self.block, *value.shape[1:])
        return np.ascontiguousarray(np.moveaxis(split, 1, -1))
