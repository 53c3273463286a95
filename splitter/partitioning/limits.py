"""Rows for memory, and what solutions taught.

Memory is modelled from below: weights (a shared constant once per device) + slots x tensors that
outlive their stage + the largest sum of tensors alive at one step. What rows cannot see beforehand
is added when a solution runs into it (`Cuts`): tensors that outlive a stage because a later layer
waits, and the rare fragmentation of the packed arena.
"""

from dataclasses import dataclass

from splitter.memory import NODE_OVERHEAD_BYTES, aligned
from splitter.partitioning.milp import ONE, Terms, combine
from splitter.partitioning.model import PlacementModel

MIB = float(2**20)


@dataclass(frozen=True, slots=True)
class Crossing:
    """Wire ``w`` is kept across a stage boundary: ``waits`` reads ``fresh``, which arrives late."""

    wire: int
    reader: int
    waits: int
    fresh: int


@dataclass(frozen=True, slots=True)
class Refuted:
    """Exactly these layers on ``device`` do not fit; None means the whole assignment does not."""

    assignment: tuple[int, ...]
    device: int | None


@dataclass(frozen=True, slots=True)
class Floor:
    """A placement like ``of`` takes ``bytes`` on its fullest device."""

    of: Refuted
    bytes: int


@dataclass(frozen=True, slots=True)
class Slow:
    """Exactly this assignment takes so long, because tensors wait for one another on a link."""

    assignment: tuple[int, ...]
    latency_s: float


@dataclass(frozen=True, slots=True)
class Cuts:
    """What earlier solutions taught."""

    crossings: frozenset[Crossing] = frozenset()
    refuted: tuple[Refuted, ...] = ()
    floors: tuple[Floor, ...] = ()
    exclusive: frozenset[tuple[int, int]] = frozenset()
    """Pairs of layers without a path between them that must not overlap on one device."""
    slow: tuple[Slow, ...] = ()
    least_s: float = 0.0
    """Latency that is proved by other means to be the least."""


def memory_terms(model: PlacementModel, device: int, cuts: Cuts) -> list[Terms]:
    """Lower bounds, in MiB, on the memory of ``device``: one expression per step that may peak."""
    crossing = _crossing_columns(model, device, cuts)
    # One column for what every step shares keeps the rows short.
    base = _base(model, device, crossing)
    return [combine((base, 1.0), (live, 1.0)) for live in _live(model, device, crossing)]


def _base(model: PlacementModel, device: int, crossing: dict[int, Terms]) -> Terms:
    """Node program, weights and slots."""
    problem = model.problem
    parts: list[tuple[Terms, float]] = [({ONE: 1.0}, NODE_OVERHEAD_BYTES / MIB)]
    parts += ((term, size / MIB) for term, size in model.weight_bytes_on(device))
    for w, wire in enumerate(problem.wires):
        size = problem.slots * aligned(wire.bytes) / MIB
        parts.append((model.leaves[w].get(device, {}), size))
        parts.append((model.arrives(w, device), size))
        parts.append((crossing.get(w, {}), size))
    return combine(*parts)


def _live(model: PlacementModel, device: int, crossing: dict[int, Terms]) -> list[Terms]:
    """Per step: tensors of the arena that are alive, and the running layer's scratch."""
    problem = model.problem
    lives: list[list[tuple[Terms, float]]] = [[] for _ in range(problem.n)]
    for i in range(problem.n):
        lives[i].append((model.scratch_bytes_on(i, device), 1 / MIB))
    for w, wire in enumerate(problem.wires):
        born = model.born(wire, device)
        if wire.is_input or wire.is_output or not born:
            continue
        slot = [(model.leaves[w].get(device, {}), -1.0), (crossing.get(w, {}), -1.0)]
        in_arena = combine((born, 1.0), *slot)
        for step in range(wire.producer, max((wire.producer, *wire.readers)) + 1):
            lives[step].append((in_arena, aligned(wire.bytes) / MIB))
    return [combine(*live) for live in lives]


def _crossing_columns(model: PlacementModel, device: int, cuts: Cuts) -> dict[int, Terms]:
    problem = model.problem
    columns: dict[int, Terms] = {}
    for cut in sorted(cuts.crossings, key=lambda c: (c.wire, c.reader, c.waits, c.fresh)):
        wire = problem.wires[cut.wire]
        layers = {wire.producer, cut.reader, cut.waits}
        if any(device not in model.x[layer] for layer in layers):
            continue
        if cut.wire not in columns:
            columns[cut.wire] = {model.milp.column(0.0, 1.0): 1.0}
        fresh = problem.wires[cut.fresh]
        parts = [(model.on(layer, device), 1.0) for layer in sorted(layers)]
        if not fresh.is_input:
            parts.append((model.on(fresh.producer, device), -1.0))
        parts += [(model.on(r, device), -1.0) for r in fresh.readers if r < cut.waits]
        parts.append(({ONE: 1.0}, 1.0 - len(layers)))
        kept = combine((columns[cut.wire], 1.0), (model.leaves[cut.wire].get(device, {}), 1.0))
        model.milp.at_least(kept, combine(*parts))
    return columns


def add_memory(model: PlacementModel, cuts: Cuts) -> None:
    """Keep every device within its limit, as far as rows can tell."""
    problem = model.problem
    for device in range(problem.m):
        if device in problem.closed or not problem.may_overflow[device]:
            continue
        # All sizes are whole bytes, so half a byte absorbs rounding and admits nothing.
        limit = {ONE: (problem.limits[device] + 0.5) / MIB}
        for terms in memory_terms(model, device, cuts):
            model.milp.at_least(limit, terms)


def add_closed(model: PlacementModel) -> None:
    """Nothing runs on devices too small for the node program."""
    for device in model.problem.closed:
        for layer in range(model.problem.n):
            model.milp.equal(model.on(layer, device), {})
        if device in model.problem.ends:
            model.milp.equal({ONE: 1.0}, {})


def add_refuted(model: PlacementModel, cuts: Cuts) -> None:
    """Exclude what was tried and did not fit."""
    for refuted in cuts.refuted:
        model.milp.at_least(changes(model, refuted), {ONE: 1.0})


def changes(model: PlacementModel, refuted: Refuted) -> Terms:
    """How many layers differ from what was tried, as far as ``refuted`` looks at them."""
    parts: list[tuple[Terms, float]] = []
    for layer, device in enumerate(refuted.assignment):
        if refuted.device is None or refuted.device == device:
            parts += [({ONE: 1.0}, 1.0), (model.on(layer, device), -1.0)]
        else:
            parts.append((model.on(layer, refuted.device), 1.0))
    return combine(*parts)
