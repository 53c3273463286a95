"""Quantization round by round: more and more weights get their last value, the rest learn on.

A frozen weight must not move by as much as a bit, whatever the optimizer does with momentum and
weight decay. Masking gradients does not give that, so after each update the frozen weights
are put back.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch

from compress.formats import CompressedTensor


class FrozenWeight(ABC):
    """One layer's weight, of which some elements are frozen."""

    def __init__(self, name: str, weight: torch.Tensor) -> None:
        self.name = name
        self.weight = weight
        self.mask = torch.zeros_like(weight, dtype=torch.bool)
        """Which elements are frozen; only ever grows."""
        self.values = weight.detach().clone()
        """What the frozen elements hold."""

    def freeze(self, mask: torch.Tensor, values: torch.Tensor) -> None:
        """Freeze the elements of ``mask`` at ``values``; those that are frozen stay as they are."""
        new = mask & ~self.mask
        self.values = torch.where(new, values.to(self.values.dtype), self.values)
        self.mask = self.mask | new
        self.restore()

    @torch.no_grad()
    def restore(self) -> None:
        """Put the frozen elements back."""
        self.weight.copy_(torch.where(self.mask, self.values, self.weight))

    @abstractmethod
    def advance(self, round_index: int) -> None:
        """Freeze what round ``round_index``, counted from 0, is to freeze."""

    @abstractmethod
    def compressed(self) -> CompressedTensor:
        """What the weight consists of; all of it is frozen."""


class GradualRun:
    """Rounds of freezing with training between them; the first is done at once."""

    def __init__(self, weights: Sequence[FrozenWeight], rounds: int, steps_per_round: int) -> None:
        self._weights = weights
        self._rounds, self._steps_per_round = rounds, steps_per_round
        self._done_rounds = self._done_steps = 0
        self._advance()

    @property
    def steps(self) -> int:
        """Training steps of all rounds."""
        return self._rounds * self._steps_per_round

    def step(self) -> None:
        """Put frozen weights back; begin the next round when this one has had its steps."""
        for weight in self._weights:
            weight.restore()
        self._done_steps += 1
        if self._done_steps % max(self._steps_per_round, 1) == 0:
            self._advance()

    def finish(self) -> dict[str, CompressedTensor]:
        """Do the rounds that are left."""
        while self._done_rounds < self._rounds:
            self._advance()
        return {weight.name: weight.compressed() for weight in self._weights}

    def _advance(self) -> None:
        if self._done_rounds < self._rounds:
            for weight in self._weights:
                weight.advance(self._done_rounds)
            self._done_rounds += 1
