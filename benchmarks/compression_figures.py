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
from splitter.stored import Decode, Decoding, stored_program
from splitter.topology import Topology
from splitter.tracing.trace import trace

RUNS = 60
MODES: tuple[Decode, Decode] = ("load", "kernel")


def figures(outcome: Outcome, schedule: Schedule, *, measured: bool = True) -> dict[str, Any]:
    """``disk_bytes``, ``macs``, and if ``measured`` ``resident_bytes`` and two latencies.

    ``latency_ms`` is that of weights decoded at start, ``kernel_latency_ms`` and ``resident_bytes``
    are of weights decoded in the kernel.
    """
    model, tensors = outcome.network(schedule)
    program = attach(trace(model, (split(schedule.data).test.images[:1],)), tensors)
    found = {"disk_bytes": stored_bytes(program), "macs": program.graph.macs}
    if not measured:
        return {**found, "resident_bytes": None, "latency_ms": None, "kernel_latency_ms": None}
    at_load, in_kernel = (node_figures(program, mode) for mode in MODES)
    return {
        **found,
        "resident_bytes": in_kernel["resident_bytes"],
        "latency_ms": at_load["latency_ms"],
        "kernel_latency_ms": in_kernel["latency_ms"],
    }


def node_figures(program: Program, mode: Decode) -> dict[str, Any]:
    """Peak memory and median latency of the node that computes all of ``program``, one thread."""
    if not program.compressed:
        mode = "load"
    forms = {name: _form(tensor.describe()) for name, tensor in program.compressed.items()}
    graph = {**program.graph.to_dict(), "name": ""}
    key = {"compiler": compiler_key(), "graph": graph, "forms": forms, "mode": mode}
    return cached_json("node", key, lambda: _measure(program, mode))


def _form(meta: dict[str, Any]) -> list[Any]:
    """What kernels depend on: not the number of values in use."""
    return [meta.get(name) for name in ("format", "bits", "scale_axis")]


def _measure(program: Program, mode: Decode) -> dict[str, Any]:
    local = device(1)
    topology = Topology("local", "one node", (local,), (), "local", "local")
    placement = {layer.name: "local" for layer in program.graph.layers}
    decoding = Decoding(mode)
    stored = stored_program(program, decoding)
    plan = splitter.partition(stored, topology, placement=placement)
    inputs = [value.numpy() for value in program.example_inputs]
    with tempfile.TemporaryDirectory() as scratch, torch.no_grad():
        folder = Path(scratch)
        bundle = splitter.compile(stored, plan, topology, folder / "bundle", decoding=decoding)
        with bundle.launch(trace_dir=folder) as deployment:
            for _ in range(WARM_UP + RUNS):
                deployment(*inputs)
        record = read_trace(folder / trace_name("local"))
    seconds = stage_seconds(record)[WARM_UP:]
    return {
        "resident_bytes": record.peak_bytes,
        "latency_ms": statistics.median(seconds) * 1e3,
    }
