"""Random problems with every kind of rule, and what holds by the rules' definitions."""

from collections.abc import Iterator
from dataclasses import replace
from fnmatch import fnmatchcase
from itertools import combinations, permutations, product
from random import Random

import networkx as nx
from planner_cases import Case, random_case

from splitter.constraints import Constraints
from splitter.estimate import estimate
from splitter.objective import OBJECTIVES, Objective
from splitter.plan import Estimate
from splitter.schedule import transfers_of

OBJECTIVE_CAPS: tuple[tuple[Objective, float, float], ...] = (
    ("latency", 1e-3, 0.5),
    ("throughput", 1e-3, 0.2),
    ("energy", 1e-3, 0.5),
    ("memory", 3.2e6, 6e6),
    ("dollars", 1e-7, 2e-5),
)


def ruled_case(seed: int, rules: int = 4) -> Case:
    """A small problem with up to ``rules`` random rules and prices."""
    random = Random(seed)
    case = random_case(seed)
    topology = replace(
        case.topology,
        devices=tuple(
            replace(d, dollars_per_hour=random.choice((0.0, 0.1, 3.0)))
            for d in case.topology.devices
        ),
        links=tuple(
            replace(k, dollars_per_byte=random.choice((0.0, 1e-10))) for k in case.topology.links
        ),
    )
    found = case.constraints
    for _ in range(random.randint(0, rules)):
        found += random_rule(random, replace(case, topology=topology))
    return replace(case, topology=topology, constraints=found)


def random_rule(random: Random, case: Case) -> Constraints:
    """One rule, likely enough to matter."""
    layers = [layer.name for layer in case.graph.layers]
    devices = [device.name for device in case.topology.devices]
    some = tuple(random.sample(layers, min(2, len(layers))))
    device = random.choice(devices)
    choices = [
        Constraints(pins=((random.choice(layers), device),)),
        Constraints(bans=((random.choice((*layers, "*")), device),)),
        Constraints(together=(random.choice((some, ("l[02]",), ("l0",))),)),
        Constraints(apart=(random.choice((some, ("l[01]",))),)) if len(some) > 1 else Constraints(),
        Constraints(max_devices=random.randint(1, 2)),
        Constraints(max_cuts=random.randint(0, 2)),
        Constraints(energy_caps=((device, random.uniform(0.0, 0.2)),)),
        Constraints(reserves=((device, random.randint(1, 1_000_000)),)),
        Constraints(drained=(device,)),
        Constraints(no_relay=(device,)),
        Constraints(without=(device,)),
        Constraints(private_input=True),
        Constraints(contiguous=True),
        Constraints(max_sent_bytes=random.randint(0, 300_000)),
    ]
    if case.topology.links:
        link = random.choice(case.topology.links)
        choices.append(
            Constraints(link_caps=((link.source, link.target, random.randint(0, 200_000)),))
        )
    name, low, high = random.choice(OBJECTIVE_CAPS)
    choices.append(Constraints(at_most=((name, random.uniform(low, high)),)))
    return random.choice(choices)


def placements(case: Case) -> Iterator[dict[str, str]]:
    """Every placement there is."""
    names = [device.name for device in case.topology.devices]
    layers = [layer.name for layer in case.graph.layers]
    for choice in product(names, repeat=len(layers)):
        yield dict(zip(layers, choice, strict=True))


def best_by_enumeration(case: Case) -> dict[Objective, float]:
    """The least value of each objective; empty when nothing holds."""
    best: dict[Objective, float] = {}
    for placement in placements(case):
        found = feasible(case, placement)
        for objective in OBJECTIVES if found else ():
            assert found is not None
            value = found.value(objective)
            best[objective] = min(best.get(objective, value), value)
    return best


def brute_feasible(case: Case) -> bool:
    """Whether any placement holds."""
    return any(feasible(case, placement) for placement in placements(case))


def feasible(case: Case, placement: dict[str, str]) -> Estimate | None:
    """The estimate of a placement that respects every rule, judged from their definitions."""
    if not _placed_well(case.constraints, placement):
        return None
    try:
        found = estimate(case.graph, case.topology, case.costs, placement, case.slots)
    except nx.NetworkXNoPath:
        return None
    if any(load.memory_bytes > load.memory_limit_bytes for load in found.devices):
        return None
    sent_well = _sent_well(case, placement, found)
    return found if sent_well and _within_caps(case.constraints, found) else None


def _placed_well(rules: Constraints, placement: dict[str, str]) -> bool:
    def homes(pattern: str) -> list[str]:
        return [device for layer, device in placement.items() if fnmatchcase(layer, pattern)]

    used = set(placement.values())
    return (
        all(set(homes(pattern)) == {device} for pattern, device in rules.pins)
        and all(device not in homes(pattern) for pattern, device in rules.bans)
        and all(len({d for p in entry for d in homes(p)}) == 1 for entry in rules.together)
        and all(
            len(set(homes(entry[0]))) == len(homes(entry[0]))
            if len(entry) == 1
            else not any(set(homes(a)) & set(homes(b)) for a, b in combinations(entry, 2))
            for entry in rules.apart
        )
        and (rules.max_devices is None or len(used) <= rules.max_devices)
        and not used & {*rules.drained, *rules.without}
    )


def _sent_well(case: Case, placement: dict[str, str], found: Estimate) -> bool:
    rules, graph, topology = case.constraints, case.graph, case.topology
    transfers = transfers_of(graph, topology, placement)
    arrived = {(t.tensor, t.target) for t in transfers}
    touched = {end for t in transfers for end in (t.source, t.target)}
    ends = {topology.source_of(t) for t in graph.inputs}
    ends |= {topology.sink_of(t) for t in graph.outputs}
    cut = {
        tensor
        for tensor, maker in graph.producer.items()
        if any(placement[r.name] != placement[maker.name] for r in graph.consumers[tensor])
    }
    carried = {(k.source, k.target): k.bytes for k in found.links}
    return (
        not (rules.private_input and any(t.tensor in graph.inputs for t in transfers))
        and (rules.max_sent_bytes is None or found.sent_bytes <= rules.max_sent_bytes)
        and (rules.max_cuts is None or len(cut) <= rules.max_cuts)
        and (not rules.contiguous or _is_pipeline(case, placement))
        and not any((t.tensor, t.source) in arrived and t.source in rules.no_relay
                    for t in transfers)
        and not (touched | ends) & set(rules.without)
        and all(carried.get((a, b), 0) <= cap for a, b, cap in rules.link_caps)
    )  # fmt: skip


def _is_pipeline(case: Case, placement: dict[str, str]) -> bool:
    """Whether some order of the devices sends every tensor forward."""
    edges = {
        (placement[maker.name], placement[reader.name])
        for tensor, maker in case.graph.producer.items()
        for reader in case.graph.consumers[tensor]
    }
    return any(
        all(order.index(here) <= order.index(there) for here, there in edges)
        for order in permutations(sorted(set(placement.values())))
    )


def _within_caps(rules: Constraints, found: Estimate) -> bool:
    load = {one.device: one for one in found.devices}
    return (
        all(load[device].energy_j <= cap for device, cap in rules.energy_caps)
        and all(
            load[device].memory_bytes + free <= load[device].memory_limit_bytes
            for device, free in rules.reserves
            if load[device].memory_bytes
        )
        and all(found.value(_known(name)) <= cap for name, cap in rules.at_most)
    )


def _known(name: str) -> Objective:
    return next(objective for objective in OBJECTIVES if objective == name)
