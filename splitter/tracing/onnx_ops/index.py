"""Operators that pick elements: gathers, slices, splits, triangles."""

from collections.abc import Sequence

import torch
from torch.nn import functional as F

from splitter.tracing.onnx_ops.node import OpNode, is_known


def gather(node: OpNode, x: torch.Tensor, indices: torch.Tensor) -> torch.Tensor:
    """Gather: a table look-up with computed indices is torch's embedding.

    Negative indices count from the end, except in such a look-up, where they are out of range.
    """
    axis = node.get("axis", 0) % x.dim()
    if is_known(indices):
        return _pick(x, axis, indices)
    if axis == 0 and x.dim() == 2 and is_known(x) and x.is_floating_point():
        return F.embedding(indices, x)
    flat = torch.reshape(_counted_from_start(indices, x.shape[axis]), [-1])
    picked = torch.index_select(x, axis, flat)
    return torch.reshape(picked, [*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :]])


def _pick(x: torch.Tensor, axis: int, indices: torch.Tensor) -> torch.Tensor:
    places = (indices.reshape(-1) % x.shape[axis]).to(torch.int64)
    shape = [*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :]]
    first, count = int(places[0]) if places.numel() else 0, places.numel()
    if places.equal(torch.arange(first, first + count)):
        picked = x if count == x.shape[axis] else torch.narrow(x, axis, first, count)
    else:
        picked = torch.index_select(x, axis, places)
    return picked if list(picked.shape) == shape else torch.reshape(picked, shape)


def _counted_from_start(indices: torch.Tensor, size: int) -> torch.Tensor:
    return torch.where(torch.lt(indices, 0), torch.add(indices, size), indices)


def gather_elements(node: OpNode, x: torch.Tensor, indices: torch.Tensor) -> torch.Tensor:
    """GatherElements."""
    axis = node.get("axis", 0) % x.dim()
    return torch.gather(x, axis, _counted_from_start(indices, x.shape[axis]).to(torch.int64))


def gather_nd(node: OpNode, x: torch.Tensor, indices: torch.Tensor) -> torch.Tensor:
    """GatherND: each index tuple becomes one flat index."""
    indices = _with_batch(indices, node.get("batch_dims", 0))
    depth = indices.shape[-1]
    strides = torch.tensor([_size(x.shape[i + 1 : depth]) for i in range(depth)])
    sizes = torch.tensor(list(x.shape[:depth]))
    places = torch.where(torch.lt(indices, 0), torch.add(indices, sizes), indices)
    flat = torch.reshape(torch.sum(torch.mul(places, strides), -1), [-1])
    rows = torch.reshape(x, [_size(x.shape[:depth]), *x.shape[depth:]])
    return torch.reshape(torch.index_select(rows, 0, flat), [*indices.shape[:-1], *x.shape[depth:]])


def _with_batch(indices: torch.Tensor, axes: int) -> torch.Tensor:
    """Index tuples led by the position along each of the first ``axes`` axes."""
    leads = []
    for axis in range(axes):
        shape = [-1 if i == axis else 1 for i in range(indices.dim())]
        places = torch.arange(indices.shape[axis], dtype=indices.dtype).reshape(shape)
        leads.append(places.expand(*indices.shape[:-1], 1))
    return torch.cat([*leads, indices], -1) if leads else indices


def _size(sizes: Sequence[int]) -> int:
    total = 1
    for size in sizes:
        total *= size
    return total


def one_hot(
    node: OpNode, indices: torch.Tensor, depth: torch.Tensor, values: torch.Tensor
) -> torch.Tensor:
    """OneHot with known depth and values."""
    count = node.ints(depth, "depth")[0]
    off, on = node.known(values, "values").tolist()
    axis = node.get("axis", -1) % (indices.dim() + 1)
    wrapped = _counted_from_start(indices, count)
    shape = [count if i == axis else 1 for i in range(indices.dim() + 1)]
    classes = torch.reshape(torch.arange(count), shape)
    hits = torch.eq(torch.unsqueeze(wrapped, axis), classes)
    return torch.where(
        hits, torch.tensor(on, dtype=values.dtype), torch.tensor(off, dtype=values.dtype)
    )


def slice_(
    node: OpNode,
    x: torch.Tensor,
    starts: torch.Tensor | None = None,
    ends: torch.Tensor | None = None,
    axes: torch.Tensor | None = None,
    steps: torch.Tensor | None = None,
) -> torch.Tensor:
    """Slice; bounds are attributes before operator set 10 and inputs since."""
    first = node.axes(starts, "starts") or []
    last = node.axes(ends, "ends") or []
    chosen = node.axes(axes) or list(range(len(first)))
    strides = [1] * len(first) if steps is None else node.ints(steps, "steps")
    for axis, start, end, step in zip(chosen, first, last, strides, strict=True):
        x = _slice_axis(x, axis % x.dim(), range(x.shape[axis])[slice(start, end, step)])
    return x


def _slice_axis(x: torch.Tensor, axis: int, places: range) -> torch.Tensor:
    if places == range(x.shape[axis]):
        return x
    if places.step == 1 or not places:
        return torch.narrow(x, axis, places.start if places else 0, len(places))
    return torch.index_select(x, axis, torch.tensor(list(places)))


def split(
    node: OpNode, x: torch.Tensor, sizes: torch.Tensor | None = None
) -> Sequence[torch.Tensor]:
    """Split; equal parts if no sizes are given, a last smaller one if they do not divide."""
    axis = node.get("axis", 0) % x.dim()
    lengths = node.axes(sizes, "split")
    if lengths is None:
        part = -(-x.shape[axis] // node.get("num_outputs", node.output_count))
        lengths = [min(part, x.shape[axis] - i) for i in range(0, x.shape[axis], part)]
    starts = [sum(lengths[:i]) for i in range(len(lengths))]
    return [
        torch.narrow(x, axis, start, length) for start, length in zip(starts, lengths, strict=True)
    ]


def trilu(node: OpNode, x: torch.Tensor, k: torch.Tensor | None = None) -> torch.Tensor:
    """Trilu: what is outside the triangle becomes zero."""
    diagonal = 0 if k is None else node.ints(k, "k")[0]
    if is_known(x):
        return torch.triu(x, diagonal) if node.get("upper", 1) else torch.tril(x, diagonal)
    ones = torch.ones(list(x.shape[-2:]), dtype=torch.bool)
    inside = ones.triu(diagonal) if node.get("upper", 1) else ones.tril(diagonal)
    return torch.where(inside, x, torch.zeros([], dtype=x.dtype))
