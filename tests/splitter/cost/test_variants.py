"""Costs of variants: the roofline of less work, the measurement scaled, the beaten left out."""

from dataclasses import replace

import pytest
from planner_cases import chain, phone_edge_cloud

from splitter.cost.roofline import roofline
from splitter.cost.variants import Candidate, variant_table
from splitter.costs import CostTable, LayerCost
from splitter.variants import AS_IS, Variant, accuracy_drop, chosen

GRAPH, TOPOLOGY = chain(2), phone_edge_cloud()
WEIGHT = {"l0": "l0.weight"}
AS_IT_IS = Candidate(Variant(AS_IS, 100_000, 0, 0.0), 1_000_000)
SMALL = Candidate(Variant("bits", 12_500, 0, 0.2), 1_000_000)
QUICK = Candidate(Variant("rank", 50_000, 64, 0.2, inner_bytes=64), 250_000)


def test_bytes_and_work_make_seconds() -> None:
    costs = roofline(GRAPH, TOPOLOGY)
    table = variant_table(GRAPH, TOPOLOGY, costs, WEIGHT, {"l0": [AS_IT_IS, SMALL, QUICK]})
    card = TOPOLOGY.devices[0].card
    found = {name: table.entries["l0", name, "phone"].seconds for name in (AS_IS, "bits", "rank")}
    assert found[AS_IS] == costs["l0", "phone"].seconds
    assert found["bits"] == found[AS_IS], "bound by arithmetic"
    assert found["rank"] == pytest.approx(2 * card.call_overhead_s + 250_000 / card.macs_per_s)
    graph, own = chosen(GRAPH, costs, table, {"l0": "rank"})
    assert graph.weight_bytes["l0.weight"] == 50_000
    assert graph.by_name["l0"].scratch_bytes == 64
    assert own["l0", "phone"].seconds == found["rank"]
    assert own["l1", "phone"] == costs["l1", "phone"]
    assert accuracy_drop(table, {"l0": "rank"}) == 0.2


def test_what_was_measured_is_scaled() -> None:
    costs = roofline(GRAPH, TOPOLOGY)
    measured = {key: LayerCost(3 * cost.seconds, "measured") for key, cost in costs.entries.items()}
    candidates = {"l0": [AS_IT_IS, QUICK]}
    plain, scaled = (
        variant_table(GRAPH, TOPOLOGY, table, WEIGHT, candidates)
        for table in (costs, CostTable(measured))
    )
    for key, cost in plain.entries.items():
        assert scaled.entries[key].seconds == pytest.approx(3 * cost.seconds)


def test_beaten_variants_are_left_out() -> None:
    worse = replace(SMALL, variant=replace(SMALL.variant, name="worse", accuracy_drop=0.3))
    same = replace(SMALL, variant=replace(SMALL.variant, name="same"))
    larger = replace(SMALL, variant=replace(SMALL.variant, name="larger", weight_bytes=200_000))
    candidates = {"l0": [AS_IT_IS, SMALL, worse, same, larger]}
    table = variant_table(GRAPH, TOPOLOGY, roofline(GRAPH, TOPOLOGY), WEIGHT, candidates)
    assert [one.name for one in table.variants["l0"]] == [AS_IS, "bits"]
