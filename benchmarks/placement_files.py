"""Placement problems in the published format, of the shapes of networks that it is used for.

    python -m benchmarks.placement_files DIR [--seed N]
    python -m benchmarks.planner DIR

Each network is written as one request and as a training step, with plenty of memory and with hardly
enough. Times and sizes are drawn at random; everything follows from the seed.
"""

import argparse
import json
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

PLENTY_BYTES = 17e9
_ROOM = 1.15
"""Memory of all accelerators over what the network needs, where memory is scarce."""
_LOOSE = 0.05
"""Part of the backward nodes that may run elsewhere than their forward node."""
_SLOWER = (18.0, 28.0)
"""Time on a processor over that on an accelerator."""


@dataclass
class Net:
    """A file's nodes and edges under construction."""

    random: Random
    nodes: list[dict[str, Any]] = field(default_factory=list)
    edges: list[dict[str, Any]] = field(default_factory=list)
    cost: list[float] = field(default_factory=list)

    def node(
        self, reads: Sequence[int], ms: float, size: float, cost: float, color: int | None = None
    ) -> int:
        """A node that takes ``ms`` on an accelerator and whose output costs ``cost`` to move."""
        number = len(self.nodes)
        node = {
            "id": number,
            "supportedOnFpga": True,
            "cpuLatency": ms * self.random.uniform(*_SLOWER),
            "fpgaLatency": ms,
            "isBackwardNode": False,
            "size": round(size),
        }
        self.nodes.append(node if color is None else {**node, "colorClass": color})
        self.cost.append(cost)
        self.edges += [
            {"sourceId": u, "destId": number, "cost": self.cost[u]} for u in dict.fromkeys(reads)
        ]
        return number

    def layer(self, reads: Sequence[int], ms: float, cost: float) -> int:
        """A node with its weights as another one that must be with it."""
        color = len(self.nodes)
        weights = self.node([], 0.0, self.random.uniform(1e5, 4e6), 0.05, color)
        return self.node([*reads, weights], ms, 1e6, cost, color)

    def steps(self, at: int, count: int, cost: float) -> int:
        """Small nodes one after the other."""
        for _ in range(count):
            at = self.node([at], self.random.uniform(0.02, 0.1), 1e4, cost)
        return at

    def train(self) -> None:
        """A backward node for each node, mostly on the same device."""
        readers: dict[int, list[int]] = defaultdict(list)
        makers: dict[int, list[int]] = defaultdict(list)
        for edge in self.edges:
            readers[edge["sourceId"]].append(edge["destId"])
            makers[edge["destId"]].append(edge["sourceId"])
        back: dict[int, int] = {}
        for number in reversed(range(len(self.nodes))):
            forward = self.nodes[number]
            color = forward.setdefault("colorClass", number)
            loose = self.random.random() < _LOOSE
            reads = [*(back[reader] for reader in readers[number]), *makers[number]]
            ms = forward["fpgaLatency"] * self.random.uniform(1.0, 2.2)
            back[number] = self.node(
                reads, ms, forward["size"], self.cost[number], None if loose else color
            )
            self.nodes[-1]["isBackwardNode"] = True

    def problem(self, accelerators: int, processors: int, *, scarce: bool) -> dict[str, Any]:
        """The content of a file."""
        needed = sum(node["size"] for node in self.nodes)
        return {
            "maxSizePerFPGA": _ROOM * needed / accelerators if scarce else PLENTY_BYTES,
            "maxFPGAs": accelerators,
            "maxCPUs": processors,
            "nodes": self.nodes,
            "edges": self.edges,
        }


def transformer(net: Net, blocks: int = 29) -> None:
    """Attention in parallel branches, one mask for all blocks, weights as nodes of their own."""
    draw = net.random.uniform
    mask = net.steps(net.node([], 0.0, 1e3, 0.001), 2, 0.002)
    at = net.steps(net.layer([net.node([], 0.0, 1e3, 0.001)], 0.5, 1.2), 2, 1.2)
    for _ in range(blocks):
        query, key, value = (net.steps(net.layer([at], 0.8, 1.2), 3, 1.2) for _ in range(3))
        score = net.steps(net.node([query, key], 0.9, 1e6, 2.0), 1, 2.0)
        score = net.steps(net.node([score, mask], 0.2, 0, 2.0), 2, 2.0)
        mixed = net.steps(net.node([score, value], 0.9, 1e6, 1.2), 2, 1.2)
        at = net.steps(net.node([at, net.layer([mixed], 0.8, 1.2)], 0.1, 0, 1.2), 1, 1.2)
        wide = net.steps(net.layer([at], draw(2, 4), 4.8), 1, 4.8)
        at = net.steps(net.node([at, net.layer([wide], draw(2, 4), 1.2)], 0.1, 0, 1.2), 1, 1.2)
    net.layer([net.layer([at], 9.0, 5.0)], 0.1, 0.1)


