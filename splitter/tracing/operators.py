"""The families of ATen operators, and which of them have a lowering."""

import difflib
from collections.abc import Sequence

from torch import fx

from splitter.errors import UnsupportedOperatorError
from splitter.quantized_ops import CASTS, QUANTIZED
from splitter.tracing.arguments import operator_name, shape_of

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


def is_elementwise(node: fx.Node) -> bool:
    """Whether ``node`` may be computed in the registers of its producer."""
    return operator_name(node) in ELEMENTWISE


def is_view(node: fx.Node) -> bool:
    """Whether ``node`` only renames the shape of its input."""
    return operator_name(node) in VIEWS


def kind_of(node: fx.Node) -> str:
    """Operator family in the field's words, e.g. ``depthwise conv2d``."""
    name = operator_name(node)
    if name == "qconv2d":
        return _kind_of_quantized(node)
    if name in ("conv1d", "conv2d", "conv3d"):
        out, inner, *kernel = shape_of(node.args[1])
        groups = shape_of(node.args[0])[1] // inner
        if groups > 1:
            return f"depthwise {name}" if groups == out and inner == 1 else f"grouped {name}"
        return f"pointwise {name}" if set(kernel) == {1} else name
    return name


def _kind_of_quantized(node: fx.Node) -> str:
    _, *kernel, _ = shape_of(node.args[1])
    if node.args[7] != 1:
        return "depthwise qconv2d"
    return "pointwise qconv2d" if set(kernel) == {1} else "qconv2d"


def is_quantized(node: fx.Node) -> bool:
    """Whether ``node`` reads or makes 8-bit numbers, as `splitter.quantized_ops` has them."""
    return operator_name(node) in QUANTIZED


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

SUPPORTED = ELEMENTWISE | VIEWS | MOVEMENT | OTHERS | QUANTIZED | CASTS


def is_movement(node: fx.Node) -> bool:
    """Whether ``node`` only puts the elements of one tensor elsewhere."""
    return operator_name(node) in MOVEMENT


CONVOLUTIONS = frozenset("conv1d conv2d conv3d".split())


def is_convolution(node: fx.Node) -> bool:
    """Whether ``node`` is a convolution that is not transposed."""
    return operator_name(node) in CONVOLUTIONS


def is_padding_of(source: fx.Node, node: fx.Node) -> bool:
    """Whether ``source`` only puts constants around the input of the convolution ``node``."""
    return (
        is_convolution(node)
        and operator_name(source) == "constant_pad_nd"
        and node.args[0] is source
        and list(source.users) == [node]
    )


def anchor_of(group: Sequence[fx.Node]) -> fx.Node:
    """The node that gives a layer its kind and name: its product or fold, if it has one."""
    computing = [n for n in group if not (is_view(n) or is_elementwise(n))]
    return next((n for n in computing if not is_movement(n)), [*computing, group[0]][0])


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
