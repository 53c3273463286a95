"""A compressed program as nodes: packed bytes on disk, decoded at start or in the kernels."""

from pathlib import Path

import numpy as np
import pytest
import torch
from small_net import PLACEMENT

import splitter
from compress.methods import parse_method
from compress.programs import compress_program
from compress.recipe import Recipe, Rule
from runtime.host.trace import read_trace, trace_name
from splitter.program import Program
from splitter.stored import Decoding, decodes_in_kernel, packed_bytes, stored_program


def compressed(program: Program, method: str) -> Program:
    made, _ = compress_program(program, Recipe((Rule("*", parse_method(method)),)))
    assert made.compressed
    return made


@pytest.fixture(scope="module", params=["kmeans:bits=3", "ternary"])
def small(request: pytest.FixtureRequest, program: Program) -> Program:
    return compressed(program, request.param)


@pytest.mark.parametrize("modes", [("load", {}), ("kernel", {}), ("kernel", {"hub": "load"})])
def test_bundle(
    small: Program, topology: splitter.Topology, tmp_path: Path, modes: tuple[str, dict[str, str]]
) -> None:
    decoding = Decoding(*modes)  # type: ignore[arg-type]
    stored = stored_program(small, decoding)
    plan = splitter.partition(stored, topology, placement=PLACEMENT)
    bundle = splitter.compile(stored, plan, topology, tmp_path / "bundle", decoding=decoding)
    for device, node in bundle.manifest.nodes.items():
        held = small.graph.weights_of(n for n, place in PLACEMENT.items() if place == device)
        floats = sum(small.graph.weight_bytes[w] for w in held if w in small.compressed)
        if decoding.of(device) == "load":
            assert node.decoded_bytes >= floats
        else:
            assert node.decoded_bytes == 0
    with bundle.launch() as deployment:
        answer = deployment(*(value.numpy() for value in small.example_inputs))
    (wanted,) = small(*small.example_inputs)
    np.testing.assert_allclose(answer, wanted.numpy(), rtol=0, atol=1e-5)


def test_what_is_planned(small: Program) -> None:
    packed = packed_bytes(small)
    at_load, in_kernel = (
        stored_program(small, Decoding()),
        stored_program(small, Decoding("kernel")),
    )
    mixed = stored_program(small, Decoding("kernel", {"hub": "load"}))
    for name, size in packed.items():
        floats = small.graph.weight_bytes[name]
        assert at_load.graph.weight_bytes[name] == size + floats
        assert decodes_in_kernel(small, name)
        assert in_kernel.graph.weight_bytes[name] == size
    assert mixed.graph.weight_bytes == at_load.graph.weight_bytes
    biases = set(small.graph.weight_bytes) - set(packed)
    assert all(at_load.graph.weight_bytes[b] == small.graph.weight_bytes[b] for b in biases)


class Wide(torch.nn.Module):
    """Enough weights that a node's resident memory shows how they are held."""

    def __init__(self) -> None:
        super().__init__()
        self.body = torch.nn.Sequential(
            torch.nn.Conv2d(64, 1024, 3, padding=1),
            torch.nn.ReLU(),
            torch.nn.Conv2d(1024, 256, 3, padding=1),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.body(x)


def test_resident_memory(topology: splitter.Topology, tmp_path: Path) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        wide = compressed(splitter.trace(Wide(), (torch.randn(1, 64, 4, 4),)), "ternary")
    peaks = {}
    for mode in ("load", "kernel"):
        decoding = Decoding(mode)  # type: ignore[arg-type]
        stored = stored_program(wide, decoding)
        placement = {layer.name: "server" for layer in stored.graph.layers}
        plan = splitter.partition(stored, topology, placement=placement)
        bundle = splitter.compile(stored, plan, topology, tmp_path / mode, decoding=decoding)
        node = bundle.manifest.nodes["server"]
        floats = 4 * 9 * 1024 * (64 + 256)
        assert node.weights_bytes < floats / 14
        trace = tmp_path / f"trace-{mode}"
        trace.mkdir()
        with bundle.launch(trace_dir=trace) as deployment:
            deployment(*(value.numpy() for value in wide.example_inputs))
        peaks[mode] = read_trace(trace / trace_name("server")).peak_bytes
        activations = bundle.manifest.slots * node.slot_bytes + node.arena_bytes
        planned = node.weights_bytes + node.decoded_bytes + activations + 4_000_000
        assert peaks[mode] <= planned
        if mode == "kernel":
            assert peaks[mode] < floats / 2
    assert peaks["load"] - peaks["kernel"] > floats / 2
