"""Operators on numbers of 8 bits, as torch.ops.splitter: what integer kernels must compute.

A tensor of numbers is uint8 with channels last ([N, H, W, C], or [N, C]); number q of a tensor
with scale s and zero point z stands for ``s * (q - z)`` (Jacob et al., "Quantization and Training
of Neural Networks for Efficient Integer-Arithmetic-Only Inference", 2018). Sums are exact int32;
each is multiplied once by a float32 factor, clamped and rounded to nearest even.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch.nn import functional as F

_LEVELS = 255


def _numbers(y: torch.Tensor, zero: int, low: int = 0, high: int = _LEVELS) -> torch.Tensor:
    """float32 multiples of the result's scale -> numbers."""
    return (y.clamp(low - zero, high - zero).round() + zero).to(torch.uint8)


def _f32(value: float) -> torch.Tensor:
    return torch.tensor(value, dtype=torch.float32)


def _scaled(sums: torch.Tensor, factor: torch.Tensor) -> torch.Tensor:
    """Exact sums, held as float64, times a factor of each channel, as int32 and float32 have it."""
    return sums.to(torch.int32).to(torch.float32) * factor


@torch.library.custom_op("splitter::quantize", mutates_args=())
def quantize(x: torch.Tensor, factor: float, zero: int) -> torch.Tensor:
    """Float [N, C, ...] -> numbers [N, ..., C] of scale 1 / ``factor``."""
    return _numbers(x.movedim(1, -1) * _f32(factor), zero).contiguous()


@torch.library.custom_op("splitter::dequantize", mutates_args=())
def dequantize(q: torch.Tensor, scale: float, zero: int) -> torch.Tensor:
    """Numbers [N, ..., C] -> float [N, C, ...]."""
    return ((q.to(torch.float32) - zero) * _f32(scale)).movedim(-1, 1).contiguous()


@torch.library.custom_op("splitter::qconv2d", mutates_args=())
def qconv2d(
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor,
    factor: torch.Tensor,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    groups: int,
    zero: int,
    out_zero: int,
    low: int,
    high: int,
) -> torch.Tensor:
    """A convolution of [N, H, W, C] with weights [F, KH, KW, C / groups] of int8.

    ``bias`` is int32 and counts the input's zero point in: sums are of the numbers as they are,
    ``zero`` beyond the edge. ``factor`` is float32, one per output channel; ``padding`` is top,
    left, bottom, right.
    """
    places = (stride, padding, dilation, groups)
    # Products of 8-bit numbers and their sums are exact in float64.
    sums = convolution_sums(x, weight, bias, *places, zero, torch.float64)
    return _numbers(_scaled(sums, factor), out_zero, low, high).contiguous()


def convolution_sums(
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    groups: int,
    zero: int,
    dtype: torch.dtype,
) -> torch.Tensor:
    """The sums that `qconv2d` scales, in a type that may be too short to be exact."""
    top, left, bottom, right = padding
    planes = F.pad(x.movedim(-1, 1).to(dtype), (left, right, top, bottom), value=float(zero))
    kernel = weight.movedim(-1, 1).to(dtype)
    sums = F.conv2d(planes, kernel, bias.to(dtype), stride, 0, dilation, groups)
    return sums.movedim(1, -1)


def nearly_qconv2d(
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor,
    factor: torch.Tensor,
    *rest: Any,
) -> torch.Tensor:
    """`qconv2d` with sums in float32: much faster in torch, and rarely off by one number."""
    stride, padding, dilation, groups, zero, out_zero, low, high = rest
    places = (stride, padding, dilation, groups)
    sums = convolution_sums(x, weight, bias, *places, zero, torch.float32)
    return _numbers(_scaled(sums, factor), out_zero, low, high).contiguous()


@torch.library.custom_op("splitter::qlinear", mutates_args=())
def qlinear(
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor,
    factor: torch.Tensor,
    out_zero: int,
    low: int,
    high: int,
) -> torch.Tensor:
    """Numbers [N, C] times weights [F, C] of int8, as `qconv2d`."""
    return _numbers(_scaled(_product(x, weight, bias), factor), out_zero, low, high)


@torch.library.custom_op("splitter::qlinear_float", mutates_args=())
def qlinear_float(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, factor: torch.Tensor
) -> torch.Tensor:
    """The same with a result of float32."""
    return _scaled(_product(x, weight, bias), factor)


