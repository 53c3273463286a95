"""MobileNetV2 with its ImageNet weights on three nodes of this machine: `make demo`.

Measures the layers, plans a split that the nodes' memory forces, compiles it, and classifies twenty
photos with the three native programs together; every answer is compared with the unsplit model's.
"""

import statistics
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from rich import box
from rich.table import Table

import splitter
from splitter import zoo
from splitter.cli.console import out, progress, status
from splitter.report.plan_report import plan_report
from splitter.topology_file import load_topology
from splitter.zoo.photos import photos

MODEL, TOPOLOGY, BUNDLE = "mobilenet_v2", "loopback3", Path("build/demo")
PIPELINED_REQUESTS = 100


def main() -> None:
    torch.set_num_threads(1)
    topology = load_topology(TOPOLOGY)
    entry = zoo.load(MODEL)
    with status(f"tracing {MODEL}"):
        program = splitter.load(MODEL)
    with progress("measuring layers") as report:
        splitter.profile(program, topology, progress=report)
    with status("planning"):
        plan = splitter.partition(program, topology)
    out.print(plan_report(plan, program.graph, topology))
    with progress("compiling") as report:
        bundle = splitter.compile(program, plan, topology, BUNDLE, progress=report)
    for device, node in bundle.manifest.nodes.items():
        out.print(
            f"{device}: program {node.program_bytes / 1e3:.0f} KB "
            f"(kernels {node.kernel_bytes / 1e3:.0f} KB of it), "
            f"weights {node.weights_bytes / 1e6:.2f} MB"
        )
    assert entry.preprocess is not None
    inputs = [entry.preprocess(Image.open(photo.path)).numpy() for photo in photos()]
    answers, times_s, period_s = serve(bundle, inputs)
    print_answers(entry, program, inputs, answers)
    print_times(plan, times_s, period_s)


def serve(
    bundle: splitter.Bundle, inputs: list[np.ndarray]
) -> tuple[list[np.ndarray], list[float], float]:
    """Answers, seconds of each request alone, and seconds per request when pipelined."""
    answers: list[np.ndarray] = []
    times_s: list[float] = []
    with bundle.launch() as deployment:
        deployment(inputs[0])  # pages of the weights come in
        for x in inputs:
            start = time.perf_counter()
            answers.append(np.asarray(deployment(x)))
            times_s.append(time.perf_counter() - start)
        many = [inputs[i % len(inputs)] for i in range(PIPELINED_REQUESTS)]
        start = time.perf_counter()
        for _ in deployment.map(many):
            pass
        period_s = (time.perf_counter() - start) / len(many)
    return answers, times_s, period_s


def print_answers(
    entry: zoo.ZooModel,
    program: splitter.Program,
    inputs: list[np.ndarray],
    answers: list[np.ndarray],
) -> None:
    """The table of photos, and how the split agrees with labels and with the unsplit model."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in ("photo", "label", "top-1 of the three nodes", "right", "as unsplit"):
        table.add_column(heading)
    right = same = 0
    worst = 0.0
    for photo, x, answer in zip(photos(), inputs, answers, strict=True):
        (reference,) = program(torch.from_numpy(x))
        expected = reference.numpy()
        top, unsplit = int(answer.argmax()), int(expected.argmax())
        right, same = right + (top == photo.label), same + (top == unsplit)
        worst = max(worst, float(np.abs(answer - expected).max()))
        table.add_row(
            photo.path.name,
            name_of(entry, photo.label),
            name_of(entry, top),
            "yes" if top == photo.label else "no",
            "yes" if top == unsplit else "no",
        )
    out.print(table)
    out.print(
        f"{right}/{len(answers)} correct; {same}/{len(answers)} equal to the unsplit model; "
        f"largest absolute logit difference {worst:.2g}"
    )


def name_of(entry: zoo.ZooModel, index: int) -> str:
    """Class index with its name where names are installed."""
    if entry.labels is None:
        return str(index)
    return f"{index} {entry.labels[index].split(',')[0]}"


def print_times(plan: splitter.Plan, times_s: list[float], period_s: float) -> None:
    """Predicted beside measured."""
    latency_s = statistics.median(times_s)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("")
    table.add_column("predicted", justify="right")
    table.add_column("measured", justify="right")
    table.add_row(
        "latency of one request",
        f"{plan.estimate.latency_s * 1e3:.2f} ms",
        f"{latency_s * 1e3:.2f} ms",
    )
    table.add_row("requests per second, one at a time", "", f"{1 / latency_s:.1f}")
    table.add_row(
        "requests per second, pipelined", f"{1 / plan.estimate.period_s:.1f}", f"{1 / period_s:.1f}"
    )
    out.print(table)


if __name__ == "__main__":
    main()
