"""Why no placement exists, and what would help.

A minimal set of conflicting rules is found by the deletion filter: drop one rule at a time, and
leave it out for good when the rest still conflicts (Chinneck and Dravnieks, "Locating Minimal
Infeasible Constraint Sets in Linear Programs", 1991).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import ceil
from time import monotonic

from splitter.errors import InfeasibleError
from splitter.memory import NODE_OVERHEAD_BYTES, aligned
from splitter.partitioning.ilp import find_any
from splitter.partitioning.judge import births, broken_rules
from splitter.partitioning.learn import crossings
from splitter.partitioning.limits import MIB, Cuts, add_sent_cap, memory_terms
from splitter.partitioning.model import PlacementModel
from splitter.partitioning.problem import Problem, build_problem
from splitter.partitioning.simulate import memory_bytes

_TRIAL_S = 5.0
"""Time for one question whether some rules conflict."""
_WHOLE_S = 30.0
_FACTOR_GAP = 5e-3
"""The remedy need not be the very smallest."""
_UNLIMITED = 2**60


@dataclass(frozen=True, slots=True)
class Rule:
    """One thing that can be dropped."""

    kind: str
    """``pin``, ``ban``, ``private``, ``cap`` or ``memory``."""
    number: int
    words: str


def explain(problem: Problem) -> str:
    """One message: which rules conflict, and the smallest memory that would do."""
    graph, topology = problem.graph, problem.topology
    conflict = _conflict(problem, monotonic() + _WHOLE_S)
    if not conflict:
        return (
            f"no placement of {graph.name} on {topology.name}: devices that must talk are not "
            "connected; add a link"
        )
    memory = [rule for rule in conflict if rule.kind == "memory"]
    others = [rule for rule in conflict if rule.kind != "memory"]
    if not memory:
        return (
            f"no placement of {graph.name} on {topology.name}: these rules conflict: "
            f"{_listed(others)}; drop or relax one of them"
        )
    because = f" under {_listed(others)}" if others else ""
    return f"{graph.name} does not fit into the memory of {topology.name}{because}: " + "; ".join(
        (_largest_layer(problem), _remedy(problem), _alone(problem))
    )


def _listed(rules: Sequence[Rule]) -> str:
    return " and ".join(rule.words for rule in rules)


def _rules(problem: Problem) -> list[Rule]:
    rules, topology = problem.constraints, problem.topology
    found = [Rule("pin", i, f"the pin of {p!r} to {d}") for i, (p, d) in enumerate(rules.pins)]
    found += [Rule("ban", i, f"the ban of {p!r} from {d}") for i, (p, d) in enumerate(rules.bans)]
    if rules.private_input:
        found.append(Rule("private", 0, f"the raw input staying on {births(problem)}"))
    if rules.max_sent_bytes is not None:
        found.append(Rule("cap", 0, f"the cap of {rules.max_sent_bytes / 1e6:g} MB sent"))
    for i, device in enumerate(topology.devices):
        size = device.memory_bytes / 1e6
        found.append(Rule("memory", i, f"the {size:.1f} MB of {device.name}"))
    return found


def _conflict(problem: Problem, deadline_s: float) -> list[Rule]:
    """A set of rules that conflict and of which none can be left out."""
    kept = _rules(problem)
    memory = [rule for rule in kept if rule.kind == "memory"]
    others = [rule for rule in kept if rule.kind != "memory"]
    if _too_large_anywhere(problem):
        return memory
    if _impossible(problem, memory):
        kept = memory
    elif _impossible(problem, others):
        kept = others
    for rule in list(kept):
        fewer = [other for other in kept if other != rule]
        if monotonic() < deadline_s and _impossible(problem, fewer):
            kept = fewer
    return kept


def _impossible(problem: Problem, rules: Sequence[Rule]) -> bool:
    """Whether it is proved that ``rules`` alone leave no placement."""
    try:
        found, proved = find_any(_with(problem, rules), _TRIAL_S)
    except InfeasibleError:
        return True
    return found is None and proved


def _with(problem: Problem, rules: Sequence[Rule]) -> Problem:
    """The problem under ``rules`` only."""
    have = {(rule.kind, rule.number) for rule in rules}
    old = problem.constraints
    constraints = replace(
        old,
        pins=tuple(pin for i, pin in enumerate(old.pins) if ("pin", i) in have),
        bans=tuple(ban for i, ban in enumerate(old.bans) if ("ban", i) in have),
        private_input=("private", 0) in have,
        max_sent_bytes=old.max_sent_bytes if ("cap", 0) in have else None,
    )
    fresh = build_problem(
        problem.graph, problem.topology, problem.costs, constraints, problem.slots
    )
    limits = tuple(
        limit if ("memory", d) in have else _UNLIMITED for d, limit in enumerate(problem.limits)
    )
    return replace(fresh, limits=limits)


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


def _too_large_anywhere(problem: Problem) -> bool:
    """Whether some layer fits on no device at all, which settles the question at once."""
    roomiest = max(problem.limits)
    return any(_need_bytes(problem, layer) > roomiest for layer in range(problem.n))


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
        add_sent_cap(model)
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
