"""Weights of a layer as int8, with what its integer kernel adds and multiplies."""

from dataclasses import dataclass

import torch

from compress.int8.ranges import Numbers

_LARGEST = 127


@dataclass(frozen=True, eq=False)
class IntegerWeight:
    """Constants of a quantized convolution or linear layer, output channels first."""

    weight: torch.Tensor
    """int8, of the weight's shape."""
    bias: torch.Tensor
    """int32 [outputs]; the input's zero point is counted in."""
    factor: torch.Tensor
    """float32 [outputs]: from sums to the result's numbers."""


def channel_scale(weight: torch.Tensor) -> torch.Tensor:
    """Float64 [outputs]: what one step means in each output channel of ``weight``."""
    largest = weight.detach().double().flatten(1).abs().amax(1)
    return torch.where(largest > 0, largest / _LARGEST, 1.0)


def grid(weight: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """The values nearest to ``weight`` that int8 can be; ``scale`` broadcasts with it."""
    return (weight / scale).round().clamp(-_LARGEST, _LARGEST) * scale


def integer_weight(
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    source: Numbers,
    out_scale: float,
    scale: torch.Tensor | None = None,
) -> IntegerWeight:
    """Symmetric int8 with one scale per output channel.

    Args:
        weight: float32, output channels first.
        bias: float32 [outputs], or none.
        source: of the layer's input.
        out_scale: of the layer's result.
        scale: of each output channel, where it is not to follow from its largest weight.
    """
    flat = weight.detach().double().flatten(1)
    scale = channel_scale(flat) if scale is None else scale
    codes = (flat / scale[:, None]).round().clamp(-_LARGEST, _LARGEST)
    step = scale * source.scale
    start = torch.zeros(len(flat)) if bias is None else bias.detach()
    whole = (start.double() / step).round() - source.zero * codes.sum(1)
    limit = 2**31 - 1
    return IntegerWeight(
        weight=codes.to(torch.int8).reshape(weight.shape),
        bias=whole.clamp(-limit, limit).to(torch.int32),
        factor=(step / out_scale).to(torch.float32),
    )
