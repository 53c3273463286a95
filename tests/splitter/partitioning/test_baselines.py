"""Published baselines: hand-worked cases, rules, the table itself, and never better than ours."""

from dataclasses import replace
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from planner_cases import (
    MIB,
    Net,
    chain,
    costs_of,
    device,
    link,
    mobilenet_like,
    phone_edge_cloud,
    random_case,
    three_equal,
)
from rule_cases import feasible, ruled_case

from splitter.costs import CostTable, LayerCost
from splitter.errors import InfeasibleError
from splitter.graph import Graph
from splitter.objective import OBJECTIVES, Objective
from splitter.partitioning.baselines import METHODS, judged_baselines
from splitter.partitioning.baselines.judged import method_named
from splitter.partitioning.baselines.method import DoesNotApplyError
from splitter.partitioning.contest import contest
from splitter.partitioning.judge import value
from splitter.partitioning.problem import Problem, build_problem
from splitter.topology import Constraints, Topology


def problem(graph: Graph, topology: Topology, rules: Constraints | None = None) -> Problem:
    return build_problem(graph, topology, costs_of(graph, topology), rules or Constraints(), 3)


def proposed(name: str, of: Problem, objective: Objective = "latency") -> str:
    """Initials of the devices, layer by layer."""
    names = [d.name for d in of.topology.devices]
    return "".join(names[d][0] for d in method_named(name).propose(of, objective))


def two(seconds: dict[str, tuple[float, float]], graph: Graph, mbit_s: float) -> Problem:
    """Two devices a and b, with these seconds for every layer."""
    where = Topology(
        "two", "", (device("a", 1), device("b", 1)),
        (link("a", "b", mbit_s, 0), link("b", "a", mbit_s, 0)), "a", "a",
    )  # fmt: skip
    costs = CostTable(
        {
            (name, d): LayerCost(s, "measured")
            for name, pair in seconds.items()
            for d, s in zip("ab", pair, strict=True)
        }
    )
    return build_problem(graph, where, costs, Constraints(), 3)


def test_parts_of_equal_chains() -> None:
    of = problem(chain(6), three_equal(64 * MIB))
    assert proposed("equal_flops", of) == proposed("equal_parameters", of) == "cchhss"
    assert proposed("memory_share", of) == "cchhss"
    caps = phone_edge_cloud(memory=(16 * MIB, 32 * MIB, 48 * MIB))
    assert proposed("memory_share", problem(chain(6), caps)) == "ccceep"


def test_parts_follow_their_measure() -> None:
    net = Net("uneven")
    at = net.input("x", 10)
    for i, (macs, weight) in enumerate(((4, 1), (1, 1), (1, 2), (1, 4), (1, 4))):
        at = net.layer(f"l{i}", [at], 10, macs=macs, weight=weight)
    of = problem(net.graph(at), three_equal(64 * MIB))
    assert proposed("equal_flops", of) == "chsss"
    assert proposed("equal_parameters", of) == "ccchs"


def test_neurosurgeon_sends_late_when_early_tensors_are_large() -> None:
    net = Net("funnel")
    at = net.input("x", 100_000)
    for i, size in enumerate((100_000, 100_000, 10, 10)):
        at = net.layer(f"l{i}", [at], size)
    of = two({f"l{i}": (0.1, 0.001) for i in range(4)}, net.graph(at), 8)
    assert proposed("one_cut", of) == "aaab"
    assert proposed("one_cut", of, "sent") == "aaaa"
    assert proposed("min_cut", of) == "aaab"


def test_minimum_cut_is_the_best_one_way_split_of_a_sum() -> None:
    """Against enumeration, where nothing runs in parallel: energy, bytes and price add up."""
    checked = 0
    for seed in range(60):
        case = random_case(seed)
        if len(case.topology.devices) > 2:
            continue
        of = build_problem(case.graph, case.topology, case.costs, Constraints(), case.slots)
        for objective in ("energy", "dollars"):
            near = next(w.source for w in of.wires if w.is_input)
            best = min(
                value(of, objective, one)
                for one in product(range(2), repeat=of.n)
                if all(
                    one[w.producer] == near or one[r] != near
                    for w in of.wires if not w.is_input for r in w.readers
                )
            )  # fmt: skip
            if best == float("inf"):
                continue
            found = method_named("min_cut").propose(of, objective)
            assert value(of, objective, found) == pytest.approx(best, rel=1e-9)
            checked += 1
    assert checked > 20


