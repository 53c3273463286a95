"""A graph as a chain of blocks, for bounds on the latency.

A *block* ends with a layer that comes after the last layer of the block before, and after which
nothing else that was made before is read. Dependencies over a long distance are left out first,
which can only make requests faster; so what is proved for the chain holds for the graph.
"""

from dataclasses import dataclass

from splitter.partitioning.problem import INPUT, Problem

START = -1
"""In place of the layer before the first block: the model's inputs."""
_SPAN = 16
"""Layers that a dependency may leap before it is left out."""


@dataclass(frozen=True, slots=True)
class Block:
    """Consecutive layers between two layers where all paths meet."""

    fork: int
    """The layer before, or `START`."""
    layers: tuple[int, ...]
    """In graph order; empty only at the end of the graph."""
    reads: tuple[tuple[int, ...], ...]
    """Per layer: tensors that it reads from within the block or from the fork."""
    anchored: tuple[bool, ...]
    """Per layer: whether it cannot run before the fork has ended."""
    is_last: bool


def blocks_of(problem: Problem) -> tuple[Block, ...]:
    """The chain of blocks; every layer is in one."""
    reads = _kept_reads(problem)
    ends = _ends(problem, reads)
    found: list[Block] = []
    fork = START
    for end in ends:
        block = _block(problem, reads, fork, range(fork + 1, end + 1), is_last=False)
        if block.anchored[-1]:
            found.append(block)
            fork = end
    rest = range(fork + 1, problem.n)
    return (*found, _block(problem, reads, fork, rest, is_last=True))


def _kept_reads(problem: Problem) -> list[tuple[int, ...]]:
    """Per layer: the tensors that it reads over no long distance."""
    wires = problem.wires
    return [
        tuple(w for w in problem.reads[layer] if layer - max(wires[w].producer, 0) <= _SPAN)
        for layer in range(problem.n)
    ]


def _ends(problem: Problem, reads: list[tuple[int, ...]]) -> list[int]:
    """Layers after which only their own tensors are read."""
    over = [False] * problem.n
    for reader, wires in enumerate(reads):
        for w in wires:
            for layer in range(problem.wires[w].producer + 1, reader):
                over[layer] = True
    return [layer for layer in range(problem.n) if not over[layer]]


def _block(
    problem: Problem, reads: list[tuple[int, ...]], fork: int, layers: range, *, is_last: bool
) -> Block:
    anchored: dict[int, bool] = {}
    for layer in layers:
        makers = [problem.wires[w].producer for w in reads[layer]]
        if fork == START:
            anchored[layer] = True
        else:
            anchored[layer] = any(m == fork or anchored.get(m, False) for m in makers)
    inside = {fork, INPUT, *layers} if fork == START else {fork, *layers}
    kept = (
        tuple(w for w in reads[layer] if problem.wires[w].producer in inside) for layer in layers
    )
    return Block(fork, tuple(layers), tuple(kept), tuple(anchored.values()), is_last)
