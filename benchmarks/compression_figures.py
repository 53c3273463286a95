"""Size, work, memory and time of a compressed network, as its node has them.

Time and memory depend on the layers' shapes and the weights' forms alone, so that they are measured
once for each; networks that differ in their weights' values only share them.
"""

import statistics
import tempfile
from pathlib import Path
from typing import Any

import torch

import splitter
from benchmarks.compression_runs import Outcome, Schedule, cached_json, split
from benchmarks.kernels import WARM_UP, device, stage_seconds
from compress.compare import stored_bytes
from compress.programs import attach
from runtime.build.kernels import compiler_key
from runtime.host.trace import read_trace, trace_name
from splitter.program import Program
from splitter.topology import Topology
from splitter.tracing.trace import trace

RUNS = 60


def figures(outcome: Outcome, schedule: Schedule, *, measured: bool = True) -> dict[str, Any]:
    """``disk_bytes``, ``macs``, and if ``measured`` ``resident_bytes`` and ``latency_ms``."""
    model, tensors = outcome.network(schedule)
    program = attach(trace(model, (split(schedule.data).test.images[:1],)), tensors)
    found = {"disk_bytes": stored_bytes(program), "macs": program.graph.macs}
    if not measured:
        return {**found, "resident_bytes": None, "latency_ms": None}
    return {**found, **node_figures(program)}


def node_figures(program: Program) -> dict[str, Any]:
    """Peak memory and median latency of the node that computes all of ``program``, one thread."""
    forms = {name: tensor.describe() for name, tensor in program.compressed.items()}
    key = {"compiler": compiler_key(), "graph": program.graph.to_dict(), "forms": forms}
    return cached_json("node", key, lambda: _measure(program))


def _measure(program: Program) -> dict[str, Any]:
    local = device(1)
    topology = Topology("local", "one node", (local,), (), "local", "local")
    placement = {layer.name: "local" for layer in program.graph.layers}
    plan = splitter.partition(program, topology, placement=placement)
    inputs = [value.numpy() for value in program.example_inputs]
    with tempfile.TemporaryDirectory() as scratch, torch.no_grad():
        folder = Path(scratch)
        bundle = splitter.compile(program, plan, topology, folder / "bundle")
        with bundle.launch(trace_dir=folder) as deployment:
            for _ in range(WARM_UP + RUNS):
                deployment(*inputs)
        record = read_trace(folder / trace_name("local"))
    seconds = stage_seconds(record)[WARM_UP:]
    return {
        "resident_bytes": record.peak_bytes,
        "latency_ms": statistics.median(seconds) * 1e3,
    }
