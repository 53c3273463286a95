"""Activation functions."""

from collections.abc import Callable
from math import isclose, prod

import torch
from torch.nn import functional as F

from splitter.tracing.onnx_ops.elementwise import Operand, as_number
from splitter.tracing.onnx_ops.node import OpNode


def relu(node: OpNode, x: torch.Tensor) -> torch.Tensor:
    """Relu."""
    return F.relu(x)


def sigmoid(node: OpNode, x: torch.Tensor) -> torch.Tensor:
    """Sigmoid."""
    return torch.sigmoid(x)


def tanh(node: OpNode, x: torch.Tensor) -> torch.Tensor:
    """Tanh."""
    return torch.tanh(x)


def celu(node: OpNode, x: torch.Tensor) -> torch.Tensor:
    """Celu."""
    return F.celu(x, node.get("alpha", 1.0))


def elu(node: OpNode, x: torch.Tensor) -> torch.Tensor:
    """Elu."""
    return F.elu(x, node.get("alpha", 1.0))


def gelu(node: OpNode, x: torch.Tensor) -> torch.Tensor:
    """Gelu."""
    return F.gelu(x, approximate=node.get("approximate", "none"))


def hard_sigmoid(node: OpNode, x: torch.Tensor) -> torch.Tensor:
    """HardSigmoid: torch's own has alpha fixed at 1/6, other slopes are spelled out."""
    alpha, beta = node.get("alpha", 0.2), node.get("beta", 0.5)
    if isclose(alpha, 1 / 6, rel_tol=1e-6) and beta == 0.5:
        return F.hardsigmoid(x)
    return torch.clamp(torch.add(torch.mul(x, alpha), beta), 0.0, 1.0)


def hard_swish(node: OpNode, x: torch.Tensor) -> torch.Tensor:
    """HardSwish."""
    return F.hardswish(x)


def hardmax(node: OpNode, x: torch.Tensor) -> torch.Tensor:
    """Hardmax: one at the first largest element along the axis."""
    return _along(node, x, _hardmax)


def _hardmax(x: torch.Tensor, axis: int) -> torch.Tensor:
    places = torch.unsqueeze(torch.argmax(x, axis), axis)
    shape = [1] * x.dim()
    shape[axis] = x.shape[axis]
    return torch.Tensor.to(torch.eq(torch.arange(x.shape[axis]).reshape(shape), places), x.dtype)


def leaky_relu(node: OpNode, x: torch.Tensor) -> torch.Tensor:
    """LeakyRelu."""
    return F.leaky_relu(x, node.get("alpha", 0.01))


def softmax(node: OpNode, x: torch.Tensor) -> torch.Tensor:
    """Softmax."""
    return _along(node, x, lambda values, axis: F.softmax(values, axis))


def log_softmax(node: OpNode, x: torch.Tensor) -> torch.Tensor:
    """LogSoftmax."""
    return _along(node, x, lambda values, axis: F.log_softmax(values, axis))


def _along(
    node: OpNode, x: torch.Tensor, function: Callable[[torch.Tensor, int], torch.Tensor]
) -> torch.Tensor:
    """Before operator set 13 the axes from ``axis`` on counted as one, and 1 was the default."""
    axis = node.get("axis", -1 if node.opset >= 13 else 1) % max(x.dim(), 1)
    if node.opset >= 13 or prod(x.shape[axis + 1 :]) == 1:
        return function(x, axis)
    if prod(x.shape[axis:-1]) == 1:
        return function(x, x.dim() - 1)
    flat = torch.reshape(x, [prod(x.shape[:axis]), prod(x.shape[axis:])])
    return torch.reshape(function(flat, 1), x.shape)


def mish(node: OpNode, x: torch.Tensor) -> torch.Tensor:
    """Mish, in elementary functions."""
    return torch.mul(x, torch.tanh(_softplus(x)))


def prelu(node: OpNode, x: torch.Tensor, slope: torch.Tensor) -> torch.Tensor:
    """PRelu: one slope per channel is torch's own, other broadcasts are spelled out."""
    per_channel = x.dim() >= 2 and slope.numel() in (1, x.shape[1])
    if per_channel and slope.dim() <= x.dim() and _only_channels(slope, x.dim()):
        return F.prelu(x, torch.reshape(slope, [slope.numel()]))
    return torch.where(torch.lt(x, 0), torch.mul(x, slope), x)


def _only_channels(slope: torch.Tensor, rank: int) -> bool:
    """Whether ``slope`` broadcast to ``rank`` axes varies along axis 1 alone."""
    shape = [1] * (rank - slope.dim()) + list(slope.shape)
    return all(size == 1 for place, size in enumerate(shape) if place != 1)


def selu(node: OpNode, x: torch.Tensor) -> torch.Tensor:
    """Selu."""
    alpha = node.get("alpha", 1.67326319217681884765625)
    gamma = node.get("gamma", 1.05070102214813232421875)
    return torch.mul(F.elu(x, alpha), gamma)


def shrink(node: OpNode, x: torch.Tensor) -> torch.Tensor:
    """Shrink."""
    bias, limit = node.get("bias", 0.0), node.get("lambd", 0.5)
    zero = torch.mul(x, 0)
    upper = torch.where(torch.gt(x, limit), torch.sub(x, bias), zero)
    shrunk = torch.where(torch.lt(x, -limit), torch.add(x, bias), upper)
    return torch.Tensor.to(shrunk, x.dtype)


def softplus(node: OpNode, x: torch.Tensor) -> torch.Tensor:
    """Softplus."""
    return _softplus(x)


def _softplus(x: torch.Tensor) -> torch.Tensor:
    """log(1 + e^x) without overflow, in functions that every compiler back end has."""
    return torch.add(F.relu(x), torch.log(torch.add(torch.exp(torch.neg(torch.abs(x))), 1.0)))


def softsign(node: OpNode, x: torch.Tensor) -> torch.Tensor:
    """Softsign."""
    return torch.div(x, torch.add(torch.abs(x), 1.0))


def swish(node: OpNode, x: torch.Tensor) -> torch.Tensor:
    """Swish."""
    alpha = node.get("alpha", 1.0)
    return F.silu(x) if alpha == 1 else torch.mul(x, torch.sigmoid(torch.mul(x, alpha)))


def thresholded_relu(node: OpNode, x: torch.Tensor) -> torch.Tensor:
    """ThresholdedRelu."""
    alpha: Operand = as_number(torch.tensor(node.get("alpha", 1.0)), x)
    return torch.where(torch.gt(x, alpha), x, 0.0)
