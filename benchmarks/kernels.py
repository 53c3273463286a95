"""Compiled programs against ONNX Runtime: same model, input and threads, interleaved.

    python -m benchmarks.kernels [--models NAME|FILE.onnx ...] [--threads 1,2] [--json F] [--layers]

Ours runs as a bundle of one node, in its own process and by its own clock (the stage times of its
trace); ONNX Runtime in a process of its own. Medians of at least 30 runs each after warm-up, taken
in turns, so that a drift of the machine's speed meets both.
"""

import argparse
import json
import math
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.table import Table

import splitter
from runtime.build.profile import profile_layers
from runtime.host.trace import NodeTrace, read_trace, trace_name
from splitter import zoo
from splitter.cli.console import err, out
from splitter.program import Program
from splitter.topology import Device, Topology
from splitter.topology_file import load_card

MODELS = (
    "mobilenet_v2",
    "efficientnet_lite0",
    "resnet18",
    "resnet50",
    "shufflenet_v2",
    "vit_saliency",
    "minilm_l6",
    "centerface",
    "ocr_detection",
    "ocr_recognition",
)
ROUNDS, RUNS_PER_ROUND, WARM_UP = 10, 4, 3


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.kernels", description=__doc__)
    parser.add_argument("--models", nargs="+", default=list(MODELS))
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--layers", action="store_true", help="where the time goes, per layer")
    chosen = parser.parse_args()
    threads = [int(text) for text in chosen.threads.split(",")]
    rows: list[dict[str, Any]] = []
    for model in chosen.models:
        with tempfile.TemporaryDirectory() as scratch:
            program, onnx_file = prepare(model, Path(scratch))
            for count in threads:
                if chosen.layers:
                    print_layers(program, count)
                rows.append(measure(program, onnx_file, count, Path(scratch)))
                err.print(f"{model} x{count}: {rows[-1]['ratio']:.2f}")
    out.print(table_of(rows))
    ratio = geometric_mean([row["ratio"] for row in rows])
    out.print(f"geometric mean of ours / ONNX Runtime: {ratio:.3f}")
    if chosen.json:
        chosen.json.write_text(json.dumps({"rows": rows, "geomean_ratio": ratio}, indent=1) + "\n")


def prepare(model: str, folder: Path) -> tuple[Program, Path]:
    """The traced program, and an ONNX file of the same function."""
    if Path(model).suffix == ".onnx":
        return splitter.load(model), Path(model)
    entry = zoo.load(model)
    program = splitter.load(model)
    path = folder / f"{model}.onnx"
    torch.onnx.export(
        entry.module,
        entry.example_inputs,
        path,
        input_names=list(entry.input_names),
        dynamo=True,
        verbose=False,
        external_data=False,
    )
    return program, path


def card_name() -> str:
    """The card of this machine."""
    flags = Path("/proc/cpuinfo").read_text()
    return "x86_64_v4" if "avx512dq" in flags else "x86_64_v3"


def measure(program: Program, onnx_file: Path, threads: int, folder: Path) -> dict[str, Any]:
    """One row: both on the same input with the same number of threads."""
    card = replace(load_card(card_name()), threads=threads)
    device = Device("local", card, card.memory_bytes, threads)
    topology = Topology("local", "one node", (device,), (), "local", "local")
    placement = {layer.name: "local" for layer in program.graph.layers}
    plan = splitter.partition(program, topology, placement=placement)
    start = time.perf_counter()
    bundle = splitter.compile(program, plan, topology, folder / f"bundle{threads}")
    compile_s = time.perf_counter() - start
    inputs = [value.numpy() for value in program.example_inputs]
    np.savez(
        folder / "inputs.npz",
        allow_pickle=False,
        **dict(zip(program.graph.inputs, inputs, strict=True)),
    )
    traces = folder / f"traces{threads}"
    traces.mkdir()
    with Peer(onnx_file, folder / "inputs.npz", threads) as peer:
        begun = time.perf_counter()
        with bundle.launch(trace_dir=traces) as deployment:
            answer = deployment(*inputs)
            first_answer_s = time.perf_counter() - begun
            theirs = interleave(lambda: deployment(*inputs), peer)
        reference = peer.outputs(folder)
        peer_peak = peer.ask("peak")
    trace = read_trace(traces / trace_name("local"))
    ours = stage_seconds(trace)[1 + WARM_UP :]
    answers = answer if isinstance(answer, tuple) else (answer,)
    node = bundle.manifest.nodes["local"]
    ours_s, theirs_s = statistics.median(ours), statistics.median(theirs)
    return {
        "model": program.graph.name,
        "threads": threads,
        "ours_ms": ours_s * 1e3,
        "onnxruntime_ms": theirs_s * 1e3,
        "ratio": ours_s / theirs_s,
        "max_abs_diff": max(
            float(np.abs(a.astype("f8") - b.astype("f8")).max())
            for a, b in zip(answers, reference, strict=True)
        ),
        "peak_bytes": trace.peak_bytes,
        "onnxruntime_peak_bytes": peer_peak,
        "disk_bytes": node.program_bytes + node.weights_bytes,
        "first_answer_ms": first_answer_s * 1e3,
        "onnxruntime_first_answer_ms": peer.first_answer_s * 1e3,
        "compile_s": compile_s,
        "runs": len(ours),
    }


