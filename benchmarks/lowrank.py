"""Speed of networks of low rank: python -m benchmarks.lowrank [--models NAME ...] [--json F].

The float network and its factored forms at half of the multiply-accumulates, as node programs that
run in turns; medians. A layer's time depends on its shapes alone, so the ranks are what counts: the
kernel-size layers are factored as TRP factors them, each to the same share of its work, which is
chosen so that the whole network has half. ``residual`` is the network that `benchmarks.compression`
trains on Fashion-MNIST, where TRP loses 0.5 points at that share.
"""

import argparse
import json
import statistics
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import torch
from rich import box
from rich.table import Table

import splitter
from benchmarks.kernels import LEAST_ROUNDS, RUNS_PER_ROUND, WARM_UP, device, stage_seconds
from benchmarks.residual import build
from compress.lowrank import factored_sizes, is_smaller
from compress.programs import compress_program, program_sites
from compress.recipe import Recipe, Rule, exactly
from compress.sites import Site
from compress.svd import SVD
from runtime.host.trace import read_trace, trace_name
from splitter.cli.console import err, out
from splitter.program import Program
from splitter.topology import Topology
from splitter.tracing.load import load
from splitter.tracing.trace import trace

MODELS = ("residual", "resnet18", "resnet50")
SCHEMES = ("nc", "vh")
HALF = 0.5


@dataclass(frozen=True)
class Form:
    """One network to run."""

    name: str
    program: Program


def float_program(name: str) -> Program:
    """A model of the zoo, or the residual network of the compression benchmark."""
    if name == "residual":
        return trace(build(3, 16, 0).eval(), (torch.zeros(1, 1, 28, 28),), name=name)
    return load(name)


def forms(program: Program, multiples: Sequence[int]) -> Iterator[Form]:
    """The network as it is, then with half of the MACs by each scheme."""
    yield Form("float", program)
    for scheme, multiple in product(SCHEMES, multiples):
        made = halved(program, scheme, multiple)
        name = f"{scheme}-{multiple}" if multiple > 1 else scheme
        if made is None:
            err.print(f"{program.graph.name}: {name} cannot halve the work")
        else:
            yield Form(name, made)


def halved(program: Program, scheme: str, multiple: int) -> Program | None:
    """Every layer that can be factored to one share of its work, so that half is left.

    None where the layers with kernels are not enough of the work.
    """
    sites = SVD(scheme=scheme).default_sites(program_sites(program))
    if _left(program, _ranks(sites, scheme, multiple, 0.0), scheme) > HALF:
        return None
    low, high = 0.0, 1.0
    for _ in range(20):
        share = (low + high) / 2
        left = _left(program, _ranks(sites, scheme, multiple, share), scheme)
        low, high = (share, high) if left <= HALF else (low, share)
    ranks = _ranks(sites, scheme, multiple, low)
    rules = tuple(Rule(exactly(s.layer), SVD(scheme=scheme, rank=r)) for s, r in ranks)
    return compress_program(program, Recipe(rules))[0]


def _ranks(
    sites: Sequence[Site], scheme: str, multiple: int, share: float
) -> list[tuple[Site, int]]:
    """The rank that leaves ``share`` of a layer's weights, for the layers that get smaller."""
    found = []
    for site in sites:
        whole = torch.Size(site.shape).numel()
        steps = share * whole / sum(factored_sizes(site, scheme, 1)) / multiple
        rank = max(round(steps), 1) * multiple
        if is_smaller(site, scheme, rank):
            found.append((site, rank))
    return found


def _left(program: Program, ranks: Sequence[tuple[Site, int]], scheme: str) -> float:
    """Part of the program's MACs that is left."""
    macs = program.graph.macs
    for site, rank in ranks:
        layer = program.graph.by_name[site.layer]
        positions = layer.macs // torch.Size(site.shape).numel()
        first, second = factored_sizes(site, scheme, rank)
        before = positions * (site.stride[1] if scheme == "vh" else 1)
        macs += first * before + second * positions - layer.macs
    return macs / program.graph.macs


def measured(name: str, threads: int, multiples: Sequence[int]) -> list[dict[str, Any]]:
    """One row per form, all run in turns."""
    local = device(threads)
    topology = Topology("local", "one node", (local,), (), "local", "local")
    program = float_program(name)
    made = list(forms(program, multiples))
    inputs = [value.numpy() for value in program.example_inputs]
    with tempfile.TemporaryDirectory() as scratch, ExitStack() as stack:
        folder = Path(scratch)
        running = []
        for form in made:
            place = folder / form.name
            placement = {layer.name: "local" for layer in form.program.graph.layers}
            plan = splitter.partition(form.program, topology, placement=placement)
            bundle = splitter.compile(form.program, plan, topology, place, tuned=False)
            (folder / f"trace-{form.name}").mkdir()
            launched = bundle.launch(trace_dir=folder / f"trace-{form.name}")
            running.append(stack.enter_context(launched))
        for round_ in range(LEAST_ROUNDS + 1):
            for deployment in running:
                for _ in range(RUNS_PER_ROUND if round_ else WARM_UP):
                    deployment(*inputs)
        stack.close()
        seconds = [
            stage_seconds(read_trace(folder / f"trace-{form.name}" / trace_name("local")))[WARM_UP:]
            for form in made
        ]
    medians = [statistics.median(own) for own in seconds]
    return [
        {
            "model": name,
            "threads": threads,
            "form": form.name,
            "macs": form.program.graph.macs,
            "macs_ratio": program.graph.macs / form.program.graph.macs,
            "latency_ms": own * 1e3,
            "speedup": medians[0] / own,
        }
        for form, own in zip(made, medians, strict=True)
    ]


def table_of(rows: list[dict[str, Any]]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("network")
    table.add_column("form")
    for heading in ("threads", "M MACs", "fewer", "ms", "times faster"):
        table.add_column(heading, justify="right")
    for row in rows:
        table.add_row(
            *(row["model"], row["form"], str(row["threads"]), f"{row['macs'] / 1e6:.1f}"),
            *(f"{row['macs_ratio']:.2f}x", f"{row['latency_ms']:.3f}", f"{row['speedup']:.2f}"),
        )
    return table


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.lowrank",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--models", nargs="+", default=list(MODELS), metavar="NAME")
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--json", type=Path, help="write the rows here")
    parser.add_argument("--multiples", default="1,8,16", help="of which ranks are, in turn")
    options = parser.parse_args()
    multiples = [int(text) for text in options.multiples.split(",")]
    counts = [int(text) for text in options.threads.split(",")]
    rows = [
        row
        for name in options.models
        for count in counts
        for row in measured(name, count, multiples)
    ]
    out.print(table_of(rows))
    if options.json is not None:
        options.json.write_text(json.dumps({"rows": rows}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
