"""How stride, padding and dilation of a convolution go to the two that replace it."""

from collections.abc import Sequence
from dataclasses import dataclass

Extent = str | Sequence[int]
"""Per axis, or ``same`` or ``valid``."""


@dataclass(frozen=True, slots=True)
class Window:
    """Where a convolution's kernel stands."""

    stride: Sequence[int]
    padding: Extent
    dilation: Sequence[int]


def windows(window: Window, scheme: str) -> tuple[Window, Window]:
    """Windows of both convolutions of a factored one."""
    rank = len(window.stride)
    point = Window([1] * rank, [0] * rank, [1] * rank)
    if scheme == "nc":
        return window, point
    if scheme == "nd":
        return point, window
    down = Window([window.stride[0], 1], _only(window.padding, 0), [window.dilation[0], 1])
    across = Window([1, window.stride[1]], _only(window.padding, 1), [1, window.dilation[1]])
    return down, across


def _only(padding: Extent, axis: int) -> Extent:
    """The padding of one axis, none of the other."""
    if isinstance(padding, str):
        return padding  # same or valid: a kernel of one element needs none
    return [amount if i == axis else 0 for i, amount in enumerate(padding)]
