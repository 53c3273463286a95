"""Copies of an input with zeros around it, or with its columns sorted by phase."""

from typing import Any

from tvm import s_tir

from runtime.build.machine import Machine
from runtime.build.schedule.loops import blocks, extent, name_of, share


def pad_first(sch: s_tir.Schedule, machine: Machine) -> set[str]:
    """Pad the whole input before the product starts; returns the names of the blocks."""
    done: set[str] = set()
    for block in _padded_blocks(sch):
        share(sch, list(sch.get_loops(block))[:2], machine)
        _copy_runs(sch, block)
        done.add(name_of(sch, block))
    return done


def pad_at(sch: s_tir.Schedule, loop: Any) -> set[str]:
    """Pad a few channels at a time, just before they are used; returns the names of the blocks."""
    done: set[str] = set()
    for block in _padded_blocks(sch):
        sch.compute_at(block, loop, preserve_unit_loops=True)
        _copy_runs(sch, block)
        sch.set_scope(block, 0, "local")
        done.add(name_of(sch, block))
    return done


def _padded_blocks(sch: s_tir.Schedule) -> list[Any]:
    return [block for block in blocks(sch) if name_of(sch, block).endswith("_padded")]


def _copy_runs(sch: s_tir.Schedule, block: Any) -> None:
    """Zeros and copied runs as loops of their own: without a test inside, LLVM vectorises them."""
    *_, rows, columns = sch.get_loops(block)
    for loop in (rows, columns):
        if extent(sch, loop) > 1:
            sch.annotate(loop, "pragma_loop_partition_hint", 1)
