"""The roofline model, against figures worked out by hand."""

from dataclasses import replace

import pytest

from splitter.cost.roofline import layer_seconds, roofline, touched_bytes
from splitter.graph import Graph, Layer, Tensor
from splitter.topology import Card, Device, Topology

CARD = Card("c", "", "x86_64", "x", 1e9, 1e8, 1e-5, 10**9, 1.0, threads=4)
DEVICE = Device("d", CARD, 10**9, 4)
GRAPH = Graph(
    "g",
    (
        Layer("heavy", "conv2d", ("x",), ("h",), ("w",), macs=2_000_000),
        Layer("light", "relu", ("h",), ("l",)),
        Layer("look", "embedding", ("l",), ("y",), ("table",)),
    ),
    {name: Tensor(name, (1000,)) for name in ("x", "h", "l", "y")},
    ("x",),
    ("y",),
    {"w": 2_000, "table": 10**9},
)


def test_arithmetic_bound_layer() -> None:
    assert layer_seconds(GRAPH, GRAPH.by_name["heavy"], DEVICE) == pytest.approx(2e-3 + 1e-5)


def test_arithmetic_slows_with_fewer_threads() -> None:
    one = replace(DEVICE, threads=1)
    assert layer_seconds(GRAPH, GRAPH.by_name["heavy"], one) == pytest.approx(8e-3 + 1e-5)


def test_memory_bound_layer() -> None:
    assert touched_bytes(GRAPH, GRAPH.by_name["heavy"]) == 10_000
    assert layer_seconds(GRAPH, GRAPH.by_name["light"], DEVICE) == pytest.approx(8e-5 + 1e-5)


def test_a_lookup_reads_only_the_rows_it_returns() -> None:
    assert touched_bytes(GRAPH, GRAPH.by_name["look"]) == 12_000


def test_table_is_complete() -> None:
    fast = Device("e", replace(CARD, macs_per_s=1e12), 10**9, 4)
    topology = Topology("t", "", (DEVICE, fast), (), "d", "d")
    table = roofline(GRAPH, topology)
    assert set(table.entries) == {(layer.name, d) for layer in GRAPH.layers for d in ("d", "e")}
    assert {cost.source for cost in table.entries.values()} == {"roofline"}
    assert table.seconds("heavy", "e") < table.seconds("heavy", "d")
