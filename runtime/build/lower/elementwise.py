"""Element-wise operators: one scalar expression each, with torch's promotion and broadcasting."""

import math
from collections.abc import Callable, Mapping

from torch import fx
from tvm import te, tirx
from tvm.ir import Expr

from runtime.build.lower import expressions as fast
from runtime.build.lower.context import (
    Context,
    Converter,
    broadcast_read,
    compute,
    dtype_of,
    promoted_dtype,
)
from runtime.build.lower.expressions import type_of
from splitter.tracing.arguments import argument

Scalar = Callable[..., Expr]


def _apply(ctx: Context, node: fx.Node, operands: list[object], dtype: str, f: Scalar) -> te.Tensor:
    def body(*index: Expr) -> Expr:
        return f(*[_read(ctx, o, dtype, index) for o in operands])

    return compute(node, body)


def _read(ctx: Context, operand: object, dtype: str, index: tuple[Expr, ...]) -> Expr:
    if isinstance(operand, fx.Node):
        return broadcast_read(ctx.tensor(operand), index).astype(dtype)
    assert isinstance(operand, int | float), operand
    return tirx.const(operand, dtype)


def unary(function: Scalar) -> Converter:
    """One tensor operand; computed in the result's type."""

    def convert(ctx: Context, node: fx.Node) -> te.Tensor:
        return _apply(ctx, node, [node.args[0]], dtype_of(node), function)

    return convert


def binary(function: Scalar) -> Converter:
    """Two operands, computed in the type torch promotes them to."""

    def convert(ctx: Context, node: fx.Node) -> te.Tensor:
        operands = [argument(node, 0, "self"), argument(node, 1, "other")]
        alpha = node.kwargs.get("alpha", 1)
        dtype = promoted_dtype(*operands)
        if alpha == 1:
            return _apply(ctx, node, operands, dtype, function)

        def scaled(a: Expr, b: Expr) -> Expr:
            return function(a, b * tirx.const(alpha, dtype))

        return _apply(ctx, node, operands, dtype, scaled)

    return convert


def comparison(function: Scalar) -> Converter:
    """Like `binary`; truth values are compared as numbers, which is what LLVM can do."""
    return binary(lambda a, b: function(_number(a), _number(b)))


def _number(x: Expr) -> Expr:
    return x.astype("int8") if type_of(x) == "bool" else x


def _differs(a: Expr, b: Expr) -> Expr:
    return _number(a.astype("bool")) != _number(b.astype("bool"))


def _bounds(low: str, high: str, defaults: tuple[float | None, float | None]) -> Converter:
    def convert(ctx: Context, node: fx.Node) -> te.Tensor:
        least = argument(node, 1, low, defaults[0])
        most = argument(node, 2, high, defaults[1])

        def body(x: Expr) -> Expr:
            x = x if least is None else tirx.max(x, fast.constant(least, x))
            return x if most is None else tirx.min(x, fast.constant(most, x))

        return _apply(ctx, node, [node.args[0]], dtype_of(node), body)

    return convert


def _one_bound(function: Scalar) -> Converter:
    def convert(ctx: Context, node: fx.Node) -> te.Tensor:
        return _apply(ctx, node, [node.args[0], node.args[1]], dtype_of(node), function)

    return convert


def _clamp(ctx: Context, node: fx.Node) -> te.Tensor:
    return _bounds("min", "max", (None, None))(ctx, node)


def _where(ctx: Context, node: fx.Node) -> te.Tensor:
    condition, yes, no = node.args
    dtype = dtype_of(node)

    def body(*index: Expr) -> Expr:
        chosen = _read(ctx, condition, "bool", index)
        return tirx.Select(chosen, _read(ctx, yes, dtype, index), _read(ctx, no, dtype, index))

    return compute(node, body)


def _masked_fill(ctx: Context, node: fx.Node) -> te.Tensor:
    source, mask, value = node.args
    dtype = dtype_of(node)

    def body(*index: Expr) -> Expr:
        chosen = _read(ctx, mask, "bool", index)
        return tirx.Select(
            chosen, _read(ctx, value, dtype, index), _read(ctx, source, dtype, index)
        )

    return compute(node, body)


