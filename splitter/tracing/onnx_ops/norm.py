"""Normalisation."""

from collections.abc import Sequence

import torch
from torch.nn import functional as F

from splitter.tracing.onnx_ops.node import OpNode


def batch_normalization(
    node: OpNode,
    x: torch.Tensor,
    scale: torch.Tensor,
    bias: torch.Tensor,
    mean: torch.Tensor,
    variance: torch.Tensor,
) -> torch.Tensor:
    """BatchNormalization at inference."""
    if node.get("training_mode", 0):
        raise node.unsupported("it is in training mode", "BatchNormalization for inference")
    epsilon = node.get("epsilon", 1e-5)
    return F.batch_norm(x, mean, variance, scale, bias, False, 0.0, epsilon)


def instance_normalization(
    node: OpNode, x: torch.Tensor, scale: torch.Tensor, bias: torch.Tensor
) -> torch.Tensor:
    """InstanceNormalization, in elementary functions."""
    normal = _standardized(x, range(2, x.dim()), node.get("epsilon", 1e-5))
    shape = [-1] + [1] * (x.dim() - 2)
    return torch.add(torch.mul(normal, torch.reshape(scale, shape)), torch.reshape(bias, shape))


def layer_normalization(
    node: OpNode, x: torch.Tensor, scale: torch.Tensor, bias: torch.Tensor | None = None
) -> Sequence[torch.Tensor]:
    """LayerNormalization; the mean and the inverse deviation only where they are read."""
    epsilon = node.get("epsilon", 1e-5)
    axis = node.get("axis", -1) % x.dim()
    shape = list(x.shape[axis:])
    full = torch.broadcast_to(scale, shape)
    offset = None if bias is None else torch.broadcast_to(bias, shape)
    normal = F.layer_norm(x, shape, full, offset, epsilon)
    if node.output_count == 1:
        return (normal,)
    axes = list(range(axis, x.dim()))
    mean = torch.mean(x, axes, keepdim=True)
    centred = torch.sub(x, mean)
    variance = torch.mean(torch.mul(centred, centred), axes, keepdim=True)
    return normal, mean, torch.rsqrt(torch.add(variance, epsilon))


def rms_normalization(node: OpNode, x: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """RMSNormalization, in elementary functions."""
    axis = node.get("axis", -1) % x.dim()
    power = torch.mean(torch.mul(x, x), list(range(axis, x.dim())), keepdim=True)
    return torch.mul(torch.mul(x, torch.rsqrt(torch.add(power, node.get("epsilon", 1e-5)))), scale)


def group_normalization(
    node: OpNode, x: torch.Tensor, scale: torch.Tensor, bias: torch.Tensor
) -> torch.Tensor:
    """GroupNormalization; the scale is per group before operator set 21, per channel since."""
    groups = node.get("num_groups")
    repeats = x.shape[1] // scale.numel()
    shape = [-1] + [1] * (x.dim() - 2)
    per_channel = torch.reshape(torch.repeat_interleave(scale, repeats), shape)
    offset = torch.reshape(torch.repeat_interleave(bias, repeats), shape)
    grouped = torch.reshape(x, [x.shape[0], groups, -1])
    normal = torch.reshape(_standardized(grouped, [2], node.get("epsilon", 1e-5)), x.shape)
    return torch.add(torch.mul(normal, per_channel), offset)


def mean_variance(node: OpNode, x: torch.Tensor) -> torch.Tensor:
    """MeanVarianceNormalization."""
    return _standardized(x, node.get("axes", [0, 2, 3]), 1e-9)


def lp_normalization(node: OpNode, x: torch.Tensor) -> torch.Tensor:
    """LpNormalization; a vector of zeros stays zero."""
    axis = node.get("axis", -1)
    if node.get("p", 2) == 1:
        norm = torch.sum(torch.abs(x), axis, keepdim=True)
    else:
        norm = torch.sqrt(torch.sum(torch.mul(x, x), axis, keepdim=True))
    return torch.div(x, torch.where(torch.eq(norm, 0.0), 1.0, norm))


def local_response(node: OpNode, x: torch.Tensor) -> torch.Tensor:
    """LRN: the window over the channels is a pooling over a moved axis."""
    size = node.get("size")
    squares = torch.reshape(torch.mul(x, x), [x.shape[0], 1, x.shape[1], -1])
    before, after = (size - 1) // 2, size // 2
    wider = F.pad(squares, [0, 0, before, after])
    means = torch.reshape(F.avg_pool2d(wider, (size, 1), (1, 1)), x.shape)
    alpha, beta, k = node.get("alpha", 1e-4), node.get("beta", 0.75), node.get("bias", 1.0)
    return torch.div(x, torch.pow(torch.add(torch.mul(means, alpha), k), beta))


def _standardized(x: torch.Tensor, axes: Sequence[int], epsilon: float) -> torch.Tensor:
    """``x`` with mean zero and variance one over ``axes``."""
    centred = torch.sub(x, torch.mean(x, list(axes), keepdim=True))
    variance = torch.mean(torch.mul(centred, centred), list(axes), keepdim=True)
    return torch.div(centred, torch.sqrt(torch.add(variance, epsilon)))
