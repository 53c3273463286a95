"""Low-bit programs: 8-bit integers beside ONNX Runtime's own, and packed weights in both modes.

    python -m benchmarks.lowbit [--models NAME ...] [--threads 1,2] [--packed METHOD ...] [--json F]

Speed: our float program, our int8 program and ONNX Runtime's (static QDQ, weights per channel,
calibrated on the same pictures), run in turns as `benchmarks.kernels` does; medians.
Agreement: how many of 20 photos, which no calibration saw, keep the float program's answer.
Packed: the model with its weights as codebooks or ternary digits (from the weights alone, all
layers), decoded at start or in the kernels: bytes on disk, peak resident memory, latency.
"""

import argparse
import json
import statistics
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from rich.table import Table

import splitter
from benchmarks.kernels import (
    LEAST_ROUNDS,
    RUNS_PER_ROUND,
    WARM_UP,
    device,
    largest_difference,
    prepare,
    stage_seconds,
)
from benchmarks.ort_int8 import quantized_model
from benchmarks.peer import Peer
from compress.int8 import quantize
from compress.methods import parse_method
from compress.programs import compress_program
from compress.recipe import Recipe, Rule
from runtime.host.trace import read_trace, trace_name
from splitter import zoo
from splitter.cli.console import err, out
from splitter.program import Program
from splitter.stored import Decoding, packed_bytes, stored_program
from splitter.topology import Topology
from splitter.topology_file import load_card
from splitter.zoo.photos import photos, unlabelled_photos

MODELS = ("mobilenet_v2", "resnet50", "efficientnet_lite0")
PACKED = ("kmeans:bits=8", "kmeans:bits=4", "kmeans:bits=2", "ternary")


def main() -> None:
    chosen = arguments()
    counts = [int(text) for text in chosen.threads.split(",")]
    rows: list[dict[str, Any]] = []
    for name in chosen.models:
        with tempfile.TemporaryDirectory() as scratch:
            rows += speed_rows(name, counts, Path(scratch))
        err.print(f"{name}: speed done")
    packed = [row for name in chosen.models[:1] for row in packed_rows(name, chosen.packed)]
    out.print(speed_table(rows))
    if packed:
        out.print(packed_table(packed))
    if chosen.json:
        chosen.json.write_text(json.dumps({"rows": rows, "packed": packed}, indent=1) + "\n")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.lowbit",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--models", nargs="+", default=list(MODELS), metavar="NAME")
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--packed", nargs="*", default=list(PACKED), metavar="METHOD")
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


def here(threads: int) -> Topology:
    """This machine as one node, with its dot products of 8-bit numbers if it has them."""
    local = device(threads)
    if "avx512_vnni" in Path("/proc/cpuinfo").read_text():
        local = replace(local, card=replace(load_card("x86_64_v4_vnni"), threads=threads))
    return Topology("local", "one node", (local,), (), "local", "local")


def built(
    program: Program, topology: Topology, folder: Path, decoding: Decoding | None = None
) -> splitter.Bundle:
    placement = {layer.name: "local" for layer in program.graph.layers}
    plan = splitter.partition(program, topology, placement=placement)
    return splitter.compile(
        *(program, plan, topology, folder), tuned=False, decoding=decoding or Decoding()
    )


def calibration(name: str) -> list[tuple[torch.Tensor, ...]]:
    """The unlabelled pictures, and each of them mirrored."""
    preprocess = zoo.load(name).preprocess
    assert preprocess is not None, name
    found: list[tuple[torch.Tensor, ...]] = []
    for path in unlabelled_photos():
        with Image.open(path) as image:
            value = preprocess(image.convert("RGB"))
        found += [(value,), (value.flip(-1),)]
    return found


# --- int8


def speed_rows(name: str, counts: Sequence[int], scratch: Path) -> list[dict[str, Any]]:
    program, onnx_file = prepare(name, scratch)
    requests = calibration(name)
    integer = quantize(program, requests)
    theirs = quantized_model(onnx_file, requests, scratch)
    rows: list[dict[str, Any]] = []
    for count in counts:
        where = scratch / str(count)
        bundles = {
            kind: built(given, here(count), where / kind)
            for kind, given in (("float", program), ("int8", integer))
        }
        facts = timed(program, bundles, theirs, count, where)
        agreement = agreeing(name, program, bundles["int8"]) if count == counts[0] else {}
        rows.append({"model": name, "threads": count, **facts, **agreement})
    return rows


def timed(
    program: Program,
    bundles: dict[str, splitter.Bundle],
    theirs: Path,
    threads: int,
    folder: Path,
) -> dict[str, Any]:
    """Median computing times of the three, in turns."""
    inputs = [value.numpy() for value in program.example_inputs]
    named = dict(zip(program.graph.inputs, inputs, strict=True))
    np.savez(folder / "inputs.npz", allow_pickle=False, **named)
    traces = {kind: folder / f"trace-{kind}" for kind in bundles}
    for place in traces.values():
        place.mkdir()
    with (
        Peer(theirs, folder / "inputs.npz", threads) as peer,
        bundles["float"].launch(trace_dir=traces["float"]) as plain,
        bundles["int8"].launch(trace_dir=traces["int8"]) as integer,
    ):
        seconds: list[float] = []
        for round_ in range(LEAST_ROUNDS + 1):
            runs = RUNS_PER_ROUND if round_ else WARM_UP
            for _ in range(runs):
                plain(*inputs)
            for _ in range(runs):
                answer = integer(*inputs)
            found = peer.run(runs)
            seconds += found if round_ else []
        (wanted,) = program(*program.example_inputs)
        gap = largest_difference(answer, [wanted.numpy()])
    read = {kind: read_trace(place / trace_name("local")) for kind, place in traces.items()}
    ms = {k: statistics.median(stage_seconds(t)[WARM_UP:]) * 1e3 for k, t in read.items()}
    ort_ms = statistics.median(seconds) * 1e3
    nodes = {kind: bundle.manifest.nodes["local"] for kind, bundle in bundles.items()}
    return {
        "float_ms": ms["float"],
        "int8_ms": ms["int8"],
        "onnxruntime_int8_ms": ort_ms,
        "speedup": ms["float"] / ms["int8"],
        "ratio_to_onnxruntime": ms["int8"] / ort_ms,
        "float_disk_bytes": nodes["float"].weights_bytes,
        "int8_disk_bytes": nodes["int8"].weights_bytes,
        "float_peak_bytes": read["float"].peak_bytes,
        "int8_peak_bytes": read["int8"].peak_bytes,
        "max_abs_diff": gap,
    }


