"""Spelt-out operators are put together again, and what only looks like one is not."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import fx
from torch.nn import functional as F

from splitter.tracing.onnx_patterns import fuse_patterns
from splitter.tracing.onnx_recorder import Recorder

X = torch.linspace(-4, 4, 24).reshape(2, 3, 4)
W, B = torch.linspace(0.5, 1.5, 4), torch.linspace(-1, 1, 4)
MATRIX = torch.linspace(-1, 1, 16).reshape(4, 4)
Function = Callable[[torch.Tensor], torch.Tensor]


def fused(function: Function) -> list[str]:
    """Names of the functions left after fusion, which must not change the result."""
    recorder = Recorder()
    x = recorder.placeholder("x", X.shape, X.dtype)
    for name, value in (("w", W), ("b", B), ("matrix", MATRIX)):
        recorder.constant(name, value)
    with recorder:
        y = function(x)
    recorder.output([y])
    module = recorder.module()
    fuse_patterns(module)
    torch.testing.assert_close(module(X)[0], function(X), rtol=1e-5, atol=1e-5)
    return [_name(node) for node in module.graph.nodes if node.op == "call_function"]


def _name(node: fx.Node) -> str:
    return str(getattr(node.target, "__name__", node.target))


def normal(x: torch.Tensor, epsilon: float = 1e-5, axis: int = -1) -> torch.Tensor:
    centred = torch.sub(x, torch.mean(x, [axis], keepdim=True))
    variance = torch.mean(torch.mul(centred, centred), [axis], keepdim=True)
    return torch.div(centred, torch.sqrt(torch.add(variance, epsilon)))


def bell(x: torch.Tensor) -> torch.Tensor:
    return torch.add(torch.erf(torch.div(x, math.sqrt(2))), 1.0)


def soft_bell(x: torch.Tensor) -> torch.Tensor:
    cube = torch.mul(torch.mul(x, x), x)
    inner = torch.mul(torch.add(x, torch.mul(cube, 0.044715)), math.sqrt(2 / math.pi))
    return torch.add(torch.tanh(inner), 1.0)


def ramp(x: torch.Tensor) -> torch.Tensor:
    return F.relu6(torch.add(x, 3.0))


FORMS: list[tuple[str, Function]] = [
    ("layer_norm", normal),
    ("layer_norm", lambda x: torch.add(torch.mul(normal(x), W), B)),
    ("layer_norm", lambda x: torch.add(B, torch.mul(W, normal(x)))),
    ("gelu", lambda x: torch.mul(torch.mul(x, bell(x)), 0.5)),
    ("gelu", lambda x: torch.mul(bell(x), torch.mul(x, 0.5))),
    ("gelu", lambda x: torch.mul(x, torch.mul(bell(x), 0.5))),
    ("gelu", lambda x: torch.mul(torch.mul(x, soft_bell(x)), 0.5)),
    ("silu", lambda x: torch.mul(torch.sigmoid(x), x)),
    ("hardswish", lambda x: torch.div(torch.mul(x, ramp(x)), 6.0)),
    ("hardswish", lambda x: torch.mul(x, torch.div(ramp(x), 6.0))),
    ("hardswish", lambda x: torch.mul(x, F.hardsigmoid(x))),
    ("hardsigmoid", lambda x: torch.mul(ramp(x), 1 / 6)),
    ("linear", lambda x: torch.add(F.linear(x, MATRIX), B)),
]


@pytest.mark.parametrize(
    ("name", "function"), FORMS, ids=[f"{n}-{i}" for i, (n, _) in enumerate(FORMS)]
)
def test_one_operator_remains(name: str, function: Function) -> None:
    assert fused(function) == [name]


def test_normalisation_over_another_axis_stays() -> None:
    assert "layer_norm" not in fused(lambda x: normal(x, axis=1))


def test_scale_along_another_axis_is_not_taken_in() -> None:
    scale = torch.tensor([1.0, 2.0, 3.0]).reshape(3, 1)
    names = fused(lambda x: torch.add(torch.mul(normal(x), scale), B))
    assert names == ["layer_norm", "mul", "add"]


def test_other_numbers_are_not_gelu() -> None:
    assert "gelu" not in fused(lambda x: torch.mul(torch.mul(x, bell(x)), 0.6))


def test_different_operands_are_not_silu() -> None:
    names = fused(lambda x: torch.mul(torch.sigmoid(x), torch.abs(x)))
    assert sorted(names) == ["abs", "mul", "sigmoid"]


def test_what_others_read_stays() -> None:
    def both(x: torch.Tensor) -> torch.Tensor:
        gate = torch.sigmoid(x)
        return torch.sub(torch.mul(x, gate), gate)

    assert fused(both) == ["sigmoid", "mul", "sub"]


def test_bias_of_several_rows_stays_an_addition() -> None:
    rows = torch.linspace(0, 1, 12).reshape(3, 4)
    assert fused(lambda x: torch.add(F.linear(x, MATRIX), rows)) == ["linear", "add"]
