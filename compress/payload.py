"""Pieces of the payload of a compressed tensor: float32 numbers and scales."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Meta = dict[str, Any]


@dataclass(frozen=True, eq=False)
class Scale:
    """One factor for each index of one axis; it outlives folding a batch norm into the weight."""

    factors: Floats
    """Shape [extent of the axis]."""
    axis: int

    def times(self, values: Floats) -> Floats:
        """``values``, scaled along the axis."""
        shape = [-1 if i == self.axis else 1 for i in range(values.ndim)]
        return values * self.factors.reshape(shape)


def scaled(values: Floats, scale: Scale | None) -> Floats:
    """``values`` times ``scale``, if there is one."""
    return values if scale is None else scale.times(values)


def product(old: Scale | None, new: Scale) -> Scale:
    """Both scales as one."""
    if old is None:
        return new
    assert old.axis == new.axis, (old.axis, new.axis)
    return Scale(old.factors * new.factors, new.axis)


def to_bytes(values: Floats) -> bytes:
    """Little-endian float32."""
    return np.ascontiguousarray(values, "<f4").tobytes()


def scale_bytes(scale: Scale | None) -> bytes:
    """The factors; nothing for no scale."""
    return b"" if scale is None else to_bytes(scale.factors)


def take(payload: bytes, count: int) -> tuple[Floats, bytes]:
    """The first ``count`` numbers of ``payload``, and what follows them."""
    if len(payload) < 4 * count:
        raise ValueError("the payload ends early")
    return np.frombuffer(payload, "<f4", count).astype(np.float32), payload[4 * count :]


def take_scale(meta: Meta, shape: tuple[int, ...], payload: bytes) -> tuple[Scale | None, bytes]:
    """The scale that ``meta`` tells of, and what follows it."""
    axis = meta["scale_axis"]
    if axis is None:
        return None, payload
    factors, rest = take(payload, shape[axis])
    return Scale(factors, axis), rest