def inception(net: Net, modules: int = 13) -> None:
    """Modules of three or four branches of unequal length."""

    def conv(at: int) -> int:
        size, cost = net.random.uniform(1e5, 4e6), net.random.uniform(0.2, 1.5)
        return net.steps(net.node([at], net.random.uniform(0.2, 2.0), size, cost), 2, cost)

    at = net.node([], 0.0, 0, 0.8)
    for _ in range(6):
        at = conv(at)
    for _ in range(modules):
        ends = []
        for length in net.random.choice([(1, 3, 3, 2), (2, 2, 3, 2), (2, 3, 3, 1), (3, 4, 3)]):
            end = at
            for _ in range(length):
                end = conv(end)
            ends.append(end)
        at = net.node(ends, 0.1, 0, 1.5)
    net.node([at], 0.2, 8e6, 0.01)


def recurrent(net: Net, rows: int = 3, steps: int = 26) -> None:
    """Rows of cells, some of which read the row above, and a decoder after all of them."""
    draw = net.random.uniform
    ends: list[int] = []
    above: list[int] = []
    for _ in range(rows):
        at, row = net.node([], 0.01, 0, 0.3), []
        for step in range(steps):
            reads = [at, above[max(0, step - 5)]] if above and net.random.random() < 0.1 else [at]
            at = net.node(reads, draw(0.5, 3.0), draw(1e6, 2e7), draw(0.1, 1.0))
            row.append(at)
        above = row
        ends.append(at)
    at = net.node(ends, 0.1, 0, 1.0)
    for _ in range(8):
        at = net.node([at], draw(0.5, 3.0), 1e7, draw(0.1, 1.0))


def residual(net: Net, blocks: int = 16) -> None:
    """Bottleneck blocks with shortcuts, weights as nodes of their own."""
    at = net.layer([net.node([], 0.0, 0, 0.6)], 2.0, 0.9)
    for block in range(blocks):
        end = at
        for _ in range(3):
            end = net.steps(net.layer([end], net.random.uniform(0.5, 2.0), 0.9), 2, 0.9)
        skip = net.layer([at], 1.0, 0.9) if block % 4 == 0 else at
        at = net.steps(net.node([end, skip], 0.1, 0, 0.9), 1, 0.9)
    net.layer([at], 0.3, 0.01)


def tangled(net: Net, nodes: int = 100) -> None:
    """Nodes that read some of the last three."""
    draw = net.random.uniform
    for number in range(nodes):
        recent = range(max(0, number - 3), number)
        reads = [u for u in recent if net.random.random() < 0.5] or list(recent)[-1:]
        ms = net.random.choice([0.0, draw(0.01, 0.1), draw(0.1, 3.0)])
        net.node(reads, ms, draw(0, 1e7), net.random.choice([0.0, 0.01, draw(0.1, 2.0)]))


NETWORKS: dict[str, Callable[[Net], None]] = {
    "inception": inception,
    "recurrent": recurrent,
    "residual": residual,
    "tangled": tangled,
    "transformer": transformer,
}


def problems(seed: int = 0) -> dict[str, dict[str, Any]]:
    """Files by name."""
    found: dict[str, dict[str, Any]] = {}
    for name, build in NETWORKS.items():
        for kind in ("inference", "training"):
            for scarce in (False, True):
                net = Net(Random(f"{seed} {name}"))
                build(net)
                if kind == "training":
                    net.train()
                memory = "_scarce" if scarce else ""
                found[f"{name}_{kind}{memory}"] = net.problem(6, 1, scarce=scarce)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.placement_files",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folder", type=Path, metavar="DIR")
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    chosen.folder.mkdir(parents=True, exist_ok=True)
    for name, data in problems(chosen.seed).items():
        (chosen.folder / f"{name}.json").write_text(json.dumps(data) + "\n")


if __name__ == "__main__":
    main()
