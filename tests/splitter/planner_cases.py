"""Graphs, topologies and cost tables for planner tests: from chains to random DAGs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from random import Random

import networkx as nx

from splitter.costs import CostTable, LayerCost
from splitter.estimate import estimate
from splitter.graph import Graph, Layer, Tensor
from splitter.memory import NODE_OVERHEAD_BYTES
from splitter.topology import Card, Constraints, Device, Link, Topology

MIB = 2**20


def graph_of(
    name: str,
    inputs: Mapping[str, Sequence[int]],
    layers: Sequence[Layer],
    shapes: Mapping[str, Sequence[int]],
    outputs: Sequence[str],
    weight_bytes: Mapping[str, int],
) -> Graph:
    tensors = {n: Tensor(n, tuple(s)) for n, s in {**inputs, **shapes}.items()}
    graph = Graph(name, tuple(layers), tensors, tuple(inputs), tuple(outputs), dict(weight_bytes))
    assert not graph.faults(), graph.faults()
    return graph


class Net:
    """Builds a graph layer by layer."""

    def __init__(self, name: str):
        self.name = name
        self.inputs: dict[str, tuple[int, ...]] = {}
        self.layers: list[Layer] = []
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.weights: dict[str, int] = {}

    def input(self, name: str, *shape: int) -> str:
        self.inputs[name] = shape
        return name

    def layer(
        self,
        name: str,
        reads: Sequence[str],
        *shape: int,
        kind: str = "conv2d",
        macs: int = 0,
        weight: int = 0,
        shared: Sequence[str] = (),
        scratch: int = 0,
    ) -> str:
        if weight:
            self.weights[f"{name}.weight"] = weight
        own = (f"{name}.weight",) if weight else ()
        self.layers.append(
            Layer(name, kind, tuple(reads), (f"{name}.out",), (*own, *shared), macs, scratch, kind)
        )
        self.shapes[f"{name}.out"] = shape
        return f"{name}.out"

    def graph(self, *outputs: str) -> Graph:
        return graph_of(self.name, self.inputs, self.layers, self.shapes, outputs, self.weights)


def chain(n: int, *, width: int = 1000, weight: int = 100_000) -> Graph:
    net = Net(f"chain{n}")
    at = net.input("x", width)
    for i in range(n):
        at = net.layer(f"l{i}", [at], width, macs=1_000_000, weight=weight)
    return net.graph(at)


_MOBILENET = (
    (1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2),
    (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1),
)  # fmt: skip


def mobilenet_like() -> Graph:
    """MobileNetV2's layers: 52 convolutions, pooling, classifier; residuals read by the last."""
    net = Net("mobilenet_like")
    at, c, size = net.input("x", 1, 3, 224, 224), 32, 112
    at = net.layer("stem", [at], 1, 32, size, size, macs=27 * 32 * size**2, weight=4 * 27 * 32)
    block = 0
    for expand, out, repeat, stride in _MOBILENET:
        for r in range(repeat):
            s, hidden, skip = (stride if r == 0 else 1), c * expand, at
            if expand > 1:
                at = net.layer(
                    f"b{block}.expand", [at], 1, hidden, size, size,
                    macs=c * hidden * size**2, weight=4 * c * hidden,
                )  # fmt: skip
            size //= s
            at = net.layer(
                f"b{block}.depthwise", [at], 1, hidden, size, size,
                macs=9 * hidden * size**2, weight=36 * hidden, kind="depthwise",
            )  # fmt: skip
            reads = [at, skip] if s == 1 and c == out else [at]
            at = net.layer(
                f"b{block}.project", reads, 1, out, size, size,
                macs=hidden * out * size**2, weight=4 * hidden * out,
            )  # fmt: skip
            c, block = out, block + 1
    at = net.layer("head", [at], 1, 1280, 7, 7, macs=c * 1280 * 49, weight=4 * c * 1280)
    at = net.layer("pool", [at], 1, 1280, kind="pool", macs=1280 * 49)
    at = net.layer("classifier", [at], 1, 1000, kind="linear", macs=1_280_000, weight=5_124_000)
    return net.graph(at)


