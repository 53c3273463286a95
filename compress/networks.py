"""Copies of a Program's module that can be trained, and batches for a module of one request."""

from collections.abc import Callable, Sequence

import torch
from torch import fx, nn

from splitter.program import Program, constant_of
from splitter.tracing.arguments import operator_name

Outputs = tuple[torch.Tensor, ...]
Batched = Callable[[Sequence[torch.Tensor]], Outputs]

_READS_WEIGHTS = frozenset(
    """conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d linear matmul mm
    addmm embedding layer_norm native_layer_norm native_group_norm""".split()
)


def trainable_copy(program: Program) -> fx.GraphModule:
    """The program's module with own weights; those of layers and norms are parameters."""
    graph = fx.Graph()
    output = graph.graph_copy(program.module.graph, {})
    graph.output(output)
    learns = {
        str(source.target)
        for node in graph.nodes
        if node.op == "call_function" and operator_name(node) in _READS_WEIGHTS
        for source in node.all_input_nodes
        if source.op == "get_attr"
    }
    root = nn.Module()
    for node in graph.nodes:
        if node.op == "get_attr":
            name = str(node.target)
            value = constant_of(program.module, name).detach().clone()
            place(root, name, value, trainable=name in learns and value.is_floating_point())
    return fx.GraphModule(root, graph)


def frozen_copy(module: fx.GraphModule) -> fx.GraphModule:
    """``module`` with own constants, none of which is a parameter."""
    graph = fx.Graph()
    output = graph.graph_copy(module.graph, {})
    graph.output(output)
    root = nn.Module()
    for node in graph.nodes:
        if node.op == "get_attr":
            value = constant_of(module, str(node.target)).detach().clone()
            place(root, str(node.target), value, trainable=False)
            node.meta["val"] = value
    return fx.GraphModule(root, graph)


def place(root: nn.Module, name: str, value: torch.Tensor, *, trainable: bool) -> None:
    """Put ``value`` at the dotted path ``name``, in place of what is there."""
    *path, leaf = name.split(".")
    for part in path:
        if not hasattr(root, part):
            root.add_module(part, nn.Module())
        root = root.get_submodule(part)
    if hasattr(root, leaf):
        delattr(root, leaf)
    if trainable:
        root.register_parameter(leaf, nn.Parameter(value))
    else:
        root.register_buffer(leaf, value)


def batched(module: fx.GraphModule) -> Batched:
    """``module`` for several requests at once: inputs and outputs get a first axis.

    A traced module has the shapes of one request baked in. Its operators are mapped over the new
    axis together where torch can do that, else request by request.
    """
    mapped = torch.func.vmap(module)
    loops = False

    def call(inputs: Sequence[torch.Tensor]) -> Outputs:
        nonlocal loops
        if not loops:
            try:
                return tuple(mapped(*inputs))
            except RuntimeError:
                loops = True  # an operator without a rule for it; a real fault shows up below
        rows = [tuple(module(*row)) for row in zip(*inputs, strict=True)]
        return tuple(torch.stack(column) for column in zip(*rows, strict=True))

    return call
