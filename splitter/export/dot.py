"""A plan as a Graphviz drawing: one cluster per device, cut edges labelled with their size."""

from collections.abc import Iterator

from splitter.graph import Graph
from splitter.plan import Plan

_CUT = 'color="#c0392b", fontcolor="#c0392b", penwidth=2'


def plan_to_dot(graph: Graph, plan: Plan) -> str:
    """DOT source; ``dot -Tsvg`` draws it."""
    lines = [
        f"digraph {_quoted(graph.name)} {{",
        '  rankdir=TB; node [shape=box, style="rounded,filled", fillcolor=white];',
        f"  label={_quoted(f'{plan.model} on {plan.topology}')};",
        *_clusters(graph, plan),
        *_ends(graph),
        *_edges(graph, plan),
        "}",
    ]
    return "\n".join(lines) + "\n"


def _clusters(graph: Graph, plan: Plan) -> Iterator[str]:
    for number, load in enumerate(plan.estimate.devices):
        if not load.layers:
            continue
        used, limit = load.memory_bytes / 1e6, load.memory_limit_bytes / 1e6
        label = f"{load.device}\n{load.compute_s * 1e3:.2f} ms, {used:.1f} of {limit:.1f} MB"
        yield f"  subgraph cluster_{number} {{"
        yield f'    label={_quoted(label)}; style=filled; fillcolor="#eef3f8";'
        for name in load.layers:
            text = f"{name}\n{graph.by_name[name].kind}"
            yield f"    {_quoted(name)} [label={_quoted(text)}];"
        yield "  }"


def _ends(graph: Graph) -> Iterator[str]:
    """Model inputs and outputs; the prefixes keep them apart from layers of the same name."""
    for tensor in graph.inputs:
        yield f"  {_quoted(f'input {tensor}')} [label={_quoted(tensor)}, shape=ellipse];"
    for tensor in dict.fromkeys(graph.outputs):
        yield f"  {_quoted(f'output {tensor}')} [label={_quoted(tensor)}, shape=ellipse];"


def _edges(graph: Graph, plan: Plan) -> Iterator[str]:
    for name, tensor in graph.tensors.items():
        maker = graph.producer.get(name)
        start = f"input {name}" if maker is None else maker.name
        arrives = {t.target for t in plan.transfers if t.tensor == name}
        for reader in graph.consumers[name]:
            cut = plan.placement[reader.name] in arrives
            label = f" [label={_quoted(f'{tensor.bytes / 1e3:.1f} KB')}, {_CUT}]" if cut else ""
            yield f"  {_quoted(start)} -> {_quoted(reader.name)}{label};"
        if name in graph.outputs:
            yield f"  {_quoted(start)} -> {_quoted(f'output {name}')};"


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
