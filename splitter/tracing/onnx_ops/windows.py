"""Padding arithmetic shared by convolution and pooling."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch.nn import functional as F

from splitter.tracing.onnx_ops.node import OpNode


@dataclass(frozen=True, slots=True)
class Window:
    """A sliding window over the spatial axes; every field has one entry per axis."""

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    begins: tuple[int, ...]
    """Padding before the first element."""
    ends: tuple[int, ...]
    """Padding after the last element."""

    @property
    def symmetric(self) -> bool:
        """Whether both sides of each axis are padded alike."""
        return self.begins == self.ends

    @property
    def spans(self) -> tuple[int, ...]:
        """Elements from the first to the last one that a window touches."""
        return tuple(d * (k - 1) + 1 for d, k in zip(self.dilations, self.kernel, strict=True))


def window(node: OpNode, kernel: Sequence[int], sizes: Sequence[int]) -> Window:
    """The window that ``node``'s attributes describe over an input of spatial ``sizes``."""
    ones = [1] * len(kernel)
    bare = Window(
        tuple(kernel),
        tuple(node.get("strides", ones)),
        tuple(node.get("dilations", ones)),
        tuple(0 for _ in kernel),
        tuple(0 for _ in kernel),
    )
    begins, ends = _pads(node, bare, sizes)
    return Window(bare.kernel, bare.strides, bare.dilations, tuple(begins), tuple(ends))


def _pads(node: OpNode, bare: Window, sizes: Sequence[int]) -> tuple[list[int], list[int]]:
    auto = node.get("auto_pad", "NOTSET")
    rank = len(bare.kernel)
    if auto == "VALID":
        return [0] * rank, [0] * rank
    if auto == "NOTSET":
        pads = list(node.get("pads", [0] * 2 * rank))
        return pads[:rank], pads[rank:]
    totals = [
        max((-(-size // stride) - 1) * stride + span - size, 0)
        for size, stride, span in zip(sizes, bare.strides, bare.spans, strict=True)
    ]
    return split_padding(totals, auto)


def split_padding(totals: Sequence[int], auto: str) -> tuple[list[int], list[int]]:
    """Begin and end padding; SAME_UPPER puts the odd element at the end, SAME_LOWER before."""
    smaller = [total // 2 for total in totals]
    larger = [total - half for total, half in zip(totals, smaller, strict=True)]
    return (larger, smaller) if auto == "SAME_LOWER" else (smaller, larger)


def padded(
    x: torch.Tensor, begins: Sequence[int], ends: Sequence[int], value: float = 0.0
) -> torch.Tensor:
    """``x`` with its last axes padded (negative: cropped)."""
    if not any(begins) and not any(ends):
        return x
    flat: list[int] = []
    for begin, end in zip(reversed(begins), reversed(ends), strict=True):
        flat += [begin, end]
    return F.pad(x, flat, value=value)