def vit_like(blocks: int = 12, width: int = 192, tokens: int = 197) -> Graph:
    """A vision transformer: q, k, v in parallel, residuals, softmax and norm as own layers."""
    net = Net("vit_like")
    at = net.input("x", 1, 3, 224, 224)
    square, t, w = width * width, tokens, width
    at = net.layer("embed", [at], t, w, macs=t * 768 * w, weight=4 * 768 * w)
    for b in range(blocks):
        p = f"b{b}."
        norm = net.layer(p + "norm1", [at], t, w, kind="norm", macs=5 * t * w, weight=8 * w)
        q, k, v = (
            net.layer(p + i, [norm], t, w, kind="linear", macs=t * square, weight=4 * square)
            for i in "qkv"
        )
        score = net.layer(p + "score", [q, k], 3, t, t, kind="matmul", macs=t * t * w)
        soft = net.layer(p + "softmax", [score], 3, t, t, kind="softmax", macs=15 * t * t)
        mix = net.layer(p + "mix", [soft, v], t, w, kind="matmul", macs=t * t * w)
        at = net.layer(
            p + "proj", [mix, at], t, w, kind="linear", macs=t * square, weight=4 * square
        )
        norm = net.layer(p + "norm2", [at], t, w, kind="norm", macs=5 * t * w, weight=8 * w)
        up = net.layer(
            p + "up", [norm], t, 4 * w, kind="linear", macs=4 * t * square, weight=16 * square
        )
        at = net.layer(
            p + "down", [up, at], t, w, kind="linear", macs=4 * t * square, weight=16 * square
        )
    at = net.layer("norm", [at], t, w, kind="norm", macs=5 * t * w)
    return net.graph(net.layer("head", [at], 1000, kind="linear", macs=w * 1000, weight=4000 * w))


def card(name: str, gmacs: float, *, watts: float = 5.0, memory: int = 4096 * MIB) -> Card:
    return Card(
        name=name, description=name, processor="x86_64", mcpu="x86-64-v3", macs_per_s=gmacs * 1e9,
        memory_bytes_per_s=gmacs * 1e9, call_overhead_s=1e-5, memory_bytes=memory, active_w=watts,
    )  # fmt: skip


def device(name: str, gmacs: float, memory: int = 4096 * MIB, watts: float = 5.0) -> Device:
    return Device(name, card(name, gmacs, watts=watts), memory, 1)


def link(a: str, b: str, mbit_s: float, ms: float, nj: float = 10.0) -> Link:
    return Link(a, b, mbit_s * 1e6 / 8, ms / 1e3, nj * 1e-9)


def both(a: str, b: str, mbit_s: float, ms: float) -> tuple[Link, Link]:
    return link(a, b, mbit_s, ms), link(b, a, mbit_s, ms)


def phone_edge_cloud(mbit_s: float = 50.0, memory: Sequence[int] = ()) -> Topology:
    caps = [*memory, *[4096 * MIB] * 3][:3]
    return Topology(
        "phone_edge_cloud", "",
        (
            device("phone", 5, caps[0], 2.0),
            device("edge", 40, caps[1], 30.0),
            device("cloud", 300, caps[2], 150.0),
        ),
        (
            *both("phone", "edge", mbit_s, 2.0),
            *both("edge", "cloud", 500, 10.0),
            *both("phone", "cloud", mbit_s / 2, 20.0),
        ),
        "phone", "phone",
    )  # fmt: skip


def three_equal(memory: int = 9 * MIB) -> Topology:
    names = ("camera", "hub", "server")
    links = tuple(
        link(a, b, 8000, 0.05) for a in names for b in names if a != b
    )  # fmt: skip
    return Topology(
        "three_equal", "", tuple(device(n, 10, memory) for n in names), links, "camera", "camera"
    )


def costs_of(graph: Graph, topology: Topology) -> CostTable:
    """Work over speed plus a fixed overhead."""
    return CostTable(
        {
            (layer.name, d.name): LayerCost(
                layer.macs / d.card.macs_per_s + d.card.call_overhead_s, "roofline"
            )
            for layer in graph.layers
            for d in topology.devices
        }
    )