def stage_seconds(trace: NodeTrace) -> list[float]:
    """Computing time of each request, by the node's clock."""
    seconds: dict[int, float] = defaultdict(float)
    for (request, _), span in trace.stages.items():
        seconds[request] += (span.end_ns - span.start_ns) / 1e9
    return [seconds[request] for request in sorted(seconds)]


def interleave(ours: Any, peer: "Peer") -> list[float]:
    """Run both in turns; ours times itself in its trace."""
    for _ in range(WARM_UP):
        ours()
    peer.ask(f"run {WARM_UP}")
    seconds: list[float] = []
    for _ in range(ROUNDS):
        for _ in range(RUNS_PER_ROUND):
            ours()
        seconds += peer.ask(f"run {RUNS_PER_ROUND}")
    return seconds


class Peer:
    """ONNX Runtime in its own process."""

    def __init__(self, model: Path, inputs: Path, threads: int) -> None:
        command = [
            sys.executable,
            "-m",
            "benchmarks.ort_worker",
            str(model),
            str(inputs),
            str(threads),
        ]
        started_at_s = time.time()
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.first_answer_s = float(self._answer()["answered_at_s"]) - started_at_s

    def __enter__(self) -> "Peer":
        return self

    def __exit__(self, *_: object) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()

    def ask(self, line: str) -> Any:
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        return self._answer()

    def outputs(self, folder: Path) -> list[np.ndarray]:
        arrays = np.load(self.ask(f"save {folder / 'outputs.npz'}"))
        return [arrays[name] for name in sorted(arrays)]

    def _answer(self) -> Any:
        assert self.process.stdout is not None
        return json.loads(self.process.stdout.readline())


def print_layers(program: Program, threads: int) -> None:
    """Where the time goes: each layer alone, slowest first."""
    card = replace(load_card(card_name()), threads=threads)
    seconds = profile_layers(program, card, threads)
    table = Table(title=f"{program.graph.name}, {threads} thread(s)")
    for heading in ("layer", "kind", "us", "GFLOP/s", "share"):
        table.add_column(heading)
    total = sum(seconds[layer.signature] for layer in program.graph.layers)
    for layer in sorted(program.graph.layers, key=lambda x: -seconds[x.signature])[:25]:
        s = seconds[layer.signature]
        rate = f"{2 * layer.macs / s / 1e9:.0f}" if layer.macs else ""
        table.add_row(layer.name, layer.kind, f"{s * 1e6:.0f}", rate, f"{s / total:.1%}")
    out.print(table)


def table_of(rows: list[dict[str, Any]]) -> Table:
    table = Table()
    headings = (
        "model",
        "threads",
        "ours ms",
        "ORT ms",
        "ratio",
        "diff",
        "peak MB",
        "ORT MB",
        "first ms",
        "ORT ms",
    )
    for heading in headings:
        table.add_column(heading, justify="left" if heading == "model" else "right")
    for row in rows:
        table.add_row(
            row["model"],
            str(row["threads"]),
            f"{row['ours_ms']:.2f}",
            f"{row['onnxruntime_ms']:.2f}",
            f"{row['ratio']:.2f}",
            f"{row['max_abs_diff']:.1e}",
            f"{row['peak_bytes'] / 1e6:.1f}" if row["peak_bytes"] else "?",
            f"{row['onnxruntime_peak_bytes'] / 1e6:.1f}",
            f"{row['first_answer_ms']:.0f}",
            f"{row['onnxruntime_first_answer_ms']:.0f}",
        )
    return table


def geometric_mean(values: list[float]) -> float:
    return math.exp(sum(map(math.log, values)) / len(values))


if __name__ == "__main__":
    main()
