"""Group fx nodes into layers, name them, and write down their numbers: Program from fx module.

A layer is one kernel: an anchor operator (convolution, product, pooling, softmax, ...) with the
element-wise operators that follow it and nothing else reads in between, then at most views. What
only pads a convolution's input belongs to the convolution. Other data movement (permute, slice,
...) is a kernel of its own, a run of it one kernel.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import fx

from splitter.errors import ModelError
from splitter.graph import DTYPE_BYTES, Graph, Layer, Tensor
from splitter.program import Program, dtype_name
from splitter.tracing.arguments import operator_name, shape_of
from splitter.tracing.names import LayerNames
from splitter.tracing.operators import (
    anchor_of,
    check_supported,
    is_elementwise,
    is_movement,
    is_padding_of,
    is_quantized,
    is_view,
    kind_of,
)
from splitter.tracing.work import macs_of, scratch_bytes_of


@dataclass(slots=True)
class _Group:
    nodes: list[fx.Node] = field(default_factory=list)
    moves_only: bool = True
    """Views and data movement, no arithmetic."""
    computes_only: bool = True
    """No view stands after an anchor, so an element-wise tail still fits the anchor's loops."""
    has_anchor: bool = False

    def add(self, node: fx.Node) -> None:
        view, elementwise = is_view(node), is_elementwise(node)
        if not (view or elementwise or is_movement(node)):
            self.has_anchor = True
        if elementwise or self.has_anchor:
            self.moves_only = False
        if view and self.has_anchor:
            self.computes_only = False
        self.nodes.append(node)


def group_layers(
    module: fx.GraphModule, name: str, input_names: Sequence[str], output_names: Sequence[str]
) -> Program:
    """The Program of a canonical module.

    Raises:
        UnsupportedOperatorError: an operator has no lowering.
        ModelError: a type that nodes cannot hold, or names that do not fit.
    """
    _materialize_constant_outputs(module)
    groups = _groups(module.graph)
    names = LayerNames(groups)
    inputs = [node for node in module.graph.nodes if node.op == "placeholder"]
    tensor_names = _tensor_names(module, groups, names, inputs, input_names, output_names)
    layers = [_layer(group, names.of(group[0]), tensor_names) for group in groups]
    graph = Graph(
        name=name,
        layers=tuple(layers),
        tensors={tensor: _tensor(tensor, node) for node, tensor in tensor_names.items()},
        inputs=tuple(tensor_names[node] for node in inputs),
        outputs=tuple(tensor_names[node] for node in _outputs(module.graph)),
        weight_bytes=_weight_bytes(module.graph),
    )
    return Program(
        module=module,
        graph=graph,
        layer_nodes={
            layer.name: tuple(node.name for node in group)
            for layer, group in zip(layers, groups, strict=True)
        },
        tensor_nodes={tensor: node.name for node, tensor in tensor_names.items()},
    )


def _outputs(graph: fx.Graph) -> list[fx.Node]:
    results = next(reversed(graph.nodes)).args[0]
    assert isinstance(results, tuple | list)
    return [node for node in results if isinstance(node, fx.Node)]


def _materialize_constant_outputs(module: fx.GraphModule) -> None:
    """An output that does not depend on the inputs still has to be made by some layer."""
    output = next(reversed(module.graph.nodes))
    for node in dict.fromkeys(_outputs(module.graph)):
        if node.op == "get_attr":
            with module.graph.inserting_before(output):
                copy = module.graph.call_function(torch.ops.aten.clone.default, (node,))
            copy.meta["val"] = node.meta["val"]
            output.replace_input_with(node, copy)
    module.recompile()


def _groups(graph: fx.Graph) -> list[list[fx.Node]]:
    """Nodes of each layer; layers ordered by their last node, which is a topological order."""
    group_of: dict[fx.Node, _Group] = {}
    order = {node: i for i, node in enumerate(graph.nodes)}
    for node in graph.nodes:
        if node.op == "call_function":
            host = _host(node, group_of, order)
            group = _Group() if host is None else group_of[host]
            group.add(node)
            group_of[node] = group
    distinct = {id(group): group for group in group_of.values()}.values()
    return sorted((g.nodes for g in distinct), key=lambda nodes: order[nodes[-1]])


def _host(
    node: fx.Node, group_of: Mapping[fx.Node, _Group], order: Mapping[fx.Node, int]
) -> fx.Node | None:
    """The input whose group ``node`` joins."""
    if operator_name(node) == "getitem":
        return node.all_input_nodes[0]
    fits = [source for source in node.all_input_nodes if _fits(node, source, group_of)]
    return max(fits, key=order.__getitem__, default=None)