def agreeing(name: str, program: Program, bundle: splitter.Bundle) -> dict[str, Any]:
    """Top-1 answers on the labelled photos: the node's beside the float program's and the label."""
    preprocess = zoo.load(name).preprocess
    assert preprocess is not None
    same = right = float_right = 0
    errors: list[float] = []
    with bundle.launch() as deployment:
        for photo in photos():
            with Image.open(photo.path) as image:
                x = preprocess(image.convert("RGB"))
            (wanted,), found = program(x), torch.from_numpy(np.array(deployment(x.numpy())))
            same += int(wanted.argmax() == found.argmax())
            right += int(found.argmax() == photo.label)
            float_right += int(wanted.argmax() == photo.label)
            errors.append(float((found - wanted).square().mean().sqrt() / wanted.std()))
    return {
        "photos": len(photos()),
        "agree": same,
        "right": right,
        "float_right": float_right,
        "logit_error": statistics.mean(errors),
    }


# --- packed weights


def packed_rows(name: str, methods: Sequence[str]) -> list[dict[str, Any]]:
    program = splitter.load(name)
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as scratch:
        for i, method in enumerate(["float", *methods]):
            given = program
            if method != "float":
                recipe = Recipe((Rule("*", parse_method(method)),))
                given, _ = compress_program(program, recipe)
            modes = ("load",) if method == "float" else ("load", "kernel")
            for mode in modes:
                folder = Path(scratch) / f"{i}-{mode}"
                rows.append({"model": name, "method": method, **packed_row(given, mode, folder)})
                err.print(f"{name} {method} {mode}")
    return rows


def packed_row(program: Program, mode: Any, folder: Path) -> dict[str, Any]:
    decoding = Decoding(mode)
    bundle = built(stored_program(program, decoding), here(1), folder, decoding)
    inputs = [value.numpy() for value in program.example_inputs]
    trace = folder / "trace"
    trace.mkdir()
    with bundle.launch(trace_dir=trace) as deployment:
        for _ in range(WARM_UP + LEAST_ROUNDS):
            deployment(*inputs)
    read, node = read_trace(trace / trace_name("local")), bundle.manifest.nodes["local"]
    packed = packed_bytes(program)
    floats = sum(4 * program.constant(weight).numel() for weight in packed)
    return {
        "decode": mode,
        "disk_bytes": node.weights_bytes,
        "decoded_bytes": node.decoded_bytes,
        "activation_bytes": bundle.manifest.slots * node.slot_bytes + node.arena_bytes,
        "peak_bytes": read.peak_bytes,
        "latency_ms": statistics.median(stage_seconds(read)[WARM_UP:]) * 1e3,
        "packed_share": sum(packed.values()) / floats if packed else 1.0,
    }


# --- tables


def speed_table(rows: list[dict[str, Any]]) -> Table:
    table = Table(title="8-bit integers", title_justify="left")
    for heading in ("model", "threads"):
        table.add_column(heading)
    for heading in ("float ms", "int8 ms", "times faster", "ORT int8 ms", "int8 / ORT"):
        table.add_column(heading, justify="right")
    for heading in ("disk MB float", "int8", "peak MB float", "int8", "same answer", "error"):
        table.add_column(heading, justify="right")
    for row in rows:
        table.add_row(
            *(row["model"], str(row["threads"]), f"{row['float_ms']:.2f}"),
            *(f"{row['int8_ms']:.2f}", f"{row['speedup']:.2f}"),
            *(f"{row['onnxruntime_int8_ms']:.2f}", f"{row['ratio_to_onnxruntime']:.2f}"),
            *(f"{row[f'{k}_disk_bytes'] / 1e6:.2f}" for k in ("float", "int8")),
            *(f"{row[f'{k}_peak_bytes'] / 1e6:.1f}" for k in ("float", "int8")),
            f"{row['agree']}/{row['photos']}" if "agree" in row else "",
            f"{row['logit_error']:.3f}" if "agree" in row else "",
        )
    return table


def packed_table(rows: list[dict[str, Any]]) -> Table:
    table = Table(title="packed weights, one thread", title_justify="left")
    for heading in ("model", "weights", "decoded"):
        table.add_column(heading)
    headings = ("packed / float", "disk MB", "decoded MB", "activations MB", "peak MB", "ms")
    for heading in headings:
        table.add_column(heading, justify="right")
    for row in rows:
        sizes = ("disk_bytes", "decoded_bytes", "activation_bytes", "peak_bytes")
        table.add_row(
            *(row["model"], row["method"], row["decode"], f"1/{1 / row['packed_share']:.1f}"),
            *(f"{row[size] / 1e6:.2f}" for size in sizes),
            f"{row['latency_ms']:.2f}",
        )
    return table


if __name__ == "__main__":
    main()
