"""Operators that move elements about without computing; all sizes are known at import."""

from collections.abc import Sequence
from math import prod

import torch
from torch.nn import functional as F

from splitter.tracing.onnx_ops.node import OpNode


def identity(node: OpNode, x: torch.Tensor) -> torch.Tensor:
    """Identity."""
    return x


def dropout(
    node: OpNode,
    x: torch.Tensor,
    ratio: torch.Tensor | None = None,
    training: torch.Tensor | None = None,
) -> Sequence[torch.Tensor]:
    """Dropout at inference: the input itself, and a mask of ones where it is asked for."""
    active = training is not None and bool(node.known(training, "training_mode").item())
    if active and (ratio is None or node.known(ratio, "ratio").item() != 0):
        raise node.unsupported("it is in training mode", "Dropout for inference")
    if node.output_count == 1:
        return (x,)
    mask_dtype = torch.bool if node.opset >= 10 else x.dtype
    return x, torch.ones(list(x.shape), dtype=mask_dtype)


def shape(node: OpNode, x: torch.Tensor) -> torch.Tensor:
    """Shape, or a slice of it."""
    return torch.tensor(list(x.shape)[node.get("start", 0) : node.get("end")], dtype=torch.int64)


def size(node: OpNode, x: torch.Tensor) -> torch.Tensor:
    """Size."""
    return torch.tensor(prod(x.shape), dtype=torch.int64)


