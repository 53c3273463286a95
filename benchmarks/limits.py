"""What the machine can do at most, measured: its multiply-adds and its memory."""

import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from runtime.build.machine import machine_of
from runtime.build.toolchain import run_tool
from splitter.cost.roofline import touched_bytes
from splitter.graph import Graph, Layer
from splitter.topology import Device

_SOURCE = Path(__file__).with_name("limits.c")


@dataclass(frozen=True, slots=True)
class Limits:
    """Peaks of some number of threads together."""

    flops_per_s: float
    """Multiply-adds on registers, two operations each."""
    bytes_per_s: float
    """Read + written while copying 256 MiB; what stays in a cache may move faster."""

    def seconds(self, graph: Graph, layer: Layer) -> float:
        """Least time for ``layer``: its arithmetic or its traffic, whichever takes longer."""
        compute_s = 2 * layer.macs / self.flops_per_s
        return max(compute_s, touched_bytes(graph, layer) / self.bytes_per_s)


def measure_limits(device: Device) -> Limits:
    """Limits of this machine on as many threads as ``device`` has, by a C program of the same
    toolchain as the nodes'.
    """
    machine = machine_of(device)
    accumulators = machine.registers // 2
    with tempfile.TemporaryDirectory() as scratch:
        program = Path(scratch) / "limits"
        command = [
            *(sys.executable, "-m", "ziglang", "cc", "-std=c11", "-D_GNU_SOURCE", "-O3"),
            *("-ffp-contract=fast", "-mprefer-vector-width=512"),
            *(f"-DVECTOR_BYTES={machine.vector_bytes}", f"-DACCUMULATORS={accumulators}"),
            *(str(_SOURCE), "-o", str(program), "-lpthread"),
        ]
        run_tool(command, "building the program that measures the machine's limits")
        told = subprocess.run(
            [str(program), str(device.threads)], capture_output=True, text=True, check=True
        )
    flops_per_s, bytes_per_s = map(float, told.stdout.split())
    return Limits(flops_per_s, bytes_per_s)
