"""Measure layers with the node program itself: what a plan predicts is what a node will do."""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from statistics import mean

from runtime.build.kernels import NO_CHOICES, Progress
from runtime.build.node import build_node
from runtime.build.tune import TuningDatabase
from runtime.build.tune.reach import CallTime, bench
from runtime.host.processor import command, is_native
from splitter.errors import ToolchainError
from splitter.program import Program
from splitter.schedule import node_schedules
from splitter.topology import Card, Device, Topology

_NO_LIMIT_BYTES = 1 << 62
_NO_BUNDLE = bytes(32)


def profile_layers(
    program: Program,
    card: Card,
    threads: int,
    runs: int = 20,
    progress: Progress = lambda done, total, what: None,
    tuned: bool = True,
) -> Mapping[str, float]:
    """Median seconds of every distinct layer of ``program`` on this machine, by layer signature.

    All layers are compiled for ``card`` into one node, which runs them in order ``runs`` times;
    unless ``tuned`` is false, in the ways that were measured fastest.

    Raises:
        ToolchainError: this machine cannot run code for ``card``, or the node failed.
        UnsupportedOperatorError: an operator has no lowering.
    """
    if not is_native(card.processor):
        raise ToolchainError(
            f"card {card.name} is for {card.processor}, which this machine can only emulate; times "
            "under an emulator say nothing: profile on such a machine, or plan from the card"
        )
    device = Device("profile", card, _NO_LIMIT_BYTES, threads)
    topology = Topology("profile", "", (device,), (), device.name, device.name)
    placement = {layer.name: device.name for layer in program.graph.layers}
    (schedule,) = node_schedules(program.graph, topology, placement)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        choices = TuningDatabase().choices(device) if tuned else NO_CHOICES
        build_node(program, schedule, device, folder, _NO_BUNDLE, 1, progress, choices)
        times = bench(command(folder / "node", card.processor), runs)
    return _by_signature(program, times)


def _by_signature(program: Program, times: Mapping[str, CallTime]) -> dict[str, float]:
    """Layers with one signature are one kernel; what it takes depends on what the caches hold, so
    the mean over its calls counts, each by its median.
    """
    found: dict[str, list[float]] = {}
    for layer, time in times.items():
        found.setdefault(program.graph.by_name[layer].signature, []).append(time.median_s)
    return {signature: mean(medians) for signature, medians in found.items()}
