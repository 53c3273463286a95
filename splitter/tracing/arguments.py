"""Reading fx nodes of ATen operators: names, shapes and arguments."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import fx


def operator_name(node: fx.Node) -> str:
    """``aten.conv2d.default`` -> ``conv2d``; other callables by their own name."""
    target = node.target
    if isinstance(target, torch._ops.OpOverload):
        return target._schema.name.removeprefix("aten::").removeprefix("splitter::")
    return getattr(target, "__name__", str(target))


def shape_of(value: object) -> tuple[int, ...]:
    """Static shape of a node's value; of the first one for operators with several results."""
    assert isinstance(value, fx.Node)
    found = value.meta["val"]
    first = found if isinstance(found, torch.Tensor) else found[0]
    return tuple(int(extent) for extent in first.shape)


def argument(node: fx.Node, position: int, name: str, default: Any = None) -> Any:
    """An ATen argument by position or keyword."""
    if len(node.args) > position:
        return node.args[position]
    return node.kwargs.get(name, default)


def listed(value: Any, rank: int) -> list[int]:
    """An ATen size argument, one number or one per axis, as one per axis."""
    values = [int(v) for v in value] if isinstance(value, Sequence) else [int(value)]
    return values * rank if len(values) == 1 else values
