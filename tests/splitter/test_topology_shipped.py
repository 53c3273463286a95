"""The shipped data: every file loads, and the memory caps force the splits that they promise."""

import re
from functools import cache
from importlib.resources import files
from itertools import permutations

import pytest

from splitter.graph import Graph, Layer, Tensor
from splitter.memory import NODE_OVERHEAD_BYTES, plan_memory
from splitter.schedule import NodeSchedule, Stage
from splitter.topology import PROCESSORS
from splitter.topology_file import load_card, load_topology, shipped_cards, shipped_topologies

# MobileNetV2's inverted residuals (Sandler et al., 2018, table 2): expansion, channels, repeats,
# stride.
_BLOCKS = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


class _Net:
    """Collects the layers of a chain with residuals."""

    def __init__(self, channels: int, side: int) -> None:
        self.tensors = {"x": Tensor("x", (1, channels, side, side))}
        self.layers: list[Layer] = []
        self.weights: dict[str, int] = {}
        self.last = "x"

    def add(self, shape: tuple[int, ...], weights: int, *others: str) -> None:
        name = f"layer{len(self.layers)}"
        self.tensors[f"{name}.y"] = Tensor(f"{name}.y", shape)
        self.weights[f"{name}.w"] = 4 * weights
        self.layers.append(
            Layer(name, "conv2d", (self.last, *others), (f"{name}.y",), (f"{name}.w",))
        )
        self.last = f"{name}.y"


def _mobilenet_v2() -> Graph:
    net = _Net(3, 224)
    side, wide = 112, 32
    net.add((1, 32, side, side), 3 * 32 * 9 + 32)
    for expansion, channels, repeats, stride in _BLOCKS:
        for i in range(repeats):
            block_input = net.last
            inner, step = wide * expansion, stride if i == 0 else 1
            if expansion > 1:
                net.add((1, inner, side, side), wide * inner + inner)
            side //= step
            net.add((1, inner, side, side), inner * 9 + inner)
            residual = (block_input,) if i else ()
            net.add((1, channels, side, side), inner * channels + channels, *residual)
            wide = channels
    net.add((1, 1280, side, side), wide * 1280 + 1280)
    net.add((1, 1280), 0)
    net.add((1, 1000), 1280 * 1000 + 1000)
    graph = Graph("mobilenet_v2", tuple(net.layers), net.tensors, ("x",), (net.last,), net.weights)
    assert graph.faults() == []
    return graph


GRAPH = _mobilenet_v2()


@cache
def _memory_bytes(start: int, stop: int) -> int:
    """What a node needs that runs the layers from ``start`` up to ``stop``."""
    run = GRAPH.layers[start:stop]
    inside = {layer.name for layer in run}
    made = {tensor for layer in run for tensor in layer.outputs}
    read = {tensor for layer in run for tensor in layer.inputs}
    leaves = {
        tensor
        for tensor in made
        if tensor in GRAPH.outputs or any(r.name not in inside for r in GRAPH.consumers[tensor])
    }
    names = tuple(layer.name for layer in run)
    slots = tuple(sorted((read - made) | leaves))
    schedule = NodeSchedule("node", (Stage((), names),), (), (), slots)
    weights = sum(GRAPH.weight_bytes[name] for name in GRAPH.weights_of(names))
    return weights + plan_memory(GRAPH, schedule).activation_bytes() + NODE_OVERHEAD_BYTES


def _chain_fits(caps: tuple[int, ...]) -> bool:
    """Whether the layers fit as one run per node, in order, on nodes with these memory caps."""
    last = len(GRAPH.layers)
    reached = {0}
    for cap in caps:
        reached |= {
            stop
            for start in reached
            for stop in range(start + 1, last + 1)
            if _memory_bytes(start, stop) <= cap
        }
    return last in reached


@pytest.mark.parametrize(("name", "needed"), [("loopback3", 3), ("home", 4)])
def test_memory_caps_force_mobilenet_v2_onto_all_devices(name: str, needed: int) -> None:
    topology = load_topology(name)
    caps = {device.name: device.memory_bytes for device in topology.devices}
    assert len(caps) == needed
    assert _chain_fits(tuple(caps.values()))
    fewer = permutations(caps.values(), needed - 1)
    assert not any(_chain_fits(order) for order in fewer)


def test_every_shipped_topology_loads_under_its_own_name() -> None:
    assert shipped_topologies() == [
        "boards",
        "camera_chain",
        "home",
        "loopback3",
        "phone_edge_cloud",
    ]
    for name in shipped_topologies():
        assert load_topology(name).name == name


def test_home_has_one_device_of_every_processor() -> None:
    processors = [device.card.processor for device in load_topology("home").devices]
    assert sorted(processors) == sorted(PROCESSORS)


@pytest.mark.parametrize("name", shipped_cards())
def test_card_loads_and_gives_a_source_for_every_rate(name: str) -> None:
    card = load_card(name)
    assert card.name == name
    text = (files("topologies") / "devices" / f"{name}.toml").read_text()
    assert "# Peak: " in text
    assert "our assumption" in text.lower()


@pytest.mark.parametrize("name", shipped_cards())
def test_card_is_within_its_stated_peak(name: str) -> None:
    text = (files("topologies") / "devices" / f"{name}.toml").read_text()
    stated = re.search(r"= ([0-9.]+) G MACs/s", text)
    assert stated is not None
    assert load_card(name).macs_per_s == pytest.approx(float(stated[1]) * 1e9 * 0.50, rel=0.01)


def test_phone_uplink_is_slower_than_its_downlink() -> None:
    links = load_topology("phone_edge_cloud").link_between
    up, down = links["phone", "cloud"], links["cloud", "phone"]
    assert up.bandwidth_bytes_per_s < down.bandwidth_bytes_per_s
    assert up.energy_j_per_byte > down.energy_j_per_byte > 0
