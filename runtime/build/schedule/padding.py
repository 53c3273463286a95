"""Copies of an input with zeros around it, or with its columns sorted by phase."""

from typing import Any

from tvm import s_tir

from runtime.build.machine import Machine
from runtime.build.schedule.loops import blocks, name_of, partitioned, share


def pad_first(sch: s_tir.Schedule, machine: Machine) -> set[str]:
    """Pad the whole input before the product starts; returns the names of the blocks."""
    done: set[str] = set()
    for block in padded_blocks(sch):
        share(sch, list(sch.get_loops(block))[:2], machine)
        partitioned(sch, *list(sch.get_loops(block))[-2:])
        done.add(name_of(sch, block))
    return done


def pad_at(sch: s_tir.Schedule, loop: Any) -> set[str]:
    """Pad a few channels at a time, just before they are used; returns the names of the blocks."""
    done: set[str] = set()
    for block in padded_blocks(sch):
        sch.compute_at(block, loop, preserve_unit_loops=True)
        partitioned(sch, *list(sch.get_loops(block))[-2:])
        sch.set_scope(block, 0, "local")
        done.add(name_of(sch, block))
    return done


def padded_blocks(sch: s_tir.Schedule) -> list[Any]:
    """The copies, producers first."""
    return [block for block in blocks(sch) if name_of(sch, block).endswith("_padded")]
