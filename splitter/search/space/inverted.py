"""Inverted residual blocks with an optional squeeze-and-excite part.

Sandler et al., "MobileNetV2", 2018; Howard et al., "Searching for MobileNetV3", 2019.
"""

import torch
from torch import nn

SQUEEZE = 4
"""Channels of a block to each channel of its squeeze."""


def conv_bn(inputs: int, outputs: int, kernel: int, stride: int) -> nn.Sequential:
    """Convolution, batch norm, ReLU."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    )


class SqueezeExcite(nn.Module):
    """Scale each channel by what a small network makes of all channels' means."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.reduce = nn.Linear(channels, channels // SQUEEZE)
        self.expand = nn.Linear(channels // SQUEEZE, channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The same shape."""
        scale = self.expand(torch.relu(self.reduce(x.mean((2, 3)))))
        return x * nn.functional.hardsigmoid(scale)[:, :, None, None]


class InvertedResidual(nn.Module):
    """Widen, filter each channel, narrow; added to the input where the shapes agree."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int,
        stride: int,
        expansion: int,
        squeeze: bool,
        hard_swish: bool,
    ) -> None:
        super().__init__()
        width = inputs * expansion
        self.residual = stride == 1 and inputs == outputs
        self.act = nn.Hardswish() if hard_swish else nn.ReLU()
        self.widens = expansion > 1
        if self.widens:
            self.expand = nn.Conv2d(inputs, width, 1, bias=False)
            self.expand_norm = nn.BatchNorm2d(width)
        self.filter = nn.Conv2d(width, width, kernel, stride, kernel // 2, groups=width, bias=False)
        self.filter_norm = nn.BatchNorm2d(width)
        self.squeeze = SqueezeExcite(width) if squeeze else nn.Identity()
        self.project = nn.Conv2d(width, outputs, 1, bias=False)
        self.project_norm = nn.BatchNorm2d(outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """N x inputs x H x W to N x outputs x H/stride x W/stride."""
        y = self.act(self.expand_norm(self.expand(x))) if self.widens else x
        y = self.squeeze(self.act(self.filter_norm(self.filter(y))))
        y = self.project_norm(self.project(y))
        made: torch.Tensor = x + y if self.residual else y
        return made
