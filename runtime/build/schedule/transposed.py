"""Squares of a matrix turned in registers.

A run of vector loads with a stride, each beginning where the one before did and one element
further, reads a square: as many consecutive elements as there are loads, from as many rows as a
vector has lanes. LLVM would load every element by itself. Here each row is one load, and rows
become columns in log2(lanes) rounds of two-vector shuffles (Eklundh, 1972).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import tvm
from tvm import tirx
from tvm.sym import Analyzer


@dataclass(frozen=True, slots=True)
class _Copy:
    """A store of the elements that begin at ``first`` and are ``stride`` apart."""

    store: Any
    source: Any
    first: Any
    stride: int
    lanes: int


def turned_in_registers(statements: Sequence[Any]) -> list[Any]:
    """The statements, with every run of copies that reads a square replaced."""
    done: list[Any] = []
    at = 0
    while at < len(statements):
        run = _square(statements, at)
        done += _turned(run) if run else [statements[at]]
        at += max(1, len(run))
    return done


def _square(statements: Sequence[Any], at: int) -> list[_Copy]:
    """The copies from statement ``at`` on that together read a square, if they do."""
    head = _copy_of(statements[at])
    if head is None or len(statements) - at < head.lanes:
        return []
    run = [head]
    analyzer = Analyzer()
    for statement in statements[at + 1 : at + head.lanes]:
        copy = _copy_of(statement)
        if copy is None or not copy.source.same_as(head.source) or copy.stride != head.stride:
            return []
        if not analyzer.can_prove_equal(copy.first - head.first, len(run)):
            return []
        run.append(copy)
    return run


def _copy_of(statement: Any) -> _Copy | None:
    """The statement as a strided copy between two buffers, if it is one."""
    if not isinstance(statement, tirx.BufferStore):
        return None
    load = statement.value
    if not isinstance(load, tvm.ir.TensorLoad) or len(load.indices) != 1:
        return None
    (index,) = load.indices
    if not isinstance(index, tirx.Ramp) or statement.buffer.same_as(load.source):
        return None
    lanes, stride = int(index.lanes), index.stride
    if not isinstance(stride, tirx.IntImm) or int(stride) < lanes or lanes & (lanes - 1):
        return None
    return _Copy(statement, load.source, index.base, int(stride), lanes)


def _turned(run: Sequence[_Copy]) -> list[Any]:
    head, side = run[0], len(run)
    bindings: list[Any] = []

    def bound(value: Any) -> Any:
        variable = tirx.Var(f"turned_{len(bindings)}", value.ty)
        bindings.append(tirx.Bind(variable, value))
        return variable

    rows = [
        bound(
            tirx.BufferLoad(
                head.source, [tirx.Ramp(head.first + row * head.stride, _one(head), side)]
            )
        )
        for row in range(side)
    ]
    distance = 1
    while distance < side:
        for row in range(side):
            if not row & distance:
                pair = [rows[row], rows[row + distance]]
                low, high = _exchanged(side, distance)
                rows[row] = bound(tirx.Shuffle(pair, low))
                rows[row + distance] = bound(tirx.Shuffle(pair, high))
        distance *= 2
    stores = [
        tirx.BufferStore(copy.store.buffer, row, copy.store.indices)
        for copy, row in zip(run, rows, strict=True)
    ]
    return [*bindings, *stores]


def _one(copy: _Copy) -> Any:
    return tirx.const(1, copy.first.ty.dtype)


def _exchanged(side: int, distance: int) -> tuple[list[Any], list[Any]]:
    """Indices into two rows, ``distance`` apart, that exchange their off-diagonal blocks."""
    low = [i + side - distance if i & distance else i for i in range(side)]
    high = [i + side if i & distance else i + distance for i in range(side)]
    return [_index(i) for i in low], [_index(i) for i in high]


def _index(i: int) -> Any:
    return tirx.const(i, "int32")
