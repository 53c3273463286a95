"""`splitter inspect`: what is in a bundle, or what a model's layers are."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich import box
from rich.markup import escape
from rich.table import Table

from splitter.cli import options
from splitter.cli.console import out, print_json
from splitter.cli.plan import load_model
from splitter.graph import Graph
from splitter.memory import NODE_OVERHEAD_BYTES

if TYPE_CHECKING:
    from runtime.host.bundle import Bundle


def inspect_command(
    target: Annotated[str, typer.Argument(help="A bundle, or a MODEL as the other verbs take it.")],
    input_shape: options.InputShapes = None,
    json: options.Json = False,
) -> None:
    """Show what is in a bundle (sizes, memory, hashes checked), or the layers of a model.

    Example: splitter inspect build
    """
    if Path(target).is_dir():
        _inspect_bundle(Path(target), json)
    else:
        _inspect_model(load_model(target, input_shape).graph, json)


def _inspect_bundle(path: Path, as_json: bool) -> None:
    from runtime.host.bundle import Bundle

    bundle = Bundle.open(path)
    nodes = _node_facts(bundle)
    if as_json:
        print_json({"bundle": str(path), "model": bundle.manifest.model, "nodes": nodes})
        return
    from splitter.report.plan_report import plan_report

    out.print(plan_report(bundle.plan, bundle.graph, bundle.topology))
    out.print(_bundle_table(nodes))
    count = len(bundle.manifest.files)
    out.print(f"{count} files, all as the manifest says. Built with {_tools(bundle)}.")


def _tools(bundle: "Bundle") -> str:
    return ", ".join(f"{name} {version}" for name, version in bundle.manifest.tools.items())


def _node_facts(bundle: "Bundle") -> dict[str, dict[str, Any]]:
    slots = bundle.manifest.slots
    return {
        device: {
            "processor": node.processor,
            "threads": node.threads,
            "node_program_bytes": node.program_bytes - node.kernel_bytes,
            "kernel_bytes": node.kernel_bytes,
            "weights_bytes": node.weights_bytes,
            "activation_bytes": slots * node.slot_bytes + node.arena_bytes,
            "planned_memory_bytes": node.weights_bytes
            + slots * node.slot_bytes
            + node.arena_bytes
            + NODE_OVERHEAD_BYTES,
            "memory_limit_bytes": bundle.topology.by_name[device].memory_bytes,
        }
        for device, node in bundle.manifest.nodes.items()
    }


def _bundle_table(nodes: dict[str, dict[str, Any]]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("node")
    table.add_column("processor")
    headings = ("program KB", "kernels KB", "weights MB", "activations MB", "memory MB", "of MB")
    for heading in headings:
        table.add_column(heading, justify="right")
    for device, node in nodes.items():
        table.add_row(
            device,
            f"{node['processor']} x{node['threads']}",
            f"{node['node_program_bytes'] / 1e3:.1f}",
            f"{node['kernel_bytes'] / 1e3:.1f}",
            f"{node['weights_bytes'] / 1e6:.2f}",
            f"{node['activation_bytes'] / 1e6:.2f}",
            f"{node['planned_memory_bytes'] / 1e6:.2f}",
            f"{node['memory_limit_bytes'] / 1e6:.2f}",
        )
    return table


def _inspect_model(graph: Graph, as_json: bool) -> None:
    if as_json:
        print_json(graph.to_dict())
        return
    table = Table(
        box=box.SIMPLE_HEAD, pad_edge=False, title=escape(str(graph)), title_justify="left"
    )
    table.add_column("layer")
    table.add_column("kind")
    for heading in ("MMACs", "weights KB", "output KB", "scratch KB"):
        table.add_column(heading, justify="right")
    table.add_column("output")
    for layer in graph.layers:
        made = [graph.tensors[name] for name in layer.outputs]
        table.add_row(
            escape(layer.name),
            layer.kind,
            f"{layer.macs / 1e6:.2f}" if layer.macs else "",
            f"{graph.layer_weight_bytes(layer) / 1e3:.1f}" if layer.weights else "",
            f"{sum(tensor.bytes for tensor in made) / 1e3:.1f}",
            f"{layer.scratch_bytes / 1e3:.1f}" if layer.scratch_bytes else "",
            ", ".join("x".join(map(str, tensor.shape)) for tensor in made),
        )
    out.print(table)