def _pow(ctx: Context, node: fx.Node) -> te.Tensor:
    base, exponent = node.args
    dtype = dtype_of(node)
    if isinstance(exponent, int | float) and float(exponent) in _POWERS:
        return _apply(ctx, node, [base], dtype, _POWERS[float(exponent)])
    return _apply(ctx, node, [base, exponent], dtype, tirx.power)


_POWERS: Mapping[float, Scalar] = {
    1.0: lambda x: x,
    2.0: lambda x: x * x,
    3.0: lambda x: x * x * x,
    0.5: tirx.sqrt,
    -0.5: lambda x: fast.constant(1.0, x) / tirx.sqrt(x),
    -1.0: lambda x: fast.constant(1.0, x) / x,
}


def _divide(ctx: Context, node: fx.Node) -> te.Tensor:
    mode = node.kwargs.get("rounding_mode")
    dtype = dtype_of(node)
    operands: list[object] = [node.args[0], node.args[1]]
    if mode is None:
        return _apply(ctx, node, operands, dtype, lambda a, b: a / b)
    if mode == "floor":
        return _apply(ctx, node, operands, dtype, _floor_divide)
    if dtype.startswith("float"):
        return _apply(ctx, node, operands, dtype, lambda a, b: tirx.trunc(a / b))
    return _apply(ctx, node, operands, dtype, tirx.truncdiv)


def _floor_divide(a: Expr, b: Expr) -> Expr:
    return tirx.floor(a / b) if type_of(a).startswith("float") else tirx.floordiv(a, b)


def _remainder(a: Expr, b: Expr) -> Expr:
    return a - tirx.floor(a / b) * b if type_of(a).startswith("float") else tirx.floormod(a, b)


def _gelu(ctx: Context, node: fx.Node) -> te.Tensor:
    if argument(node, 1, "approximate", "none") == "tanh":
        return unary(_gelu_tanh)(ctx, node)
    return unary(_gelu_erf)(ctx, node)


def _gelu_erf(x: Expr) -> Expr:
    half = fast.constant(0.5, x)
    return x * (half + half * fast.erf(x * fast.constant(math.sqrt(0.5), x)))


def _gelu_tanh(x: Expr) -> Expr:
    inner = fast.constant(math.sqrt(2 / math.pi), x) * (x + fast.constant(0.044715, x) * x * x * x)
    return fast.constant(0.5, x) * x * (fast.constant(1.0, x) + fast.tanh(inner))


def _clip(x: Expr, low: float, high: float) -> Expr:
    return tirx.max(tirx.min(x, fast.constant(high, x)), fast.constant(low, x))


def _hardsigmoid(x: Expr) -> Expr:
    return _clip(x + fast.constant(3.0, x), 0.0, 6.0) * fast.constant(1 / 6, x)


def _leaky_relu(ctx: Context, node: fx.Node) -> te.Tensor:
    slope = argument(node, 1, "negative_slope", 0.01)
    return unary(lambda x: tirx.Select(_positive(x), x, x * fast.constant(slope, x)))(ctx, node)


def _elu(ctx: Context, node: fx.Node) -> te.Tensor:
    alpha, scale = argument(node, 1, "alpha", 1.0), argument(node, 2, "scale", 1.0)
    inner = argument(node, 3, "input_scale", 1.0)

    def body(x: Expr) -> Expr:
        low = (fast.exp(x * fast.constant(inner, x)) - fast.constant(1.0, x)) * fast.constant(
            alpha * scale, x
        )
        return tirx.Select(_positive(x), x * fast.constant(scale, x), low)

    return unary(body)(ctx, node)


def _positive(x: Expr) -> Expr:
    return x > fast.constant(0.0, x)


def _softplus_of(x: Expr) -> Expr:
    zero, one = fast.constant(0.0, x), fast.constant(1.0, x)
    return tirx.max(x, zero) + tirx.log(one + fast.exp(-tirx.abs(x)))


