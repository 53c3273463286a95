"""What the stages after tracing need to know of each ATen operator: its family and its work."""

import difflib
import math
from collections.abc import Callable, Mapping

import torch
from torch import fx

from splitter.errors import UnsupportedOperatorError

aten = torch.ops.aten

ELEMENTWISE = frozenset(
    """abs add sub mul div neg relu relu6 hardtanh clamp clamp_min clamp_max hardswish hardsigmoid
    sigmoid silu gelu tanh exp log log1p log2 expm1 erf sqrt rsqrt reciprocal pow square
    leaky_relu elu celu selu softplus mish prelu where maximum minimum eq ne lt le gt ge
    logical_not logical_and logical_or logical_xor bitwise_not bitwise_and bitwise_or
    bitwise_xor _to_copy rsub floor ceil round trunc sign sin cos tan atan sinh cosh asinh
    acosh atanh asin acos fmod remainder isnan isinf _prelu_kernel masked_fill full_like
    zeros_like ones_like atan2 floor_divide softsign logit""".split()
)
"""Operators that compute each element from the elements at the same place (or broadcast)."""

VIEWS = frozenset("view reshape unsqueeze squeeze flatten _unsafe_view unflatten".split())
"""Operators that give the same bytes another shape."""


def operator_name(node: fx.Node) -> str:
    """``aten.conv2d.default`` -> ``conv2d``; other callables by their own name."""
    target = node.target
    if isinstance(target, torch._ops.OpOverload):
        return target._schema.name.removeprefix("aten::")
    return getattr(target, "__name__", str(target))


def is_elementwise(node: fx.Node) -> bool:
    """Whether ``node`` may be computed in the registers of its producer."""
    return operator_name(node) in ELEMENTWISE


def is_view(node: fx.Node) -> bool:
    """Whether ``node`` only renames the shape of its input."""
    return operator_name(node) in VIEWS


def shape_of(value: object) -> tuple[int, ...]:
    """Static shape of a node's value."""
    assert isinstance(value, fx.Node)
    return tuple(int(extent) for extent in value.meta["val"].shape)


def kind_of(node: fx.Node) -> str:
    """Operator family in the field's words, e.g. ``depthwise conv2d``."""
    name = operator_name(node)
    if name in ("conv1d", "conv2d", "conv3d"):
        out, inner, *kernel = shape_of(node.args[1])
        groups = shape_of(node.args[0])[1] // inner
        if groups > 1:
            return f"depthwise {name}" if groups == out and inner == 1 else f"grouped {name}"
        return f"pointwise {name}" if set(kernel) == {1} else name
    return name


def _product(node: fx.Node) -> int:
    return math.prod(shape_of(node)) * shape_of(node.args[0])[-1]


def _convolution(node: fx.Node) -> int:
    return math.prod(shape_of(node)) * math.prod(shape_of(node.args[1])[1:])


def _transposed(node: fx.Node) -> int:
    return math.prod(shape_of(node.args[0])) * math.prod(shape_of(node.args[1])[1:])


def _addmm(node: fx.Node) -> int:
    return math.prod(shape_of(node)) * shape_of(node.args[1])[-1]


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
}


def macs_of(node: fx.Node) -> int:
    """Multiply-accumulates of one evaluation of ``node``; 0 for operators that have none."""
    count = _MACS.get(operator_name(node))
    return count(node) if count else 0


MOVEMENT = frozenset(
    "permute transpose t slice select expand repeat flip roll pixel_shuffle constant_pad_nd".split()
)
"""Operators with one tensor operand that only put its elements elsewhere."""

OTHERS = frozenset(
    """conv1d conv2d conv3d conv_transpose1d conv_transpose2d linear matmul mm bmm addmm baddbmm
    avg_pool1d avg_pool2d avg_pool3d max_pool1d max_pool2d max_pool3d adaptive_avg_pool1d
    adaptive_avg_pool2d _adaptive_avg_pool2d max_pool2d_with_indices mean sum amax amin max
    min argmax argmin var softmax _softmax log_softmax _log_softmax layer_norm
    native_layer_norm native_group_norm embedding index_select index gather cat stack cumsum
    linalg_vector_norm upsample_nearest2d upsample_bilinear2d triu tril getitem clone
    slice_scatter select_scatter""".split()
)
"""The other operators that have a lowering."""

