"""Pooling."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from math import prod

import torch

from splitter.tracing.onnx_ops.node import OpNode
from splitter.tracing.onnx_ops.windows import Window, padded, window

_AVERAGE: dict[int, Callable[..., torch.Tensor]] = {
    1: torch.nn.functional.avg_pool1d,
    2: torch.nn.functional.avg_pool2d,
    3: torch.nn.functional.avg_pool3d,
}
_MAXIMUM: dict[int, Callable[..., torch.Tensor]] = {
    1: torch.max_pool1d,
    2: torch.max_pool2d,
    3: torch.max_pool3d,
}


def max_pool(node: OpNode, x: torch.Tensor) -> torch.Tensor:
    """MaxPool without indices; padding is minus infinity."""
    if node.output_count > 1:
        raise node.unsupported("its indices output is read", "MaxPool with one output")
    frame = _frame(node, x)
    if not _torch_can_pad(frame):
        lowest = float("-inf") if x.is_floating_point() else torch.iinfo(x.dtype).min
        x, frame = _with_padding(x, frame, lowest)
    pool = _MAXIMUM[_rank(node, x)]
    return pool(x, frame.kernel, frame.strides, frame.begins, frame.dilations)


def average_pool(node: OpNode, x: torch.Tensor) -> torch.Tensor:
    """AveragePool: the mean over what is inside, or over padding too if the file says so."""
    frame = _frame(node, x)
    count_padding = bool(node.get("count_include_pad", 0))
    unpadded = not any(frame.begins) and not any(frame.ends)
    plain = max(frame.dilations) == 1 and not _overhangs(node, frame, x)
    if plain and (unpadded or _torch_can_pad(frame)):
        pool = _AVERAGE[_rank(node, x)]
        return pool(x, frame.kernel, frame.strides, frame.begins, False, count_padding)
    sums = _window_sums(node, x, frame)
    return torch.div(sums, _counts(node, x, frame, count_padding))


def lp_pool(node: OpNode, x: torch.Tensor) -> torch.Tensor:
    """LpPool: the p-norm of each window."""
    p = node.get("p", 2)
    powers = torch.pow(torch.abs(x), float(p))
    return torch.pow(_window_sums(node, powers, _frame(node, x)), 1.0 / p)


def global_average_pool(node: OpNode, x: torch.Tensor) -> torch.Tensor:
    """GlobalAveragePool."""
    return torch.mean(x, list(range(2, x.dim())), keepdim=True)


def global_max_pool(node: OpNode, x: torch.Tensor) -> torch.Tensor:
    """GlobalMaxPool."""
    return torch.amax(x, list(range(2, x.dim())), keepdim=True)


def global_lp_pool(node: OpNode, x: torch.Tensor) -> torch.Tensor:
    """GlobalLpPool."""
    p = float(node.get("p", 2))
    powers = torch.pow(torch.abs(x), p)
    return torch.pow(torch.sum(powers, list(range(2, x.dim())), keepdim=True), 1.0 / p)


def _rank(node: OpNode, x: torch.Tensor) -> int:
    rank = x.dim() - 2
    if rank not in _MAXIMUM:
        raise node.unsupported(f"it has {rank} spatial axes", f"{node.op_type} over 1 to 3 axes")
    return rank


def _frame(node: OpNode, x: torch.Tensor) -> Window:
    """The window, with the end padding that makes every output position a whole window."""
    frame = window(node, node.get("kernel_shape"), x.shape[2:])
    if not node.get("ceil_mode", 0):
        return frame
    ends = [
        _ceil_end(*axis)
        for axis in zip(
            x.shape[2:], frame.spans, frame.strides, frame.begins, frame.ends, strict=True
        )
    ]
    return replace(frame, ends=tuple(ends))


def _ceil_end(size: int, span: int, stride: int, begin: int, end: int) -> int:
    """End padding for rounding up; a window that would start in the end padding is left out."""
    positions = -(-(size + begin + end - span) // stride) + 1
    if (positions - 1) * stride >= size + begin:
        positions -= 1
    return max((positions - 1) * stride + span - size - begin, end)


def _overhangs(node: OpNode, frame: Window, x: torch.Tensor) -> bool:
    """Whether rounding up added padding that must never be counted."""
    return frame.ends != window(node, frame.kernel, x.shape[2:]).ends


def _torch_can_pad(frame: Window) -> bool:
    """Torch pads both sides alike, and by half the window at most."""
    halves = zip(frame.begins, frame.kernel, strict=True)
    return frame.symmetric and all(begin <= kernel // 2 for begin, kernel in halves)


def _with_padding(x: torch.Tensor, frame: Window, value: float) -> tuple[torch.Tensor, Window]:
    none = (0,) * len(frame.kernel)
    return padded(x, frame.begins, frame.ends, value), replace(frame, begins=none, ends=none)


def _window_sums(node: OpNode, x: torch.Tensor, frame: Window) -> torch.Tensor:
    """Sum over each window, padding counting zero."""
    wider, bare = _with_padding(x, frame, 0.0)
    rank = _rank(node, x)
    if max(frame.dilations) == 1:
        means = _AVERAGE[rank](wider, bare.kernel, bare.strides)
        return torch.mul(means, float(prod(bare.kernel)))
    channels = x.shape[1]
    ones = torch.ones([channels, 1, *bare.kernel], dtype=x.dtype)
    convolve = (torch.conv1d, torch.conv2d, torch.conv3d)[rank - 1]
    return convolve(wider, ones, None, bare.strides, bare.begins, bare.dilations, channels)


def _counts(node: OpNode, x: torch.Tensor, frame: Window, count_padding: bool) -> torch.Tensor:
    """How many elements each window averages over; known at import."""
    inside = torch.ones([1, 1, *x.shape[2:]], dtype=x.dtype)
    asked = window(node, frame.kernel, x.shape[2:])
    if count_padding:
        inside = padded(inside, asked.begins, asked.ends, 1.0)
    rest = _remaining(frame, asked) if count_padding else (frame.begins, frame.ends)
    bare = replace(frame, begins=tuple(rest[0]), ends=tuple(rest[1]))
    return _window_sums(node, inside, bare)


def _remaining(frame: Window, asked: Window) -> tuple[Sequence[int], Sequence[int]]:
    """Padding beyond what the file asked for."""
    ends = [have - want for have, want in zip(frame.ends, asked.ends, strict=True)]
    return (0,) * len(ends), ends
