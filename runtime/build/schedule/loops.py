"""Rules for every block: inline what is cheap, vectorise the inside, share the outside."""

from typing import Any

from tvm import s_tir, tirx

from runtime.build.machine import Machine

# The longest of the threads' shares, as a multiple of an equal one, from which on smaller pieces
# are shared.
MOST_UNEVEN = 1.05


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
    inside a product), ``_stored`` (costly, and used more than once) or ``_decoded`` (a weight).
    """
    for block in blocks(sch):
        name = name_of(sch, block)
        kept = (
            name in keep
            or name.endswith(("_padded", "_stored", "_decoded"))
            or is_reduction(sch, block)
        )
        if not kept and list(sch.get_consumers(block)):
            sch.compute_inline(block)


def own_loops(sch: s_tir.Schedule, block: Any) -> tuple[list[Any], list[Any]]:
    """The block's innermost loops, one for each of its axes: those that are not folded, and the
    folded ones.
    """
    kinds = [v.iter_type for v in sch.get(block).iter_vars]
    spatial: list[Any] = []
    folded: list[Any] = []
    for loop, kind in zip(list(sch.get_loops(block))[-len(kinds) :], kinds, strict=True):
        (spatial if kind == tirx.IterVar.DataPar else folded).append(loop)
    return spatial, folded


def partitioned(sch: s_tir.Schedule, *loops: Any) -> None:
    """Let zeros and copied runs be loops of their own: without a test inside, LLVM vectorises."""
    for loop in loops:
        if extent(sch, loop) > 1:
            sch.annotate(loop, "pragma_loop_partition_hint", 1)


def extent(sch: s_tir.Schedule, loop: Any) -> int:
    """Number of iterations."""
    return int(sch.get(loop).extent)


def vector_width(size: int, machine: Machine) -> int:
    """Lanes of the vectors that a loop of ``size`` iterations is made of.

    Whole registers if they fill it, else the largest power of two that does; a short odd loop is
    one vector, which LLVM makes of a few smaller ones.
    """
    width = machine.lanes
    while size % width:
        width //= 2
    return width if 2 * width > machine.lanes // 2 or size > machine.lanes else size


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
    lanes = _partial_lanes(sch, block, folded[-1], machine)
    if lanes > 1:
        _fold_by_lanes(sch, block, spatial, folded[-1], lanes, machine)
        return
    share(sch, spatial, machine)
    sch.decompose_reduction(block, folded[0])


def _partial_lanes(sch: s_tir.Schedule, block: Any, innermost: Any, machine: Machine) -> int:
    """Lanes in which a sum or maximum over consecutive elements is folded side by side."""
    if len(sch.get(block).writes) != 1 or machine.lanes <= 1:
        return 1
    lanes = machine.lanes
    while extent(sch, innermost) % lanes:
        lanes //= 2
    return lanes if lanes >= 4 and extent(sch, innermost) > lanes else 1


def _fold_by_lanes(
    sch: s_tir.Schedule,
    block: Any,
    spatial: list[Any],
    innermost: Any,
    lanes: int,
    machine: Machine,
) -> None:
    """Each lane folds its own share; then the lanes are folded."""
    _, lane = sch.split(innermost, [None, lanes])
    partial = sch.rfactor(lane, len(spatial))
    shared = share(sch, list(sch.get_loops(block))[: len(spatial)], machine)
    sch.compute_at(partial, shared, preserve_unit_loops=True)
    (side, *_), folds = own_loops(sch, partial)
    sch.reorder(*folds, side)
    sch.vectorize(side)
    start = sch.decompose_reduction(partial, folds[0])
    sch.vectorize(list(sch.get_loops(start))[-1])
    sch.set_scope(partial, 0, "local")
    sch.decompose_reduction(block, list(sch.get_loops(block))[-1])


def split_for_threads(
    sch: s_tir.Schedule, positions: list[Any], machine: Machine
) -> tuple[list[Any], list[Any]]:
    """A loop over pieces of the image, one or a few for each thread, and the loops inside a piece.

    A thread that computes the same piece of every layer finds most of its input where it left it.
    What another core has just written takes far longer to read than what it has not: on two cores a
    pointwise convolution that each computed for half of the channels took as long as on one. No
    pieces where they would be of unequal size, or with one thread.
    """
    if machine.threads == 1:
        return [], positions
    for index, loop in enumerate(positions):
        count = extent(sch, loop)
        if count == 1:
            continue
        for pieces in range(machine.threads, count + 1):
            longest = -(-pieces // machine.threads) * machine.threads
            if count % pieces == 0 and longest <= MOST_UNEVEN * pieces:
                piece, rest = sch.split(loop, [pieces, None])
                return [piece], [*positions[:index], rest, *positions[index + 1 :]]
        break
    return [], positions


def share(sch: s_tir.Schedule, loops: list[Any], machine: Machine) -> Any:
    """Fuse the outer ``loops`` and share their iterations among the threads; returns the loop."""
    fused = sch.fuse(*loops) if len(loops) > 1 else loops[0]
    if machine.threads > 1 and extent(sch, fused) > 1:
        sch.parallel(fused)
    return fused
