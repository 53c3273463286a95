"""What a plan is compared with: the whole model on one device, and other bandwidths."""

import math
from collections.abc import Callable, Iterable
from dataclasses import replace

from splitter.objective import Objective, objective_noun, quantity
from splitter.partitioning.judge import broken_rules, value
from splitter.partitioning.problem import Problem
from splitter.partitioning.simulate import hops, memory_bytes
from splitter.plan import Alternative, Estimate, Flip, LinkLoad

MEGABYTE = 1e6
_FACTOR_RANGE = 1e4
"""Flips are looked for between today's bandwidth divided and multiplied by this."""
_STEPS_PER_DECADE = 16


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


def flips(
    problem: Problem,
    objective: Objective,
    assignment: tuple[int, ...],
    singles: tuple[Alternative, ...],
    reached: Estimate,
) -> tuple[Flip, ...]:
    """Per possible single device: the bandwidth at which it equals the plan, nearest to today's.

    Only time depends on the bandwidth.
    """
    if objective not in ("latency", "throughput"):
        return ()
    found: list[Flip] = []
    for number, single in enumerate(singles):
        alone = (number,) * problem.n
        if single.value is None or alone == assignment:
            continue
        factor = _crossing(_difference(problem, objective, assignment, alone))
        busiest = _busiest_link(problem, reached.links, alone)
        if factor is None or busiest is None:
            continue
        source, target, mbit_s = busiest
        found.append(Flip(single.device, factor, f"{source} -> {target}", factor * mbit_s))
    return tuple(found)


def _difference(
    problem: Problem, objective: Objective, plan: tuple[int, ...], alone: tuple[int, ...]
) -> Callable[[float], float]:
    """How much dearer ``alone`` is than ``plan`` when every bandwidth is multiplied."""

    def difference(factor: float) -> float:
        scaled = scale_bandwidth(problem, factor)
        return value(scaled, objective, alone) - value(scaled, objective, plan)

    return difference


def scale_bandwidth(problem: Problem, factor: float) -> Problem:
    """The same problem with every link's bandwidth multiplied."""
    links = tuple(
        replace(link, bandwidth_bytes_per_s=link.bandwidth_bytes_per_s * factor)
        for link in problem.links
    )
    return replace(problem, topology=replace(problem.topology, links=links))


def _crossing(difference: Callable[[float], float]) -> float | None:
    """The factor nearest to 1 at which the difference changes sign."""
    for direction in _outward():
        low, high = direction
        at_low, at_high = difference(low), difference(high)
        if math.isinf(at_low) or math.isinf(at_high):
            return None
        if (at_low > 0) != (at_high > 0):
            return _bisect(difference, low, high)
    return None


def _outward() -> list[tuple[float, float]]:
    """Intervals around 1, nearest first, alternately above and below."""
    step = 10 ** (1 / _STEPS_PER_DECADE)
    found: list[tuple[float, float]] = []
    edge = 1.0
    while edge < _FACTOR_RANGE:
        found += [(edge, edge * step), (1 / (edge * step), 1 / edge)]
        edge *= step
    return found


def _bisect(difference: Callable[[float], float], low: float, high: float) -> float:
    sign = difference(low) > 0
    for _ in range(60):
        middle = math.sqrt(low * high)
        if (difference(middle) > 0) == sign:
            low = middle
        else:
            high = middle
    return math.sqrt(low * high)


def _busiest_link(
    problem: Problem, loads: tuple[LinkLoad, ...], alone: tuple[int, ...]
) -> tuple[str, str, float] | None:
    """The plan's link with the most time per request; the alternative's when the plan has none."""
    if loads:
        load = max(loads, key=lambda one: one.seconds)
        link = problem.topology.link_between[load.source, load.target]
        return load.source, load.target, link.bandwidth_bytes_per_s * 8 / 1e6
    carried = {number: 0.0 for _, number in hops(problem, alone) or ()}
    for w, number in hops(problem, alone) or ():
        carried[number] += problem.links[number].seconds(problem.wires[w].bytes)
    if not carried:
        return None
    link = problem.links[max(carried, key=lambda number: carried[number])]
    return link.source, link.target, link.bandwidth_bytes_per_s * 8 / 1e6


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
