"""Measure layers with the node program itself: what a plan predicts is what a node will do."""

import csv
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

from runtime.build.kernels import Progress
from runtime.build.node import build_node
from runtime.host.processor import is_native
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
) -> Mapping[str, float]:
    """Median seconds of every distinct layer of ``program`` on this machine, by layer signature.

    All layers are compiled for ``card`` into one node, which runs each call alone ``runs`` times.

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
        build_node(program, schedule, device, folder, _NO_BUNDLE, 1, progress)
        table = _bench(folder, runs)
    return _by_signature(program, table)


def _bench(folder: Path, runs: int) -> str:
    done = subprocess.run(
        [str(folder / "node"), "--bench", str(runs)], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise ToolchainError(f"measuring failed (exit {done.returncode}): {done.stderr.strip()}")
    return done.stdout


def _by_signature(program: Program, table: str) -> dict[str, float]:
    """Layers with one signature are one kernel: the median call of the fastest of them counts."""
    found: dict[str, float] = {}
    for row in csv.DictReader(table.splitlines()):
        signature = program.graph.by_name[row["layer"]].signature
        seconds = float(row["median_s"])
        found[signature] = min(seconds, found.get(signature, seconds))
    return found
