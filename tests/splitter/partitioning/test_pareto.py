"""Fronts against enumeration, and the search by boxes on any set of points."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations, pairwise
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from planner_cases import Case, chain, costs_of, mobilenet_like, phone_edge_cloud, three_equal
from rule_cases import feasible, placements, ruled_case

from splitter.errors import InfeasibleError, UsageError
from splitter.objective import OBJECTIVES, Objective
from splitter.partitioning.pareto import pareto_front
from splitter.partitioning.pareto.boxes import search_boxes
from splitter.topology import Constraints
from splitter.verify import verify

Pair = tuple[Objective, Objective]
PAIRS: list[Pair] = list(combinations(OBJECTIVES, 2))


@dataclass(frozen=True)
class Dot:
    values: tuple[float, float]


def undominated(dots: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """By the definition; values closer than rounding count as equal."""
    kept: list[tuple[float, float]] = []
    for dot in sorted(dots):
        if not kept or dot[1] < kept[-1][1] * (1 - 1e-6):
            kept.append(dot)
    return kept


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 10**9))
def test_boxes_find_every_point(seed: int) -> None:
    random = Random(seed)
    dots = {
        (float(random.randint(1, 30)), float(random.randint(1, 30)))
        for _ in range(random.randint(1, 25))
    }
    asked = 0

    def find(main: int, cap: float | None) -> Dot | None:
        nonlocal asked
        asked += 1
        good = [dot for dot in dots if cap is None or dot[1 - main] <= cap]
        best = min(good, key=lambda dot: (dot[main], dot[1 - main]), default=None)
        return None if best is None else Dot(best)

    spread = search_boxes(find, lambda _: False)
    assert spread.complete
    assert [point.values for point in spread.points] == undominated(sorted(dots))
    assert asked <= 4 * len(spread.points) + 2


def test_boxes_stop_when_told_and_take_the_widest_first() -> None:
    dots = [(float(i), float(100 - i)) for i in range(101)]

    def find(main: int, cap: float | None) -> Dot | None:
        good = [dot for dot in dots if cap is None or dot[1 - main] <= cap]
        return Dot(min(good, key=lambda dot: dot[main])) if good else None

    spread = search_boxes(find, lambda found: found >= 5)
    assert not spread.complete
    across = [point.values[0] for point in spread.points]
    assert max(b - a for a, b in pairwise(across)) <= 51


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**9))
def test_agrees_with_enumeration(seed: int) -> None:
    case, pair = ruled_case(seed), PAIRS[seed % len(PAIRS)]
    values = [found for one in placements(case) if (found := valued(case, one, pair))]
    options = {"constraints": case.constraints, "slots": case.slots}
    asked = (case.graph, case.topology, case.costs, pair)
    if not values:
        with pytest.raises(InfeasibleError):
            pareto_front(*asked, **options)  # type: ignore[arg-type]
        return
    front = pareto_front(*asked, points=200, **options)  # type: ignore[arg-type]
    assert front.complete
    expected = undominated(values)
    assert [point.values for point in front.points] == [
        pytest.approx(v, rel=1e-5) for v in expected
    ]
    for point in front.points:
        assert point.exact
        assert verify(point.plan, case.graph, case.topology, case.costs, case.constraints) == []


def valued(case: Case, placement: dict[str, str], pair: Pair) -> tuple[float, float] | None:
    found = feasible(case, placement)
    return None if found is None else (found.value(pair[0]), found.value(pair[1]))


def test_few_points_of_a_long_front_are_spread_and_say_so() -> None:
    graph, topology = mobilenet_like(), phone_edge_cloud()
    front = pareto_front(
        graph, topology, costs_of(graph, topology), ("latency", "energy"), points=4
    )
    assert not front.complete
    assert 4 <= len(front.points) <= 6
    across = [point.values for point in front.points]
    assert across == sorted(across)
    assert [v for _, v in across] == sorted((v for _, v in across), reverse=True)


def test_one_plan_that_is_best_in_both() -> None:
    graph, topology = chain(4), phone_edge_cloud(0.01)
    front = pareto_front(graph, topology, costs_of(graph, topology), ("latency", "sent"))
    assert front.complete
    assert [set(point.plan.placement.values()) for point in front.points] == [{"phone"}]


def test_rules_and_optional_devices_hold_on_the_front() -> None:
    graph, topology = chain(5), three_equal()
    rules = Constraints(apart=(("l0", "l4"),), optional=("server",), max_sent_bytes=20_000)
    front = pareto_front(
        *(graph, topology, costs_of(graph, topology), ("throughput", "sent")), constraints=rules
    )
    assert front.points
    for point in front.points:
        assert point.plan.placement["l0"] != point.plan.placement["l4"]
        assert point.plan.estimate.sent_bytes <= 20_000
        assert len(point.plan.rules) == 2


@pytest.mark.parametrize(
    ("pair", "options", "message"),
    [
        (("latency", "latency"), {}, "needs two different objectives"),
        (("latency", "speed"), {}, "unknown objective 'speed'"),
        (("latency", "energy"), {"points": 1}, "points is 1"),
        (("latency", "energy"), {"time_limit_s": 0.0}, "the time limit is 0 s"),
        (("latency", "energy"), {"slots": 0}, "slots is 0"),
    ],
)
def test_impossible_arguments(pair: Pair, options: dict[str, int], message: str) -> None:
    graph, topology = chain(2), phone_edge_cloud()
    with pytest.raises(UsageError, match=message):
        pareto_front(graph, topology, costs_of(graph, topology), pair, **options)  # type: ignore[arg-type]


def test_too_large_graphs_are_refused() -> None:
    graph = chain(7000)
    with pytest.raises(UsageError, match="too large"):
        pareto_front(graph, three_equal(), costs_of(chain(1), three_equal()), ("latency", "sent"))


def test_impossible_rules_are_explained() -> None:
    graph, topology = chain(3), phone_edge_cloud()
    rules = Constraints(together=(("l*",),), apart=(("l0", "l1"),))
    with pytest.raises(InfeasibleError, match="these rules conflict: keeping 'l\\*' together and"):
        pareto_front(
            *(graph, topology, costs_of(graph, topology), ("latency", "energy")), constraints=rules
        )


def test_prices_come_from_devices_and_links() -> None:
    graph, topology = chain(4), phone_edge_cloud()
    dear = replace(
        topology,
        devices=tuple(replace(d, dollars_per_hour=3.6) for d in topology.devices),
        links=tuple(replace(k, dollars_per_byte=1e-9) for k in topology.links),
    )
    front = pareto_front(graph, dear, costs_of(graph, dear), ("latency", "dollars"))
    for point in front.points:
        seconds = sum(load.compute_s for load in point.plan.estimate.devices)
        expected = seconds * 1e-3 + point.plan.estimate.sent_bytes * 1e-9
        assert point.values[1] == pytest.approx(expected, rel=1e-9)
