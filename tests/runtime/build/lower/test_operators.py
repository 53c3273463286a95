"""Every operator's kernel, scheduled and compiled, against torch on random inputs."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import tvm
from torch.nn import functional as F

from runtime.build.generate import generate
from runtime.build.lower import lower_layer, supported_operators
from runtime.build.machine import Machine
from runtime.build.schedule import schedule
from splitter.tracing import trace
from splitter.tracing.operators import SUPPORTED

MACHINES = {
    "avx2": Machine("x86_64", "x86-64-v3", (), 32, 1),
    "sse, two threads": Machine("x86_64", "x86-64", (), 16, 2),
    "scalar": Machine("x86_64", "x86-64", (), 4, 1),
}


class Wrapped(torch.nn.Module):
    def __init__(self, function: Callable[..., Any], weights: tuple[torch.Tensor, ...]) -> None:
        super().__init__()
        self.function = function
        self.count = len(weights)
        for i, weight in enumerate(weights):
            self.register_parameter(f"w{i}", torch.nn.Parameter(weight, requires_grad=False))

    def forward(self, *inputs: torch.Tensor) -> Any:
        return self.function(*inputs, *(getattr(self, f"w{i}") for i in range(self.count)))


def check(
    function: Callable[..., Any],
    *inputs: torch.Tensor,
    weights: tuple[torch.Tensor, ...] = (),
    machine: Machine = MACHINES["avx2"],
    tolerance: float = 2e-6,
) -> None:
    """Run every layer of the traced function as a compiled kernel and compare each with torch."""
    program = trace(Wrapped(function, weights), inputs)
    expected = program.tensors(*inputs)
    for layer in program.graph.layers:
        lowered = lower_layer(program, layer, machine)
        library = generate(schedule(lowered, machine), "kernel", machine)
        arguments, outputs = [], {}
        for operand in lowered.operands:
            if operand.role == "input":
                value = expected[operand.name].numpy().reshape(operand.shape)
            elif operand.role == "weight":
                value = program.constant(operand.name).numpy()
                value = operand.packing.apply(value) if operand.packing else value
                value = value.reshape(operand.shape)
            else:
                value = np.full(operand.shape, 1, operand.dtype)
            dense = np.ascontiguousarray(value).reshape(operand.shape)
            arguments.append(tvm.runtime.tensor(dense))
            if operand.role == "output":
                outputs[operand.name] = arguments[-1]
        library["kernel"](*arguments)
        for name, found in outputs.items():
            wanted = expected[name].numpy()
            close(found.numpy().reshape(wanted.shape), wanted, tolerance)
    for name, result in zip(
        program.graph.outputs, wrapped_outputs(function, inputs, weights), strict=True
    ):
        close(expected[name].numpy(), result.numpy(), 1e-5)


def wrapped_outputs(
    function: Callable[..., Any],
    inputs: tuple[torch.Tensor, ...],
    weights: tuple[torch.Tensor, ...],
) -> tuple[torch.Tensor, ...]:
    result = function(*inputs, *weights)
    return result if isinstance(result, tuple) else (result,)


def close(found: np.ndarray, wanted: np.ndarray, tolerance: float) -> None:
    assert found.dtype == wanted.dtype
    if wanted.dtype.kind != "f":
        np.testing.assert_array_equal(found, wanted)
        return
    scale = float(np.abs(wanted[np.isfinite(wanted)]).max(initial=1.0))
    np.testing.assert_allclose(found, wanted, rtol=0, atol=tolerance * scale)


def t(*shape: int, seed: int = 0, low: float | None = None) -> torch.Tensor:
    value = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    return value if low is None else value.abs() + low


def ints(*shape: int, high: int = 10) -> torch.Tensor:
    return torch.randint(0, high, shape, generator=torch.Generator().manual_seed(0))


X = t(2, 6, 9, 13)
UNARY: dict[str, tuple[Callable[..., Any], torch.Tensor]] = {
    "abs": (torch.abs, X),
    "neg": (torch.neg, X),
    "exp": (torch.exp, X),
    "exp of extremes": (torch.exp, torch.tensor([-1e30, -104.0, -87.0, 0.0, 1.0, 88.0])),
    "log": (torch.log, t(3, 40, low=0.1)),
    "log1p": (torch.log1p, t(3, 40, low=0.0)),
    "log2": (torch.log2, t(3, 40, low=0.1)),
    "expm1": (torch.expm1, X),
    "sqrt": (torch.sqrt, t(3, 40, low=0.1)),
    "rsqrt": (torch.rsqrt, t(3, 40, low=0.1)),
    "reciprocal": (torch.reciprocal, t(3, 40, low=0.1)),
    "square": (torch.square, X),
    "pow 3": (lambda x: x**3, X),
    "pow 0.5": (lambda x: x**0.5, t(3, 40, low=0.1)),
    "pow 1.7": (lambda x: x**1.7, t(3, 40, low=0.1)),
    "sigmoid": (torch.sigmoid, X * 8),
    "tanh": (torch.tanh, X * 5),
    "tanh of large": (torch.tanh, torch.tensor([-200.0, -9.5, 1e-4, 9.5, 1e30])),
    "erf": (torch.erf, X * 2),
    "gelu": (F.gelu, X * 3),
    "gelu tanh": (lambda x: F.gelu(x, approximate="tanh"), X * 3),
    "relu": (F.relu, X),
    "relu6": (F.relu6, X * 5),
    "hardtanh": (lambda x: F.hardtanh(x, -0.3, 0.7), X),
    "clamp": (lambda x: torch.clamp(x, -0.2, 0.9), X),
    "clamp min only": (lambda x: torch.clamp(x, min=0.1), X),
    "hardswish": (F.hardswish, X * 4),
    "hardsigmoid": (F.hardsigmoid, X * 4),
    "silu": (F.silu, X * 4),
    "mish": (F.mish, X * 4),
    "softplus": (F.softplus, X * 4),
    "softplus beta": (lambda x: F.softplus(x, beta=2.0, threshold=5.0), X * 4),
    "elu": (lambda x: F.elu(x, 0.7), X),
    "celu": (lambda x: F.celu(x, 0.7), X),
    "selu": (F.selu, X),
    "leaky_relu": (lambda x: F.leaky_relu(x, 0.2), X),
    "softsign": (F.softsign, X),
    "floor": (torch.floor, X * 3),
    "ceil": (torch.ceil, X * 3),
    "round": (torch.round, X * 3),
    "trunc": (torch.trunc, X * 3),
    "sign": (torch.sign, X),
    "sin": (torch.sin, X),
    "cos": (torch.cos, X),
    "atan": (torch.atan, X),
    "to int": (lambda x: (x * 10).to(torch.int64), X),
    "int to float": (lambda x: x.to(torch.float32) / 3, ints(4, 50)),
    "bool to float": (lambda x: (x > 0).to(torch.float32), X),
    "float to bool": (lambda x: x.to(torch.bool), ints(4, 5, high=2).float()),
    "logical_not": (lambda x: torch.logical_not(x > 0), X),
    "zeros_like": (torch.zeros_like, X),
    "permute": (lambda x: x.permute(2, 0, 3, 1), X),
    "transpose": (lambda x: x.transpose(1, 3), X),
    "slice": (lambda x: x[:, 1:5, ::2, -3:], X),
    "select": (lambda x: x[:, -2], X),
    "flip": (lambda x: x.flip(1, 3), X),
    "roll": (lambda x: torch.roll(x, (2, -3), (1, 3)), X),
    "roll flat": (lambda x: torch.roll(x, 5), X),
    "expand": (lambda x: x[:, :1].expand(2, 4, 9, 13), X),
    "repeat": (lambda x: x.repeat(1, 2, 1, 3), X),
    "reshape": (lambda x: x.reshape(2, 54, 13), X),
    "reshape in the middle": (lambda x: (x * 2).reshape(12, 117).t() + 1, X),
    "pad": (lambda x: F.pad(x, (1, 2, 0, 3), value=0.5), X),
    "pad negative": (lambda x: F.pad(x, (-1, 2, 0, -3)), X),
    "pixel_shuffle": (lambda x: F.pixel_shuffle(x, 2), t(1, 12, 5, 7)),
    "pixel_unshuffle": (lambda x: F.pixel_unshuffle(x, 2), t(1, 3, 6, 8)),
    "triu": (lambda x: torch.triu(x, 1), t(7, 9)),
    "tril": (lambda x: torch.tril(x, -1), t(7, 9)),
    "split": (lambda x: torch.split(x, 4, 1)[1] + 1, X),
    "chunk": (lambda x: sum(torch.chunk(x, 3, 1)), X),
    "unbind": (lambda x: torch.unbind(x, 1)[2] * 2, X),
    "sum": (lambda x: x.sum((1, 3)), X),
    "sum all": (lambda x: x.sum(), X),
    "mean": (lambda x: x.mean((2, 3)), X),
    "mean keepdim": (lambda x: x.mean(-1, keepdim=True), X),
    "amax": (lambda x: x.amax((1,)), X),
    "amin": (lambda x: x.amin(-1, keepdim=True), X),
    "max of all": (lambda x: x.max(), X),
    "var": (lambda x: x.var((2, 3)), X),
    "std": (lambda x: x.std(-1, unbiased=False), X),
    "argmax": (lambda x: x.argmax(1), X),
    "argmax of equal": (lambda x: x.argmax(1), torch.ones(3, 8)),
    "argmin all": (lambda x: x.argmin(), X),
    "max dim value": (lambda x: x.max(1)[0], X),
    "norm 2": (lambda x: torch.linalg.vector_norm(x, dim=1), X),
    "norm 1": (lambda x: torch.linalg.vector_norm(x, 1, dim=(2, 3)), X),
    "cumsum": (lambda x: x.cumsum(1), t(3, 17)),
    "softmax": (lambda x: torch.softmax(x, -1), X * 9),
    "softmax channel": (lambda x: torch.softmax(x, 1), X * 9),
    "log_softmax": (lambda x: torch.log_softmax(x, -1), X * 9),
    "max_pool2d": (lambda x: F.max_pool2d(x, 3, 2, 1), X),
    "max_pool2d ceil": (lambda x: F.max_pool2d(x, 3, 2, ceil_mode=True), X),
    "max_pool2d dilated": (lambda x: F.max_pool2d(x, 2, 1, dilation=2), X),
    "max_pool1d": (lambda x: F.max_pool1d(x, 3), t(2, 4, 20)),
    "avg_pool2d": (lambda x: F.avg_pool2d(x, 3, 2, 1), X),
    "avg_pool2d no pad": (lambda x: F.avg_pool2d(x, 3, 2, 1, count_include_pad=False), X),
    "avg_pool2d ceil": (lambda x: F.avg_pool2d(x, 2, 2, ceil_mode=True), X),
    "avg_pool1d": (lambda x: F.avg_pool1d(x, 3, 2), t(2, 4, 20)),
    "adaptive_avg_pool2d 1": (lambda x: F.adaptive_avg_pool2d(x, 1), X),
    "adaptive_avg_pool2d": (lambda x: F.adaptive_avg_pool2d(x, (4, 5)), X),
    "interpolate nearest": (lambda x: F.interpolate(x, scale_factor=2), X),
    "interpolate nearest size": (lambda x: F.interpolate(x, size=(5, 20)), X),
    "interpolate bilinear": (
        lambda x: F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False),
        X,
    ),
    "interpolate aligned": (
        lambda x: F.interpolate(x, size=(20, 7), mode="bilinear", align_corners=True),
        X,
    ),
    "softmax of whole vectors": (lambda x: torch.softmax(x, -1), t(3, 5, 64) * 9),
    "mean of whole vectors": (lambda x: x.mean((2, 3)), t(2, 3, 8, 16)),
    "amax of whole vectors": (lambda x: x.amax(-1), t(7, 32)),
    "sum of integers": (lambda x: x.sum(-1), ints(7, 32)),
    "layer_norm of whole vectors": (lambda x: F.layer_norm(x, (64,)), t(3, 5, 64)),
    "instance_norm": (lambda x: F.instance_norm(x), X),
}


@pytest.mark.parametrize("name", UNARY)
def test_operator_of_one_tensor(name: str) -> None:
    function, x = UNARY[name]
    check(function, x)


Y = t(2, 6, 9, 13, seed=1)
BINARY: dict[str, tuple[Callable[..., Any], torch.Tensor, torch.Tensor]] = {
    "add": (torch.add, X, Y),
    "add alpha": (lambda a, b: torch.add(a, b, alpha=0.3), X, Y),
    "add channel": (torch.add, X, t(1, 6, 1, 1)),
    "add last": (torch.add, X, t(13)),
    "mul both broadcast": (torch.mul, t(2, 1, 9, 1), t(6, 1, 13)),
    "sub": (torch.sub, X, Y),
    "rsub": (lambda a, b: 3.0 - a * b, X, Y),
    "div": (torch.div, X, t(2, 6, 9, 13, seed=1, low=0.3)),
    "div floor": (lambda a, b: torch.div(a, b, rounding_mode="floor"), X, t(13, low=0.3)),
    "div trunc int": (
        lambda a, b: torch.div(a, b + 1, rounding_mode="trunc"),
        ints(4, 9) - 5,
        ints(4, 9),
    ),
    "floor divide int": (lambda a, b: a // (b + 1), ints(4, 9) - 5, ints(4, 9)),
    "remainder": (torch.remainder, X, t(13, low=0.3)),
    "fmod": (torch.fmod, X, t(13, low=0.3)),
    "int plus float": (torch.add, ints(4, 9), t(4, 9)),
    "maximum": (torch.maximum, X, Y),
    "minimum": (torch.minimum, X, Y),
    "pow": (torch.pow, t(4, 9, low=0.1), t(4, 9, seed=2)),
    "eq": (torch.eq, ints(4, 9), ints(9)),
    "lt": (torch.lt, X, Y),
    "ge": (torch.ge, X, Y),
    "and": (lambda a, b: torch.logical_and(a > 0, b > 0), X, Y),
    "xor": (lambda a, b: torch.logical_xor(a > 0, b > 0), X, Y),
    "where": (lambda a, b: torch.where(a > b, a, b * 2), X, Y),
    "where scalar": (lambda a, b: torch.where(a > b, a, 0.0), X, Y),
    "masked_fill": (lambda a, b: a.masked_fill(b > 0, -1e9), X, Y),
    "cat": (lambda a, b: torch.cat([a, b * 2, a], 1), X, Y),
    "stack": (lambda a, b: torch.stack([a, b], 2), X, Y),
    "gather": (lambda a, b: torch.gather(a, 1, b), t(4, 10), ints(4, 7)),
    "index_select": (lambda a, b: torch.index_select(a, 1, b), t(4, 10, 3), ints(6)),
    "index": (lambda a, b: a[b], t(10, 5), ints(3, 4)),
    "index middle": (lambda a, b: a[:, b], t(4, 10, 3), ints(6)),
    "matmul": (torch.matmul, t(9, 33), t(33, 21)),
    "matmul batch": (torch.matmul, t(2, 3, 17, 20), t(2, 3, 20, 19)),
    "matmul broadcast": (torch.matmul, t(2, 3, 17, 20), t(20, 19)),
    "matmul few rows": (torch.matmul, t(3, 2, 20), t(3, 20, 19)),
    "matmul vector": (torch.matmul, t(3, 5, 20), t(20)),
    "vector matmul": (torch.matmul, t(20), t(20, 7)),
    "bmm": (torch.bmm, t(3, 8, 20), t(3, 20, 19)),
    "attention": (
        lambda q, k: F.scaled_dot_product_attention(q, k, k),
        t(1, 2, 19, 8),
        t(1, 2, 23, 8),
    ),
    "causal attention": (
        lambda q, k: F.scaled_dot_product_attention(q, k, k, is_causal=True),
        t(1, 2, 19, 8),
        t(1, 2, 19, 8),
    ),
}


@pytest.mark.parametrize("name", BINARY)
def test_operator_of_two_tensors(name: str) -> None:
    function, a, b = BINARY[name]
    check(function, a, b)


W = {"w": t(8, 6, 3, 3), "b": t(8)}
WEIGHTED: dict[str, tuple[Callable[..., Any], torch.Tensor, tuple[torch.Tensor, ...]]] = {
    "conv2d": (lambda x, w, b: F.conv2d(x, w, b, padding=1), X, (t(8, 6, 3, 3), t(8))),
    "conv2d relu": (lambda x, w, b: F.relu(F.conv2d(x, w, b)), X, (t(21, 6, 3, 3), t(21))),
    "conv2d stride": (lambda x, w: F.conv2d(x, w, None, 2, 1), X, (t(16, 6, 3, 3),)),
    "conv2d aligned planes": (
        lambda x, w: F.conv2d(x, w, None, 1, 1),
        t(1, 6, 14, 14),
        (t(8, 6, 3, 3),),
    ),
    "conv2d stem": (lambda x, w: F.conv2d(x, w, None, 2, 3), t(1, 3, 33, 35), (t(32, 3, 7, 7),)),
    "depthwise strided no padding": (
        lambda x, w: F.conv2d(x, w, None, 3, 0, 2, 6),
        X,
        (t(6, 1, 3, 3),),
    ),
    "conv2d dilated": (lambda x, w: F.conv2d(x, w, dilation=2), X, (t(5, 6, 3, 3),)),
    "conv2d asymmetric": (
        lambda x, w: F.conv2d(x, w, None, (2, 1), (0, 2)),
        X,
        (t(17, 6, 1, 5),),
    ),
    "conv2d pointwise": (lambda x, w, b: F.conv2d(x, w, b), X, (t(24, 6, 1, 1), t(24))),
    "conv2d pointwise wide": (lambda x, w: F.conv2d(x, w), t(1, 6, 16, 16), (t(19, 6, 1, 1),)),
    "conv2d pointwise strided": (lambda x, w: F.conv2d(x, w, stride=2), X, (t(9, 6, 1, 1),)),
    "conv2d residual": (
        lambda x, w: F.relu6(F.conv2d(x, w, padding=1) + x),
        X,
        (t(6, 6, 3, 3),),
    ),
    "conv2d gated": (
        lambda x, w, g: F.conv2d(x, w) * g,
        X,
        (t(6, 6, 1, 1), t(1, 6, 1, 1)),
    ),
    "depthwise": (lambda x, w: F.conv2d(x, w, None, 1, 1, 1, 6), X, (t(6, 1, 3, 3),)),
    "depthwise strided": (lambda x, w: F.conv2d(x, w, None, 2, 2, 1, 6), X, (t(6, 1, 5, 5),)),
    "depthwise multiplier": (lambda x, w: F.conv2d(x, w, None, 1, 1, 1, 6), X, (t(12, 1, 3, 3),)),
    "grouped": (lambda x, w: F.conv2d(x, w, None, 1, 1, 1, 3), X, (t(9, 2, 3, 3),)),
    "conv1d": (lambda x, w, b: F.conv1d(x, w, b, 2, 2), t(2, 5, 33), (t(7, 5, 5), t(7))),
    "conv3d": (lambda x, w: F.conv3d(x, w, padding=1), t(1, 3, 5, 6, 7), (t(4, 3, 3, 3, 3),)),
    "conv_transpose2d": (
        lambda x, w, b: F.conv_transpose2d(x, w, b, 2, 1, 1),
        X,
        (t(6, 5, 3, 3), t(5)),
    ),
    "conv_transpose2d 2x2": (lambda x, w: F.conv_transpose2d(x, w, None, 2), X, (t(6, 5, 2, 2),)),
    "conv_transpose2d 4x4": (
        lambda x, w: F.conv_transpose2d(x, w, None, 2, 1),
        X,
        (t(6, 17, 4, 4),),
    ),
    "conv_transpose2d big stride": (
        lambda x, w: F.conv_transpose2d(x, w, None, 3, 2),
        X,
        (t(6, 3, 2, 5),),
    ),
    "conv_transpose2d grouped": (
        lambda x, w: F.conv_transpose2d(x, w, None, 2, 1, 0, 2),
        X,
        (t(6, 3, 3, 3),),
    ),
    "conv_transpose1d": (
        lambda x, w: F.conv_transpose1d(x, w, None, 2, 1),
        t(1, 4, 9),
        (t(4, 3, 4),),
    ),
    "linear": (F.linear, t(5, 33), (t(21, 33), t(21))),
    "linear one row": (F.linear, t(1, 130), (t(67, 130), t(67))),
    "linear vector": (F.linear, t(33), (t(21, 33), t(21))),
    "linear sequence": (
        lambda x, w, b: F.gelu(F.linear(x, w, b)),
        t(2, 19, 33),
        (t(40, 33), t(40)),
    ),
    "linear then heads": (
        lambda x, w: F.linear(x, w).view(2, 19, 4, 10).transpose(1, 2),
        t(2, 19, 33),
        (t(40, 33),),
    ),
    "linear twice the same weight": (lambda x, w: F.linear(F.linear(x, w), w), t(3, 8), (t(8, 8),)),
    "embedding tied": (
        lambda i, w: F.linear(F.embedding(i, w), w),
        ints(2, 7),
        (t(10, 16),),
    ),
    "addmm": (
        lambda x, w, b: torch.addmm(b, x, w, beta=0.5, alpha=2.0),
        t(9, 33),
        (t(33, 7), t(7)),
    ),
    "prelu": (F.prelu, X, (t(6),)),
    "prelu one": (F.prelu, X, (t(1),)),
    "layer_norm": (
        lambda x, w, b: F.layer_norm(x, (13,), w, b),
        X,
        (t(13), t(13)),
    ),
    "layer_norm two axes": (lambda x, w: F.layer_norm(x, (9, 13), w), X, (t(9, 13),)),
    "group_norm": (lambda x, w, b: F.group_norm(x, 3, w, b), X, (t(6), t(6))),
    "batch_norm alone": (
        lambda x, m, v: F.batch_norm(F.relu(x), m, v.abs() + 0.5, training=False),
        X,
        (t(6), t(6)),
    ),
}


OTHER_MACHINES = [name for name in MACHINES if name != "avx2"]
ON_OTHER_MACHINES = [name for name in WEIGHTED if "2d" in name or name.startswith(("dep", "lin"))]


@pytest.mark.parametrize(
    ("name", "machine"),
    [(name, "avx2") for name in WEIGHTED]
    + [(name, machine) for name in ON_OTHER_MACHINES[::2] for machine in OTHER_MACHINES],
)
def test_operator_with_weights(name: str, machine: str) -> None:
    function, x, weights = WEIGHTED[name]
    check(function, x, weights=weights, machine=MACHINES[machine], tolerance=1e-5)


def test_what_tracing_accepts_has_a_lowering() -> None:
    assert frozenset(SUPPORTED) == supported_operators()
