"""Tiles of sums that integer kernels keep in registers."""

from dataclasses import dataclass
from typing import Literal

from runtime.build.lower.integer_packing import LANES
from runtime.build.machine import Machine

Dot = Literal["vnni", "dotprod", ""]
# Cores that have the dot products of ARMv8.2 without being told.
_WITH_DOT_PRODUCTS = ("cortex-a55", "cortex-a75", "cortex-a76", "cortex-a77", "cortex-a78")
_REGISTERS_LEFT = 1
"""For the broadcast of an input."""
_SUMS_FOR_LATENCY = 10
"""Fewer sums than this wait for their own results: two units, five cycles."""


@dataclass(frozen=True, slots=True)
class IntegerTile:
    """Positions and vectors of 16 output channels that are summed up together."""

    space: int
    blocks: int
    group: int
    """Input channels that one instruction sums up."""


def dot_of(machine: Machine) -> Dot:
    """The processor's instruction for sums of four products of 8-bit numbers."""
    if "+avx512vnni" in machine.mattr and machine.vector_bytes == 64:
        return "vnni"
    if machine.processor == "aarch64":
        known = machine.mcpu in _WITH_DOT_PRODUCTS or "+dotprod" in machine.mattr
        return "dotprod" if known else ""
    return ""


def integer_tile(machine: Machine, filters: int, space: int) -> IntegerTile:
    """The tile that costs least per product.

    Args:
        machine: what it is for.
        filters: output channels.
        space: positions in a row.
    """
    dot = dot_of(machine)
    if dot != "vnni":
        # NEON has four vectors for 16 channels; elsewhere the C compiler decides.
        return IntegerTile(min(space, 5 if dot else 4), 1, 4 if dot else 1)
    vectors = -(-filters // LANES)
    candidates = [
        IntegerTile(m, b, 4)
        for b in (1, 2, 3, 4, 6, 8)
        if vectors % b == 0
        for m in range(1, min(space, 14) + 1)
        if m * b + b + _REGISTERS_LEFT <= machine.registers
    ]
    return min(candidates, key=lambda tile: _cost(tile, space))


def _cost(tile: IntegerTile, space: int) -> float:
    """Cycles per useful sum: two products and two loads start in each."""
    sums = tile.space * tile.blocks
    cycles = max(sums, tile.space + tile.blocks, _SUMS_FOR_LATENCY) / 2
    waste = -(-space // tile.space) * tile.space / space
    # Storing a tile and starting the next costs something as well.
    return waste * (cycles + 0.5) / sums
