"""BINAS' bilinear estimator from conditional means, and what it says about a space.

Nayman et al., "BINAS", 2022: accuracy with everything drawn uniformly, then with one decision
pinned. A block past the least depth of its stage is measured while the stage ends at it; depths
are measured by themselves. Deviation: in each pass, all decisions are pinned in turn in the same
drawn network and on the same images, so that differences are paired and need fewer passes.
"""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from statistics import fmean

from splitter.search.estimate.bilinear import Bilinear
from splitter.search.space.space import Architecture, Space

Scored = Callable[[Architecture, int], float]
"""Accuracy of (architecture, number of the pass); a pass may have images of its own."""
Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Means:
    """Conditional means of the accuracy."""

    base: float
    """With everything drawn uniformly."""
    choices: tuple[tuple[float, ...], ...]
    """Per slot and choice; a slot that may be skipped is the last of its stage that stands."""
    depths: tuple[tuple[float, ...], ...]
    """Per stage and depth, from the least to the largest."""

    def shifted(self, by: float) -> "Means":
        """All of them larger by so much."""
        return Means(
            self.base + by,
            tuple(tuple(mean + by for mean in slot) for slot in self.choices),
            tuple(tuple(mean + by for mean in stage) for stage in self.depths),
        )

    def bilinear(self, space: Space, *, centred: bool = True) -> Bilinear:
        """The estimator. ``centred`` subtracts the mean of the depth at which a block was measured
        (a decomposition that adds up), else the global mean (as the published code does).
        """
        unary = [self._unary(space, i, centred) for i in range(len(space.slots))]
        depth = [
            (0.0,) * stage.depths.start + tuple(m - self.base for m in means)
            for stage, means in zip(space.stages, self.depths, strict=True)
        ]
        return Bilinear(
            unary=tuple(unary),
            base=self.base,
            depth=tuple(depth),
            stages=tuple(tuple(span) for span in space.spans),
            skips=skips_of(space),
        )

    def _unary(self, space: Space, slot: int, centred: bool) -> tuple[float, ...]:
        means = self.choices[slot]
        reference = fmean(means) if centred else self.base
        skip = (0.0,) if space.optional[slot] else ()
        return tuple(m - reference for m in means) + skip


def skips_of(space: Space) -> tuple[int, ...]:
    """Per slot: the number of its `SKIP`, or -1."""
    pairs = zip(space.slots, space.optional, strict=True)
    return tuple(len(slot.choices) if optional else -1 for slot, optional in pairs)


def conditional_means(
    space: Space,
    scored: Scored,
    *,
    passes: int = 10,
    seed: int = 0,
    progress: Progress | None = None,
) -> Means:
    """Measure all conditional means: one evaluation per decision and pass."""
    base: list[float] = []
    choices: list[list[list[float]]] = [[[] for _ in slot.choices] for slot in space.slots]
    depths: list[list[list[float]]] = [[[] for _ in stage.depths] for stage in space.stages]
    for p in range(passes):
        rng = Random(seed * 1_000_003 + p)
        drawn = space.random(rng)
        spare = space.deepest(rng)
        base.append(scored(drawn, p))
        for k, span in enumerate(space.spans):
            for d, depth in enumerate(space.stages[k].depths):
                depths[k][d].append(scored(with_depth(space, drawn, spare, k, depth), p))
            for slot in span:
                for choice in range(len(space.slots[slot].choices)):
                    pinned = with_choice(space, drawn, spare, k, slot, choice)
                    choices[slot][choice].append(scored(pinned, p))
        if progress is not None:
            progress(p + 1, passes, "conditional means")
    return Means(
        fmean(base),
        tuple(tuple(fmean(values) for values in slot) for slot in choices),
        tuple(tuple(fmean(values) for values in stage) for stage in depths),
    )


def with_depth(
    space: Space, drawn: Architecture, spare: Architecture, stage: int, depth: int
) -> Architecture:
    """``drawn`` with one stage of ``depth``; blocks that it lacks come from ``spare``."""
    changed = list(drawn)
    for place, i in enumerate(space.spans[stage]):
        if place >= depth:
            changed[i] = len(space.slots[i].choices)
        elif space.is_skip(i, drawn[i]):
            changed[i] = spare[i]
    if space.stages[stage].shared and depth:
        first = space.spans[stage].start
        for i in space.spans[stage][:depth]:
            changed[i] = changed[first]
    return tuple(changed)


def with_choice(
    space: Space, drawn: Architecture, spare: Architecture, stage: int, slot: int, choice: int
) -> Architecture:
    """``drawn`` with one choice; a slot that may be skipped is made its stage's last."""
    changed = drawn
    if space.optional[slot]:
        place = slot - space.spans[stage].start
        changed = with_depth(space, drawn, spare, stage, place + 1)
    pinned = list(changed)
    pinned[slot] = choice
    if space.stages[stage].shared:
        for i in space.spans[stage]:
            if not space.is_skip(i, pinned[i]):
                pinned[i] = choice
    return tuple(pinned)


def interpretation(space: Space, model: Bilinear) -> dict[str, dict[str, float]]:
    """What each stage's depth, and each choice averaged over its stage, is worth.

    By stage: ``depth 2``, ... and each word of a choice, in accuracy above the mean.
    """
    found: dict[str, dict[str, float]] = {}
    for stage, span, terms in zip(space.stages, space.spans, model.depth, strict=True):
        own = {f"depth {d}": terms[d] for d in stage.depths} if len(stage.depths) > 1 else {}
        words: dict[str, list[float]] = {}
        for i in span:
            for choice in range(len(space.slots[i].choices)):
                words.setdefault(space.word(i, choice), []).append(model.unary[i][choice])
        found[stage.name] = own | {word: fmean(values) for word, values in words.items()}
    return found
