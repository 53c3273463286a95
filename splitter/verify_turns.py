"""Do replicas hold? Part of `splitter.verify`; nothing is shared with `splitter.turns`.

Every turn of a plan with replicas is verified as a plan of its own; what is left is that the turns
are those of the groups, and that the figures are their means.
"""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace

from splitter.costs import CostTable
from splitter.plan import Plan, Proof
from splitter.topology import Topology

_TOLERANCE = 1e-9


def turns_as_plans(plan: Plan, costs: CostTable) -> list[Plan]:
    """Every turn as a plain plan about which nothing is proved."""
    found: list[Plan] = []
    for turn in plan.turns:
        placed = {key: costs.entries[key] for key in turn.placement.items() if key in costs.entries}
        gap = 1.0 if turn.estimate.value(plan.objective) > 0 else 0.0
        found.append(
            replace(
                plan,
                placement=turn.placement,
                transfers=turn.transfers,
                estimate=turn.estimate,
                proof=Proof("feasible", 0.0, gap, 0.0),
                alternatives=(),
                cost_sources={layer: entry.source for (layer, _), entry in placed.items()},
                layer_seconds={layer: entry.seconds for (layer, _), entry in placed.items()},
                replicas=(),
                turns=(),
            )
        )
    return found


def turn_faults(plan: Plan, topology: Topology) -> list[str]:
    """What is wrong with the groups, the turns' placements and the means."""
    faults = _group_faults(plan, topology)
    if faults:
        return faults
    if not topology.replicas:
        faults.append(f"{topology.name} does not allow replicas")
    faults += _placement_faults(plan)
    first = plan.turns[0]
    if (plan.placement, plan.transfers) != (first.placement, first.transfers) or (
        plan.objective != "throughput"
    ):
        faults.append("the first turn is not the plan's own")
    return faults + _mean_faults(plan)


def _group_faults(plan: Plan, topology: Topology) -> list[str]:
    members = [name for group in plan.replicas for name in group]
    faults = [f"replica {name} is no device" for name in members if name not in topology.by_name]
    if faults or not plan.turns:
        return faults or ["the plan has replicas but no turns"]
    if len(set(members)) != len(members) or any(len(group) < 2 for group in plan.replicas):
        faults.append("a replica is in two groups, or alone in one")
    used = set(plan.placement.values())
    for first, *others in plan.replicas:
        model = topology.by_name[first]
        for name in others:
            other = topology.by_name[name]
            if (other.card, other.threads) != (model.card, model.threads):
                faults.append(f"replica {name} is not equal to {first}")
            if name in used:
                faults.append(f"replica {name} has work of its own")
    return faults


def _placement_faults(plan: Plan) -> list[str]:
    """Request r must run on the (r mod size)-th of each group, until all groups begin again."""
    faults: list[str] = []
    group_of = {group[0]: group for group in plan.replicas}
    for turn, other in enumerate(plan.turns):
        for layer, device in plan.placement.items():
            group = group_of.get(device, (device,))
            if other.placement.get(layer) != group[turn % len(group)]:
                faults.append(f"in turn {turn} {layer} does not run on its replica's place")
    count = len(plan.turns)
    sizes = [len(group) for group in plan.replicas]
    early = any(all(turn % size == 0 for size in sizes) for turn in range(1, count))
    if early or any(count % size for size in sizes):
        faults.append(f"{count} turns are not one round of the groups")
    return faults


def _mean_faults(plan: Plan) -> list[str]:
    count, stated = len(plan.turns), plan.estimate
    each = [turn.estimate for turn in plan.turns]
    busy: dict[str, float] = defaultdict(float)
    for one in each:
        for device in one.devices:
            busy["device " + device.device] += device.compute_s / count
        for link in one.links:
            busy[f"link {link.source} -> {link.target}"] += link.seconds / count
        for medium in one.media:
            busy["medium " + medium.name] += medium.seconds / count
    told = {"device " + d.device: d.compute_s for d in stated.devices}
    told |= {f"link {k.source} -> {k.target}": k.seconds for k in stated.links}
    told |= {"medium " + k.name: k.seconds for k in stated.media}
    expected: Mapping[str, tuple[float, float]] = {
        "period": (stated.period_s, max(busy.values())),
        "latency": (stated.latency_s, max(one.latency_s for one in each)),
        "energy": (stated.energy_j, sum(one.energy_j for one in each) / count),
        "price": (stated.dollars, sum(one.dollars for one in each) / count),
    }
    faults = [
        f"the {what} is not that of the turns" for what, (a, b) in expected.items() if _off(a, b)
    ]
    if told.keys() != busy.keys() or any(_off(told[name], busy[name]) for name in busy):
        faults.append("the loads are not the means of the turns")
    for load in stated.devices:
        most = max(d.memory_bytes for one in each for d in one.devices if d.device == load.device)
        if load.memory_bytes != most:
            faults.append(f"{load.device} needs {most} bytes in its fullest turn")
    return faults


def _off(one: float, other: float) -> bool:
    return abs(one - other) > _TOLERANCE * max(abs(one), abs(other), 1e-12)
