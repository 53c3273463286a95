"""`splitter profile`: measure layers on this machine, for later plans."""

from typing import Annotated

import typer
from rich import box
from rich.markup import escape
from rich.table import Table

from splitter.cli import options
from splitter.cli.console import out, print_json, progress
from splitter.cli.plan import load_model
from splitter.cli.tune import Untuned
from splitter.cost.roofline import layer_seconds
from splitter.errors import UsageError
from splitter.graph import Graph, Layer
from splitter.topology import Device, Topology
from splitter.topology_file import load_topology


def profile_command(
    model: options.Model,
    topology: options.TopologyName = "loopback3",
    input_shape: options.InputShapes = None,
    runs: Annotated[int, typer.Option(help="Runs of each layer; the median counts.", min=1)] = 20,
    untuned: Untuned = False,
    json: options.Json = False,
) -> None:
    """Measure every distinct layer on this machine with the node program itself.

    Later plans use these times for devices with the same card and thread count; devices with
    another processor keep the roofline model.

    Example: splitter profile mobilenet_v2 --topology loopback3
    """
    where = load_topology(topology)
    program = load_model(model, input_shape)
    from splitter.pipeline import profile

    with progress("measuring") as report:
        found = profile(program, where, runs=runs, progress=report, tuned=not untuned)
    if not found:
        raise UsageError(f"this machine can run no device of {where.name}; profile on one of them")
    graph = program.graph
    if json:
        print_json(
            [
                {
                    "card": card,
                    "threads": threads,
                    "layer": layer.name,
                    "seconds": seconds[layer.signature],
                }
                for (card, threads), seconds in found.items()
                for layer in graph.layers
            ]
        )
        return
    for (card, threads), seconds in found.items():
        device = next(d for d in where.devices if (d.card.name, d.threads) == (card, threads))
        out.print(_table(graph, device, {k: float(v) for k, v in seconds.items()}))
        out.print(_summary(where, card, threads))


def _table(graph: Graph, device: Device, seconds: dict[str, float]) -> Table:
    table = Table(
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        title=f"{escape(graph.name)} on {device.card.name}, {device.threads} thread(s)",
        title_justify="left",
    )
    table.add_column("layer")
    table.add_column("kind")
    for heading in ("MMACs", "measured us", "GMAC/s", "roofline us"):
        table.add_column(heading, justify="right")
    total = predicted = 0.0
    for layer in graph.layers:
        measured, modelled = seconds[layer.signature], layer_seconds(graph, layer, device)
        total, predicted = total + measured, predicted + modelled
        table.add_row(*_row(layer, measured, modelled))
    table.add_section()
    macs = f"{graph.macs / 1e6:.1f}"
    table.add_row("all", "", macs, f"{total * 1e6:.0f}", "", f"{predicted * 1e6:.0f}")
    return table


def _row(layer: Layer, measured: float, modelled: float) -> tuple[str, ...]:
    rate = f"{layer.macs / measured / 1e9:.1f}" if layer.macs and measured > 0 else ""
    return (
        escape(layer.name),
        layer.kind,
        f"{layer.macs / 1e6:.2f}" if layer.macs else "",
        f"{measured * 1e6:.1f}",
        rate,
        f"{modelled * 1e6:.1f}",
    )


def _summary(topology: Topology, card: str, threads: int) -> str:
    same = [d.name for d in topology.devices if (d.card.name, d.threads) == (card, threads)]
    return f"Kept; plans use these times on devices like {', '.join(same)}."
