"""Rules for every block: inline what is cheap, vectorise the inside, share the outside."""

from typing import Any

from tvm import s_tir, tirx

from runtime.build.machine import Machine


def blocks(sch: s_tir.Schedule) -> list[Any]:
    """All blocks of the function, producers first."""
    root = sch.get_sblock("root")
    return list(sch.get_child_blocks(root))


def name_of(sch: s_tir.Schedule, block: Any) -> str:
    """Name of a block."""
    return str(sch.get(block).name_hint)


def is_reduction(sch: s_tir.Schedule, block: Any) -> bool:
    """Whether the block folds over some axis."""
    return any(v.iter_type != tirx.IterVar.DataPar for v in sch.get(block).iter_vars)


def inline_elementwise(sch: s_tir.Schedule, keep: frozenset[str]) -> None:
    """Compute every intermediate that is cheap to compute again where it is used.

    Kept: reductions, results, and what lowering names ``_padded`` (a bounds check has no place
    inside a product) or ``_stored`` (costly, and used more than once).
    """
    for block in blocks(sch):
        name = name_of(sch, block)
        kept = name in keep or name.endswith(("_padded", "_stored")) or is_reduction(sch, block)
        if not kept and list(sch.get_consumers(block)):
            sch.compute_inline(block)


def extent(sch: s_tir.Schedule, loop: Any) -> int:
    """Number of iterations."""
    return int(sch.get(loop).extent)


def schedule_remaining(sch: s_tir.Schedule, done: set[str], machine: Machine) -> None:
    """Vectorise and parallelise every block that no other rule has dealt with."""
    for block in blocks(sch):
        if name_of(sch, block) not in done:
            schedule_simple(sch, block, machine)


def schedule_simple(sch: s_tir.Schedule, block: Any, machine: Machine) -> None:
    """Parallel outside, vectors inside, for a block whose loops are its own."""
    loops = list(sch.get_loops(block))
    kinds = [v.iter_type for v in sch.get(block).iter_vars]
    spatial = [i for i, kind in enumerate(kinds) if kind == tirx.IterVar.DataPar]
    if len(kinds) != len(loops) or not spatial:
        return
    if len(spatial) < len(loops):
        folded = [loop for i, loop in enumerate(loops) if i not in spatial]
        _schedule_reduction(sch, block, [loops[i] for i in spatial], folded, machine)
        return
    outer = loops[:-1] + vectorize_inner(sch, block, machine)
    if outer:
        share(sch, outer, machine)


def vectorize_inner(sch: s_tir.Schedule, block: Any, machine: Machine) -> list[Any]:
    """Turn the innermost loop into vectors; returns what is left of it outside, if anything.

    Longer loops that whole vectors do not fill stay serial: LLVM vectorises them with a tail.
    """
    inner = list(sch.get_loops(block))[-1]
    size = extent(sch, inner)
    rest: list[Any] = []
    if machine.lanes <= 1 or size == 1:
        return rest
    if size % machine.lanes == 0 and size > machine.lanes:
        outer, inner = sch.split(inner, [None, machine.lanes])
        rest = [outer]
    if extent(sch, inner) <= 2 * machine.lanes:
        sch.vectorize(inner)
    return rest


def _schedule_reduction(
    sch: s_tir.Schedule, block: Any, spatial: list[Any], folded: list[Any], machine: Machine
) -> None:
    sch.reorder(*spatial, *folded)
    share(sch, spatial, machine)
    sch.decompose_reduction(block, folded[0])


def share(sch: s_tir.Schedule, loops: list[Any], machine: Machine) -> Any:
    """Fuse the outer ``loops`` and share their iterations among the threads; returns the loop."""
    fused = sch.fuse(*loops) if len(loops) > 1 else loops[0]
    if machine.threads > 1 and extent(sch, fused) > 1:
        sch.parallel(fused)
    return fused
