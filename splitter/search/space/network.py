"""What a space's architectures are as modules: stem, one block per slot that stands, head.

>>> family = Family(
...     space,
...     input_shape=(1, 28, 28),
...     stem=lambda: (nn.Conv2d(1, 8, 3, 2, 1), 8),
...     block=lambda slot, choice, inputs: (nn.Conv2d(inputs, 8, choice, 1, choice // 2), 8),
...     head=lambda inputs: nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10)),
... )
"""

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import nn

from splitter.errors import UsageError
from splitter.search.space.space import Architecture, Space

if TYPE_CHECKING:
    from splitter.search.space.shared import Supernet

Made = tuple[nn.Module, int]
"""A module and the width (channels) of its output."""


@dataclass(frozen=True)
class Family:
    """A space with the modules that its choices stand for."""

    space: Space
    input_shape: tuple[int, ...]
    """Channels, height and width of one input."""
    stem: Callable[[], Made]
    block: Callable[[int, Hashable, int], Made]
    """The module of (slot number, choice, width of its input)."""
    head: Callable[[int], nn.Module]
    """From the width of the last block to logits."""
    supernet: "Callable[[Family], Supernet] | None" = None
    """Network that shares weights between choices; by default each choice has its own."""

    def network(self, architecture: Architecture) -> "ChosenNet":
        """The network of ``architecture``, with fresh weights.

        Raises:
            UsageError: it is no architecture of the space.
        """
        faults = self.space.faults(architecture)
        if faults:
            raise UsageError(f"no architecture of space {self.space.name}: {faults[0]}")
        stem, width = self.stem()
        blocks: dict[str, nn.Module] = {}
        for i, choice in enumerate(architecture):
            if not self.space.is_skip(i, choice):
                slot = self.space.slots[i]
                blocks[slot.name], width = self.block(i, slot.choices[choice], width)
        return ChosenNet(stem, blocks, self.head(width))

    def widths(self, architecture: Architecture) -> tuple[int, ...]:
        """Width of the input of every slot, and of the head last."""
        found = [self.stem_width]
        for i, choice in enumerate(architecture):
            skips = self.space.is_skip(i, choice)
            found.append(found[-1] if skips else self.width(i, choice, found[-1]))
        return tuple(found)

    @property
    def stem_width(self) -> int:
        """Channels that the stem gives."""
        return _width_of(lambda: self.stem())

    def width(self, slot: int, choice: int, inputs: int) -> int:
        """Channels that a choice gives from ``inputs`` channels."""
        picked = self.space.slots[slot].choices[choice]
        return _width_of(lambda: self.block(slot, picked, inputs))

    def example(self, batch: int = 1) -> torch.Tensor:
        """An input of the right shape, the same at every call."""
        generator = torch.Generator().manual_seed(0)
        return torch.randn((batch, *self.input_shape), generator=generator)


def _width_of(make: Callable[[], Made]) -> int:
    with torch.device("meta"):
        return make()[1]


class ChosenNet(nn.Module):
    """One network of a space."""

    def __init__(self, stem: nn.Module, blocks: dict[str, nn.Module], head: nn.Module) -> None:
        super().__init__()
        self.stem = stem
        self.blocks = nn.ModuleDict(blocks)
        self.head = head

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Logits."""
        x = self.stem(image)
        for block in self.blocks.values():
            x = block(x)
        logits: torch.Tensor = self.head(x)
        return logits
