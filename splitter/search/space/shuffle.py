"""ShuffleNetV2 blocks as a space: kernel, width and depth.

Ma et al., "ShuffleNet V2", 2018. The units of the first stage halve the resolution or keep it as
in the paper; other kernels are an addition (Guo et al., 2020, choose among 3, 5 and 7).
"""

from collections.abc import Callable, Hashable
from dataclasses import dataclass

import torch
from torch import nn

from splitter.search.space.inverted import conv_bn
from splitter.search.space.network import Family, Made
from splitter.search.space.space import Slot, Space, Stage


@dataclass(frozen=True, slots=True)
class ShuffleChoice:
    """One unit."""

    kernel: int
    width: int = 0
    """Channels of its output; 0 keeps those of its input."""

    def __str__(self) -> str:
        return f"k{self.kernel}" + (f"w{self.width}" if self.width else "")


def _depthwise(channels: int, kernel: int, stride: int) -> list[nn.Module]:
    filters = nn.Conv2d(
        channels, channels, kernel, stride, kernel // 2, groups=channels, bias=False
    )
    return [filters, nn.BatchNorm2d(channels)]


class ShuffleUnit(nn.Module):
    """Half of the channels pass by (or are downsampled), the other half is filtered."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int) -> None:
        super().__init__()
        half = outputs // 2
        self.splits = stride == 1
        filtered = half if self.splits else inputs
        self.filtered = nn.Sequential(
            conv_bn(filtered, half, 1, 1),
            *_depthwise(half, kernel, stride),
            conv_bn(half, half, 1, 1),
        )
        passing = [*_depthwise(inputs, kernel, stride), conv_bn(inputs, half, 1, 1)]
        self.passing = nn.Identity() if self.splits else nn.Sequential(*passing)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """N x inputs x H x W to N x outputs x H/stride x W/stride, halves interleaved."""
        first, second = x.chunk(2, 1) if self.splits else (x, x)
        y = torch.cat((self.passing(first), self.filtered(second)), 1)
        batch, channels, height, width = y.shape
        halves = y.reshape(batch, 2, channels // 2, height, width)
        return halves.transpose(1, 2).reshape(batch, channels, height, width)


def shuffle(
    widths: tuple[tuple[int, ...], ...] = ((32, 48), (64, 96)),
    blocks: int = 3,
    kernels: tuple[int, ...] = (3, 5),
    input_shape: tuple[int, int, int] = (1, 28, 28),
    classes: int = 10,
) -> Family:
    """The family: a stem of stride 2, then stages whose first unit has stride 2."""
    stages = tuple(
        Stage(
            f"s{k + 1}",
            tuple(Slot(f"s{k + 1}b{b + 1}", _choices(own, kernels, b)) for b in range(blocks)),
            least=1,
        )
        for k, own in enumerate(widths)
    )
    space = Space("shuffle", stages)
    stem = 16
    return Family(
        space=space,
        input_shape=input_shape,
        stem=lambda: (conv_bn(input_shape[0], stem, 3, 2), stem),
        block=_unit({span.start for span in space.spans}),
        head=lambda inputs: nn.Sequential(
            conv_bn(inputs, 128, 1, 1),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(128, classes),
        ),
    )


def _choices(
    widths: tuple[int, ...], kernels: tuple[int, ...], block: int
) -> tuple[ShuffleChoice, ...]:
    return tuple(ShuffleChoice(k, w) for w in (widths if block == 0 else (0,)) for k in kernels)


def _unit(firsts: set[int]) -> Callable[[int, Hashable, int], Made]:
    def block(slot: int, choice: Hashable, inputs: int) -> Made:
        assert isinstance(choice, ShuffleChoice)
        width = choice.width or inputs
        return ShuffleUnit(inputs, width, choice.kernel, 2 if slot in firsts else 1), width

    return block
