"""Canonical form: no no-ops, no tuples, constants folded, batch norm folded into its producer."""

import math
import operator

import torch
from torch import fx
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.passes.fake_tensor_prop import FakeTensorProp

from splitter.program import constant_of, set_constant
from splitter.tracing.arguments import argument, shape_of
from splitter.tracing.batch_norm import fold_batch_norms

aten = torch.ops.aten

_NO_OPS = frozenset(
    {
        aten.alias.default,
        aten.clone.default,
        aten.contiguous.default,
        aten.detach.default,
        aten.dropout.default,
        aten.lift_fresh_copy.default,
        aten.native_dropout.default,
    }
)
_NO_OPS_IF_SAME = frozenset(
    {
        aten._to_copy.default,
        aten.expand.default,
        aten.view.default,
        aten.reshape.default,
        aten.permute.default,
        aten.squeeze.dims,
        aten.slice.Tensor,
        aten.constant_pad_nd.default,
        aten.repeat.default,
    }
)
_LARGEST_FOLDED_GROWTH_BYTES = 1 << 20


def canonicalize(module: fx.GraphModule) -> fx.GraphModule:
    """The same function with one way to say everything; every node gets ``meta["val"]``."""
    _drop_no_ops(module.graph)
    _views_to_reshapes(module.graph)
    _split_tuples(module.graph)
    _instance_to_group_norms(module.graph)
    _fold_constants(module)
    fold_batch_norms(module)
    _fold_constants(module)
    _merge_equal_constants(module)
    module.graph.eliminate_dead_code()
    module.graph.lint()
    module.recompile()
    propagate_shapes(module)
    return module


def propagate_shapes(module: fx.GraphModule) -> None:
    """Give every node the shape and type of its value in ``meta["val"]``."""
    inputs = [node.meta["val"] for node in module.graph.nodes if node.op == "placeholder"]
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    with mode:
        fakes = [torch.empty(v.shape, dtype=v.dtype) for v in inputs]
    FakeTensorProp(module, mode).propagate_dont_convert_inputs(*fakes)
    for node in module.graph.nodes:
        node.meta = {"val": node.meta["val"]} if "val" in node.meta else {}


def _drop_no_ops(graph: fx.Graph) -> None:
    for node in list(graph.nodes):
        if node.target is aten._assert_tensor_metadata.default:
            graph.erase_node(node)
        elif node.op == "call_function" and _is_no_op(node):
            source = node.args[0]
            assert isinstance(source, fx.Node)
            if node.target is aten.native_dropout.default:
                _replace_first_item(graph, node, source)
            else:
                node.replace_all_uses_with(source)
                graph.erase_node(node)


def _is_no_op(node: fx.Node) -> bool:
    if node.target in _NO_OPS:
        return True
    if node.target not in _NO_OPS_IF_SAME:
        return False
    source = node.args[0]
    assert isinstance(source, fx.Node)
    before, after = source.meta["val"], node.meta["val"]
    if before.shape != after.shape or before.dtype is not after.dtype:
        return False
    if node.target is aten.permute.default:
        return list(argument(node, 1, "dims")) == list(range(before.dim()))
    if node.target is aten.slice.Tensor:
        return bool(argument(node, 4, "step", 1) == 1)
    return True


def _views_to_reshapes(graph: fx.Graph) -> None:
    """Layouts are dense here, so that a view is only a reshape; strides mean nothing any more."""
    for node in graph.nodes:
        if node.target in (aten.view.default, aten._unsafe_view.default):
            node.target = aten.reshape.default
        elif node.target is aten.permute.default and _keeps_order(node):
            node.target = aten.reshape.default
            node.args = (node.args[0], list(node.meta["val"].shape))


def _keeps_order(permute: fx.Node) -> bool:
    """Whether only axes of extent 1 move."""
    shape = shape_of(permute.args[0])
    moved = [int(axis) % len(shape) for axis in argument(permute, 1, "dims")]
    long = [axis for axis in moved if shape[axis] != 1]
    return long == sorted(long)


def _replace_first_item(graph: fx.Graph, node: fx.Node, source: fx.Node) -> None:
    for user in list(node.users):
        if user.target is operator.getitem and user.args[1] == 0:
            user.replace_all_uses_with(source)
            graph.erase_node(user)
    if not node.users:
        graph.erase_node(node)


