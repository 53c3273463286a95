"""ResNet-18 and ResNet-50 (He et al., 2016, https://arxiv.org/abs/1512.03385).

Parameter names are those of torchvision, and as there the stride of a bottleneck block is in its
3x3 convolution. No package holds the weights: they are seeded random numbers.
"""

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional as F

from splitter.zoo.images import imagenet, synthetic_photo
from splitter.zoo.model import ZooModel
from splitter.zoo.weights import seeded

_BRANCH_GAIN = 0.25
"""Scale of a residual branch at the start: unit gains would double the signal at every block."""


def _conv(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)


class _Block(nn.Module):
    """A residual block: branch plus short cut, then ReLU."""

    expansion: int
    downsample: nn.Sequential | None

    def _add_short_cut(self, inputs: int, outputs: int, stride: int) -> None:
        if stride == 1 and inputs == outputs:
            self.downsample = None
            return
        self.downsample = nn.Sequential(_conv(inputs, outputs, 1, stride), nn.BatchNorm2d(outputs))

    def branch(self, x: torch.Tensor) -> torch.Tensor:
        raise NotImplementedError

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        short_cut = x if self.downsample is None else self.downsample(x)
        return F.relu(self.branch(x) + short_cut)


class BasicBlock(_Block):
    """Two 3x3 convolutions."""

    expansion = 1

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = _conv(inputs, width, 3, stride), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = _conv(width, width, 3), nn.BatchNorm2d(width)
        nn.init.constant_(self.bn2.weight, _BRANCH_GAIN)
        self._add_short_cut(inputs, width, stride)

    def branch(self, x: torch.Tensor) -> torch.Tensor:
        """The residual."""
        y: torch.Tensor = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return y


class Bottleneck(_Block):
    """Narrow, 3x3, widen."""

    expansion = 4

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        outputs = width * self.expansion
        self.conv1, self.bn1 = _conv(inputs, width, 1), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = _conv(width, width, 3, stride), nn.BatchNorm2d(width)
        self.conv3, self.bn3 = _conv(width, outputs, 1), nn.BatchNorm2d(outputs)
        nn.init.constant_(self.bn3.weight, _BRANCH_GAIN)
        self._add_short_cut(inputs, outputs, stride)

    def branch(self, x: torch.Tensor) -> torch.Tensor:
        """The residual."""
        y = F.relu(self.bn1(self.conv1(x)))
        y = F.relu(self.bn2(self.conv2(y)))
        z: torch.Tensor = self.bn3(self.conv3(y))
        return z


class ResNet(nn.Module):
    """Nx3x224x224 to Nx``classes`` logits; ``depths`` are the blocks of the four stages."""

    def __init__(
        self, block: type[BasicBlock] | type[Bottleneck], depths: Sequence[int], classes: int = 1000
    ) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        inputs = 64
        for stage, depth in enumerate(depths):
            blocks: list[nn.Module] = []
            for index in range(depth):
                stride = 2 if stage > 0 and index == 0 else 1
                blocks.append(block(inputs, 64 << stage, stride))
                inputs = (64 << stage) * block.expansion
            self.add_module(f"layer{stage + 1}", nn.Sequential(*blocks))
        self.fc = nn.Linear(inputs, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits of each class."""
        x = self.maxpool(F.relu(self.bn1(self.conv1(x))))
        for stage in range(1, 5):
            x = self.get_submodule(f"layer{stage}")(x)
        logits: torch.Tensor = self.fc(x.mean((2, 3)))
        return logits


def resnet18() -> ZooModel:
    """ResNet-18 with seeded random weights."""
    module = seeded(lambda: ResNet(BasicBlock, (2, 2, 2, 2)))
    return _entry("resnet18", "ResNet-18, 11.7 M parameters, random weights", module)


def resnet50() -> ZooModel:
    """ResNet-50 with seeded random weights."""
    module = seeded(lambda: ResNet(Bottleneck, (3, 4, 6, 3)))
    return _entry("resnet50", "ResNet-50, 25.6 M parameters, random weights", module)


def _entry(name: str, description: str, module: nn.Module) -> ZooModel:
    preprocess = imagenet()
    return ZooModel(
        name=name,
        description=description,
        module=module,
        example_inputs=(preprocess(synthetic_photo()),),
        input_names=("image",),
        output_names=("logits",),
        pretrained=False,
        preprocess=preprocess,
    )