def random_graph(random: Random, n: int) -> Graph:
    """A DAG with several inputs and outputs, branches, shared weights and scratch."""
    net = Net(f"random{n}")
    known = [net.input(f"x{i}", random.randint(1, 40_000)) for i in range(random.randint(1, 2))]
    net.weights["shared"] = random.randint(1, 300_000)
    for i in range(n):
        recent = known[-4:]
        reads = random.sample(recent, k=min(len(recent), random.choice((1, 1, 1, 2, 2, 3))))
        known.append(
            net.layer(
                f"l{i}",
                reads,
                random.randint(1, 40_000),
                macs=random.randint(0, 20_000_000),
                weight=random.choice((0, random.randint(1, 400_000))),
                shared=("shared",) if random.random() < 0.3 else (),
                scratch=random.choice((0, 0, random.randint(1, 100_000))),
            )
        )
    read = {t for layer in net.layers for t in layer.inputs}
    loose = [f"l{i}.out" for i in range(n) if f"l{i}.out" not in read]
    some = [f"l{i}.out" for i in range(n) if random.random() < 0.15]
    return net.graph(*dict.fromkeys((*loose, *some)))


def random_topology(random: Random, m: int, *, tight: bool) -> Topology:
    """Devices with asymmetric links, some pairs only over a relay, some not connected."""
    names = [f"d{i}" for i in range(m)]
    pairs = {(a, b) for a in names for b in names if a != b and random.random() < 0.6}
    if random.random() < 0.8:
        pairs |= {pair for a, b in pairwise(names) for pair in ((a, b), (b, a))}
    links = tuple(
        link(a, b, random.choice((20, 100, 1000)), random.choice((0.0, 0.1, 1)), random.random())
        for a, b in sorted(pairs)
    )
    devices = tuple(
        device(
            name,
            random.choice((1, 2, 5, 20)),
            NODE_OVERHEAD_BYTES + random.randint(100_000, 1_800_000) if tight else 64 * MIB,
            random.uniform(1, 20),
        )
        for name in names
    )
    return Topology(
        "random", "", devices, links, random.choice(names), random.choice(names), Constraints()
    )


def at_the_limit(random: Random, graph: Graph, topology: Topology) -> Topology:
    """Memory limits that some random placement just meets or just misses."""
    names = [d.name for d in topology.devices]
    caps = dict.fromkeys(names, 0)
    for _ in range(random.choice((1, 1, 2))):
        placement = {layer.name: random.choice(names) for layer in graph.layers}
        try:
            loads = estimate(graph, topology, costs_of(graph, topology), placement, 2).devices
        except nx.NetworkXNoPath:
            return topology
        caps = {load.device: max(caps[load.device], load.memory_bytes) for load in loads}
    less = random.choice((0, 0, 1, 64, 1000))
    return replace(
        topology,
        devices=tuple(
            replace(d, memory_bytes=max(caps[d.name] - less, 1)) for d in topology.devices
        ),
    )


def scattered(random: Random, graph: Graph, topology: Topology) -> Topology:
    """Sometimes inputs and outputs on devices of their own, and links that share a medium."""
    names = [d.name for d in topology.devices]
    if random.random() < 0.3:
        sources = tuple((tensor, random.choice(names)) for tensor in graph.inputs)
        sinks = tuple((t, random.choice(names)) for t in graph.outputs if random.random() < 0.7)
        topology = replace(topology, sources=sources, sinks=sinks)
    if random.random() < 0.3:
        links = tuple(replace(k, shared=random.choice(("", "air", "air"))) for k in topology.links)
        topology = replace(topology, links=links)
    return topology


@dataclass(frozen=True)
class Case:
    """One random planning problem."""

    graph: Graph
    topology: Topology
    costs: CostTable
    constraints: Constraints
    slots: int


def random_case(seed: int) -> Case:
    """Small enough to enumerate: at most 3^5 or 2^7 placements."""
    random = Random(seed)
    m = random.choice((2, 3))
    n = random.randint(2, 7 if m == 2 else 5)
    graph = random_graph(random, n)
    topology = random_topology(random, m, tight=random.random() < 0.7)
    if random.random() < 0.4:
        topology = at_the_limit(random, graph, topology)
    names = [d.name for d in topology.devices]
    rules = Constraints()
    if random.random() < 0.3:
        rules += Constraints(pins=((f"l{random.randrange(n)}", random.choice(names)),))
    if random.random() < 0.3:
        rules += Constraints(bans=((f"l{random.randrange(n)}", random.choice(names)),))
    if random.random() < 0.2:
        rules += Constraints(private_input=True)
    if random.random() < 0.3:
        rules += Constraints(max_sent_bytes=random.randint(0, 500_000))
    slots = random.choice((1, 2, 3))
    topology = scattered(random, graph, topology)
    return Case(graph, topology, costs_of(graph, topology), rules, slots)