def _softplus(ctx: Context, node: fx.Node) -> te.Tensor:
    beta, threshold = argument(node, 1, "beta", 1.0), argument(node, 2, "threshold", 20.0)

    def body(x: Expr) -> Expr:
        y = x * fast.constant(beta, x)
        return tirx.Select(
            y > fast.constant(threshold, x), x, _softplus_of(y) / fast.constant(beta, x)
        )

    return unary(body)(ctx, node)


def _prelu(ctx: Context, node: fx.Node) -> te.Tensor:
    source, slope = ctx.tensor(node.args[0]), ctx.tensor(node.args[1])

    def body(*index: Expr) -> Expr:
        if len(slope.shape) == len(source.shape):
            factor = broadcast_read(slope, index)
        else:
            channel = index[1] if len(index) > 1 and int(slope.shape[0]) > 1 else 0
            factor = slope(channel)
        x = source(*index)
        return tirx.Select(_positive(x), x, x * factor)

    return compute(node, body)


def _fill(ctx: Context, node: fx.Node) -> te.Tensor:
    name = node.target.__name__  # type: ignore[union-attr]
    value = {"zeros_like.default": 0, "ones_like.default": 1}.get(name)
    filler = argument(node, 1, "fill_value") if value is None else value
    return _apply(ctx, node, [], dtype_of(node), lambda: tirx.const(filler, dtype_of(node)))


def _copy(ctx: Context, node: fx.Node) -> te.Tensor:
    source = ctx.tensor(node.args[0])
    if dtype_of(node) == "bool" and type_of(source) != "bool":
        return compute(node, lambda *i: source(*i) != tirx.const(0, type_of(source)))
    return compute(node, lambda *i: source(*i))


def _sign(x: Expr) -> Expr:
    zero, one = fast.constant(0, x), fast.constant(1, x)
    return tirx.Select(x > zero, one, tirx.Select(x < zero, -one, zero))


def _inverse_tanh(x: Expr) -> Expr:
    one = fast.constant(1.0, x)
    return fast.constant(0.5, x) * tirx.log((one + x) / (one - x))


