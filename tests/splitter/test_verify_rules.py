"""The verifier finds every broken rule by itself, in plans that hold otherwise."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from planner_cases import chain, costs_of, phone_edge_cloud
from rule_cases import feasible, placements, ruled_case

from splitter.constraints import Constraints
from splitter.errors import InfeasibleError
from splitter.partitioning import partition
from splitter.plan import Fallback
from splitter.verify import verify

GRAPH = chain(4)
TOPOLOGY = replace(
    phone_edge_cloud(),
    links=tuple(k for k in phone_edge_cloud().links if {k.source, k.target} != {"phone", "cloud"}),
)
COSTS = costs_of(GRAPH, TOPOLOGY)
PLACEMENT = {"l0": "phone", "l1": "phone", "l2": "edge", "l3": "cloud"}
PLAN = partition(GRAPH, TOPOLOGY, COSTS, placement=PLACEMENT)
"""Cuts l1.out and l2.out; the result passes through edge on its way back to phone."""


def faults(rules: Constraints) -> str:
    return "\n".join(verify(PLAN, GRAPH, TOPOLOGY, COSTS, rules))


@pytest.mark.parametrize(
    ("broken", "kept", "message"),
    [
        ({"pins": (("l2", "cloud"),)}, {"pins": (("l2", "edge"),)}, "is pinned to cloud"),
        ({"bans": (("l?", "edge"),)}, {"bans": (("l3", "edge"),)}, "'l?' is banned"),
        ({"together": (("l1", "l2"),)}, {"together": (("l0", "l1"),)}, "not on one"),
        ({"apart": (("l0", "l1"),)}, {"apart": (("l0", "l2"),)}, "l0 and l1 share phone"),
        ({"apart": (("l[01]",),)}, {"apart": (("l[12]",),)}, "two layers of l[01] share"),
        ({"max_devices": 2}, {"max_devices": 3}, "3 devices run layers, more than 2"),
        ({"max_cuts": 1}, {"max_cuts": 2}, "2 tensors are cut, more than 1"),
        ({"drained": ("cloud",)}, {}, "layers run on cloud, which is drained"),
        ({"without": ("edge",)}, {}, "but edge is not there"),
        ({"without": ("phone",)}, {}, "phone is not there, but it has an input"),
        ({"no_relay": ("edge",)}, {"no_relay": ("cloud",)}, "l3.out passes through edge"),
        ({"max_sent_bytes": 15_999}, {"max_sent_bytes": 16_000}, "sends 16000 bytes"),
        (
            {"link_caps": (("edge", "phone", 3999),)},
            {"link_caps": (("edge", "phone", 4000),)},
            "edge -> phone carries 4000 bytes, more than 3999",
        ),
        (
            {"energy_caps": (("phone", 8e-4),)},
            {"energy_caps": (("phone", 9e-4),)},
            "computing on phone takes 0.00084 J",
        ),
        (
            {"reserves": (("edge", 2**32 - 2**20),)},
            {"reserves": (("edge", 2**31),)},
            "of which 4293918720 are to stay free",
        ),
        ({"at_most": (("latency", 0.01),)}, {"at_most": (("latency", 1.0),)}, "the latency is"),
        ({"at_most": (("memory", 3e6),)}, {"at_most": (("memory", 4e6),)}, "the memory is"),
        ({"at_most": (("energy", 1e-4),)}, {"at_most": (("dollars", 0.0),)}, "the energy is"),
        ({"optional": ("cloud",)}, {}, "nothing is said about doing without cloud"),
    ],
)
def test_a_broken_rule_is_found(
    broken: dict[str, object], kept: dict[str, object], message: str
) -> None:
    assert message in faults(Constraints(**broken))  # type: ignore[arg-type]
    assert faults(Constraints(**kept)) == ""  # type: ignore[arg-type]


def test_a_private_input_and_a_pipeline() -> None:
    placement = {"l0": "edge", "l1": "phone", "l2": "edge", "l3": "phone"}
    plan = partition(GRAPH, TOPOLOGY, COSTS, placement=placement)
    rules = Constraints(private_input=True, contiguous=True)
    found = "\n".join(verify(plan, GRAPH, TOPOLOGY, COSTS, rules))
    assert "raw input x crosses phone -> edge" in found
    assert "l0 reads raw input x outside phone" in found
    assert "no order of the devices makes a pipeline" in found


def test_fallbacks_that_use_what_left() -> None:
    lie = replace(PLAN, fallbacks=(Fallback("cloud", 1.0, PLACEMENT),))
    found = verify(lie, GRAPH, TOPOLOGY, COSTS, Constraints(optional=("cloud",)))
    assert found == ["the placement without cloud does not hold"]


def test_optional_devices_have_a_placement_without_them() -> None:
    rules = Constraints(optional=("edge", "cloud"), max_devices=1)
    plan = partition(GRAPH, phone_edge_cloud(), COSTS, constraints=rules)
    assert [left.without for left in plan.fallbacks] == ["edge", "cloud"]
    assert all(left.without not in left.placement.values() for left in plan.fallbacks)
    with pytest.raises(InfeasibleError, match=r"doing without edge \(edge is optional\)"):
        partition(
            *(GRAPH, phone_edge_cloud(), COSTS),
            constraints=rules + Constraints(pins=(("l0", "edge"),)),
        )


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**9))
def test_agrees_with_the_definitions(seed: int) -> None:
    """Every placement of a random problem, planned without rules and verified with them."""
    case = ruled_case(seed, 3)
    free = Constraints()
    for placement in list(placements(case))[:: 1 + seed % 5]:
        if feasible(replace(case, constraints=free), placement) is None:
            continue
        plan = partition(
            *(case.graph, case.topology, case.costs), slots=case.slots, placement=placement
        )
        found = verify(plan, case.graph, case.topology, case.costs, case.constraints)
        assert (not found) == (feasible(case, placement) is not None), found
