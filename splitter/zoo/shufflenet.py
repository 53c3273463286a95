"""ShuffleNetV2 1.0x (Ma et al., 2018, https://arxiv.org/abs/1807.11164).

Parameter names are those of torchvision. No package holds the weights: they are seeded random
numbers.
"""

import torch
from torch import nn

from splitter.zoo.images import imagenet, synthetic_photo
from splitter.zoo.model import ZooModel
from splitter.zoo.weights import seeded

_STAGES = ((4, 116), (8, 232), (4, 464))
"""Blocks and channels of stages 2 to 4 (table 5 of the paper)."""


def _pointwise(inputs: int, outputs: int) -> list[nn.Module]:
    return [nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]


def _depthwise(channels: int, stride: int) -> list[nn.Module]:
    conv = nn.Conv2d(channels, channels, 3, stride, 1, groups=channels, bias=False)
    return [conv, nn.BatchNorm2d(channels)]


def _shuffled(x: torch.Tensor) -> torch.Tensor:
    """Interleave the two halves of the channels."""
    batch, channels, height, width = x.shape
    halves = x.reshape(batch, 2, channels // 2, height, width)
    return halves.transpose(1, 2).reshape(batch, channels, height, width)


class ShuffleUnit(nn.Module):
    """Half of the channels pass by (or are downsampled), the other half is filtered."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        half = outputs // 2
        self.splits = stride == 1
        passing: list[nn.Module] = []
        if not self.splits:
            passing = [*_depthwise(inputs, stride), *_pointwise(inputs, half)]
        self.branch1 = nn.Sequential(*passing)
        filtered = half if self.splits else inputs
        self.branch2 = nn.Sequential(
            *_pointwise(filtered, half), *_depthwise(half, stride), *_pointwise(half, half)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Nx``inputs``xHxW to Nx``outputs``xH/``stride``xW/``stride``."""
        first, second = x.chunk(2, 1) if self.splits else (x, x)
        return _shuffled(torch.cat((self.branch1(first), self.branch2(second)), 1))


class ShuffleNetV2(nn.Module):
    """The whole network: Nx3x224x224 to Nx``classes`` logits."""

    def __init__(self, classes: int = 1000) -> None:
        super().__init__()
        self.conv1 = nn.Sequential(
            nn.Conv2d(3, 24, 3, 2, 1, bias=False), nn.BatchNorm2d(24), nn.ReLU()
        )
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        inputs = 24
        for stage, (blocks, outputs) in enumerate(_STAGES, start=2):
            units = [ShuffleUnit(inputs, outputs, 2)]
            units += [ShuffleUnit(outputs, outputs, 1) for _ in range(blocks - 1)]
            self.add_module(f"stage{stage}", nn.Sequential(*units))
            inputs = outputs
        self.conv5 = nn.Sequential(*_pointwise(inputs, 1024))
        self.fc = nn.Linear(1024, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits of each class."""
        x = self.maxpool(self.conv1(x))
        for stage in (2, 3, 4):
            x = self.get_submodule(f"stage{stage}")(x)
        logits: torch.Tensor = self.fc(self.conv5(x).mean((2, 3)))
        return logits


def shufflenet_v2() -> ZooModel:
    """ShuffleNetV2 1.0x with seeded random weights."""
    preprocess = imagenet()
    return ZooModel(
        name="shufflenet_v2",
        description="ShuffleNetV2 1.0x, 2.3 M parameters, random weights",
        module=seeded(ShuffleNetV2),
        example_inputs=(preprocess(synthetic_photo()),),
        input_names=("image",),
        output_names=("logits",),
        pretrained=False,
        preprocess=preprocess,
    )
