"""Networks that hold the weights of a whole space.

Batch norms use the statistics of the batch at hand, in training and in evaluation: no running
average fits more than one path (Guo et al., "Single Path One-Shot Neural Architecture Search",
2020). `Supernet.extract` copies a path's weights into a network of its own.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence

import torch
from torch import nn

from splitter.search.space.network import ChosenNet, Family
from splitter.search.space.space import Architecture

Gates = Sequence[torch.Tensor] | None
"""A factor for each slot's output, or none."""


class Supernet(nn.Module, ABC):
    """Weights of every architecture of a family."""

    def __init__(self, family: Family) -> None:
        super().__init__()
        self.family = family

    @abstractmethod
    def path(
        self, image: torch.Tensor, architecture: Architecture, gates: Gates = None
    ) -> torch.Tensor:
        """Logits of the network of ``architecture``; ``gates`` multiply the slots' outputs."""

    @abstractmethod
    def extract(self, architecture: Architecture) -> ChosenNet:
        """That network with copies of its weights."""

    def forward(
        self, image: torch.Tensor, architecture: Architecture, gates: Gates = None
    ) -> torch.Tensor:
        """Logits of one path."""
        return self.path(image, architecture, gates)


def options_of(family: Family) -> Iterator[tuple[int, int, int]]:
    """Every (slot, choice, width of its input) that some architecture has."""
    widths = {family.stem_width}
    for i, slot in enumerate(family.space.slots):
        made = set()
        for choice in range(len(slot.choices)):
            for inputs in sorted(widths):
                yield i, choice, inputs
                made.add(family.width(i, choice, inputs))
        # Past a skipped slot comes the rest of its stage, skipped too, then the next stage.
        widths = made | (widths if family.space.optional[i] else set())


def final_widths(family: Family) -> list[int]:
    """Widths that the head may meet."""
    widths = {family.stem_width}
    for i, slot in enumerate(family.space.slots):
        made = {family.width(i, c, w) for c in range(len(slot.choices)) for w in widths}
        widths = made | (widths if family.space.optional[i] else set())
    return sorted(widths)


class CandidateNet(Supernet):
    """Each choice at each width has weights of its own (Guo et al., 2020)."""

    def __init__(self, family: Family) -> None:
        super().__init__(family)
        self.stem, _ = family.stem()
        self.candidates = nn.ModuleDict()
        for i, choice, inputs in options_of(family):
            picked = family.space.slots[i].choices[choice]
            self.candidates[f"{i}/{choice}/{inputs}"], _ = family.block(i, picked, inputs)
        self.heads = nn.ModuleDict({str(w): family.head(w) for w in final_widths(family)})

    def path(
        self, image: torch.Tensor, architecture: Architecture, gates: Gates = None
    ) -> torch.Tensor:
        """Logits of one path."""
        x = self.stem(image)
        names = iter(self._names(architecture))
        for i, choice in enumerate(architecture):
            if not self.family.space.is_skip(i, choice):
                x = self.candidates[next(names)](x)
            x = x if gates is None else x * gates[i]
        logits: torch.Tensor = self.heads[str(x.shape[1])](x)
        return logits

    def _names(self, architecture: Architecture) -> list[str]:
        widths = self.family.widths(architecture)
        return [
            f"{i}/{choice}/{widths[i]}"
            for i, choice in enumerate(architecture)
            if not self.family.space.is_skip(i, choice)
        ]

    def extract(self, architecture: Architecture) -> ChosenNet:
        """One path as a network of its own."""
        made = self.family.network(architecture)
        made.stem.load_state_dict(self.stem.state_dict())
        names = self._names(architecture)
        for block, name in zip(made.blocks.values(), names, strict=True):
            block.load_state_dict(self.candidates[name].state_dict())
        last = str(self.family.widths(architecture)[-1])
        made.head.load_state_dict(self.heads[last].state_dict())
        return made


def make_supernet(family: Family) -> Supernet:
    """The family's own network of shared weights, else one with weights for each choice."""
    return CandidateNet(family) if family.supernet is None else family.supernet(family)
