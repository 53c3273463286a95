"""Matrix products."""

import torch
from torch.nn import functional as F

from splitter.tracing.onnx_ops.node import OpNode, is_known


def matmul(node: OpNode, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """MatMul; with a constant matrix on the right it is torch's linear."""
    if is_known(b) and b.dim() == 2 and a.dim() >= 2:
        return F.linear(a, torch.t(b))
    return torch.matmul(a, b)


def gemm(
    node: OpNode, a: torch.Tensor, b: torch.Tensor, c: torch.Tensor | None = None
) -> torch.Tensor:
    """Gemm: linear where the weight is constant; alpha and beta are multiplied into constants."""
    alpha, beta = node.get("alpha", 1.0), node.get("beta", 1.0)
    left = torch.t(a) if node.get("transA", 0) else a
    weight = b if node.get("transB", 0) else torch.t(b)
    bias = c if c is None or beta == 1 else torch.mul(c, beta)
    scaled = weight if alpha == 1 else torch.mul(weight, alpha)
    if bias is None:
        return F.linear(left, scaled)
    if is_known(bias) and bias.numel() == scaled.shape[0] and bias.shape[-1:] == scaled.shape[:1]:
        return F.linear(left, scaled, torch.reshape(bias, [bias.numel()]))
    return torch.add(F.linear(left, scaled), bias)


def einsum(node: OpNode, *operands: torch.Tensor) -> torch.Tensor:
    """Einsum."""
    return torch.einsum(node.get("equation").replace(" ", ""), *operands)
