"""A residual network of the ResNet-20 family (He et al., 2016) with a strided stem."""

import torch
from torch import nn
from torch.nn import functional as F


class Block(nn.Module):
    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, width, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample: nn.Module = nn.Identity()
        if stride != 1 or inputs != width:
            self.downsample = nn.Sequential(
                nn.Conv2d(inputs, width, 1, stride, bias=False), nn.BatchNorm2d(width)
            )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(y + self.downsample(x))


class ResidualNet(nn.Module):
    """Grey images to 10 logits; three stages of ``depth`` blocks, the stem halves the picture."""

    def __init__(self, depth: int, width: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, width, 3, 2, 1, bias=False)
        self.bn = nn.BatchNorm2d(width)
        blocks: list[nn.Module] = []
        inputs = width
        for stage in range(3):
            for i in range(depth):
                blocks.append(Block(inputs, width << stage, 2 if stage and not i else 1))
                inputs = width << stage
        self.blocks = nn.Sequential(*blocks)
        self.fc = nn.Linear(inputs, 10)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        x = self.blocks(F.relu(self.bn(self.stem(image))))
        logits: torch.Tensor = self.fc(x.mean((2, 3)))
        return logits


def build(depth: int, width: int, seed: int) -> ResidualNet:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return ResidualNet(depth, width)
