"""Lower one layer: its fx nodes become one tensor-expression graph with one result per output."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

import tvm
from torch import fx
from tvm import te

from runtime.build.lower import (
    convolution,
    elementwise,
    indexing,
    movement,
    pooling,
    product,
    reduction,
)
from runtime.build.lower.choice import Choice, Offer
from runtime.build.lower.collapse import collapse_axes
from runtime.build.lower.context import Anchor, Context, Converter, compute, dtype_of
from runtime.build.lower.encoding import Encoding, Part
from runtime.build.lower.expressions import type_of
from runtime.build.lower.integer_packing import IntegerPacking
from runtime.build.lower.packing import Packing
from runtime.build.machine import Machine
from splitter.errors import ModelError, UnsupportedOperatorError
from splitter.graph import Layer
from splitter.program import Program
from splitter.quantized_ops import QUANTIZED
from splitter.tracing.arguments import operator_name, shape_of
from splitter.tracing.operators import is_view

Encodings = Mapping[str, Encoding]
"""By the constant's name."""
NO_ENCODINGS: Encodings = MappingProxyType({})
EXPANDED_DEPTHWISE = "pointwise, then depthwise conv2d"
"""Kind of two layers that are one kernel; see `runtime.build.pairs`."""

_CONVERTERS: Mapping[str, Converter] = {
    **elementwise.CONVERTERS,
    **movement.CONVERTERS,
    **convolution.CONVERTERS,
    **product.CONVERTERS,
    **reduction.CONVERTERS,
    **pooling.CONVERTERS,
    **indexing.CONVERTERS,
}


def supported_operators() -> frozenset[str]:
    """Names of the ATen operators that have a lowering."""
    return frozenset(_CONVERTERS) | {"getitem"} | QUANTIZED


@dataclass(frozen=True, slots=True)
class KernelOperand:
    """One argument of a kernel."""

    role: Literal["input", "weight", "output"]
    name: str
    """Tensor name (input, output) or constant name (weight)."""
    shape: tuple[int, ...]
    """As the kernel sees it; a view of the tensor's own shape, or the packed shape."""
    dtype: str
    packing: Packing | IntegerPacking | None = None
    part: Part | None = None
    """Of a constant that the kernel decodes, what this is; None for floats."""


@dataclass(frozen=True)
class LoweredLayer:
    """A layer as an unscheduled TIR function over its operands."""

    function: tvm.tirx.PrimFunc
    operands: tuple[KernelOperand, ...]
    anchor: Anchor | None
    offers: tuple[Offer, ...] = ()
    """The ways in which the layer can be computed, cheapest by the cost model first."""


def lower_layer(
    program: Program,
    layer: Layer,
    machine: Machine,
    choice: Choice | None = None,
    encodings: Encodings = NO_ENCODINGS,
) -> LoweredLayer:
    """The TIR function of ``layer``, computed as ``choice`` says or as the cost model does.

    Constants named in ``encodings`` are decoded by the kernel where it reads them block by block.

    Raises:
        ModelError: the choice is not one for this layer and machine.
        UnsupportedOperatorError: an operator of the layer has no lowering.
    """
    module = program.layer_module(layer)
    collapse_axes(module)
    placeholders = [n for n in module.graph.nodes if n.op == "placeholder"]
    ctx = Context(machine, wanted=choice, feeds_rows=layer.kind == EXPANDED_DEPTHWISE)
    aliases = _bind(ctx, placeholders, len(layer.inputs))
    constants = zip(layer.weights, placeholders[len(layer.inputs) :], strict=True)
    ctx.encodings = {
        node: encodings[name]
        for name, node in constants
        if name in encodings and ctx.is_private_constant(node)
    }
    skipped = {view for p, bound in aliases.items() for view in _views_between(p, bound)}
    for node in module.graph.nodes:
        if node.op == "call_function" and node not in ctx.values and node not in skipped:
            ctx.values[node] = _convert(ctx, node, layer)
    if choice is not None and all(offer.choice != choice for offer in ctx.offers):
        raise ModelError(
            f"layer {layer.name} cannot be computed as '{choice}' on {machine}; if a tuning "
            "database says so, compile with --untuned"
        )
    results = [_result(ctx, node) for node in _outputs(module)]
    operands = (
        *_operands("input", layer.inputs, [aliases.get(p, p) for p in placeholders], ctx),
        *_operands("weight", layer.weights, placeholders[len(layer.inputs) :], ctx),
    )
    outputs = tuple(
        KernelOperand("output", name, tuple(int(e) for e in value.shape), type_of(value))
        for name, value in zip(layer.outputs, results, strict=True)
    )
    sources = [t for p in placeholders for _, t in _read(ctx, aliases.get(p, p))]
    function = te.create_prim_func([*sources, *results])
    return LoweredLayer(function, (*operands, *outputs), ctx.anchor, ctx.offers)


