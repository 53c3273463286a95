"""How much memory would do, when there is too little."""

from dataclasses import replace
from math import ceil
from time import monotonic

from splitter.memory import NODE_OVERHEAD_BYTES, aligned
from splitter.partitioning.judge import broken_rules
from splitter.partitioning.learn import crossings
from splitter.partitioning.limits import MIB, Cuts, memory_terms
from splitter.partitioning.model import PlacementModel
from splitter.partitioning.problem import Problem
from splitter.partitioning.rule_rows import add_rules
from splitter.partitioning.simulate import memory_bytes

_TRIAL_S = 5.0
_FACTOR_GAP = 5e-3
"""The remedy need not be the very smallest."""
_UNLIMITED = 2**60


def remedies(conflict: Problem, whole: Problem) -> tuple[str, str, str]:
    """The layer that is hardest to hold, a growth of all memories, and one device for all.

    Args:
        conflict: The problem under the conflicting rules alone.
        whole: The problem under all rules.
    """
    return _largest_layer(conflict), _remedy(whole), _alone(conflict)


def _need_bytes(problem: Problem, layer: int) -> int:
    """The least memory of any device that runs ``layer``: itself, what it reads, what it makes."""
    record = problem.graph.layers[layer]
    tensors = 0
    for w in (*problem.reads[layer], *problem.makes[layer]):
        wire = problem.wires[w]
        copies = problem.slots if wire.is_output else 1
        tensors += copies * aligned(wire.bytes)
    weights = problem.graph.layer_weight_bytes(record)
    return NODE_OVERHEAD_BYTES + weights + tensors + aligned(record.scratch_bytes)


def _largest_layer(problem: Problem) -> str:
    """The layer that is furthest from fitting, and how much it needs."""

    def excess(layer: int) -> int:
        return _need_bytes(problem, layer) - max(problem.limits[d] for d in problem.allowed[layer])

    worst = max(range(problem.n), key=excess)
    roomiest = max(problem.allowed[worst], key=lambda d: problem.limits[d])
    device = problem.topology.devices[roomiest]
    need, has = _need_bytes(problem, worst) / 1e6, device.memory_bytes / 1e6
    name = problem.graph.layers[worst].name
    return (
        f"layer {name} alone needs at least {need:.1f} MB on any device that may run it "
        f"(the largest, {device.name}, has {has:.1f} MB)"
    )


def _remedy(problem: Problem) -> str:
    """The smallest uniform growth of all memories that is known to do."""
    factor = _smallest_factor(problem)
    if factor is None:
        return "no amount of memory is known to do"
    factor = ceil(factor * 1000) / 1000
    total = sum(ceil(limit * factor) for limit in problem.limits) / 1e6
    return f"{factor:.3f} times the memory on every device ({total:.1f} MB in total) would do"


def _smallest_factor(problem: Problem) -> float | None:
    """Least multiple of all memories for which a placement is found."""
    best: float | None = None
    cuts = Cuts()
    free = replace(problem, limits=(_UNLIMITED,) * problem.m)
    deadline_s = monotonic() + _TRIAL_S
    while monotonic() < deadline_s:
        model = PlacementModel(free)
        factor = {model.milp.column(): 1.0}
        add_rules(model)
        for device, limit in enumerate(problem.limits):
            room = {column: max(limit, 1) / MIB for column in factor}
            for terms in memory_terms(model, device, cuts):
                model.milp.at_least(room, terms)
        model.milp.objective = factor
        model.milp.relative_gap = _FACTOR_GAP
        result = model.milp.solve(deadline_s - monotonic())
        if result.values is None:
            break
        candidate = model.assignment(result.values)
        used = memory_bytes(problem, candidate)
        needs = [u / max(limit, 1) for u, limit in zip(used, problem.limits, strict=True)]
        reached = max(needs)
        best = reached if best is None else min(best, reached)
        found = crossings(problem, candidate, needs.index(reached)) - cuts.crossings
        if not found or best <= result.bound * (1 + 1e-6):
            break
        cuts = replace(cuts, crossings=cuts.crossings | found)
    return best


def _alone(problem: Problem) -> str:
    """The least memory with which one device could run the whole model."""
    needs = [
        (memory_bytes(problem, (d,) * problem.n)[d], device.name)
        for d, device in enumerate(problem.topology.devices)
        if not [r for r in broken_rules(problem, (d,) * problem.n) if "not connected" in r]
    ]
    if not needs:
        return "no single device could run it"
    size, name = min(needs)
    return f"one device alone ({name}) would need {size / 1e6:.1f} MB"
