"""Compiled programs against ONNX Runtime: same model, input and threads, interleaved.

    python -m benchmarks.kernels [--models NAME|FILE.onnx ...] [--threads 1,2] [--json F]
                                 [--layers] [--tune SECONDS | --untuned] [--warm]

Ours runs as a bundle of one node, in its own process and by its own clock (the stage times of its
trace); ONNX Runtime in a process of its own, which is stopped while it is not its turn, so that its
spinning threads slow down nobody. Medians of 4 seconds each after warm-up, but of 40 runs at least
and of 400 at most, taken in turns, so that a drift of the machine's speed meets both.
"""

import argparse
import json
import math
import os
import shutil
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

import splitter
from benchmarks.layers import layer_rows
from benchmarks.limits import Limits, measure_limits
from benchmarks.peer import Peer, package_bytes
from benchmarks.tables import layer_table, model_table
from runtime.host.trace import NodeTrace, read_trace, trace_name
from splitter import zoo
from splitter.cli.console import err, out
from splitter.cost.measured import cache_directory
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
RUNS_PER_ROUND, WARM_UP = 4, 3
LEAST_ROUNDS, MOST_ROUNDS, ENOUGH_S = 10, 100, 4.0


def main() -> None:
    chosen = arguments()
    counts = [int(text) for text in chosen.threads.split(",")]
    limits = {count: measure_limits(device(count)) for count in counts} if chosen.layers else {}
    rows: list[dict[str, Any]] = []
    for model in chosen.models:
        with tempfile.TemporaryDirectory() as scratch:
            program, onnx_file = prepare(model, Path(scratch))
            for count in counts:
                where = Path(scratch) / str(count)
                where.mkdir()
                rows.append(row(program, onnx_file, count, where, chosen, limits.get(count)))
                err.print(f"{model} x{count}: {rows[-1]['ratio']:.2f}")
    out.print(model_table(rows))
    ratio = geometric_mean([row["ratio"] for row in rows])
    out.print(f"geometric mean of ours / ONNX Runtime: {ratio:.3f}")
    if chosen.json:
        chosen.json.write_text(json.dumps({"rows": rows, "geomean_ratio": ratio}, indent=1) + "\n")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.kernels",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--models", nargs="+", default=list(MODELS), metavar="NAME|FILE.onnx")
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--layers", action="store_true", help="where the time goes, per layer")
    parser.add_argument("--warm", action="store_true", help="use kernels compiled before")
    tuning = parser.add_mutually_exclusive_group()
    tuning.add_argument("--tune", type=float, metavar="SECONDS", help="first, for every row")
    tuning.add_argument("--untuned", action="store_true", help="as the cost model has it")
    return parser.parse_args()


def row(
    program: Program,
    onnx_file: Path,
    threads: int,
    folder: Path,
    chosen: argparse.Namespace,
    limits: Limits | None,
) -> dict[str, Any]:
    """One row: both on the same input with the same number of threads."""
    local = device(threads)
    topology = Topology("local", "one node", (local,), (), "local", "local")
    placement = {layer.name: "local" for layer in program.graph.layers}
    plan = splitter.partition(program, topology, placement=placement)
    if chosen.tune is not None:
        splitter.tune(program, plan, topology, chosen.tune)
    with cold_cache(chosen.warm):
        start_s = time.perf_counter()
        bundle = splitter.compile(
            program, plan, topology, folder / "bundle", tuned=not chosen.untuned
        )
        compile_s = time.perf_counter() - start_s
    found = {
        "model": program.graph.name,
        "threads": threads,
        **measure(program, bundle, onnx_file, threads, folder),
        "compile_s": None if chosen.warm else compile_s,
        "tune_s": chosen.tune,
    }
    if limits is not None:
        layers = layer_rows(bundle.path / "nodes" / "local", program.graph, limits)
        found |= {"layers": layers, "limits": asdict(limits)}
        out.print(layer_table(found))
    return found


