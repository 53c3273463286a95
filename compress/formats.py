"""How a compressed weight is stored: what it consists of, its float values, its bytes.

A `CompressedTensor` belongs to one parameter, by name. It knows nothing of torch or of networks;
`compress.storage` keeps many of them, `compress.rewrite` puts them into a network.
"""

import math
from dataclasses import dataclass, replace

import numpy as np

from compress.packing import Bytes, Codes, pack_bits, pack_ternary, unpack_bits, unpack_ternary
from compress.payload import (
    Floats,
    Meta,
    Scale,
    product,
    scale_bytes,
    scaled,
    take,
    take_scale,
    to_bytes,
)


@dataclass(frozen=True, eq=False)
class Codebook:
    """Every weight is one of few values: ``values[indices]``, times the scale if there is one."""

    indices: Bytes
    """Of the weight's shape."""
    values: Floats
    """Ascending, at most ``2 ** bits`` of them."""
    bits: int
    scale: Scale | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the weight."""
        return self.indices.shape

    def dense(self) -> Floats:
        """The weight as float32."""
        return scaled(self.values[self.indices], self.scale)

    def scaled(self, scale: Scale) -> "Codebook":
        """This weight times ``scale``."""
        return replace(self, scale=product(self.scale, scale))

    def describe(self) -> Meta:
        """What `unpack` needs besides the payload."""
        return {
            "format": "codebook",
            "shape": list(self.shape),
            "bits": self.bits,
            "values": len(self.values),
            "scale_axis": None if self.scale is None else self.scale.axis,
        }

    def pack(self) -> bytes:
        """The payload: values, scale, packed indices."""
        packed = pack_bits(self.indices.reshape(-1), self.bits)
        return to_bytes(self.values) + scale_bytes(self.scale) + packed.tobytes()

    @classmethod
    def unpack(cls, meta: Meta, payload: bytes) -> "Codebook":
        """The inverse of `describe` and `pack`."""
        shape = tuple(meta["shape"])
        values, rest = take(payload, meta["values"])
        scale, rest = take_scale(meta, shape, rest)
        indices = unpack_bits(np.frombuffer(rest, np.uint8), math.prod(shape), meta["bits"])
        if indices.size and int(indices.max()) >= len(values):
            raise ValueError("an index lies outside the codebook")
        return cls(indices.reshape(shape), values, meta["bits"], scale)


@dataclass(frozen=True, eq=False)
class Ternary:
    """Every weight is ``-negative``, 0 or ``positive``, times the scale if there is one."""

    codes: Codes
    """-1, 0 or 1, of the weight's shape."""
    negative: float
    """Magnitude of the code -1."""
    positive: float
    """Magnitude of the code 1."""
    scale: Scale | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the weight."""
        return self.codes.shape

    def dense(self) -> Floats:
        """The weight as float32."""
        levels = np.array([-self.negative, 0.0, self.positive], np.float32)
        return scaled(levels[self.codes.astype(np.int64) + 1], self.scale)

    def scaled(self, scale: Scale) -> "Ternary":
        """This weight times ``scale``."""
        return replace(self, scale=product(self.scale, scale))

    def describe(self) -> Meta:
        """What `unpack` needs besides the payload."""
        axis = None if self.scale is None else self.scale.axis
        return {"format": "ternary", "shape": list(self.shape), "scale_axis": axis}

    def pack(self) -> bytes:
        """The payload: negative and positive magnitude, scale, packed codes."""
        levels = to_bytes(np.array([self.negative, self.positive], np.float32))
        packed = pack_ternary(self.codes.reshape(-1))
        return levels + scale_bytes(self.scale) + packed.tobytes()

    @classmethod
    def unpack(cls, meta: Meta, payload: bytes) -> "Ternary":
        """The inverse of `describe` and `pack`."""
        shape = tuple(meta["shape"])
        levels, rest = take(payload, 2)
        scale, rest = take_scale(meta, shape, rest)
        codes = unpack_ternary(np.frombuffer(rest, np.uint8), math.prod(shape))
        return cls(codes.reshape(shape), float(levels[0]), float(levels[1]), scale)


@dataclass(frozen=True, eq=False)
class Factors:
    """A weight as the product of two: the weights of two layers that replace one.

    Both are in the layout of a convolution or linear layer (outputs first). With ``n`` outputs,
    ``c`` inputs per group, ``g`` groups, kernel ``h x w`` and rank ``r`` per group:

    - ``nc``: first [g r, c, h, w] in g groups, second [n, r, 1, 1] in g groups;
    - ``vh``: first [g r, c, h, 1] in g groups, second [n, r, 1, w] in g groups;
    - ``nd``: first [n r, c, 1, 1] in g groups, second [n, r, h, w] in n groups.

    A linear layer is ``nc`` without kernel axes.
    """

    scheme: str
    first: Floats
    second: Floats
    groups: int = 1

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the weight."""
        kernel = [max(a, b) for a, b in zip(self.first.shape, self.second.shape, strict=True)]
        return (self.second.shape[0], self.first.shape[1], *kernel[2:])

    @property
    def rank(self) -> int:
        """Rank per group, or per output for ``nd``."""
        return int(self.second.shape[1])

    @property
    def first_groups(self) -> int:
        """Groups of the first layer."""
        return self.groups

    @property
    def second_groups(self) -> int:
        """Groups of the second layer."""
        return self.second.shape[0] if self.scheme == "nd" else self.groups

    def dense(self) -> Floats:
        """The weight as float32."""
        r, groups = self.rank, self.second_groups
        kernel = self.shape[2:]
        first = self.first.reshape(groups, r, *self.first.shape[1:])
        second = self.second.reshape(groups, -1, r, *self.second.shape[2:])
        letters = "xyz"[: len(kernel)]
        spread = [np.broadcast_to(a, (*a.shape[:3], *kernel)) for a in (first, second)]
        dense = np.einsum(f"grc{letters},gnr{letters}->gnc{letters}", *spread)
        return np.ascontiguousarray(dense.reshape(self.shape), np.float32)

    def scaled(self, scale: Scale) -> "Factors":
        """This weight times ``scale``, which must be one of the outputs."""
        assert scale.axis == 0, scale.axis
        return replace(self, second=scale.times(self.second))

    def describe(self) -> Meta:
        """What `unpack` needs besides the payload."""
        return {
            "format": "factors",
            "scheme": self.scheme,
            "first": list(self.first.shape),
            "second": list(self.second.shape),
            "groups": self.groups,
        }

    def pack(self) -> bytes:
        """The payload: the first weight, then the second, as float32."""
        return to_bytes(self.first) + to_bytes(self.second)

    @classmethod
    def unpack(cls, meta: Meta, payload: bytes) -> "Factors":
        """The inverse of `describe` and `pack`."""
        first, rest = take(payload, math.prod(meta["first"]))
        second, rest = take(rest, math.prod(meta["second"]))
        if rest:
            raise ValueError(f"{len(rest)} bytes too many")
        pair = first.reshape(meta["first"]), second.reshape(meta["second"])
        return cls(meta["scheme"], *pair, meta["groups"])


CompressedTensor = Codebook | Ternary | Factors


def unpack(meta: Meta, payload: bytes) -> CompressedTensor:
    """The tensor that ``describe`` and ``pack`` gave.

    Raises:
        ValueError, KeyError, TypeError: ``meta`` or ``payload`` is damaged.
    """
    kinds: dict[str, type[Codebook] | type[Ternary] | type[Factors]] = {
        "codebook": Codebook,
        "ternary": Ternary,
        "factors": Factors,
    }
    if meta["format"] not in kinds:
        raise ValueError(f"unknown format {meta['format']}")
    return kinds[meta["format"]].unpack(meta, payload)