def _split_tuples(graph: fx.Graph) -> None:
    """Splits followed by getitem become one slice (or select) each."""
    for node in list(graph.nodes):
        if node.op != "call_function" or node.target not in _PIECES:
            continue
        for user in list(node.users):
            assert user.target is operator.getitem
            with graph.inserting_before(user):
                piece = _PIECES[node.target](graph, node, argument(user, 1, "index"))
            piece.meta["val"] = user.meta["val"]
            user.replace_all_uses_with(piece)
            graph.erase_node(user)
        graph.erase_node(node)


def _instance_to_group_norms(graph: fx.Graph) -> None:
    """Statistics per sample and channel are group norm with a channel per group."""
    for node in graph.nodes:
        if node.target is aten._native_batch_norm_legit.no_stats:
            source, weight, bias, _, _, eps = node.args
            assert isinstance(source, fx.Node)
            batch, channels, *spatial = source.meta["val"].shape
            node.target = aten.native_group_norm.default
            node.args = (source, weight, bias, batch, channels, math.prod(spatial), channels, eps)


def _dim(node: fx.Node, position: int) -> int:
    return int(argument(node, position, "dim", 0)) % len(shape_of(node.args[0]))


def _sized_piece(graph: fx.Graph, node: fx.Node, index: int) -> fx.Node:
    sizes = [int(value.shape[_dim(node, 2)]) for value in node.meta["val"]]
    start = sum(sizes[:index])
    args = (node.args[0], _dim(node, 2), start, start + sizes[index])
    return graph.call_function(aten.slice.Tensor, args)


def _unbound_piece(graph: fx.Graph, node: fx.Node, index: int) -> fx.Node:
    return graph.call_function(aten.select.int, (node.args[0], _dim(node, 1), index))


def _extreme_piece(graph: fx.Graph, node: fx.Node, index: int) -> fx.Node:
    """Max and min along an axis give values and positions: two reductions."""
    dim = _dim(node, 1)
    keepdim = bool(node.args[2]) if len(node.args) > 2 else False
    largest = node.target is aten.max.dim
    if index == 0:
        target = aten.amax.default if largest else aten.amin.default
        return graph.call_function(target, (node.args[0], [dim], keepdim))
    target = aten.argmax.default if largest else aten.argmin.default
    return graph.call_function(target, (node.args[0], dim, keepdim))


_PIECES = {
    aten.max.dim: _extreme_piece,
    aten.min.dim: _extreme_piece,
    aten.split.Tensor: _sized_piece,
    aten.split_with_sizes.default: _sized_piece,
    aten.unbind.int: _unbound_piece,
}


def _fold_constants(module: fx.GraphModule) -> None:
    for node in list(module.graph.nodes):
        if node.op != "call_function" or not _is_foldable(node):
            continue
        values = fx.node.map_arg(
            (node.args, node.kwargs), lambda n: constant_of(module, str(n.target))
        )
        assert callable(node.target)
        result = node.target(*values[0], **values[1])
        if not isinstance(result, torch.Tensor) or _grows(values, result):
            continue
        replace_with_constant(module, node, f"folded.{node.name}", result.contiguous())


def _is_foldable(node: fx.Node) -> bool:
    sources = node.all_input_nodes
    return all(s.op == "get_attr" for s in sources) and not node.is_impure()


def _grows(values: object, result: torch.Tensor) -> bool:
    before = 0

    def count(value: object) -> object:
        nonlocal before
        if isinstance(value, torch.Tensor):
            before += value.numel() * value.element_size()
        return value

    torch.utils._pytree.tree_map(count, values)
    return result.numel() * result.element_size() - before > _LARGEST_FOLDED_GROWTH_BYTES


def replace_with_constant(
    module: fx.GraphModule, node: fx.Node, name: str, value: torch.Tensor
) -> fx.Node:
    """Let a new constant ``name`` stand wherever ``node`` stood."""
    set_constant(module, name, value)
    with module.graph.inserting_before(node):
        constant = module.graph.get_attr(name)
    constant.meta["val"] = value
    node.replace_all_uses_with(constant)
    module.graph.erase_node(node)
    return constant


def _merge_equal_constants(module: fx.GraphModule) -> None:
    """One get_attr node per constant; folding makes many equal scalars, which become one."""
    known: dict[object, fx.Node] = {}
    for node in list(module.graph.nodes):
        if node.op != "get_attr":
            continue
        value = constant_of(module, str(node.target))
        key: object = str(node.target)
        if value.numel() == 1:
            key = (tuple(value.shape), value.dtype, value.numpy().tobytes())
        first = known.setdefault(key, node)
        if first is not node:
            node.replace_all_uses_with(first)
            module.graph.erase_node(node)
