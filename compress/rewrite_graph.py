"""One call of an fx module at ATen level made two; used by `compress.rewrite` alone."""

from typing import Any

import torch
from torch import fx, nn

from compress.formats import Factors
from compress.sites import Site
from compress.windows import Extent, Window, windows
from splitter.program import constant_of, set_constant
from splitter.tracing.arguments import argument, listed, operator_name


def factor_node(model: fx.GraphModule, site: Site, factors: Factors) -> None:
    """Let two calls take the place of the one that reads the weight at ``site``."""
    node = _reader(model, site.weight)
    old = constant_of(model, site.weight)
    path = site.weight.removesuffix(".weight")
    values = [
        torch.from_numpy(w).to(old.device, old.dtype) for w in (factors.first, factors.second)
    ]
    _delete(model, site.weight)
    names = [f"{path}.{i}.weight" for i in range(2)]
    for name, value in zip(names, values, strict=True):
        _place(model, name, value, trainable=isinstance(old, nn.Parameter))
    with model.graph.inserting_before(node):
        first, second = (_get(model, name, v) for name, v in zip(names, values, strict=True))
        made = _calls(model.graph, node, first, second, factors)
    made.meta = dict(node.meta)
    node.replace_all_uses_with(made)
    source = node.args[1]
    model.graph.erase_node(node)
    assert isinstance(source, fx.Node)
    if not source.users:
        model.graph.erase_node(source)


def _calls(
    graph: fx.Graph, node: fx.Node, first: fx.Node, second: fx.Node, factors: Factors
) -> fx.Node:
    """The two calls that take the place of ``node``; returns the second."""
    inputs, bias = node.args[0], argument(node, 2, "bias")
    assert callable(node.target)
    if operator_name(node) == "linear":
        inner = graph.call_function(node.target, (inputs, first))
        return graph.call_function(node.target, (inner, second, bias))
    rank = factors.first.ndim - 2
    window = Window(
        listed(argument(node, 3, "stride", 1), rank),
        _padding(argument(node, 4, "padding", 0), rank),
        listed(argument(node, 5, "dilation", 1), rank),
    )
    down, up = windows(window, factors.scheme)
    target = node.target
    inner = graph.call_function(
        _form(target, down),
        (inputs, first, None, down.stride, down.padding, down.dilation, factors.first_groups),
    )
    arguments = (inner, second, bias, up.stride, up.padding, up.dilation, factors.second_groups)
    return graph.call_function(_form(target, up), arguments)


def _form(target: Any, window: Window) -> Any:
    """The overload for numbers or for a word."""
    packet = target.overloadpacket
    return packet.padding if isinstance(window.padding, str) else packet.default


def _padding(value: Any, rank: int) -> Extent:
    return value if isinstance(value, str) else listed(value, rank)


def _reader(model: fx.GraphModule, weight: str) -> fx.Node:
    for node in model.graph.nodes:
        if node.op == "get_attr" and str(node.target) == weight:
            reader: fx.Node = next(iter(node.users))
            return reader
    raise AssertionError(weight)


def _get(model: fx.GraphModule, name: str, value: torch.Tensor) -> fx.Node:
    node = model.graph.get_attr(name)
    node.meta["val"] = value
    return node


def _place(model: nn.Module, name: str, value: torch.Tensor, *, trainable: bool) -> None:
    set_constant(model, name, value)
    if trainable:
        path, _, leaf = name.rpartition(".")
        owner = model.get_submodule(path)
        delattr(owner, leaf)
        owner.register_parameter(leaf, nn.Parameter(value))


def _delete(model: nn.Module, name: str) -> None:
    path, _, leaf = name.rpartition(".")
    delattr(model.get_submodule(path), leaf)
