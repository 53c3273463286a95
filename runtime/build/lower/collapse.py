"""Merge axes that a layer treats alike, so that loops are long: the bytes stay where they are."""

import math
from collections.abc import Sequence

import torch
from torch import fx

from splitter.tracing.arguments import operator_name
from splitter.tracing.operators import is_elementwise, is_view, kind_of

aten = torch.ops.aten


def collapse_axes(module: fx.GraphModule) -> None:
    """Rewrite a layer's own copy of its nodes over fewer axes where all its tensors allow it.

    Pointwise convolutions and element-wise layers merge their spatial axes, linear layers all
    axes before the last. Shapes in ``meta["val"]`` and convolution arguments change, nothing else.
    """
    nodes = [n for n in module.graph.nodes if n.op == "call_function"]
    if any(is_view(n) or not _is_simple(n) for n in nodes):
        return
    anchors = [n for n in nodes if not is_elementwise(n)]
    tensors = [n for n in module.graph.nodes if n.op in ("placeholder", "call_function")]
    if any(operator_name(n) == "linear" for n in anchors):
        _collapse(tensors, nodes, keep_first=0, keep_last=1)
    else:
        _collapse(tensors, nodes, keep_first=2, keep_last=0)
    for node in anchors:
        if operator_name(node) == "conv2d" and node.meta["val"].dim() == 3:
            node.target = aten.conv1d.default
            bias = node.args[2] if len(node.args) > 2 else None
            node.args = (*node.args[:2], bias, [1], [0], [1], *node.args[6:])


def _is_simple(node: fx.Node) -> bool:
    if is_elementwise(node):
        return operator_name(node) not in ("prelu", "_prelu_kernel")
    return operator_name(node) == "linear" or is_plain_pointwise(node)


def is_plain_pointwise(node: fx.Node) -> bool:
    """Whether ``node`` is a 1 x 1 convolution of planes that reads each position as it is."""
    if kind_of(node) != "pointwise conv2d":
        return False
    stride, padding = (node.args[k] if len(node.args) > k else d for k, d in ((3, 1), (4, 0)))
    return _all_equal(stride, 1) and _all_equal(padding, 0)


def _all_equal(value: object, number: int) -> bool:
    return all(v == number for v in (value if isinstance(value, Sequence) else [value]))


def _collapse(
    tensors: list[fx.Node], nodes: list[fx.Node], keep_first: int, keep_last: int
) -> None:
    full = tuple(nodes[-1].meta["val"].shape)
    if len(full) - keep_first - keep_last < 2:
        return
    last = len(full) - keep_last
    merged: dict[fx.Node, tuple[int, ...]] = {}
    for node in tensors:
        shape = tuple(node.meta["val"].shape)
        if _is_operand_of_anchor(node, 1) and keep_first == 2:
            merged[node] = (*shape[:2], 1)  # a 1 x 1 convolution kernel
        elif (
            _is_operand_of_anchor(node, 1)
            or _is_operand_of_anchor(node, 2)
            or len(shape) <= keep_last
        ):
            continue
        elif len(shape) != len(full) or not _merges(shape[keep_first:last], full[keep_first:last]):
            return
        else:
            middle = math.prod(shape[keep_first:last])
            merged[node] = (*shape[:keep_first], middle, *shape[last:])
    for node, shape in merged.items():
        value = node.meta["val"]
        node.meta["val"] = torch.empty(shape, dtype=value.dtype, device="meta")


def _merges(shape: tuple[int, ...], full: tuple[int, ...]) -> bool:
    return shape == full or all(extent == 1 for extent in shape)


def _is_operand_of_anchor(node: fx.Node, position: int) -> bool:
    """Whether ``node`` is the weight (position 1) or bias (2) of a convolution or linear layer."""
    return node.op == "placeholder" and any(
        user.op == "call_function"
        and not is_elementwise(user)
        and len(user.args) > position
        and user.args[position] is node
        for user in node.users
    )
