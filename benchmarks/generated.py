"""Generated planning problems: families of networks of any size, unequal devices, sparse links.

Everything follows from a seed, so that tests and benchmarks speak of the same problems.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from random import Random

from splitter.graph import Graph, Layer, Tensor
from splitter.topology import Card, Device, Link, Topology

MEGA = 1_000_000


@dataclass
class _Net:
    """A graph under construction."""

    random: Random
    layers: list[Layer] = field(default_factory=list)
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    weights: dict[str, int] = field(default_factory=dict)

    def layer(self, reads: Sequence[str], channels: int, side: int, *, work: int = 9) -> str:
        """A layer of ``channels`` planes that does ``work`` MACs per output and input channel."""
        name = f"l{len(self.layers)}"
        depth = min(channels, 64)
        self.weights[f"{name}.w"] = 4 * work * depth * channels
        self.layers.append(
            Layer(
                name=name,
                kind="conv2d",
                inputs=tuple(dict.fromkeys(reads)),
                outputs=(f"{name}.y",),
                weights=(f"{name}.w",),
                macs=work * depth * channels * side * side,
                signature=f"conv {channels} {side} {work}",
            )
        )
        self.shapes[f"{name}.y"] = (1, channels, side, side)
        return f"{name}.y"


_INPUT = "x"


def chain(net: _Net, layers: int) -> str:
    """Residual blocks one after the other, a little narrower in space as they go."""
    at, channels = _INPUT, 32
    while len(net.layers) < layers:
        side = max(7, 56 - 49 * len(net.layers) // layers)
        skip = at = net.layer([at], channels, side)
        for _ in range(net.random.randint(1, 4)):
            at = net.layer([at], channels, side, work=net.random.choice((1, 9)))
        at = net.layer([at, skip], channels, side, work=1)
    return at


def unet(net: _Net, layers: int) -> str:
    """Down and up again, each level read once more at its mirror image."""
    levels = max(2, min(60, layers // 20))
    each = max(1, layers // (2 * levels))
    at, skips, channels = _INPUT, list[str](), net.random.choice((16, 24, 32))
    for level in range(levels):
        side = max(7, 64 - 57 * level // levels)
        for _ in range(each):
            at = net.layer([at], channels, side, work=net.random.choice((4, 9)))
        skips.append(at)
    for level in reversed(range(levels)):
        side = max(7, 64 - 57 * level // levels)
        at = net.layer([at, skips[level]], channels, side, work=1)
        for _ in range(each - 1):
            at = net.layer([at], channels, side, work=net.random.choice((4, 9)))
    return at


def dense(net: _Net, layers: int) -> str:
    """Dense blocks: every layer reads all earlier ones of its block."""
    at = _INPUT
    while len(net.layers) < layers:
        side, made = net.random.choice((7, 14, 28)), [net.layer([at], 48, 14, work=1)]
        for _ in range(net.random.randint(6, 14)):
            made.append(net.layer(made, 12, side))
        at = net.layer(made, 48, side, work=1)
    return at


def experts(net: _Net, layers: int) -> str:
    """Blocks of attention and a mixture of experts, all of which run side by side."""
    at = _INPUT
    while len(net.layers) < layers:
        query, key, value = (net.layer([at], 96, 14, work=4) for _ in range(3))
        at = net.layer([net.layer([query, key], 64, 14, work=2), value], 96, 14, work=4)
        route = net.layer([at], 8, 14, work=1)
        made = []
        for _ in range(net.random.choice((4, 8, 16))):
            made.append(net.layer([net.layer([at, route], 192, 14, work=4)], 96, 14, work=4))
        at = net.layer([at, *made], 96, 14, work=1)
    return at


def nas(net: _Net, layers: int) -> str:
    """A random DAG as architecture searches draw them: mostly local edges, some far ones."""
    made, unread = [_INPUT], list[str]()
    for _ in range(layers - 1):
        near = made[-6:]
        reads = net.random.sample(near, min(len(near), net.random.choice((1, 1, 2, 2, 3))))
        if net.random.random() < 0.02:
            reads.append(net.random.choice(made))
        # Nothing is computed in vain: what nobody has read for a while is read now.
        reads += [tensor for tensor in unread if tensor not in near]
        channels, side = net.random.choice((8, 16, 32, 64)), net.random.choice((7, 14, 28))
        unread = [tensor for tensor in unread if tensor not in reads]
        made.append(net.layer(reads, channels, side, work=net.random.choice((1, 9, 25))))
        unread.append(made[-1])
    return net.layer(unread, 16, 7, work=1)


FAMILIES: Mapping[str, Callable[[_Net, int], str]] = {
    "chain": chain,
    "unet": unet,
    "dense": dense,
    "experts": experts,
    "nas": nas,
}


def generated_graph(family: str, layers: int, seed: int = 0) -> Graph:
    """A network of about ``layers`` layers of one of `FAMILIES`."""
    net = _Net(Random(f"{family} {layers} {seed}"))
    output = FAMILIES[family](net, layers)
    shapes: dict[str, tuple[int, ...]] = {_INPUT: (1, 3, 64, 64), **net.shapes}
    tensors = {name: Tensor(name, shape) for name, shape in shapes.items()}
    name = f"{family}_{len(net.layers)}"
    return Graph(name, tuple(net.layers), tensors, (_INPUT,), (output,), dict(net.weights))


def generated_topology(devices: int, seed: int = 0, *, memory_bytes: int = 2**34) -> Topology:
    """Unequal devices on a random tree with a few more links; one group shares a radio channel.

    Speeds and bandwidths spread over a factor of 60, up and down differ, and few devices are
    neighbours, so that most tensors are relayed. The input is born on the slowest device, the
    result wanted on the second one. ``memory_bytes``: of all devices together.
    """
    random = Random(f"topology {devices} {seed}")
    speeds = sorted(5e9 * 60 ** random.random() for _ in range(devices))
    shares = [random.uniform(0.5, 2.0) for _ in range(devices)]
    memory = [int(memory_bytes * share / sum(shares)) for share in shares]
    made = tuple(
        Device(f"d{i}", _card(f"card{i}", speed, size), size, 1)
        for i, (speed, size) in enumerate(zip(speeds, memory, strict=True))
    )
    pairs = {(random.randrange(max(0, i - 4), i), i) for i in range(1, devices)}
    while len(pairs) < min(devices * (devices - 1) // 2, devices + devices // 3):
        low, high = sorted(random.sample(range(devices), 2))
        pairs.add((low, high))
    links = [link for low, high in sorted(pairs) for link in _two_way(random, low, high)]
    return Topology(f"generated{devices}", "", made, tuple(links), "d0", "d1")


def _card(name: str, macs_per_s: float, memory_bytes: int) -> Card:
    return Card(
        name=name,
        description="generated",
        processor="x86_64",
        mcpu="x86-64-v3",
        macs_per_s=macs_per_s,
        memory_bytes_per_s=macs_per_s / 2,
        call_overhead_s=5e-6,
        memory_bytes=memory_bytes,
        active_w=2 + macs_per_s / 1e10,
    )


def _two_way(random: Random, low: int, high: int) -> tuple[Link, Link]:
    up = 1.25e7 * 100 ** random.random()
    down = up * random.uniform(1.0, 3.0)
    latency_s = random.choice((5e-5, 2e-4, 1e-3))
    radio = "radio" if random.random() < 0.15 else ""
    return (
        Link(f"d{low}", f"d{high}", up, latency_s, 1e-9, radio),
        Link(f"d{high}", f"d{low}", down, latency_s, 1e-9, radio),
    )


def tensor_bytes(graph: Graph) -> int:
    """Bytes of all tensors of one request."""
    return sum(4 * prod(tensor.shape) for tensor in graph.tensors.values())
