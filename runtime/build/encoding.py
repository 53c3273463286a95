"""Compressed tensors as codes in the order in which kernels read them."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from compress.formats import Codebook, CompressedTensor, Ternary
from compress.payload import Scale
from runtime.build.lower.encoding import TERNARY, Bytes, Encoding, Part, Shape
from runtime.build.lower.packing import Packing
from splitter.program import Program
from splitter.stored import decodes_in_kernel

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class ScalePlace:
    """Which factor belongs to element (o, r, l) of [outer, rows, lanes].

    It is factor ``l + lanes * ((o * rows + r) // run % count)``.
    """

    run: int
    count: int


@dataclass(frozen=True, eq=False)
class Encoded:
    """A compressed constant in the order in which its kernel reads it."""

    encoding: Encoding
    view: Shape
    """Its shape seen as [outer, rows, lanes]."""
    codes: Bytes
    values: Floats
    scale: Floats
    """One factor per channel in storage order; empty without."""
    place: ScalePlace

    def part(self, part: Part) -> npt.NDArray[np.generic]:
        """What is stored under ``part``."""
        parts: dict[Part, npt.NDArray[np.generic]] = {
            "codes": self.codes,
            "values": self.values,
            "scale": self.scale,
        }
        return parts[part]


def encoding_of(tensor: CompressedTensor | None) -> Encoding | None:
    """The form in which a weights file holds ``tensor``; None where it holds floats."""
    match tensor:
        case Codebook():
            return Encoding(tensor.bits, tensor.scale is not None)
        case Ternary():
            return Encoding(TERNARY, tensor.scale is not None)
    return None


def kernel_encodings(program: Program) -> Mapping[str, Encoding]:
    """The form of every constant that a kernel can decode, in whatever order it reads it."""
    found = ((name, encoding_of(tensor)) for name, tensor in program.compressed.items())
    return {
        name: encoding
        for name, encoding in found
        if encoding is not None and decodes_in_kernel(program, name)
    }


def encode(tensor: CompressedTensor, packing: Packing | None) -> Encoded | None:
    """``tensor`` as its kernel reads it; None where that order cannot hold it compressed.

    A transposed convolution has taps that are none and must be zero, which a full codebook without
    a zero cannot say; and factors must belong to output channels, whose place packing knows.
    """
    encoding = encoding_of(tensor)
    if encoding is None or (packing is not None and packing.winograd):
        return None
    assert isinstance(tensor, Codebook | Ternary)
    values, codes = _codes(tensor)
    scale = _packed_scale(tensor.scale, tensor.shape, packing)
    filler = _filler(values, encoding)
    if scale is None or (filler is None and packing is not None and packing.phases):
        return None
    if filler is not None and filler == len(values):
        values = np.append(values, np.float32(0))
    table = np.zeros(encoding.values, np.float32)
    table[: len(values)] = values
    if packing is None:
        return _plain(encoding, codes, table, tensor.scale)
    # Code 0 is what packing puts in places that stand for no weight.
    ordered = packing.apply(codes.astype(np.int16) + 1).astype(np.int16) - 1
    ordered[ordered < 0] = filler or 0
    view = (ordered.shape[0], math.prod(ordered.shape[1:-1]), ordered.shape[-1])
    packed = encoding.pack(ordered.astype(np.uint8).reshape(view))
    return Encoded(encoding, view, packed, table, scale, ScalePlace(view[1], view[0]))


def _codes(tensor: Codebook | Ternary) -> tuple[Floats, Bytes]:
    if isinstance(tensor, Codebook):
        return tensor.values, tensor.indices
    levels = np.array([-tensor.negative, 0.0, tensor.positive], np.float32)
    return levels, (tensor.codes + 1).astype(np.uint8)


def _filler(values: Floats, encoding: Encoding) -> int | None:
    """The code that means zero, one that is still free, or None."""
    zeros = np.flatnonzero(values == 0)
    if len(zeros):
        return int(zeros[0])
    return len(values) if len(values) < encoding.values else None


def _packed_scale(scale: Scale | None, shape: Shape, packing: Packing | None) -> Floats | None:
    """Factors in storage order; None where they belong to another axis than packing splits."""
    if scale is None:
        return np.empty(0, np.float32)
    if packing is None:
        return scale.factors
    if scale.axis != (1 if packing.phases else 0):
        return None
    factors = np.repeat(scale.factors, math.prod(packing.phases))
    padded = np.ones(-(-len(factors) // packing.block) * packing.block, np.float32)
    padded[: len(factors)] = factors
    return padded


def _plain(encoding: Encoding, codes: Bytes, table: Floats, scale: Scale | None) -> Encoded:
    view = (1, codes.size, 1)
    packed = encoding.pack(np.ascontiguousarray(codes).reshape(view))
    if scale is None:
        return Encoded(encoding, view, packed, table, np.empty(0, np.float32), ScalePlace(1, 1))
    place = ScalePlace(math.prod(codes.shape[scale.axis + 1 :]), codes.shape[scale.axis])
    return Encoded(encoding, view, packed, table, scale.factors, place)
