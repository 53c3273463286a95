"""Does a plan respect the rules? Part of `splitter.verify`; shares no code with the planner."""

from collections import defaultdict
from collections.abc import Iterator
from fnmatch import fnmatchcase
from graphlib import CycleError, TopologicalSorter
from itertools import combinations

from splitter.constraints import Constraints
from splitter.costs import CostTable
from splitter.graph import Graph
from splitter.plan import Plan
from splitter.topology import Topology

_ROUNDING = 1e-6


def rule_faults(
    plan: Plan, graph: Graph, topology: Topology, costs: CostTable, rules: Constraints
) -> list[str]:
    """Every rule that ``plan`` breaks, in words."""
    return [
        *_placed(plan, rules),
        *_private(plan, graph, topology, rules),
        *_company(plan, rules),
        *_counts(plan, graph, rules),
        *_pipeline(plan, graph, rules),
        *_passing(plan, topology, rules),
        *_bytes(plan, rules),
        *_caps(plan, topology, costs, rules),
        *_fallbacks(plan, graph, rules),
    ]


def _placed(plan: Plan, rules: Constraints) -> Iterator[str]:
    for pattern, wanted in rules.pins:
        for layer, device in _named(plan, pattern):
            if device != wanted:
                yield f"{layer} runs on {device}, but {pattern!r} is pinned to {wanted}"
    for pattern, unwanted in rules.bans:
        for layer, device in _named(plan, pattern):
            if device == unwanted:
                yield f"{layer} runs on {device}, from which {pattern!r} is banned"
    for device in (*rules.drained, *rules.without):
        if device in plan.placement.values():
            yield f"layers run on {device}, which is drained or not there"


def _private(plan: Plan, graph: Graph, topology: Topology, rules: Constraints) -> Iterator[str]:
    if not rules.private_input:
        return
    raw = set(graph.inputs)
    for t in plan.transfers:
        if t.tensor in raw:
            yield f"raw input {t.tensor} crosses {t.source} -> {t.target}"
    for layer in graph.layers:
        for tensor in raw & set(layer.inputs):
            if plan.placement[layer.name] != topology.source_of(tensor):
                yield f"{layer.name} reads raw input {tensor} outside {topology.source_of(tensor)}"


def _company(plan: Plan, rules: Constraints) -> Iterator[str]:
    for patterns in rules.together:
        used = {device for pattern in patterns for device in _homes(plan, pattern)}
        if len(used) > 1:
            devices = ", ".join(sorted(used))
            yield f"the layers of {', '.join(patterns)} run on {devices}, not on one"
    for patterns in rules.apart:
        if len(patterns) == 1:
            homes = _homes(plan, patterns[0])
            if len(set(homes)) < len(homes):
                yield f"two layers of {patterns[0]} share a device"
        for one, other in combinations(patterns, 2):
            for device in sorted(set(_homes(plan, one)) & set(_homes(plan, other))):
                yield f"{one} and {other} share {device}"


def _homes(plan: Plan, pattern: str) -> list[str]:
    return [device for _, device in _named(plan, pattern)]


def _named(plan: Plan, pattern: str) -> list[tuple[str, str]]:
    """(layer, device) of what a pattern matches."""
    if pattern in plan.placement and not set("*?[") & set(pattern):
        return [(pattern, plan.placement[pattern])]
    return [(name, home) for name, home in plan.placement.items() if fnmatchcase(name, pattern)]


def _counts(plan: Plan, graph: Graph, rules: Constraints) -> Iterator[str]:
    used = len(set(plan.placement.values()))
    if rules.max_devices is not None and used > rules.max_devices:
        yield f"{used} devices run layers, more than {rules.max_devices}"
    if rules.max_cuts is None:
        return
    maker = {tensor: layer.name for layer in graph.layers for tensor in layer.outputs}
    cut = {
        tensor
        for layer in graph.layers
        for tensor in layer.inputs
        if tensor in maker and plan.placement[maker[tensor]] != plan.placement[layer.name]
    }
    if len(cut) > rules.max_cuts:
        yield f"{len(cut)} tensors are cut, more than {rules.max_cuts}"


