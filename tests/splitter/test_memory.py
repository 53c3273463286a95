"""Layouts: nothing that lives at the same time shares a byte."""

from itertools import pairwise
from random import Random

from hypothesis import given
from hypothesis import strategies as st
from planner_cases import Net, chain, mobilenet_like, phone_edge_cloud, random_graph, vit_like

from splitter.graph import Graph
from splitter.memory import (
    ALIGNMENT_BYTES,
    Block,
    MemoryLayout,
    aligned,
    pack,
    plan_memory,
    scratch_name,
)
from splitter.schedule import NodeSchedule, node_schedules

BLOCKS = st.lists(
    st.tuples(st.integers(0, 1000), st.integers(0, 20), st.integers(0, 20)), max_size=25
).map(
    lambda raw: [Block(f"b{i}", size, min(a, b), max(a, b)) for i, (size, a, b) in enumerate(raw)]
)


@given(BLOCKS)
def test_packed_blocks_that_live_together_are_apart(blocks: list[Block]) -> None:
    offsets = pack(blocks)
    assert set(offsets) == {block.name for block in blocks}
    for one in blocks:
        assert offsets[one.name] % ALIGNMENT_BYTES == 0
        assert offsets[one.name] >= 0
        for other in blocks:
            if one.name < other.name and one.first <= other.last and other.first <= one.last:
                apart = (
                    offsets[one.name] + one.bytes <= offsets[other.name]
                    or offsets[other.name] + other.bytes <= offsets[one.name]
                )
                assert apart


def test_pack_reuses_what_has_died() -> None:
    blocks = [Block("a", 640, 0, 1), Block("b", 640, 1, 2), Block("c", 640, 2, 3)]
    assert sorted(pack(blocks).values()) == [0, 0, 640]


@given(st.integers(0, 10**9))
def test_every_byte_of_a_node_is_its_own_while_needed(seed: int) -> None:
    """Replay a node step by step on its layout and look for two owners of one byte."""
    random = Random(seed)
    graph = random_graph(random, random.randint(1, 14))
    names = ("phone", "edge", "cloud")
    placement = {layer.name: random.choice(names) for layer in graph.layers}
    for schedule in node_schedules(graph, phone_edge_cloud(), placement):
        check_layout(graph, schedule, plan_memory(graph, schedule))


def check_layout(graph: Graph, schedule: NodeSchedule, layout: MemoryLayout) -> None:
    spans = sorted((offset, graph.tensors[name].bytes) for name, offset in layout.slot.items())
    for (start, size), (after, _) in pairwise(spans):
        assert start + size <= after
    assert all(start + size <= layout.slot_bytes for start, size in spans)
    for stage in schedule.stages:
        live: dict[str, tuple[int, int]] = {}
        for at, name in enumerate(stage.layers):
            layer = graph.by_name[name]
            assert all(t in layout.slot or t in live for t in layer.inputs)
            made = [t for t in layer.outputs if t not in layout.slot]
            live |= {t: (layout.arena[t], graph.tensors[t].bytes) for t in made}
            now = dict(live)
            if layer.scratch_bytes:
                now["scratch"] = layout.arena[scratch_name(name)], layer.scratch_bytes
            check_apart(now, layout.arena_bytes)
            rest = {t for later in stage.layers[at + 1 :] for t in graph.by_name[later].inputs}
            live = {t: span for t, span in live.items() if t in rest}


def check_apart(spans: dict[str, tuple[int, int]], arena_bytes: int) -> None:
    end = 0
    for start, size in sorted(spans.values()):
        assert start >= end
        end = start + size
    assert end <= arena_bytes


def test_slots_multiply_only_what_outlives_a_stage() -> None:
    graph, topology = chain(4, width=100), phone_edge_cloud()
    placement = dict.fromkeys((f"l{i}" for i in range(4)), "phone")
    layout = plan_memory(graph, node_schedules(graph, topology, placement)[0])
    size = aligned(400)
    assert layout.slot_bytes == 2 * size
    assert layout.arena_bytes == 2 * size
    assert layout.activation_bytes(5) == 12 * size


def test_real_shapes_pack_without_waste() -> None:
    for graph in (mobilenet_like(), vit_like(4)):
        placement = {layer.name: "phone" for layer in graph.layers}
        schedule = node_schedules(graph, phone_edge_cloud(), placement)[0]
        assert plan_memory(graph, schedule).arena_bytes == largest_live_sum(graph)


def largest_live_sum(graph: Graph) -> int:
    kept = {*graph.inputs, *graph.outputs}
    most = 0
    for step, layer in enumerate(graph.layers):
        live = [
            t
            for t in graph.tensors
            if t not in kept
            and graph.index[graph.producer[t].name] <= step
            and max(graph.index[r.name] for r in graph.consumers[t]) >= step
        ]
        size = sum(aligned(graph.tensors[t].bytes) for t in live)
        most = max(most, size + aligned(layer.scratch_bytes))
    return most


def test_layout_of_a_layer_with_scratch() -> None:
    net = Net("scratch")
    graph = net.graph(net.layer("l", [net.input("x", 16)], 16, scratch=100))
    schedule = node_schedules(graph, phone_edge_cloud(), {"l": "phone"})[0]
    layout = plan_memory(graph, schedule)
    assert layout.arena == {"l/scratch": 0}
    assert layout.arena_bytes == aligned(100)
