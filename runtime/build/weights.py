"""The weights file of one node: a 64-byte header, then constants at 64-byte boundaries.

Compressed constants lie there as codes, a table of values and factors (`runtime.build.encoding`).
Kernels that decode read these parts themselves; for all others the node decodes at start.
"""

import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, cast

import numpy as np
import xxhash

from runtime.build.encoding import Encoded, encode
from runtime.build.kernels import Kernel
from runtime.build.lower.encoding import Part
from runtime.build.lower.integer_packing import IntegerPacking
from runtime.build.lower.packing import Array, Packing
from splitter.memory import aligned
from splitter.program import Program

MAGIC = b"SPLTWGT1"
_HEADER = struct.Struct("<8s32s24s")
_PARTS: tuple[Part, ...] = ("codes", "values", "scale")


class WeightKey(NamedTuple):
    """A constant in one storage order; layers that read it the same way share it."""

    name: str
    packing: Packing | IntegerPacking | None
    part: Part | None = None
    """Of a compressed constant, what is read; None for its floats."""


@dataclass(frozen=True, slots=True)
class Decode:
    """A compressed constant that the node makes floats of at start."""

    key: WeightKey
    encoded: Encoded
    offsets: Mapping[Part, int]
    """Bytes from the start of the file."""
    target: int
    """Bytes from the start of the decoded constants."""
    shape: tuple[int, ...]
    """Of the constant itself."""


@dataclass(frozen=True, slots=True)
class WeightsFile:
    """What the node's tables must know of its weights file."""

    offsets: Mapping[WeightKey, int]
    """Bytes from the start of the file."""
    bytes: int
    xxh64: int
    decodes: tuple[Decode, ...] = ()
    decoded_bytes: int = 0
    """Memory for what is decoded at start."""


def weight_keys(kernels: Iterable[Kernel]) -> tuple[WeightKey, ...]:
    """The distinct constants that ``kernels`` read, in first-use order."""
    operands = (o for kernel in kernels for o in kernel.operands if o.role == "weight")
    return tuple(dict.fromkeys(WeightKey(o.name, o.packing, o.part) for o in operands))


class _Writer:
    """Puts constants one after the other, each part of a compressed one once."""

    def __init__(self) -> None:
        self.digest = xxhash.xxh64(seed=0)
        self.offsets: dict[WeightKey, int] = {}
        self.at = 0
        self.blocks: list[bytes] = []

    def put(self, data: bytes) -> int:
        start, padded = self.at, data + bytes(aligned(len(data)) - len(data))
        self.blocks.append(padded)
        self.digest.update(padded)
        self.at += len(padded)
        return start

    def put_part(self, key: WeightKey, value: Array) -> int:
        if key not in self.offsets:
            self.offsets[key] = self.put(np.ascontiguousarray(value).tobytes())
        return self.offsets[key]


def write_weights(
    path: Path, program: Program, kernels: Iterable[Kernel], bundle_id: bytes, node: str
) -> WeightsFile:
    """Write the constants of ``kernels`` to ``path``."""
    writer, decodes, target = _Writer(), list[Decode](), 0
    writer.put(_HEADER.pack(MAGIC, bundle_id, node.encode()[:24]))
    for key in weight_keys(kernels):
        stored_order, encoded = _encoded(program, key)
        if encoded is None:
            writer.offsets[key] = writer.put(stored(program, key).tobytes())
        elif key.part is not None:
            writer.put_part(key, encoded.part(key.part))
        else:
            parts = [part for part in _PARTS if encoded.part(part).size]
            places = {
                part: writer.put_part(WeightKey(key.name, stored_order, part), encoded.part(part))
                for part in parts
            }
            shape = tuple(program.constant(key.name).shape)
            decodes.append(Decode(key, encoded, places, target, shape))
            target += aligned(decoded_bytes(decodes[-1]))
    with path.open("wb") as file:
        file.writelines(writer.blocks)
    return WeightsFile(writer.offsets, writer.at, writer.digest.intdigest(), tuple(decodes), target)


def _encoded(program: Program, key: WeightKey) -> tuple[Packing | None, Encoded | None]:
    """The compressed form of a constant and the order it is in; None where it is kept as floats."""
    tensor, order = program.compressed.get(key.name), key.packing
    if tensor is None or isinstance(order, IntegerPacking):
        return None, None
    # What Winograd's algorithm transforms is stored as it was before.
    order = None if order is not None and order.winograd else order
    encoded = encode(tensor, order)
    assert encoded is not None or key.part is None, key
    return order, encoded


def decoded_bytes(decode: Decode) -> int:
    """Bytes of the floats that one constant becomes."""
    packing = decode.key.packing
    shape = packing.shape(decode.shape) if packing is not None else decode.shape
    return 4 * int(np.prod(shape, dtype=np.int64))


def stored(program: Program, key: WeightKey) -> Array:
    """A constant as floats, as its kernel reads it."""
    value = program.constant(key.name).numpy()
    packed = key.packing.apply(value) if key.packing else value
    return cast(Array, np.ascontiguousarray(packed))
