"""Operators that make tensors of nothing; all fold away at import."""

import torch

from splitter.tracing.onnx_ops.node import OpNode
from splitter.tracing.onnx_types import torch_dtype


def constant(node: OpNode) -> torch.Tensor:
    """Constant, in any of its attribute forms but sparse and text."""
    for name, dtype in (("value_float", torch.float32), ("value_floats", torch.float32),
                        ("value_int", torch.int64), ("value_ints", torch.int64)):  # fmt: skip
        if node.get(name) is not None:
            return torch.tensor(node.get(name), dtype=dtype)
    value = node.get("value")
    if value is None:
        raise node.unsupported("it holds text or a sparse tensor", "Constant with a dense tensor")
    assert isinstance(value, torch.Tensor)
    return value


def constant_of_shape(node: OpNode, shape: torch.Tensor) -> torch.Tensor:
    """ConstantOfShape."""
    value = node.get("value", torch.zeros(1))
    return torch.full(node.ints(shape, "shape"), value.item(), dtype=value.dtype)


def eye_like(node: OpNode, x: torch.Tensor) -> torch.Tensor:
    """EyeLike: ones on the k-th diagonal."""
    dtype = x.dtype if node.get("dtype") is None else torch_dtype(node.get("dtype"), node.name)
    rows, columns, k = x.shape[0], x.shape[1], node.get("k", 0)
    distance = torch.arange(columns)[None, :] - torch.arange(rows)[:, None]
    return torch.eq(distance, k).to(dtype)


def range_(
    node: OpNode, start: torch.Tensor, limit: torch.Tensor, delta: torch.Tensor
) -> torch.Tensor:
    """Range with known bounds."""
    first, last, step = (
        node.known(x, what).item()
        for x, what in ((start, "start"), (limit, "limit"), (delta, "delta"))
    )
    return torch.arange(first, last, step, dtype=start.dtype)
