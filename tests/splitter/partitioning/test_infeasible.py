"""What a user is told when nothing fits."""

from dataclasses import replace
from math import ceil

import pytest
from planner_cases import MIB, chain, costs_of, mobilenet_like, phone_edge_cloud, three_equal

from splitter.errors import InfeasibleError, PlanError
from splitter.graph import Graph
from splitter.partitioning import partition
from splitter.partitioning.ilp import find_any
from splitter.partitioning.problem import build_problem
from splitter.topology import Constraints, Topology

TOPOLOGY = three_equal(9 * MIB)


def told(graph: Graph, topology: Topology, rules: Constraints | None = None) -> str:
    with pytest.raises(InfeasibleError) as caught:
        partition(graph, topology, costs_of(graph, topology), constraints=rules)
    return str(caught.value)


def test_memory_names_the_layer_and_what_would_do() -> None:
    graph = mobilenet_like()
    message = told(graph, TOPOLOGY)
    assert message.startswith("mobilenet_like does not fit into the memory of three_equal: ")
    assert "layer b1.depthwise alone needs at least 9.2 MB" in message
    assert "(the largest, camera, has 9.4 MB)" in message
    assert "one device alone (camera) would need 24.9 MB" in message
    factor = float(message.split(" times the memory")[0].rsplit(" ", 1)[1])
    roomier = build_problem(
        graph, three_equal(ceil(9 * MIB * factor)), costs_of(graph, TOPOLOGY), Constraints(), 3
    )
    assert find_any(roomier, 20.0)[0] is not None


def test_devices_too_small_for_the_node_program() -> None:
    assert "layer l1 alone needs at least 3.3 MB" in told(chain(2), three_equal(2 * MIB))


def test_conflicting_rules_are_listed_and_no_others() -> None:
    rules = Constraints(
        pins=(("stem", "hub"), ("head", "camera")),
        bans=(("pool", "server"),),
        max_sent_bytes=1000,
    )
    message = told(mobilenet_like(), three_equal(30 * MIB), rules)
    assert "these rules conflict: the pin of 'stem' to hub and the cap of 0.001 MB sent" in message
    assert "head" not in message


def test_memory_that_conflicts_only_under_a_rule() -> None:
    rules = Constraints(bans=(("l*", "server"), ("l*", "hub")))
    message = told(chain(40), three_equal(5 * MIB), rules)
    assert "under the ban of 'l*' from server and the ban of 'l*' from hub" in message


def test_devices_that_are_not_connected() -> None:
    lonely = replace(phone_edge_cloud(), links=(), sink="cloud")
    assert "no way leading from phone to cloud; add a link" in told(chain(2), lonely)


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        (
            Constraints(pins=(("l0", "phone"), ("l?", "edge"))),
            "these rules conflict: the pin of 'l0' to phone and the pin of 'l?' to edge; drop",
        ),
        (
            Constraints(pins=(("l0", "phone"),), bans=(("*", "phone"),)),
            "these rules conflict: the pin of 'l0' to phone and the ban of '*' from phone; drop",
        ),
        (
            Constraints(bans=(("l1", "phone"), ("l*", "edge"), ("*", "cloud"))),
            "the ban of 'l1' from phone and the ban of 'l*' from edge and the ban of '*' from cl",
        ),
        (
            Constraints(pins=(("l0", "edge"),), private_input=True),
            "the pin of 'l0' to edge and the raw input staying on phone; drop",
        ),
        (
            Constraints(together=(("l0", "l1"),), apart=(("l0", "l1"),), max_devices=2),
            "keeping 'l0' and 'l1' together and keeping 'l0' and 'l1' apart; drop",
        ),
        (
            Constraints(max_devices=1, apart=(("l0", "l1"),)),
            "keeping 'l0' and 'l1' apart and at most 1 device; drop",
        ),
        (
            Constraints(apart=(("l0", "l1"),), max_cuts=0, bans=(("l0", "edge"),)),
            "keeping 'l0' and 'l1' apart and at most 0 cuts; drop",
        ),
        (
            Constraints(without=("phone",), pins=(("l0", "edge"),)),
            "this rule cannot hold: doing without phone; drop or relax it",
        ),
        (
            Constraints(pins=(("l0", "edge"),), link_caps=(("phone", "edge", 10),)),
            "the pin of 'l0' to edge and the cap of 1e-05 MB on phone -> edge; drop",
        ),
        (
            Constraints(drained=("phone",), private_input=True),
            "the raw input staying on phone and the draining of phone; drop",
        ),
        (
            Constraints(drained=("phone",), at_most=(("energy", 1e-9),)),
            "the limit of 1e-06 mJ on the energy; drop or relax it",
        ),
        (
            Constraints(pins=(("*", "edge"),), energy_caps=(("edge", 1e-6),)),
            "the pin of '*' to edge and the cap of 0.001 mJ on edge; drop",
        ),
        (
            Constraints(optional=("edge", "cloud"), pins=(("l1", "edge"),)),
            "the pin of 'l1' to edge and doing without edge (edge is optional); drop",
        ),
    ],
)
def test_contradictions_name_both_sides(rules: Constraints, message: str) -> None:
    assert message in told(chain(2), phone_edge_cloud(), rules)


def test_a_pattern_that_matches_nothing_names_the_nearest() -> None:
    graph, topology = mobilenet_like(), phone_edge_cloud()
    costs = costs_of(graph, topology)
    no_layer = Constraints(pins=(("stme", "edge"),))
    with pytest.raises(PlanError, match=r"'stme' matches no layer of mobilenet_like.* are stem"):
        partition(graph, topology, costs, constraints=no_layer)
    no_device = Constraints(bans=(("stem", "egde"),))
    with pytest.raises(PlanError, match='did you mean "edge"'):
        partition(graph, topology, costs, constraints=no_device)