def measure(
    program: Program, bundle: splitter.Bundle, onnx_file: Path, threads: int, folder: Path
) -> dict[str, Any]:
    """Times, memory and sizes of both."""
    inputs = [value.numpy() for value in program.example_inputs]
    named = dict(zip(program.graph.inputs, inputs, strict=True))
    np.savez(folder / "inputs.npz", allow_pickle=False, **named)
    with Peer(onnx_file, folder / "inputs.npz", threads) as peer:
        begun_s = time.perf_counter()
        with bundle.launch(trace_dir=folder) as deployment:
            answer = deployment(*inputs)
            first_answer_s = time.perf_counter() - begun_s
            theirs = interleave(lambda: deployment(*inputs), peer)
        reference, peer_peak_bytes = peer.outputs(folder), peer.ask("peak")
    trace = read_trace(folder / trace_name("local"))
    ours = stage_seconds(trace)[1 + WARM_UP :]
    node = bundle.manifest.nodes["local"]
    ours_s, theirs_s = statistics.median(ours), statistics.median(theirs)
    return {
        "ours_ms": ours_s * 1e3,
        "onnxruntime_ms": theirs_s * 1e3,
        "ratio": ours_s / theirs_s,
        "ours_least_ms": min(ours) * 1e3,
        "onnxruntime_least_ms": min(theirs) * 1e3,
        "max_abs_diff": largest_difference(answer, reference),
        "peak_bytes": trace.peak_bytes,
        "onnxruntime_peak_bytes": peer_peak_bytes,
        "disk_bytes": node.program_bytes + node.weights_bytes,
        "onnxruntime_disk_bytes": package_bytes("onnxruntime") + onnx_file.stat().st_size,
        "first_answer_ms": first_answer_s * 1e3,
        "onnxruntime_first_answer_ms": peer.first_answer_s * 1e3,
        "runs": len(ours),
    }


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


def device(threads: int) -> Device:
    """This machine."""
    flags = Path("/proc/cpuinfo").read_text()
    name = "x86_64_v4" if "avx512dq" in flags else "x86_64_v3"
    card = replace(load_card(name), threads=threads)
    return Device("local", card, card.memory_bytes, threads)


@contextmanager
def cold_cache(warm: bool) -> Iterator[None]:
    """No compiled kernels, but what tuning measured; nothing of the sort if ``warm``."""
    if warm:
        yield
        return
    usual, before = cache_directory(), os.environ.get("SPLITTER_CACHE")
    with tempfile.TemporaryDirectory() as scratch:
        if (usual / "tuning").is_dir():
            shutil.copytree(usual / "tuning", Path(scratch) / "tuning")
        os.environ["SPLITTER_CACHE"] = scratch
        try:
            yield
        finally:
            del os.environ["SPLITTER_CACHE"]
            if before is not None:
                os.environ["SPLITTER_CACHE"] = before


def stage_seconds(trace: NodeTrace) -> list[float]:
    """Computing time of each request, by the node's clock."""
    seconds: dict[int, float] = defaultdict(float)
    for (request, _), span in trace.stages.items():
        seconds[request] += (span.end_ns - span.start_ns) / 1e9
    return [seconds[request] for request in sorted(seconds)]


def interleave(ours: Any, peer: Peer) -> list[float]:
    """Run both in turns; ours times itself in its trace."""
    for _ in range(WARM_UP):
        ours()
    peer.run(WARM_UP)
    seconds: list[float] = []
    for done in range(MOST_ROUNDS):
        if done >= LEAST_ROUNDS and sum(seconds) >= ENOUGH_S:
            break
        for _ in range(RUNS_PER_ROUND):
            ours()
        seconds += peer.run(RUNS_PER_ROUND)
    return seconds


def largest_difference(answer: Any, reference: list[np.ndarray]) -> float:
    """Largest absolute difference in any output."""
    answers = answer if isinstance(answer, tuple) else (answer,)
    pairs = zip(answers, reference, strict=True)
    return max(float(np.abs(a.astype("f8") - b.astype("f8")).max(initial=0)) for a, b in pairs)


def geometric_mean(values: list[float]) -> float:
    return math.exp(sum(map(math.log, values)) / len(values))


if __name__ == "__main__":
    main()
