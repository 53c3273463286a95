"""Convolutions."""

from collections.abc import Sequence

import torch

from splitter.tracing.onnx_ops.node import OpNode
from splitter.tracing.onnx_ops.windows import padded, split_padding, window

_FORWARD = {1: torch.conv1d, 2: torch.conv2d, 3: torch.conv3d}
_TRANSPOSED = {1: torch.conv_transpose1d, 2: torch.conv_transpose2d, 3: torch.conv_transpose3d}


def conv(
    node: OpNode, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None
) -> torch.Tensor:
    """Conv; unequal padding becomes an operator of its own."""
    rank = _rank(node, x)
    frame = window(node, weight.shape[2:], x.shape[2:])
    group = node.get("group", 1)
    if frame.symmetric:
        return _FORWARD[rank](x, weight, bias, frame.strides, frame.begins, frame.dilations, group)
    wider = padded(x, frame.begins, frame.ends)
    none = (0,) * rank
    return _FORWARD[rank](wider, weight, bias, frame.strides, none, frame.dilations, group)


def conv_transpose(
    node: OpNode, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None
) -> torch.Tensor:
    """ConvTranspose; unequal padding crops the full result."""
    rank = _rank(node, x)
    frame = window(node, weight.shape[2:], x.shape[2:])
    extra = list(node.get("output_padding", [0] * rank))
    full = [
        stride * (size - 1) + span + more
        for stride, size, span, more in zip(
            frame.strides, x.shape[2:], frame.spans, extra, strict=True
        )
    ]
    begins, ends = _crops(node, full, frame.begins, frame.ends, x.shape[2:], frame.strides)
    group = node.get("group", 1)
    if begins == ends and all(begin >= 0 for begin in begins):
        return _TRANSPOSED[rank](
            x, weight, bias, frame.strides, begins, extra, group, frame.dilations
        )
    none = [0] * rank
    whole = _TRANSPOSED[rank](x, weight, None, frame.strides, none, none, group, frame.dilations)
    cut = padded(
        whole, [-b for b in begins], [more - e for e, more in zip(ends, extra, strict=True)]
    )
    return cut if bias is None else torch.add(cut, torch.reshape(bias, [-1, *[1] * rank]))


def _crops(
    node: OpNode,
    full: Sequence[int],
    begins: Sequence[int],
    ends: Sequence[int],
    sizes: Sequence[int],
    strides: Sequence[int],
) -> tuple[list[int], list[int]]:
    """How much of the full result is cut off at each end."""
    auto = node.get("auto_pad", "NOTSET")
    wanted = node.get("output_shape")
    if wanted is None and auto.startswith("SAME"):
        wanted = [size * stride for size, stride in zip(sizes, strides, strict=True)]
    if wanted is None:
        return list(begins), list(ends)
    totals = [have - want for have, want in zip(full, list(wanted)[-len(full) :], strict=True)]
    # For a transposed convolution the operator set swaps the ends: UPPER cuts more at the end.
    return split_padding(totals, "SAME_UPPER" if auto == "SAME_UPPER" else "SAME_LOWER")


def _rank(node: OpNode, x: torch.Tensor) -> int:
    rank = x.dim() - 2
    if rank not in _FORWARD:
        raise node.unsupported(f"it has {rank} spatial axes", f"{node.op_type} over 1 to 3 axes")
    return rank
