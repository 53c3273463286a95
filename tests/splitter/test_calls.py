"""Requests on one computer: the estimate against the verifier, plans against every placement."""

import json
from itertools import product
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any, cast

import pytest

from benchmarks.placement_check import latency_ms
from splitter.calls import calls_of
from splitter.errors import InfeasibleError, PlanError
from splitter.estimate import latency_s
from splitter.partitioning import partition
from splitter.placement import PlacementProblem, read_placement
from splitter.plan import Plan
from splitter.schedule import transfers_of
from splitter.topology import Constraints
from splitter.verify_calls import call_faults, computer_seconds


def random_file(random: Random, n: int, folder: Path) -> Path:
    """A small file in the published format."""
    nodes: list[dict[str, Any]] = []
    edges: list[dict[str, Any]] = []
    for v in range(n):
        cpu = random.choice((0.0, float(random.randint(1, 50))))
        node = {
            "id": v,
            "supportedOnFpga": int(random.random() < 0.9),
            "cpuLatency": cpu,
            "fpgaLatency": cpu / 10,
            "isBackwardNode": 0,
            "size": random.choice((0, 3, 10)),
        }
        if random.random() < 0.3:
            node["colorClass"] = random.randrange(3)
        nodes.append(node)
    for u in range(n):
        cost = random.choice((0.0, 0.5, 4.0))
        for v in range(u + 1, min(n, u + 5)):
            if random.random() < 0.4:
                edges.append({"sourceId": u, "destId": v, "cost": cost})
    data = {
        "maxSizePerFPGA": random.choice((10, 25, 1000)),
        "maxFPGAs": random.choice((0, 1, 2)),
        "maxCPUs": random.choice((1, 4)),
        "nodes": nodes,
        "edges": edges,
    }
    path = folder / "random.json"
    path.write_text(json.dumps(data))
    return path


def as_plan(read: PlacementProblem, placement: dict[str, str]) -> Plan:
    transfers = transfers_of(read.graph, read.topology, placement)
    return cast(
        Plan, SimpleNamespace(placement=placement, transfers=transfers, objective="latency")
    )


def workers(read: PlacementProblem) -> list[str]:
    """One processor and all accelerators: further processors change nothing."""
    names = [d.name for d in read.topology.devices if d.role == "accelerator"]
    return ["cpu0", *names]


@pytest.mark.parametrize("seed", range(150))
def test_estimate_agrees_with_the_verifier(seed: int, tmp_path: Path) -> None:
    random = Random(seed)
    path = random_file(random, random.randint(2, 14), tmp_path)
    read = read_placement(path, contiguous=False)
    placement = {layer.name: random.choice(workers(read)) for layer in read.graph.layers}
    found = latency_s(read.graph, read.topology, read.costs, placement)
    plan = as_plan(read, placement)
    verified = computer_seconds(plan, read.graph, read.topology, read.costs)
    assert found == pytest.approx(verified, rel=1e-12)
    calls = calls_of(read.graph, read.topology, placement)
    homes = [call.device for call in calls if call.device != "cpu0"]
    assert bool(call_faults(plan, read.graph, read.topology)) == (len(homes) > len(set(homes)))
    checked = latency_ms(path, {int(name[1:]): home for name, home in placement.items()})
    if isinstance(checked, float):
        assert found * 1e3 == pytest.approx(checked, rel=1e-8)


@pytest.mark.parametrize("seed", range(60))
def test_plan_equals_every_placement(seed: int, tmp_path: Path) -> None:
    random = Random(seed)
    read = read_placement(random_file(random, random.randint(2, 7), tmp_path), contiguous=False)
    best = min(_latencies(read), default=None)
    if best is None:
        with pytest.raises((InfeasibleError, PlanError)):
            partition(read.graph, read.topology, read.costs, objective="latency", time_limit_s=1)
        return
    plan = partition(read.graph, read.topology, read.costs, objective="latency", time_limit_s=5)
    assert plan.estimate.latency_s == pytest.approx(best, rel=1e-9)
    assert plan.proof.bound <= best * (1 + 1e-9)


def _latencies(read: PlacementProblem):  # type: ignore[no-untyped-def]
    """Of all placements that respect memory, classes, support and one call per accelerator."""
    names = [layer.name for layer in read.graph.layers]
    rules = read.topology.constraints
    sizes = read.graph.weight_bytes
    for choice in product(workers(read), repeat=len(names)):
        placement = dict(zip(names, choice, strict=True))
        held = {d: sum(sizes[n] for n in names if placement[n] == d) for d in choice}
        full = any(held[d] > read.topology.by_name[d].memory_bytes for d in held)
        banned = any(placement.get(name) == device for name, device in rules.bans)
        parted = any(len({placement[n] for n in group}) > 1 for group in rules.together)
        if full or banned or parted:
            continue
        if not call_faults(as_plan(read, placement), read.graph, read.topology):
            yield latency_s(read.graph, read.topology, read.costs, placement)


def test_a_pipeline_is_refused_for_latency(tmp_path: Path) -> None:
    read = read_placement(random_file(Random(1), 4, tmp_path), contiguous=False)
    with pytest.raises(PlanError, match="contiguous"):
        partition(
            read.graph,
            read.topology,
            read.costs,
            objective="latency",
            constraints=Constraints(contiguous=True),
        )


def test_unequal_accelerators_are_refused(tmp_path: Path) -> None:
    read = read_placement(random_file(Random(2), 5, tmp_path), contiguous=False)
    assert "acc1" in read.topology.by_name
    with pytest.raises(PlanError, match="differ"):
        partition(
            read.graph,
            read.topology,
            read.costs,
            objective="latency",
            constraints=Constraints(bans=(("n0", "acc1"),)),
        )
