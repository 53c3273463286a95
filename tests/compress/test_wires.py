"""Encoded links: what crosses them is small, and the program says what that costs."""

from collections.abc import Mapping
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import splitter
from compress.wire_plan import coding_topology, plan_encoded, with_encoding
from compress.wires import WireEncoding, as_sent, encode_wires, relative_error
from splitter.cost.roofline import roofline
from splitter.schedule import transfers_of


class Branches(nn.Module):
    """A tensor read on two devices, an input read on two, and outputs on two."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.left = nn.Conv2d(8, 8, 3, padding=1)
        self.right = nn.Conv2d(8, 8, 1)
        self.head = nn.Linear(8, 4)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        y = torch.relu(self.stem(x))
        z = self.left(y) + self.right(y)
        return self.head(z.mean((2, 3))), torch.relu(z * 2 + x[:, :1])


@pytest.fixture(scope="module")
def branches() -> splitter.Program:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return splitter.trace(Branches(), (torch.randn(2, 3, 9, 7),), name="branches")


@pytest.mark.parametrize(("encoding", "size", "error"), [("fp16", 2, 2e-3), ("int8", 1, 0.1)])
def test_what_crosses(
    branches: splitter.Program, tmp_path: Path, encoding: str, size: int, error: float
) -> None:
    topology = splitter.load_topology("loopback3")
    names = list(topology.by_name)
    placement = {layer.name: names[i % len(names)] for i, layer in enumerate(branches.graph.layers)}
    requests = [branches.example_inputs]
    made = encode_wires(branches, topology, placement, encoding, requests)  # type: ignore[arg-type]
    assert made.program.graph.faults() == []
    assert made.program.graph.outputs == branches.graph.outputs
    before = transfers_of(branches.graph, topology, placement)
    after = transfers_of(made.program.graph, topology, made.placement)
    assert sum(t.bytes for t in before) == 4 // size * sum(t.bytes for t in after)
    assert 0 < relative_error(branches, made.program, requests) < error
    plan = splitter.partition(made.program, topology, placement=made.placement)
    bundle = splitter.compile(made.program, plan, topology, tmp_path / "bundle")
    with bundle.launch() as deployment:
        answers = deployment(*(value.numpy() for value in branches.example_inputs))
    for found, wanted in zip(answers, made.program(*branches.example_inputs), strict=True):
        np.testing.assert_allclose(found, wanted.numpy(), rtol=0, atol=1e-4)


def test_nothing_crosses(branches: splitter.Program) -> None:
    topology = splitter.load_topology("loopback3")
    source = topology.source_of(branches.graph.inputs[0])
    placement = {layer.name: source for layer in branches.graph.layers}
    if topology.sink_of(branches.graph.outputs[0]) == source:
        made = encode_wires(branches, topology, placement, "fp16", [])
        assert made.program is branches
        assert made.tensors == ()


def slow(mbit_s: float) -> splitter.Topology:
    """A weak source and sink, a strong helper, and a link between them."""
    found = splitter.load_topology("phone_edge_cloud")
    devices = tuple(d for d in found.devices if d.name != "cloud")
    names = {d.name for d in devices}
    links = tuple(
        replace(link, bandwidth_bytes_per_s=mbit_s * 125e3, latency_s=1e-5)
        for link in found.links
        if {link.source, link.target} <= names
    )
    return replace(found, devices=devices, links=links)


def evaluated(
    program: splitter.Program, topology: splitter.Topology, placement: Mapping[str, str]
) -> splitter.Plan:
    return splitter.partition(
        *(program, topology), costs=roofline(program.graph, topology), placement=placement
    )


class Chain(nn.Module):
    """Three layers, of which the last makes the smallest tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 16, 3, stride=2)
        self.second = nn.Conv2d(16, 32, 3)
        self.third = nn.Conv2d(32, 4, 3, stride=2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.third(torch.relu(self.second(torch.relu(self.first(x)))))


@pytest.mark.parametrize(
    ("encoding", "mbit_s"), [("fp16", 20.0), ("int8", 60.0), ("int8", 400.0), ("fp16", 5000.0)]
)
def test_plans_know(encoding: WireEncoding, mbit_s: float) -> None:
    chain = splitter.trace(Chain().eval(), (torch.randn(1, 3, 96, 96),))
    topology, requests = slow(mbit_s), [chain.example_inputs]
    costs = roofline(chain.graph, topology)
    light, coded, whole = (
        splitter.partition(graph, where, costs=costs)
        for graph, where in (
            (as_sent(chain.graph, encoding), topology),
            (as_sent(chain.graph, encoding), coding_topology(topology, encoding)),
            (chain.graph, topology),
        )
    )
    asked = (encoding, requests, evaluated)
    found = plan_encoded(chain, topology, *asked, (light, coded), whole)
    layers = [layer.name for layer in chain.graph.layers]
    every = [
        with_encoding(chain, topology, dict(zip(layers, places, strict=True)), *asked)
        for places in product(topology.by_name, repeat=len(layers))
    ]
    best = min(one.plan.estimate.latency_s for one in every)
    reached = found.plan.estimate.latency_s
    assert found.plan.proof.bound <= best * (1 + 1e-9)
    assert found.other is not None
    assert reached <= found.other
    assert reached == pytest.approx(best, rel=0.02)
