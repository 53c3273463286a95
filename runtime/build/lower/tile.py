"""Register tiles: how many output channels and positions one pass over the reduction computes."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Self, get_args

from runtime.build.machine import Machine

Scheme = Literal["vector-channels", "vector-space"]


@dataclass(frozen=True, slots=True)
class Tile:
    """A tile of accumulators held in registers.

    ``vector-channels``: lanes run over output channels; each step broadcasts one input element
    against a vector of weights. ``vector-space``: lanes run over positions; each step broadcasts
    one weight against a vector of inputs, and results are stored as whole vectors.
    """

    scheme: Scheme
    channels: int
    """Output channels per packed block."""
    blocks: int
    """Packed blocks per tile."""
    space: int
    """Positions (columns of an image, rows of a matrix) per tile."""

    def __str__(self) -> str:
        return f"{self.scheme}/{self.channels}x{self.blocks}x{self.space}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """The tile that `str` gave.

        Raises:
            ValueError: the text is none.
        """
        scheme, _, numbers = text.partition("/")
        known: tuple[Scheme, ...] = get_args(Scheme)
        found = [name for name in known if name == scheme]
        channels, blocks, space = (int(number) for number in numbers.split("x"))
        if not found or min(channels, blocks, space) < 1:
            raise ValueError(f"{text!r} is no tile")
        return cls(found[0], channels, blocks, space)


# A store of one lane costs about two instructions: extract and store. Turning squares of vectors
# costs a quarter of it.
_LANE_STORE_COST = 2.0
_TURN_COST = 0.5
_TURNED_ROW_BYTES = 32 << 10
# Fewer accumulators than this leave the multiply-add units waiting for their own results.
_ACCUMULATORS_FOR_LATENCY = 8
# Besides accumulators and the vectors in use: a broadcast, and slack without which LLVM spills.
_OTHER_REGISTERS = 3


def can_turn(tile: Tile, spatial: Sequence[int]) -> bool:
    """Whether planes of the result are made by turning a product with channels last.

    A piece of it has to stay in the first cache: whole rows, or tiles that divide a single row.
    """
    *rows, columns = spatial
    row_bytes = 4 * tile.channels * tile.blocks * columns
    return (not rows and columns % tile.space == 0) or row_bytes <= _TURNED_ROW_BYTES


@dataclass(frozen=True, slots=True)
class Contraction:
    """What a register tile is chosen for."""

    channels: int
    """Output channels."""
    space: int
    """Positions along the innermost spatial axis."""
    depth: int
    """Length of the reduction."""
    contiguous: bool
    """Whether neighbouring positions read neighbouring inputs (unit stride)."""
    planes: Sequence[int] = ()
    """Spatial extents of a result whose positions are neighbours and may be turned."""


def ranked_tiles(machine: Machine, product: Contraction) -> list[tuple[float, Tile]]:
    """Tiles with their estimated cost per multiply-accumulate, cheapest first."""
    candidates = [*_over_channels(machine, product)]
    if product.contiguous and machine.lanes > 1:
        candidates += _over_space(machine, product.channels, product.space)
    return sorted(candidates, key=lambda found: found[0])


def _over_channels(machine: Machine, product: Contraction) -> Iterator[tuple[float, Tile]]:
    channels, space, planes = product.channels, product.space, product.planes
    lanes = machine.lanes if machine.lanes > 1 else 4
    width = lanes if machine.lanes > 1 else 1
    for vectors in (1, 2):
        block = vectors * lanes
        count = -(-channels // block)
        for blocks in (b for b in (1, 2, 3, 4) if count % b == 0):
            registers = vectors * blocks * lanes // width
            for tile in range(1, min(space, 16) + 1):
                if tile * registers > machine.registers - registers - _OTHER_REGISTERS:
                    continue
                waste = count * block / channels * (-(-space // tile) * tile / space)
                found = Tile("vector-channels", block, blocks, tile)
                store_cost = _TURN_COST if planes and can_turn(found, planes) else _LANE_STORE_COST
                cost = waste * _step_cost(tile, registers) + store_cost * lanes / product.depth
                yield cost, found


def _over_space(machine: Machine, channels: int, space: int) -> Iterator[tuple[float, Tile]]:
    for vectors in (1, 2, 3, 4, 5, 6, 7):
        tile = vectors * machine.lanes
        if space % tile:
            continue
        for block in (2, 3, 4, 5, 6, 7, 8, 12):
            if block * vectors > machine.registers - vectors - _OTHER_REGISTERS or block > channels:
                continue
            waste = -(-channels // block) * block / channels
            yield waste * _step_cost(block, vectors), Tile("vector-space", block, 1, tile)


def _step_cost(broadcasts: int, vectors: int) -> float:
    """Instructions per multiply-add of one step: broadcasts x vectors products."""
    products = broadcasts * vectors
    cost = 1.0 + 0.5 * (broadcasts + vectors) / products
    return cost * max(1.0, _ACCUMULATORS_FOR_LATENCY / products)


def row_lanes(machine: Machine, columns: int) -> int:
    """Width of the vectors that make up a row: registers, or the power of two that holds it."""
    lanes = max(machine.lanes, 1)
    while lanes // 2 >= columns:
        lanes //= 2
    return lanes


def largest_divisor(size: int, limit: int) -> int:
    """The largest divisor of ``size`` that is not above ``limit``; 1 when there is none."""
    return max(d for d in range(1, min(size, max(limit, 1)) + 1) if size % d == 0)
