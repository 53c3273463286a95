"""What a plan is compared with: the whole model on one device; and what limits it."""

from collections.abc import Iterable

from splitter.objective import Objective, objective_noun, quantity
from splitter.partitioning.judge import broken_rules, value
from splitter.partitioning.problem import Problem
from splitter.partitioning.simulate import hops, memory_bytes
from splitter.plan import Alternative, Estimate

MEGABYTE = 1e6


def alternatives(
    problem: Problem, objective: Objective, reached: float, devices: Iterable[int]
) -> tuple[Alternative, ...]:
    """The whole model on each of ``devices``: its value, or why it is impossible."""
    return tuple(_alternative(problem, objective, reached, d) for d in devices)


def _alternative(
    problem: Problem, objective: Objective, reached: float, device: int
) -> Alternative:
    name = problem.topology.devices[device].name
    assignment = (device,) * problem.n
    obstacles = _obstacles(problem, device)
    if obstacles:
        return Alternative(name, None, "; ".join(obstacles))
    alone = value(problem, objective, assignment)
    return Alternative(name, alone, _comparison(alone, reached))


def _comparison(alone: float, reached: float) -> str:
    if reached <= 0.0 or alone <= reached * (1 + 1e-9):
        return "equal to the plan" if alone >= reached * (1 - 1e-9) else "better than the plan"
    return f"{alone / reached:.2f} times the plan's"


def _obstacles(problem: Problem, device: int) -> list[str]:
    assignment = (device,) * problem.n
    banned = [
        layer.name
        for layer, allowed in zip(problem.graph.layers, problem.allowed, strict=True)
        if device not in allowed
    ]
    found: list[str] = []
    if hops(problem, assignment) is None:
        return ["not connected with the source and the sink"]
    others = [words for words in broken_rules(problem, assignment) if "may not run" not in words]
    if banned:
        births = {wire.source for wire in problem.wires if wire.is_input}
        raw = problem.constraints.private_input and births != {device}
        if not raw:
            found.append(f"rules keep {_named(banned)} off it")
    found += others
    used = memory_bytes(problem, assignment)
    for d, (need, limit) in enumerate(zip(used, problem.limits, strict=True)):
        if need > limit:
            who = "" if d == device else f"{problem.topology.devices[d].name} "
            found.append(f"{who}needs {need / MEGABYTE:.1f} MB, has {limit / MEGABYTE:.1f} MB")
    return found


def _named(names: list[str]) -> str:
    if len(names) == 1:
        return names[0]
    return f"{names[0]} and {len(names) - 1} more"


def bottleneck(problem: Problem, estimate: Estimate, objective: Objective) -> str:
    """What takes the largest part of the objective, in words."""
    if objective in problem.rates:
        return _dearest(problem, objective, estimate)
    if objective == "memory":
        fullest = max(estimate.devices, key=lambda load: load.memory_bytes)
        return f"the memory of {fullest.device}: {fullest.memory_bytes / MEGABYTE:.2f} MB"
    shares = [(d.compute_s, f"computing on {d.device}") for d in estimate.devices]
    shares += [(k.seconds, f"sending {k.source} -> {k.target}") for k in estimate.links]
    shares += [(k.seconds, f"sending over the shared {k.name}") for k in estimate.media]
    most, what = max(shares, key=lambda share: share[0])
    whole = estimate.value(objective)
    part = f" ({100 * most / whole:.0f} % of the {objective_noun(objective)})" if whole > 0 else ""
    return f"{what}: {most * 1e3:.3g} ms{part}"


def _dearest(problem: Problem, objective: Objective, estimate: Estimate) -> str:
    """The largest share of what adds up over devices and links."""
    per_second, per_byte = problem.rates[objective]
    number = {(link.source, link.target): i for i, link in enumerate(problem.links)}
    shares = [
        (load.compute_s * rate, f"computing on {load.device}")
        for load, rate in zip(estimate.devices, per_second, strict=True)
    ]
    shares += [
        (k.bytes * per_byte[number[k.source, k.target]], f"sending {k.source} -> {k.target}")
        for k in estimate.links
    ]
    most, what = max(shares, key=lambda share: share[0])
    if most == 0.0:
        return "nothing: it is 0"
    whole = quantity(objective, estimate.value(objective))
    return f"{what}: {quantity(objective, most)} of {whole}"