def test_pipedream_balances_a_chain() -> None:
    graph = chain(4)
    of = two({f"l{i}": (s, s) for i, s in enumerate((3.0, 1.0, 1.0, 1.0))}, graph, 1e6)
    assert proposed("pipedream", of) == "abbb"
    slow = two({f"l{i}": (s, s) for i, s in enumerate((3.0, 1.0, 1.0, 1.0))}, graph, 0.005)
    assert proposed("pipedream", slow) == "aaaa"


def test_pipedream_finds_the_best_stages_of_any_chain() -> None:
    for seed in range(30):
        n = 3 + seed % 4
        times = {f"l{i}": (1 + seed * (i + 1) % 7, 1 + seed * (i + 3) % 5) for i in range(n)}
        of = two({k: (float(a), float(b)) for k, (a, b) in times.items()}, chain(n), 1e6)
        stages = [(0,) * cut + (1,) * (n - cut) for cut in range(n + 1)]
        best = min(value(of, "throughput", one) for one in stages)
        found = method_named("pipedream").propose(of, "throughput")
        assert value(of, "throughput", found) == pytest.approx(best, rel=1e-9)


def test_heft_uses_both_devices_for_parallel_branches() -> None:
    net = Net("fork")
    first = net.layer("first", [net.input("x", 1)], 1)
    left, right = net.layer("left", [first], 1), net.layer("right", [first], 1)
    graph = net.graph(net.layer("join", [left, right], 1))
    times = {"first": (0.5, 0.5), "left": (1.0, 1.0), "right": (1.0, 1.0), "join": (0.5, 0.5)}
    assert proposed("list_schedule", two(times, graph, 1e6))[:3] in ("aab", "aba")
    assert proposed("list_schedule", two(times, graph, 1e-5)) == "aaaa"


def test_torch_fills_one_memory_after_the_other() -> None:
    graph = chain(6)
    assert len(set(proposed("fx_partitioner", problem(graph, phone_edge_cloud())))) == 1
    tight = problem(graph, three_equal(3 * MIB + 260_000))
    assert set(proposed("fx_partitioner", tight)) == {"c", "h", "s"}
    with pytest.raises(DoesNotApplyError, match="Devices do not have enough memory"):
        proposed("fx_partitioner", problem(graph, three_equal(3 * MIB + 50_000)))


def test_what_a_method_breaks_is_told() -> None:
    rules = Constraints(pins=(("l0", "edge"),), together=(("l0", "l3"),), max_cuts=1)
    of = problem(chain(4), phone_edge_cloud(), rules)
    rows = {one.method: one for one in judged_baselines(of, "latency")}
    assert "l0 may not run on phone because of the pin" in rows["equal_flops"].reason
    assert rows["list_schedule"].value is not None
    period = {one.method: one for one in judged_baselines(of, "throughput")}
    assert "this objective is a largest one" in period["min_cut"].reason
    assert period["min_cut"].placement == {}


def test_every_entry_of_the_table_names_its_paper_and_settings() -> None:
    assert len({repr(method_named(name)) for name in METHODS}) == len(METHODS)
    assert all(method_named(name).paper for name in METHODS)
    assert all(method_named(name) == method_named(name) for name in METHODS)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**9))
def test_never_better_than_ours(seed: int) -> None:
    """On any problem; and what is called valid respects every rule by its definition."""
    case = ruled_case(seed)
    case = replace(case, constraints=replace(case.constraints, optional=()))
    objective = OBJECTIVES[seed % len(OBJECTIVES)]
    options = {"objective": objective, "constraints": case.constraints, "slots": case.slots}
    try:
        found = contest(case.graph, case.topology, case.costs, **options)  # type: ignore[arg-type]
    except InfeasibleError:
        return
    reached = found.plan.estimate.value(objective)
    assert [one.method for one in found.baselines] == list(METHODS)
    for one in found.baselines:
        if one.value is None:
            assert one.reason
            continue
        truth = feasible(case, dict(one.placement))
        assert truth is not None
        assert truth.value(objective) == pytest.approx(one.value, rel=1e-9)
        assert reached <= one.value * (1 + 1e-9)


def test_honest_where_one_device_is_best() -> None:
    graph, topology = mobilenet_like(), phone_edge_cloud(0.1)
    found = contest(graph, topology, costs_of(graph, topology))
    assert set(found.plan.placement.values()) == {"phone"}
    assert found.best is not None
    assert found.best.value == found.plan.estimate.latency_s
