"""How much work and scratch memory an ATen operator needs."""

import math
from collections.abc import Callable, Mapping

from torch import fx

from splitter.tracing.arguments import argument, listed, operator_name, shape_of
from splitter.tracing.operators import is_padding_of


def _product(node: fx.Node) -> int:
    return math.prod(shape_of(node)) * shape_of(node.args[0])[-1]


def _convolution(node: fx.Node) -> int:
    return math.prod(shape_of(node)) * math.prod(shape_of(node.args[1])[1:])


def _transposed(node: fx.Node) -> int:
    return math.prod(shape_of(node.args[0])) * math.prod(shape_of(node.args[1])[1:])


def _addmm(node: fx.Node) -> int:
    return math.prod(shape_of(node)) * shape_of(node.args[1])[-1]


def _quantized_product(node: fx.Node) -> int:
    return math.prod(shape_of(node)) * math.prod(shape_of(node.args[1])[1:])


_MACS: Mapping[str, Callable[[fx.Node], int]] = {
    "conv1d": _convolution,
    "conv2d": _convolution,
    "conv3d": _convolution,
    "conv_transpose1d": _transposed,
    "conv_transpose2d": _transposed,
    "linear": _product,
    "matmul": _product,
    "mm": _product,
    "bmm": _product,
    "addmm": _addmm,
    "baddbmm": _addmm,
    "qconv2d": _quantized_product,
    "qlinear": _quantized_product,
    "qlinear_float": _quantized_product,
}


def macs_of(node: fx.Node) -> int:
    """Multiply-accumulates of one evaluation of ``node``; 0 for operators that have none."""
    count = _MACS.get(operator_name(node))
    return count(node) if count else 0


def scratch_bytes_of(node: fx.Node) -> int:
    """Upper bound of the memory that the kernel of ``node`` needs besides operands and result."""
    name = operator_name(node)
    if name in ("conv1d", "conv2d", "conv3d"):
        return max(_padded_bytes(node), _winograd_bytes(node))
    if name in ("qconv2d", "qlinear", "qlinear_float"):
        return _quantized_bytes(node)
    if name in ("conv_transpose1d", "conv_transpose2d"):
        return _transposed_bytes(node)
    if name in ("matmul", "mm", "bmm", "addmm", "baddbmm"):
        return _packed_bytes(node)
    if "softmax" in name:  # exponentials, maxima and totals
        return 3 * math.prod(shape_of(node.args[0])) * 4
    if name in ("layer_norm", "native_group_norm"):  # mean, squared deviation, scale of each row
        return 3 * math.prod(shape_of(node.args[0])) * 4 // _row_length(node)
    if name in _REDUCTIONS:
        return 2 * math.prod(shape_of(node)) * 8
    return 0


def _quantized_bytes(node: fx.Node) -> int:
    """A copy of the input with channels filled up to whole groups, and numbers around it."""
    batch, *space, channels = shape_of(node.args[0])
    padding = listed(node.args[5], 4) if operator_name(node) == "qconv2d" else [0] * 4
    top, left, bottom, right = padding
    height, width = [1] * (2 - len(space)) + list(space)
    depth = -(-channels // 4) * 4
    return batch * (height + top + bottom) * (width + left + right) * depth + 128


_REDUCTIONS = frozenset("mean sum amax amin var linalg_vector_norm argmax argmin max min".split())
_THREADS_WITH_OWN_SCRATCH = 16


def _row_length(node: fx.Node) -> int:
    if operator_name(node) == "layer_norm":
        return math.prod(argument(node, 1, "normalized_shape"))
    return math.prod(shape_of(node.args[0])[1:]) // int(argument(node, 6, "group"))


def _is_strided(node: fx.Node) -> bool:
    """Whether the kernel may want the columns sorted by their remainder modulo the stride."""
    return any(s > 1 for s in listed(argument(node, 3, "stride", 1), 1))


_SPARE = 24
"""Columns a kernel may add to a padded copy: to keep planes out of each other's cache sets, and to
compute rows by whole vectors."""
STACK_BYTES = 256 << 10
"""What a thread needs for itself lies on its stack up to this size, not in the scratch."""


def _is_padded_before(node: fx.Node) -> bool:
    source = node.args[0]
    return isinstance(source, fx.Node) and is_padding_of(source, node)


def _padded_bytes(node: fx.Node) -> int:
    """The padded copy of the input; a grouped convolution pads one group at a time per thread."""
    batch, channels, *extents = shape_of(node.args[0])
    sizes = listed(argument(node, 4, "padding", 0), len(extents))
    groups = int(argument(node, 6, "groups", 1))
    if not (any(sizes) or _is_strided(node) or groups > 1 or _is_padded_before(node)):
        return 0
    *rows, columns = [e + 2 * p for e, p in zip(extents, sizes, strict=True)]
    spare = _SPARE * max(listed(argument(node, 3, "stride", 1), 1))
    plane = math.prod(rows) * (columns + spare) * 4
    if groups == 1:
        return batch * channels * plane
    per_thread = channels // groups * plane
    if per_thread <= STACK_BYTES:
        return 0
    return min(batch * channels * plane, per_thread * _THREADS_WITH_OWN_SCRATCH)


WINOGRAD_SCRATCH_BYTES = 4 << 20
"""Most memory that a convolution may spend on an algorithm with fewer multiplications."""


def _winograd_bytes(node: fx.Node) -> int:
    """Transformed input and products of a 3x3 convolution: four times input and output, or less."""
    outputs, inner, *kernel = shape_of(node.args[1])
    steps = [
        *listed(argument(node, 3, "stride", 1), 2),
        *listed(argument(node, 5, "dilation", 1), 2),
    ]
    plain = int(argument(node, 6, "groups", 1)) == 1 and {*steps} == {1}
    if kernel != [3, 3] or not plain:
        return 0
    batch, _, height, width = shape_of(node)
    tiles = batch * -(-height // 2) * -(-width // 2)
    return min(4 * tiles * 20 * (inner + outputs), WINOGRAD_SCRATCH_BYTES)


def _packed_bytes(node: fx.Node) -> int:
    """The copy of a product's right operand in blocks of columns."""
    right = shape_of(node.args[2] if operator_name(node) in ("addmm", "baddbmm") else node.args[1])
    if len(right) < 2:
        return 0
    return math.prod(right[:-1]) * (right[-1] + _WIDEST_BLOCK) * 4


_WIDEST_BLOCK = 32


def _transposed_bytes(node: fx.Node) -> int:
    """The padded input, and the result sorted by phase before it is shuffled into place."""
    batch, channels, *after = shape_of(node)
    inner, _, *kernel = shape_of(node.args[1])
    _, _, *before = shape_of(node.args[0])
    stride = listed(argument(node, 3, "stride", 1), len(after))
    padded = [b + 2 * -(-k // s) + 1 for b, k, s in zip(before, kernel, stride, strict=True)]
    phased = [e + 2 * s for e, s in zip(after, stride, strict=True)]
    return batch * 4 * (inner * math.prod(padded) + channels * math.prod(phased))
