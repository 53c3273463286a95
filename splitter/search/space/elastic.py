"""One network whose slices are the networks of the mobile space.

Each slot has the weights of its largest block; a smaller kernel is the centre of the largest, a
smaller width or expansion its first channels (Cai et al., "Once-for-All", 2020, without the
matrices that transform kernels).
"""

from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn import functional

from splitter.search.space.inverted import SQUEEZE, InvertedResidual
from splitter.search.space.network import ChosenNet, Family
from splitter.search.space.shared import Gates, Supernet, final_widths, options_of
from splitter.search.space.space import Architecture

if TYPE_CHECKING:
    from splitter.search.space.mobile import MobileBlock


class ElasticNet(Supernet):
    """Shared weights of a mobile family."""

    def __init__(self, family: Family) -> None:
        super().__init__(family)
        self.stem, _ = family.stem()
        self.largest = nn.ModuleList(_largest_blocks(family))
        self.head = family.head(max(final_widths(family)))
        for part in self.modules():
            if isinstance(part, nn.ReLU):
                part.inplace = True  # batch norm's gradient does not need what it gave

    def path(
        self, image: torch.Tensor, architecture: Architecture, gates: Gates = None
    ) -> torch.Tensor:
        """Logits of one path."""
        x = self.stem(image)
        space = self.family.space
        for i, choice in enumerate(architecture):
            if not space.is_skip(i, choice):
                picked: Any = space.slots[i].choices[choice]
                x = _sliced(self.largest[i], x, picked)
            x = x if gates is None else x * gates[i]
        head: Any = self.head
        conv, norm, act = head[0]
        x = act(_normal(functional.conv2d(x, conv.weight[:, : x.shape[1]]), norm))
        for part in head[1:]:
            x = part(x)
        logits: torch.Tensor = x
        return logits

    def extract(self, architecture: Architecture) -> ChosenNet:
        """One path as a network of its own; its running statistics are yet to be found."""
        made = self.family.network(architecture)
        made.stem.load_state_dict(self.stem.state_dict())
        standing = [i for i, c in enumerate(architecture) if not self.family.space.is_skip(i, c)]
        for i, block in zip(standing, made.blocks.values(), strict=True):
            _copy(self.largest[i], block)
        _copy(self.head, made.head)
        return made


def _largest_blocks(family: Family) -> list[InvertedResidual]:
    """Per slot: the block that all of its choices are slices of."""
    size: dict[int, tuple[int, int, int, int, bool]] = {}
    for i, choice, inputs in options_of(family):
        picked: Any = family.space.slots[i].choices[choice]
        own = (inputs, picked.width or inputs, picked.kernel, picked.expansion, picked.squeeze)
        size[i] = tuple(map(max, zip(size.get(i, own), own, strict=True)))
    made = []
    for i in range(len(family.space.slots)):
        inputs, outputs, kernel, expansion, squeeze = size[i]
        sample: Any = family.block(i, family.space.slots[i].choices[0], inputs)[0]
        stride = sample.filter.stride[0]
        swish = isinstance(sample.act, nn.Hardswish)
        made.append(InvertedResidual(inputs, outputs, kernel, stride, expansion, squeeze, swish))
    return made


def _normal(x: torch.Tensor, norm: nn.BatchNorm2d) -> torch.Tensor:
    """Batch norm by the batch's own statistics, with the first channels' scale and shift."""
    n = x.shape[1]
    return functional.batch_norm(
        x, None, None, norm.weight[:n], norm.bias[:n], training=True, eps=norm.eps
    )


def _sliced(block: Any, x: torch.Tensor, choice: "MobileBlock") -> torch.Tensor:
    inputs = x.shape[1]
    width, outputs = inputs * choice.expansion, choice.width or inputs
    y = x
    if choice.expansion > 1:
        weight = block.expand.weight[:width, :inputs]
        y = block.act(_normal(functional.conv2d(x, weight), block.expand_norm))
    stride = block.filter.stride[0]
    weight = _centre(block.filter.weight[:width], choice.kernel)
    y = functional.conv2d(y, weight, None, stride, choice.kernel // 2, 1, width)
    y = block.act(_normal(y, block.filter_norm))
    if choice.squeeze:
        y = y * _squeezed(block.squeeze, y)
    y = _normal(functional.conv2d(y, block.project.weight[:outputs, :width]), block.project_norm)
    return x + y if stride == 1 and inputs == outputs else y


def _squeezed(squeeze: Any, y: torch.Tensor) -> torch.Tensor:
    width = y.shape[1]
    few = width // SQUEEZE
    reduce, expand = squeeze.reduce, squeeze.expand
    z = functional.linear(y.mean((2, 3)), reduce.weight[:few, :width], reduce.bias[:few])
    z = functional.linear(torch.relu(z), expand.weight[:width, :few], expand.bias[:width])
    return functional.hardsigmoid(z)[:, :, None, None]


def _centre(weight: torch.Tensor, kernel: int) -> torch.Tensor:
    off = (weight.shape[-1] - kernel) // 2
    return weight[:, :, off : off + kernel, off : off + kernel]


def _copy(largest: nn.Module, made: nn.Module) -> None:
    """Fill ``made`` with the slices of ``largest`` that it is."""
    state = largest.state_dict()
    with torch.no_grad():
        for name, value in made.state_dict().items():
            source = state[name]
            if value.dim() == 4 and value.shape[-1] != source.shape[-1]:
                source = _centre(source, value.shape[-1])
            value.copy_(source[tuple(slice(0, n) for n in value.shape)])
