"""Weights that the kernel decodes as it goes: codes in, floats for the product out."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tvm import te, tirx
from tvm.ir import Expr

from runtime.build.lower.choice import Choice
from runtime.build.lower.encoding import TERNARY, Encoding, Part

_MOST_SELECTED = 16
"""Values of a table from which one is selected bit by bit; more are looked up in memory."""
# floor(byte / 3 ** k) for a byte below 3 ** 5 is byte * multiplier >> 9.
_DIVIDE = {1: 171, 2: 57, 3: 19}


@dataclass(frozen=True, slots=True)
class Decoded:
    """The stage of a kernel that decodes its weight, of shape [outer, rows, lanes]."""

    block: str
    """Name of the stage."""
    group: int
    """Rows whose codes share bytes."""
    tensor: te.Tensor

    def read(self, shape: Sequence[int]) -> te.Tensor:
        """The weight under its own, packed shape."""
        rows = shape[1:-1]

        def flat(index: Sequence[Any]) -> Any:
            total = index[0]
            for extent, at in zip(rows[1:], index[1:], strict=True):
                total = total * extent + at
            return total

        return te.compute(
            tuple(shape), lambda o, *i: self.tensor(o, flat(i[:-1]), i[-1]), name=self.block + "_at"
        )


def can_decode(choice: Choice) -> bool:
    """Whether a kernel computed so can decode its weight: lanes run over output channels, and all
    positions of a block of channels follow one another.
    """
    tile = choice.tile
    plain = choice.algorithm == "tiled" and choice.order == ""
    return plain and tile is not None and tile.scheme == "vector-channels"


def decoded_weight(
    name: str, encoding: Encoding, shape: Sequence[int]
) -> tuple[Decoded, Mapping[Part, te.Tensor]]:
    """The decoding stage of a weight of packed ``shape``, and the operands that it reads."""
    view = (shape[0], math.prod(shape[1:-1]), shape[-1])
    parts: dict[Part, te.Tensor] = {
        "codes": te.placeholder(encoding.codes_shape(view), "uint8", f"{name}_codes"),
        "values": te.placeholder((encoding.values,), "float32", f"{name}_values"),
    }
    if encoding.scaled:
        parts["scale"] = te.placeholder((view[0] * view[2],), "float32", f"{name}_scale")

    def element(o: Any, r: Any, lane: Any) -> Expr:
        unit, place = tirx.floordiv(r, encoding.group), tirx.floormod(r, encoding.group)
        code = _code(parts["codes"], encoding, (o, unit, lane), place)
        value = _value(parts["values"], encoding, code)
        return value * parts["scale"](o * view[2] + lane) if encoding.scaled else value

    stage = te.compute(view, element, name=f"{name}_decoded")
    return Decoded(f"{name}_decoded", encoding.group, stage), parts


def _code(codes: te.Tensor, encoding: Encoding, at: tuple[Any, Any, Any], place: Any) -> Expr:
    """The code in row ``place`` of a group; the same bits of all lanes lie side by side."""
    o, unit, lane = at

    def byte(plane: Any) -> Expr:
        return codes(o, unit, plane, lane).astype("int32")

    if encoding.bits == TERNARY:
        return _digit(byte(0), place)
    if encoding.bits == 8:
        return byte(0)
    start = place * encoding.bits
    plane, shift = tirx.floordiv(start, 8), tirx.floormod(start, 8)
    code = byte(plane) >> shift
    if encoding.planes > 1:
        following = tirx.min(plane + 1, encoding.planes - 1)
        # Past the code's own bits stands something else, which the mask takes off.
        code = code | (byte(following) << (8 - shift))
    return code & ((1 << encoding.bits) - 1)


def _digit(byte: Expr, place: Any) -> Expr:
    def over(power: int) -> Expr:
        if power == 0:
            return byte
        return (byte * _DIVIDE[power]) >> 9 if power in _DIVIDE else _over_81(byte)

    digit: Expr = over(4)
    for k in (3, 2, 1, 0):
        digit = tirx.Select(place == k, over(k) - 3 * over(k + 1), digit)
    return digit


def _over_81(byte: Expr) -> Expr:
    return (byte >= 81).astype("int32") + (byte >= 162).astype("int32")


def _value(values: te.Tensor, encoding: Encoding, code: Expr) -> Expr:
    if encoding.bits == TERNARY:
        signed = tirx.Select(code == 0, values(0), values(2))
        return tirx.Select(code == 1, values(1), signed)
    if encoding.values > _MOST_SELECTED:
        return values(code)
    level = [values(i) for i in range(encoding.values)]
    for bit in range(encoding.bits):
        is_set = ((code >> bit) & 1) == 1
        level = [tirx.Select(is_set, b, a) for a, b in zip(level[::2], level[1::2], strict=True)]
    return level[0]