def _pipeline(plan: Plan, graph: Graph, rules: Constraints) -> Iterator[str]:
    if not rules.contiguous:
        return
    maker = {tensor: layer for layer in graph.layers for tensor in layer.outputs}
    follows: dict[str, set[str]] = defaultdict(set)
    for layer in graph.layers:
        for tensor in layer.inputs:
            before = maker.get(tensor)
            if before is None or "backward" in (before.kind, layer.kind):
                continue
            if plan.placement[before.name] != plan.placement[layer.name]:
                follows[plan.placement[layer.name]].add(plan.placement[before.name])
    try:
        tuple(TopologicalSorter(follows).static_order())
    except CycleError as error:
        yield f"no order of the devices makes a pipeline: {' -> '.join(error.args[1])}"


def _passing(plan: Plan, topology: Topology, rules: Constraints) -> Iterator[str]:
    received = {(t.tensor, t.target) for t in plan.transfers}
    for t in plan.transfers:
        if t.source in rules.no_relay and (t.tensor, t.source) in received:
            yield f"{t.tensor} passes through {t.source}, which passes nothing on"
        for end in {t.source, t.target} & set(rules.without):
            yield f"{t.tensor} crosses {t.source} -> {t.target}, but {end} is not there"
    ends = {topology.source, topology.sink}
    if not (topology.sources or topology.sinks):
        for device in sorted(ends & set(rules.without)):
            yield f"{device} is not there, but it has an input or awaits an output"


def _bytes(plan: Plan, rules: Constraints) -> Iterator[str]:
    sent = sum(t.bytes for t in plan.transfers)
    if rules.max_sent_bytes is not None and sent > rules.max_sent_bytes:
        yield f"the plan sends {sent} bytes, more than the cap of {rules.max_sent_bytes}"
    carried: dict[tuple[str, str], int] = defaultdict(int)
    for t in plan.transfers:
        carried[t.source, t.target] += t.bytes
    for source, target, cap in rules.link_caps:
        if carried[source, target] > cap:
            yield f"{source} -> {target} carries {carried[source, target]} bytes, more than {cap}"


def _caps(plan: Plan, topology: Topology, costs: CostTable, rules: Constraints) -> Iterator[str]:
    for device, joules in rules.energy_caps:
        seconds = sum(
            costs.entries[layer, home].seconds
            for layer, home in plan.placement.items()
            if home == device
        )
        spent = seconds * topology.by_name[device].card.active_w
        if spent > joules * (1 + _ROUNDING):
            yield f"computing on {device} takes {spent:g} J, more than {joules:g} J"
    used = {load.device: load.memory_bytes for load in plan.estimate.devices}
    for device, free in rules.reserves:
        left = topology.by_name[device].memory_bytes - used[device]
        if used[device] and left < free:
            yield f"{device} has {left} bytes left, of which {free} are to stay free"
    figures = {
        "latency": plan.estimate.latency_s,
        "throughput": plan.estimate.period_s,
        "energy": plan.estimate.energy_j,
        "memory": max(used.values()),
        "sent": plan.estimate.sent_bytes,
        "dollars": plan.estimate.dollars,
    }
    for name, cap in rules.at_most:
        if figures[name] > cap * (1 + _ROUNDING):
            yield f"the {name} is {figures[name]:g}, more than {cap:g}"


def _fallbacks(plan: Plan, graph: Graph, rules: Constraints) -> Iterator[str]:
    found = {fallback.without: fallback for fallback in plan.fallbacks}
    for device in rules.optional:
        if device not in found:
            yield f"nothing is said about doing without {device}, which is optional"
    names = {layer.name for layer in graph.layers}
    for device, fallback in found.items():
        if set(fallback.placement) != names or device in fallback.placement.values():
            yield f"the placement without {device} does not hold"
