"""Unary, binary, comparison and logic operators.

Constants of one element become Python numbers: a kernel then has them as immediates, and the
patterns of `splitter.tracing.onnx_patterns` can see their values.
"""

from collections.abc import Callable
from functools import reduce

import torch
from torch.nn import functional as F

from splitter.tracing.onnx_ops.node import Converter, OpNode, is_known
from splitter.tracing.onnx_types import torch_dtype

Number = bool | int | float
Operand = torch.Tensor | Number


def as_number(operand: torch.Tensor, partner: torch.Tensor) -> Operand:
    """``operand`` as a Python number where that leaves the result's shape and type unchanged."""
    plain = (
        is_known(operand)
        and not is_known(partner)
        and operand.numel() == 1
        and operand.dim() <= partner.dim()
        and operand.dtype == partner.dtype
    )
    return operand.item() if plain else operand


def _operands(a: torch.Tensor, b: torch.Tensor) -> tuple[Operand, Operand]:
    return as_number(a, b), as_number(b, a)


def _unary(function: Callable[[torch.Tensor], torch.Tensor]) -> Converter:
    def convert(node: OpNode, x: torch.Tensor) -> torch.Tensor:
        return function(x)

    return convert


def _binary(function: Callable[..., torch.Tensor]) -> Converter:
    def convert(node: OpNode, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return function(*_operands(*_aligned(node, a, b)))

    return convert


def _aligned(node: OpNode, a: torch.Tensor, b: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Before operator set 7 a smaller ``b`` was lined up with ``a`` at the attribute ``axis``."""
    if node.opset >= 7 or not node.get("broadcast", 0) or node.get("axis") is None:
        return a, b
    trailing = a.dim() - node.get("axis") % a.dim() - b.dim()
    return a, torch.reshape(b, [*b.shape, *[1] * trailing])


def _tensor_first(function: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    """For symmetric functions that torch defines with the tensor on the left alone."""

    def call(a: Operand, b: Operand) -> torch.Tensor:
        return function(a, b) if isinstance(a, torch.Tensor) else function(b, a)

    return call


def _tensors(function: Callable[..., torch.Tensor]) -> Converter:
    def convert(node: OpNode, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return function(*_aligned(node, a, b))

    return convert


def _variadic(function: Callable[..., torch.Tensor]) -> Converter:
    def convert(node: OpNode, *inputs: torch.Tensor) -> torch.Tensor:
        return reduce(function, inputs)

    return convert


def _subtract(a: Operand, b: Operand) -> torch.Tensor:
    if isinstance(a, torch.Tensor):
        return torch.sub(a, b)
    assert isinstance(b, torch.Tensor)
    return torch.rsub(b, a)


def divide(node: OpNode, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Div; of integers it truncates."""
    a, b = _aligned(node, a, b)
    if not a.is_floating_point():
        return torch.div(a, as_number(b, a), rounding_mode="trunc")
    numerator = as_number(a, b)
    if not isinstance(numerator, torch.Tensor) and numerator == 1:
        return torch.reciprocal(b)
    return torch.div(a, as_number(b, a))


def power(node: OpNode, base: torch.Tensor, exponent: torch.Tensor) -> torch.Tensor:
    """Pow: small constant exponents become multiplications, as their kernels are far cheaper."""
    if not (is_known(exponent) and exponent.numel() == 1 and exponent.dim() <= base.dim()):
        return torch.pow(base, exponent).to(base.dtype)
    value = exponent.item()
    if value == 1:
        return base
    if value == 2:
        return torch.mul(base, base)
    if value == 3:
        return torch.mul(torch.mul(base, base), base)
    if base.is_floating_point():
        return torch.sqrt(base) if value == 0.5 else torch.pow(base, value)
    return torch.pow(base, exponent).to(base.dtype)


def modulo(node: OpNode, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Mod: sign of the divisor, or of the dividend with ``fmod``."""
    return torch.fmod(a, b) if node.get("fmod", 0) else torch.remainder(a, b)


def mean(node: OpNode, *inputs: torch.Tensor) -> torch.Tensor:
    """Mean of several tensors."""
    return torch.div(reduce(torch.add, inputs), len(inputs))


def where(node: OpNode, condition: torch.Tensor, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Where; at most one branch becomes a number, for two would lose the type."""
    if not is_known(b):
        return torch.where(condition, as_number(a, b), b)
    return torch.where(condition, a, as_number(b, a))


def cast(node: OpNode, x: torch.Tensor, *_: torch.Tensor) -> torch.Tensor:
    """Cast; float to integer truncates as in ONNX."""
    return _converted(x, torch_dtype(node.get("to"), f"Cast node '{node.name}'"))


def cast_like(node: OpNode, x: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """CastLike."""
    return _converted(x, like.dtype)


def _converted(x: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    return x if x.dtype == dtype else torch.Tensor.to(x, dtype)


def clip(
    node: OpNode,
    x: torch.Tensor,
    low: torch.Tensor | None = None,
    high: torch.Tensor | None = None,
) -> torch.Tensor:
    """Clip; the bounds are attributes before operator set 11 and inputs since."""
    lowest = node.get("min") if low is None else _bound(low)
    highest = node.get("max") if high is None else _bound(high)
    if lowest is None and highest is None:
        return x
    if isinstance(lowest, torch.Tensor) or isinstance(highest, torch.Tensor):
        return _clip_by_tensors(x, low, high)
    if lowest == 0 and highest == 6 and x.is_floating_point():
        return F.relu6(x)
    if lowest == 0 and highest is None:
        return F.relu(x)
    return torch.clamp(x, lowest, highest)


def _bound(bound: torch.Tensor) -> Operand:
    return bound.item() if is_known(bound) else bound


def _clip_by_tensors(
    x: torch.Tensor, low: torch.Tensor | None, high: torch.Tensor | None
) -> torch.Tensor:
    raised = x if low is None else torch.maximum(x, low)
    return raised if high is None else torch.minimum(raised, high)


def shift(node: OpNode, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """BitShift."""
    if node.get("direction") == "LEFT":
        return torch.bitwise_left_shift(a, b)
    return torch.bitwise_right_shift(a, b)


def is_inf(node: OpNode, x: torch.Tensor) -> torch.Tensor:
    """IsInf, of one sign or both."""
    infinity = float("inf")
    if not node.get("detect_negative", 1):
        return torch.eq(x, infinity)
    return torch.isinf(x) if node.get("detect_positive", 1) else torch.eq(x, -infinity)


add = _binary(_tensor_first(torch.add))
sub = _binary(_subtract)
mul = _binary(_tensor_first(torch.mul))
equal = _binary(_tensor_first(torch.eq))
greater = _tensors(torch.gt)
greater_or_equal = _tensors(torch.ge)
less = _tensors(torch.lt)
less_or_equal = _tensors(torch.le)
logical_and = _tensors(torch.logical_and)
logical_or = _tensors(torch.logical_or)
logical_xor = _tensors(torch.logical_xor)
bitwise_and = _tensors(torch.bitwise_and)
bitwise_or = _tensors(torch.bitwise_or)
bitwise_xor = _tensors(torch.bitwise_xor)
minimum = _variadic(torch.minimum)
maximum = _variadic(torch.maximum)
total = _variadic(torch.add)
absolute = _unary(torch.abs)
negative = _unary(torch.neg)
ceil = _unary(torch.ceil)
floor = _unary(torch.floor)
rounded = _unary(torch.round)
sign = _unary(torch.sign)
exp = _unary(torch.exp)
log = _unary(torch.log)
sqrt = _unary(torch.sqrt)
reciprocal = _unary(torch.reciprocal)
erf = _unary(torch.erf)
sin = _unary(torch.sin)
cos = _unary(torch.cos)
tan = _unary(torch.tan)
asin = _unary(torch.asin)
acos = _unary(torch.acos)
atan = _unary(torch.atan)
sinh = _unary(torch.sinh)
cosh = _unary(torch.cosh)
asinh = _unary(torch.asinh)
acosh = _unary(torch.acosh)
atanh = _unary(torch.atanh)
is_nan = _unary(torch.isnan)
logical_not = _unary(torch.logical_not)
bitwise_not = _unary(torch.bitwise_not)