SUPPORTED = ELEMENTWISE | VIEWS | MOVEMENT | OTHERS


def is_movement(node: fx.Node) -> bool:
    """Whether ``node`` only puts the elements of one tensor elsewhere."""
    return operator_name(node) in MOVEMENT


def check_supported(node: fx.Node, layer: str) -> None:
    """Raise UnsupportedOperatorError if ``node``, of layer ``layer``, has no lowering."""
    name = operator_name(node)
    if name in SUPPORTED:
        return
    near = difflib.get_close_matches(name, sorted(SUPPORTED), n=3, cutoff=0.5)
    hint = f"the nearest supported: {', '.join(near)}" if near else "see docs/operators.md"
    raise UnsupportedOperatorError(
        f"operator {node.target} of layer {layer} has no lowering; rewrite it with others ({hint})"
    )


def scratch_bytes_of(node: fx.Node) -> int:
    """Upper bound of the memory that the kernel of ``node`` needs besides operands and result."""
    name = operator_name(node)
    if name in ("conv1d", "conv2d", "conv3d"):
        return _padded_bytes(node)
    if name in ("conv_transpose1d", "conv_transpose2d"):
        return _transposed_bytes(node)
    if name in ("matmul", "mm", "bmm", "addmm", "baddbmm"):
        return _packed_bytes(node)
    if "softmax" in name:  # exponentials, maxima and totals
        return 3 * math.prod(shape_of(node.args[0])) * 4
    if name in ("layer_norm", "native_group_norm"):  # mean, squared deviation, scale of each row
        return 3 * math.prod(shape_of(node.args[0])) * 4 // _row_length(node)
    if name in _REDUCTIONS:
        return 2 * math.prod(_first_shape(node)) * 8
    return 0


_REDUCTIONS = frozenset("mean sum amax amin var linalg_vector_norm argmax argmin max min".split())
_THREADS_WITH_OWN_SCRATCH = 16


def _row_length(node: fx.Node) -> int:
    if operator_name(node) == "layer_norm":
        normalized = node.args[1]
        assert isinstance(normalized, list | tuple)
        return math.prod(int(extent) for extent in normalized)  # type: ignore[call-overload]
    return math.prod(shape_of(node.args[0])[1:]) // int(node.args[6])  # type: ignore[call-overload]


def _first_shape(node: fx.Node) -> tuple[int, ...]:
    value = node.meta["val"]
    return tuple(int(e) for e in (value if isinstance(value, torch.Tensor) else value[0]).shape)


def _padded_bytes(node: fx.Node) -> int:
    """The padded copy of the input; a grouped convolution pads one group at a time per thread."""
    batch, channels, *extents = shape_of(node.args[0])
    padding = node.args[4] if len(node.args) > 4 else 0
    sizes = [int(p) for p in padding] if isinstance(padding, list | tuple) else [int(padding)]  # type: ignore[call-overload]
    if not any(sizes):
        return 0
    sizes = sizes * len(extents) if len(sizes) == 1 else sizes
    plane = math.prod(e + 2 * p for e, p in zip(extents, sizes, strict=True)) * 4
    groups = int(node.args[6]) if len(node.args) > 6 else 1  # type: ignore[call-overload]
    if groups == 1:
        return batch * channels * plane
    return min(batch * channels, channels // groups * _THREADS_WITH_OWN_SCRATCH) * plane


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
    given = node.args[3] if len(node.args) > 3 else 1
    stride = [int(s) for s in given] if isinstance(given, list | tuple) else [int(given)]  # type: ignore[call-overload]
    stride = stride * len(after) if len(stride) == 1 else stride
    padded = [b + 2 * -(-k // s) + 1 for b, k, s in zip(before, kernel, stride, strict=True)]
    phased = [e + 2 * s for e, s in zip(after, stride, strict=True)]
    return batch * 4 * (inner * math.prod(padded) + channels * math.prod(phased))