def _bind(ctx: Context, placeholders: list[fx.Node], inputs: int) -> dict[fx.Node, fx.Node]:
    """Give every operand an expression; an input read through one view is bound as that view."""
    aliases: dict[fx.Node, fx.Node] = {}
    for position, node in enumerate(placeholders):
        bound = node
        if position < inputs:
            bound = _through_views(node)
            if bound is not node:
                aliases[node] = bound
        else:
            node.meta["role"] = "weight"
        ctx.values[bound] = te.placeholder(shape_of(bound), dtype_of(bound), name=bound.name)
    return aliases


def _through_views(node: fx.Node) -> fx.Node:
    users = list(node.users)
    while len(users) == 1 and users[0].op == "call_function" and is_view(users[0]):
        following = list(users[0].users)
        if any(user.op == "output" for user in following):
            break  # a layer of views alone still has to copy
        node, users = users[0], following
    return node


def _views_between(placeholder: fx.Node, bound: fx.Node) -> list[fx.Node]:
    """The views whose shapes no kernel sees, because ``bound`` follows them."""
    passed: list[fx.Node] = []
    while bound is not placeholder:
        bound = bound.all_input_nodes[0]
        passed.append(bound)
    return passed[:-1]


def _convert(ctx: Context, node: fx.Node, layer: Layer) -> te.Tensor:
    name = operator_name(node)
    if name == "getitem":
        if node.args[1] != 0:
            raise UnsupportedOperatorError(
                f"layer {layer.name} uses output {node.args[1]} of {node.args[0]}; only the first "
                "output has a lowering: compute the other with an operator of its own"
            )
        return ctx.tensor(node.args[0])
    if name not in _CONVERTERS:
        raise UnsupportedOperatorError(
            f"operator {node.target} of layer {layer.name} has no lowering"
        )
    return _CONVERTERS[name](ctx, node)


def _outputs(module: fx.GraphModule) -> list[fx.Node]:
    results = next(reversed(module.graph.nodes)).args[0]
    assert isinstance(results, tuple | list)
    return [node for node in results if isinstance(node, fx.Node)]


def _result(ctx: Context, node: fx.Node) -> te.Tensor:
    """The node's value without its trailing views: the bytes are the same."""
    while is_view(node) and len(node.users) == 1:
        source = node.args[0]
        assert isinstance(source, fx.Node)
        if source.op == "placeholder" or len(source.users) != 1:
            break
        node = source
    value = ctx.values[node]
    if isinstance(value.op, te.PlaceholderOp):
        return compute(node, lambda *i: value(*i), name="copy")
    return value


def _operands(
    role: Literal["input", "weight"],
    names: tuple[str, ...],
    nodes: list[fx.Node],
    ctx: Context,
) -> tuple[KernelOperand, ...]:
    return tuple(
        KernelOperand(
            role,
            name,
            tuple(int(e) for e in value.shape),
            type_of(value),
            ctx.packings.get(node),
            part,
        )
        for name, node in zip(names, nodes, strict=False)
        for part, value in _read(ctx, node)
    )


def _read(ctx: Context, node: fx.Node) -> list[tuple[Part | None, te.Tensor]]:
    """What the kernel reads of an operand: its value, or the parts of which it decodes it."""
    if node in ctx.parts:
        return list(ctx.parts[node].items())
    return [(None, ctx.values[node])]