def _product(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    return F.linear(x.double(), weight.double(), bias.double())


@torch.library.custom_op("splitter::qadd", mutates_args=())
def qadd(
    a: torch.Tensor,
    b: torch.Tensor,
    a_factor: float,
    a_zero: int,
    b_factor: float,
    b_zero: int,
    out_zero: int,
    low: int,
    high: int,
) -> torch.Tensor:
    """Sum of two tensors of one shape; factors are the operands' scales over the result's."""
    left = (a.to(torch.float32) - a_zero) * _f32(a_factor)
    right = (b.to(torch.float32) - b_zero) * _f32(b_factor)
    return _numbers(left + right, out_zero, low, high)


@torch.library.custom_op("splitter::qmean", mutates_args=())
def qmean(x: torch.Tensor, factor: float, zero: int, out_zero: int) -> torch.Tensor:
    """Mean over the positions of [N, H, W, C]: [N, C]. ``factor`` has 1 / (H W) in it."""
    positions = x.shape[1] * x.shape[2]
    sums = x.to(torch.int32).sum((1, 2), dtype=torch.int32) - positions * zero
    return _numbers(sums.to(torch.float32) * _f32(factor), out_zero)


@torch.library.custom_op("splitter::qmax_pool2d", mutates_args=())
def qmax_pool2d(
    x: torch.Tensor, kernel: Sequence[int], stride: Sequence[int], padding: Sequence[int]
) -> torch.Tensor:
    """Maximum of windows of [N, H, W, C]; what lies beyond the edge counts as 0, the least."""
    pooled = F.max_pool2d(x.movedim(-1, 1).float(), list(kernel), list(stride), list(padding))
    return pooled.movedim(1, -1).to(torch.uint8).contiguous()


@torch.library.custom_op("splitter::encode_half", mutates_args=())
def encode_half(x: torch.Tensor) -> torch.Tensor:
    """float32 -> float16, to send."""
    return x.to(torch.float16)


@torch.library.custom_op("splitter::decode_half", mutates_args=())
def decode_half(x: torch.Tensor) -> torch.Tensor:
    """float16 -> float32, after it was received."""
    return x.to(torch.float32)


CASTS = frozenset(("encode_half", "decode_half"))
"""Names of the operators that tensors in float16 come from and go to."""
QUANTIZED = frozenset(
    "quantize dequantize qconv2d qlinear qlinear_float qadd qmean qmax_pool2d".split()
)
"""Names of these operators."""


@encode_half.register_fake
def _(x: torch.Tensor) -> torch.Tensor:
    return torch.empty_like(x, dtype=torch.float16)


@decode_half.register_fake
def _(x: torch.Tensor) -> torch.Tensor:
    return torch.empty_like(x, dtype=torch.float32)


@quantize.register_fake
def _(x: torch.Tensor, factor: float, zero: int) -> torch.Tensor:
    return x.new_empty(x.movedim(1, -1).shape, dtype=torch.uint8)


@dequantize.register_fake
def _(q: torch.Tensor, scale: float, zero: int) -> torch.Tensor:
    return q.new_empty(q.movedim(-1, 1).shape, dtype=torch.float32)


@qconv2d.register_fake
def _(x, weight, bias, factor, stride, padding, dilation, *rest):  # type: ignore[no-untyped-def]
    around = (padding[0] + padding[2], padding[1] + padding[3])
    sizes = zip(x.shape[1:3], weight.shape[1:3], stride, around, dilation, strict=True)
    after = [(e + p - d * (k - 1) - 1) // s + 1 for e, k, s, p, d in sizes]
    return x.new_empty((x.shape[0], *after, weight.shape[0]))


@qlinear.register_fake
def _(x, weight, *rest):  # type: ignore[no-untyped-def]
    return x.new_empty((x.shape[0], weight.shape[0]))


@qlinear_float.register_fake
def _(x, weight, bias, factor):  # type: ignore[no-untyped-def]
    return x.new_empty((x.shape[0], weight.shape[0]), dtype=torch.float32)


@qadd.register_fake
def _(a, b, *rest):  # type: ignore[no-untyped-def]
    return torch.empty_like(a)


@qmean.register_fake
def _(x, *rest):  # type: ignore[no-untyped-def]
    return x.new_empty((x.shape[0], x.shape[-1]))


@qmax_pool2d.register_fake
def _(x, kernel, stride, padding):  # type: ignore[no-untyped-def]
    sizes = zip(x.shape[1:3], kernel, stride, padding, strict=True)
    after = [(e + 2 * p - k) // s + 1 for e, k, s, p in sizes]
    return x.new_empty((x.shape[0], *after, x.shape[-1]))
