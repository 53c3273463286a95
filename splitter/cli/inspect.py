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
from splitter.graph import Graph, Layer
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
        from splitter.stored import packed_bytes

        program = load_model(target, input_shape)
        _inspect_model(program.graph, packed_bytes(program), json)


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
            "decoded_bytes": node.decoded_bytes,
            "planned_memory_bytes": node.weights_bytes
            + node.decoded_bytes
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
    headings = ["program KB", "kernels KB", "weights MB", "activations MB", "memory MB", "of MB"]
    decodes = any(node["decoded_bytes"] for node in nodes.values())
    if decodes:
        headings.insert(3, "decoded MB")
    for heading in headings:
        table.add_column(heading, justify="right")
    for device, node in nodes.items():
        table.add_row(
            device,
            f"{node['processor']} x{node['threads']}",
            f"{node['node_program_bytes'] / 1e3:.1f}",
            f"{node['kernel_bytes'] / 1e3:.1f}",
            f"{node['weights_bytes'] / 1e6:.2f}",
            *([f"{node['decoded_bytes'] / 1e6:.2f}"] if decodes else []),
            f"{node['activation_bytes'] / 1e6:.2f}",
            f"{node['planned_memory_bytes'] / 1e6:.2f}",
            f"{node['memory_limit_bytes'] / 1e6:.2f}",
        )
    return table


def _inspect_model(graph: Graph, packed: dict[str, int], as_json: bool) -> None:
    if as_json:
        print_json({**graph.to_dict(), "packed_bytes": packed})
        return
    table = Table(
        box=box.SIMPLE_HEAD, pad_edge=False, title=escape(str(graph)), title_justify="left"
    )
    table.add_column("layer")
    table.add_column("kind")
    headings = ["MMACs", "weights KB", "output KB", "scratch KB"]
    if packed:
        headings.insert(2, "stored KB")
    for heading in headings:
        table.add_column(heading, justify="right")
    table.add_column("output")
    for layer in graph.layers:
        made = [graph.tensors[name] for name in layer.outputs]
        table.add_row(
            escape(layer.name),
            layer.kind,
            f"{layer.macs / 1e6:.2f}" if layer.macs else "",
            f"{graph.layer_weight_bytes(layer) / 1e3:.1f}" if layer.weights else "",
            *([_stored_kb(graph, layer, packed)] if packed else []),
            f"{sum(tensor.bytes for tensor in made) / 1e3:.1f}",
            f"{layer.scratch_bytes / 1e3:.1f}" if layer.scratch_bytes else "",
            ", ".join("x".join(map(str, tensor.shape)) for tensor in made),
        )
    out.print(table)


def _stored_kb(graph: Graph, layer: Layer, packed: dict[str, int]) -> str:
    """What the layer's constants take in a weights file; nothing where none are compressed."""
    if not any(weight in packed for weight in layer.weights):
        return ""
    size = sum(packed.get(weight, graph.weight_bytes[weight]) for weight in layer.weights)
    return f"{size / 1e3:.1f}"