def reshape(node: OpNode, x: torch.Tensor, shape: torch.Tensor | None = None) -> torch.Tensor:
    """Reshape; 0 keeps a size unless ``allowzero``, and -1 is worked out."""
    wanted = list(node.get("shape")) if shape is None else node.ints(shape, "shape")
    if not node.get("allowzero", 0):
        wanted = [x.shape[i] if n == 0 else n for i, n in enumerate(wanted)]
    rest = prod(n for n in wanted if n != -1)
    fixed = [prod(x.shape) // rest if n == -1 else n for n in wanted]
    return x if fixed == list(x.shape) else torch.reshape(x, fixed)


def flatten(node: OpNode, x: torch.Tensor) -> torch.Tensor:
    """Flatten to a matrix."""
    axis = node.get("axis", 1)
    axis = axis + x.dim() if axis < 0 else axis
    return torch.reshape(x, [prod(x.shape[:axis]), prod(x.shape[axis:])])


def squeeze(node: OpNode, x: torch.Tensor, axes: torch.Tensor | None = None) -> torch.Tensor:
    """Squeeze; the axes are an attribute before operator set 13 and an input since."""
    chosen = node.axes(axes)
    if chosen is None:
        chosen = [i for i, n in enumerate(x.shape) if n == 1]
    places = {axis % x.dim() for axis in chosen}
    if any(x.shape[place] != 1 for place in places):
        raise ValueError(f"axes {sorted(places)} are not all of size 1")
    return torch.reshape(x, [n for i, n in enumerate(x.shape) if i not in places])


def unsqueeze(node: OpNode, x: torch.Tensor, axes: torch.Tensor | None = None) -> torch.Tensor:
    """Unsqueeze; the axes are an attribute before operator set 13 and an input since."""
    chosen = node.axes(axes) or []
    places = {axis % (x.dim() + len(chosen)) for axis in chosen}
    sizes = iter(x.shape)
    wanted = [1 if i in places else next(sizes) for i in range(x.dim() + len(places))]
    return torch.reshape(x, wanted)


def transpose(node: OpNode, x: torch.Tensor) -> torch.Tensor:
    """Transpose; without ``perm`` the axes are reversed."""
    order = list(node.get("perm", reversed(range(x.dim()))))
    return x if order == sorted(order) else torch.permute(x, order)


def concat(node: OpNode, *inputs: torch.Tensor) -> torch.Tensor:
    """Concat; empty inputs are left out."""
    axis = node.get("axis", 1)
    filled = [x for x in inputs if x.shape[axis] > 0] or list(inputs[:1])
    return filled[0] if len(filled) == 1 else torch.cat(filled, axis)


def expand(node: OpNode, x: torch.Tensor, shape: torch.Tensor) -> torch.Tensor:
    """Expand: two-way broadcast of the input with a shape."""
    target = _broadcast(x.shape, node.ints(shape, "shape"))
    return x if target == list(x.shape) else torch.broadcast_to(x, target)


def _broadcast(a: Sequence[int], b: Sequence[int]) -> list[int]:
    rank = max(len(a), len(b))
    padded = ([1] * (rank - len(shape)) + list(shape) for shape in (a, b))
    return [right if left == 1 else left for left, right in zip(*padded, strict=True)]


def tile(
    node: OpNode, x: torch.Tensor, repeats: torch.Tensor, axis: torch.Tensor | None = None
) -> torch.Tensor:
    """Tile."""
    counts = node.ints(repeats, "repeats")
    if axis is not None:
        place = node.ints(axis, "axis")[0]
        counts = [counts[0] if i == place else 1 for i in range(x.dim())]
    return x if set(counts) <= {1} else torch.tile(x, counts)


def pad(
    node: OpNode,
    x: torch.Tensor,
    pads: torch.Tensor | None = None,
    value: torch.Tensor | None = None,
    axes: torch.Tensor | None = None,
) -> torch.Tensor:
    """Pad; sizes are an attribute before operator set 11 and an input since."""
    given = node.get("pads", node.get("paddings")) if pads is None else node.ints(pads, "pads")
    chosen = node.axes(axes)
    places = list(range(x.dim())) if chosen is None else [axis % x.dim() for axis in chosen]
    begins, ends = [0] * x.dim(), [0] * x.dim()
    for i, place in enumerate(places):
        begins[place], ends[place] = given[i], given[i + len(places)]
    if not any(begins) and not any(ends):
        return x
    mode = node.get("mode", "constant")
    if mode != "constant":
        return _pad_by_index(node, x, begins, ends)
    fill = node.get("value", 0.0) if value is None else node.known(value, "value").item()
    flat = [n for pair in zip(reversed(begins), reversed(ends), strict=True) for n in pair]
    return F.pad(x, flat, value=fill)


def _pad_by_index(
    node: OpNode, x: torch.Tensor, begins: Sequence[int], ends: Sequence[int]
) -> torch.Tensor:
    """Reflect, edge and wrap: pick along each axis the elements that the padding repeats."""
    for axis, (begin, end) in enumerate(zip(begins, ends, strict=True)):
        if begin or end:
            places = torch.arange(-begin, x.shape[axis] + end)
            x = torch.index_select(x, axis, _source(node, places, x.shape[axis]))
    return x


def _source(node: OpNode, places: torch.Tensor, size: int) -> torch.Tensor:
    mode = node.get("mode")
    if mode == "edge":
        return places.clamp(0, size - 1)
    if mode == "wrap":
        return places % size
    period = max(2 * (size - 1), 1)
    return (size - 1) - ((places % period) - (size - 1)).abs()


def depth_to_space(node: OpNode, x: torch.Tensor) -> torch.Tensor:
    """DepthToSpace, in depth-column-row or column-row-depth order."""
    block = node.get("blocksize")
    batch, channels, height, width = x.shape
    depth = channels // block**2
    if node.get("mode", "DCR") == "DCR":
        split = torch.reshape(x, [batch, block, block, depth, height, width])
        moved = torch.permute(split, [0, 3, 4, 1, 5, 2])
    else:
        split = torch.reshape(x, [batch, depth, block, block, height, width])
        moved = torch.permute(split, [0, 1, 4, 2, 5, 3])
    return torch.reshape(moved, [batch, depth, height * block, width * block])


def space_to_depth(node: OpNode, x: torch.Tensor) -> torch.Tensor:
    """SpaceToDepth, in depth-column-row or column-row-depth order."""
    block = node.get("blocksize")
    batch, channels, height, width = x.shape
    rows, columns = height // block, width // block
    split = torch.reshape(x, [batch, channels, rows, block, columns, block])
    depth_first = node.get("mode", "DCR") == "DCR"
    moved = torch.permute(split, [0, 3, 5, 1, 2, 4] if depth_first else [0, 1, 3, 5, 2, 4])
    return torch.reshape(moved, [batch, channels * block**2, rows, columns])
