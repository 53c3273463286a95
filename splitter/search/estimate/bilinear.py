"""Accuracy as a bilinear function of choices and depths.

Nayman et al., "BINAS: Bilinear Interpretable Neural Architecture Search", 2022. Deviation: depth
is not a variable of its own; a slot that is left out takes the choice `SKIP`. Then the products of
a block's choice and its stage's depth in BINAS' estimator are the choices of standing slots, and
the estimator is linear but for pairs of slots.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from splitter.search.space.space import Architecture

Pairs = Mapping[tuple[int, int], tuple[tuple[float, ...], ...]]


@dataclass(frozen=True)
class Bilinear:
    """base + sum of each slot's term + each stage's depth term + terms of pairs of slots."""

    unary: tuple[tuple[float, ...], ...]
    """Term of each choice of each slot, that of `SKIP` last where there is one."""
    base: float = 0.0
    depth: tuple[tuple[float, ...], ...] = ()
    """Per stage: the term of each number of slots that stand, from none to all."""
    stages: tuple[tuple[int, ...], ...] = ()
    """Slots of each stage."""
    skips: tuple[int, ...] = ()
    """Per slot: the choice that leaves it out, or -1."""
    pairs: Pairs = field(default_factory=dict)
    """By (earlier slot, later slot): term of each pair of choices."""

    def score(self, architecture: Architecture) -> float:
        """Estimated accuracy."""
        total = self.base + sum(t[c] for t, c in zip(self.unary, architecture, strict=True))
        for terms, stage in zip(self.depth, self.stages, strict=False):
            standing = sum(architecture[i] != self.skips[i] for i in stage)
            total += terms[standing] if terms else 0.0
        return total + sum(
            terms[architecture[i]][architecture[j]] for (i, j), terms in self.pairs.items()
        )