def _fits(node: fx.Node, source: fx.Node, group_of: Mapping[fx.Node, _Group]) -> bool:
    if source not in group_of or list(source.users) != [node]:
        return False
    group = group_of[source]
    if group.nodes[-1] is not source or operator_name(source) == "getitem":
        return False
    if is_padding_of(source, node):
        return group.nodes == [source]
    if is_quantized(node):
        return operator_name(node) == "qadd" and _takes_sums(group)
    if is_view(node):
        return node.args[0] is source
    if is_movement(node):
        return group.moves_only and len(node.all_input_nodes) == 1
    if is_elementwise(node) and not any(map(is_quantized, group.nodes)):
        return group.computes_only and shape_of(source) == shape_of(node)
    return False


def _takes_sums(group: _Group) -> bool:
    """Whether a sum of numbers can be the tail of the group's kernel."""
    return all(operator_name(node) in ("qconv2d", "qadd") for node in group.nodes)


def _tensor_names(
    module: fx.GraphModule,
    groups: Sequence[Sequence[fx.Node]],
    names: LayerNames,
    inputs: Sequence[fx.Node],
    input_names: Sequence[str],
    output_names: Sequence[str],
) -> dict[fx.Node, str]:
    """Name of every tensor at a layer's edge, model inputs first, then in execution order."""
    given = tuple(input_names) or tuple(str(node.target) for node in inputs)
    if len(given) != len(inputs) or len(set(given)) != len(given):
        raise ModelError(f"the model has {len(inputs)} inputs; the names {list(given)} do not fit")
    found = dict(zip(inputs, given, strict=True))
    wanted = dict(zip(_outputs(module.graph), output_names, strict=bool(output_names)))
    for group in groups:
        members = set(group)
        leaving = [n for n in group if _is_tensor(n) and not set(n.users) <= members]
        for i, node in enumerate(leaving):
            default = names.of(group[0]) if len(leaving) == 1 else f"{names.of(group[0])}:{i}"
            label = wanted.get(node, default)
            found[node] = default if label in found.values() else label
    return found


def _is_tensor(node: fx.Node) -> bool:
    return isinstance(node.meta.get("val"), torch.Tensor)


def _layer(group: Sequence[fx.Node], name: str, tensor_names: Mapping[fx.Node, str]) -> Layer:
    for node in group:
        check_supported(node, name)
    members = set(group)
    sources = dict.fromkeys(s for n in group for s in n.all_input_nodes if s not in members)
    return Layer(
        name=name,
        kind=kind_of(anchor_of(group)),
        inputs=tuple(tensor_names[s] for s in sources if s.op != "get_attr"),
        outputs=tuple(tensor_names[n] for n in group if n in tensor_names),
        weights=tuple(str(s.target) for s in sources if s.op == "get_attr"),
        macs=sum(macs_of(node) for node in group),
        scratch_bytes=sum(scratch_bytes_of(node) for node in group),
        signature=_signature(group, list(sources), tensor_names),
    )


def _signature(
    group: Sequence[fx.Node], sources: Sequence[fx.Node], tensor_names: Mapping[fx.Node, str]
) -> str:
    """Hash of everything a kernel depends on: operators, arguments, shapes, types, wiring."""
    label = {node: f"%{i}" for i, node in enumerate((*sources, *group))}
    lines = [
        f"{label[s]}={'weight' if s.op == 'get_attr' else 'input'}:{_type_text(s)}" for s in sources
    ]
    for node in group:
        arguments = fx.node.map_arg((node.args, node.kwargs), lambda n: _Label(label[n]))
        mark = "!" if node in tensor_names else ""
        lines.append(f"{label[node]}{mark}={node.target}{arguments!r}:{_type_text(node)}")
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


class _Label(str):
    def __repr__(self) -> str:
        return str(self)


def _type_text(node: fx.Node) -> str:
    value = node.meta.get("val")
    if isinstance(value, torch.Tensor):
        return f"{dtype_name(value.dtype)}{list(value.shape)}"
    return "tuple"


def _tensor(name: str, node: fx.Node) -> Tensor:
    dtype = dtype_name(node.meta["val"].dtype)
    if dtype not in DTYPE_BYTES:
        raise ModelError(
            f"tensor {name} is {dtype}, which nodes cannot hold; they hold {', '.join(DTYPE_BYTES)}"
        )
    return Tensor(name, shape_of(node), dtype)


def _weight_bytes(graph: fx.Graph) -> dict[str, int]:
    sizes: dict[str, int] = {}
    for node in graph.nodes:
        if node.op == "get_attr":
            value = node.meta["val"]
            sizes[str(node.target)] = value.numel() * value.element_size()
    return sizes
