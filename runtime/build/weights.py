"""The weights file of one node: a 64-byte header, then constants at 64-byte boundaries."""

import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import xxhash

from runtime.build.kernels import Kernel
from runtime.build.lower.packing import Array, Packing
from splitter.memory import aligned
from splitter.program import Program

MAGIC = b"SPLTWGT1"
_HEADER = struct.Struct("<8s32s24s")

WeightKey = tuple[str, Packing | None]
"""A constant in one storage order; layers that read it the same way share it."""


@dataclass(frozen=True, slots=True)
class WeightsFile:
    """What the node's tables must know of its weights file."""

    offsets: Mapping[WeightKey, int]
    """Bytes from the start of the file."""
    bytes: int
    xxh64: int


def weight_keys(kernels: Iterable[Kernel]) -> tuple[WeightKey, ...]:
    """The distinct constants that ``kernels`` read, in first-use order."""
    operands = (o for kernel in kernels for o in kernel.operands if o.role == "weight")
    return tuple(dict.fromkeys((o.name, o.packing) for o in operands))


def write_weights(
    path: Path, program: Program, kernels: Iterable[Kernel], bundle_id: bytes, node: str
) -> WeightsFile:
    """Write the constants of ``kernels`` to ``path``."""
    digest = xxhash.xxh64(seed=0)
    offsets: dict[WeightKey, int] = {}
    at = 0
    with path.open("wb") as file:

        def put(data: bytes) -> None:
            nonlocal at
            padded = data + bytes(aligned(len(data)) - len(data))
            file.write(padded)
            digest.update(padded)
            at += len(padded)

        put(_HEADER.pack(MAGIC, bundle_id, node.encode()[:24]))
        for key in weight_keys(kernels):
            offsets[key] = at
            put(stored(program, key).tobytes())
    return WeightsFile(offsets, at, digest.intdigest())


def stored(program: Program, key: WeightKey) -> Array:
    """A constant as its kernel reads it."""
    name, packing = key
    value = program.constant(name).numpy()
    return np.ascontiguousarray(packing.apply(value) if packing else value)