CONVERTERS: Mapping[str, Converter] = {
    "encode_half": unary(lambda x: x.astype("float16")),
    "decode_half": unary(lambda x: x.astype("float32")),
    "_to_copy": _copy,
    "clone": _copy,
    "add": binary(lambda a, b: a + b if type_of(a) != "bool" else tirx.Or(a, b)),
    "sub": binary(lambda a, b: a - b),
    "rsub": binary(lambda a, b: b - a),
    "mul": binary(lambda a, b: a * b if type_of(a) != "bool" else tirx.And(a, b)),
    "div": _divide,
    "floor_divide": binary(_floor_divide),
    "remainder": binary(_remainder),
    "fmod": binary(
        lambda a, b: a - tirx.trunc(a / b) * b if "float" in type_of(a) else tirx.truncmod(a, b)
    ),
    "maximum": binary(tirx.max),
    "minimum": binary(tirx.min),
    "atan2": binary(tirx.atan2),
    "eq": comparison(lambda a, b: a == b),
    "ne": comparison(lambda a, b: a != b),
    "lt": comparison(lambda a, b: a < b),
    "le": comparison(lambda a, b: a <= b),
    "gt": comparison(lambda a, b: a > b),
    "ge": comparison(lambda a, b: a >= b),
    "logical_and": binary(lambda a, b: tirx.And(a.astype("bool"), b.astype("bool"))),
    "logical_or": binary(lambda a, b: tirx.Or(a.astype("bool"), b.astype("bool"))),
    "logical_xor": binary(_differs),
    "bitwise_and": binary(lambda a, b: tirx.And(a, b) if type_of(a) == "bool" else a & b),
    "bitwise_or": binary(lambda a, b: tirx.Or(a, b) if type_of(a) == "bool" else a | b),
    "bitwise_xor": binary(lambda a, b: _differs(a, b) if type_of(a) == "bool" else a ^ b),
    "logical_not": lambda ctx, node: compute(
        node, lambda *i: tirx.Not(ctx.tensor(node.args[0])(*i).astype("bool"))
    ),
    "bitwise_not": unary(lambda x: tirx.Not(x) if type_of(x) == "bool" else ~x),
    "where": _where,
    "masked_fill": _masked_fill,
    "pow": _pow,
    "square": unary(lambda x: x * x),
    "abs": unary(tirx.abs),
    "neg": unary(lambda x: -x),
    "exp": unary(fast.exp),
    "expm1": unary(lambda x: tirx.exp(x) - fast.constant(1.0, x)),
    "log": unary(tirx.log),
    "log1p": unary(tirx.log1p),
    "log2": unary(tirx.log2),
    "sqrt": unary(tirx.sqrt),
    "rsqrt": unary(lambda x: fast.constant(1.0, x) / tirx.sqrt(x)),
    "reciprocal": unary(lambda x: fast.constant(1.0, x) / x),
    "sigmoid": unary(fast.sigmoid),
    "logit": unary(lambda x: tirx.log(x / (fast.constant(1.0, x) - x))),
    "tanh": unary(fast.tanh),
    "erf": unary(fast.erf),
    "sin": unary(tirx.sin),
    "cos": unary(tirx.cos),
    "tan": unary(tirx.tan),
    "asin": unary(tirx.asin),
    "acos": unary(tirx.acos),
    "atan": unary(tirx.atan),
    "sinh": unary(tirx.sinh),
    "cosh": unary(tirx.cosh),
    "asinh": unary(tirx.asinh),
    "acosh": unary(tirx.acosh),
    "atanh": unary(_inverse_tanh),
    "floor": unary(tirx.floor),
    "ceil": unary(tirx.ceil),
    "round": unary(tirx.nearbyint),
    "trunc": unary(tirx.trunc),
    "sign": unary(_sign),
    "isnan": lambda ctx, node: compute(node, lambda *i: tirx.isnan(ctx.tensor(node.args[0])(*i))),
    "isinf": lambda ctx, node: compute(node, lambda *i: tirx.isinf(ctx.tensor(node.args[0])(*i))),
    "relu": unary(lambda x: tirx.max(x, fast.constant(0, x))),
    "relu6": unary(lambda x: _clip(x, 0.0, 6.0)),
    "hardtanh": _bounds("min_val", "max_val", (-1.0, 1.0)),
    "clamp": _clamp,
    "clamp_min": _one_bound(tirx.max),
    "clamp_max": _one_bound(tirx.min),
    "hardsigmoid": unary(_hardsigmoid),
    "hardswish": unary(lambda x: x * _hardsigmoid(x)),
    "silu": unary(lambda x: x * fast.sigmoid(x)),
    "mish": unary(lambda x: x * fast.tanh(_softplus_of(x))),
    "softsign": unary(lambda x: x / (fast.constant(1.0, x) + tirx.abs(x))),
    "gelu": _gelu,
    "leaky_relu": _leaky_relu,
    "elu": _elu,
    "celu": lambda ctx, node: unary(_celu(argument(node, 1, "alpha", 1.0)))(ctx, node),
    "selu": unary(lambda x: _selu(x)),
    "softplus": _softplus,
    "prelu": _prelu,
    "_prelu_kernel": _prelu,
    "full_like": _fill,
    "zeros_like": _fill,
    "ones_like": _fill,
}


def _celu(alpha: float) -> Scalar:
    def body(x: Expr) -> Expr:
        low = (fast.exp(x / fast.constant(alpha, x)) - fast.constant(1.0, x)) * fast.constant(
            alpha, x
        )
        return tirx.Select(_positive(x), x, low)

    return body


def _selu(x: Expr) -> Expr:
    alpha, scale = 1.6732632423543772, 1.0507009873554805
    low = (fast.exp(x) - fast.constant(1.0, x)) * fast.constant(alpha * scale, x)
    return tirx.Select(_positive(x), x * fast.constant(scale, x), low)
