"""A search space: slots in stages, choices per slot, elastic depth. Numbers and words only.

>>> wide = Slot("wide", ("k3", "k5"))
>>> space = Space("toy", (Stage("a", (wide, Slot("deep", ("k3", "k5"))), least=1),))
>>> space.size
6

An *architecture* is a tuple with the number of the choice of every slot. Where a stage may be
shallower than it is long, each slot past ``least`` has one more choice, its last: `SKIP`. A skipped
slot passes its input on, and once a stage skips it skips to its end, so depths need no variables
of their own.
"""

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from math import prod
from random import Random

from splitter.errors import UsageError

Architecture = tuple[int, ...]
SKIP = "skip"


@dataclass(frozen=True, slots=True)
class Slot:
    """One place of the network and what may stand there."""

    name: str
    choices: tuple[Hashable, ...]
    """What may be chosen, `SKIP` not among it; `str` of each is what people read."""


@dataclass(frozen=True, slots=True)
class Stage:
    """Slots one after the other, of which the last ones may be left out."""

    name: str
    slots: tuple[Slot, ...]
    least: int = -1
    """Slots that always stand; by default all."""
    shared: bool = False
    """Whether all slots take the same choice (MnasNet's factorised hierarchy)."""

    @property
    def depths(self) -> range:
        """How many slots may stand."""
        return range(len(self.slots) if self.least < 0 else self.least, len(self.slots) + 1)


@dataclass(frozen=True)
class Space:
    """All networks that a search may choose from."""

    name: str
    stages: tuple[Stage, ...]

    def __post_init__(self) -> None:
        names = [slot.name for slot in self.slots]
        if len(set(names)) != len(names):
            raise UsageError(f"space {self.name}: two slots have one name; name each differently")
        for stage in self.stages:
            if not stage.slots or not all(slot.choices for slot in stage.slots):
                raise UsageError(
                    f"space {self.name}: stage {stage.name} has a slot without choices"
                )
            if stage.depths.start > len(stage.slots):
                raise UsageError(
                    f"space {self.name}: stage {stage.name} has {len(stage.slots)} slots, fewer "
                    f"than its least depth {stage.least}"
                )
            if stage.shared and len({slot.choices for slot in stage.slots}) > 1:
                raise UsageError(
                    f"space {self.name}: the slots of stage {stage.name} share one choice, so "
                    "they need the same choices"
                )

    @cached_property
    def slots(self) -> tuple[Slot, ...]:
        """All slots, in order."""
        return tuple(slot for stage in self.stages for slot in stage.slots)

    @cached_property
    def spans(self) -> tuple[range, ...]:
        """Slot numbers of each stage."""
        found, start = [], 0
        for stage in self.stages:
            found.append(range(start, start + len(stage.slots)))
            start += len(stage.slots)
        return tuple(found)

    @cached_property
    def optional(self) -> tuple[bool, ...]:
        """Per slot: whether it may be skipped."""
        return tuple(
            i >= stage.depths.start for stage in self.stages for i in range(len(stage.slots))
        )

    @cached_property
    def widths(self) -> tuple[int, ...]:
        """Number of choices of each slot, `SKIP` among them."""
        return tuple(len(s.choices) + o for s, o in zip(self.slots, self.optional, strict=True))

    @cached_property
    def size(self) -> int:
        """How many architectures there are."""
        return prod(
            sum(
                len(stage.slots[0].choices)
                if stage.shared and depth
                else prod(len(slot.choices) for slot in stage.slots[:depth])
                for depth in stage.depths
            )
            for stage in self.stages
        )

    def is_skip(self, slot: int, choice: int) -> bool:
        """Whether ``choice`` leaves ``slot`` out."""
        return choice == len(self.slots[slot].choices)

    def depth(self, stage: int, architecture: Architecture) -> int:
        """How many slots of ``stage`` stand."""
        return sum(not self.is_skip(i, architecture[i]) for i in self.spans[stage])

    def faults(self, architecture: Architecture) -> list[str]:
        """Why ``architecture`` is not one of this space; empty when it is."""
        if len(architecture) != len(self.slots):
            return [f"{len(architecture)} choices for {len(self.slots)} slots"]
        found = [
            f"slot {slot.name} has no choice {choice}"
            for slot, choice, width in zip(self.slots, architecture, self.widths, strict=True)
            if not 0 <= choice < width
        ]
        for stage, span in zip(self.stages, self.spans, strict=True):
            standing = [i for i in span if not self.is_skip(i, architecture[i])]
            if standing != list(span)[: len(standing)]:
                found.append(f"stage {stage.name} skips a slot before one that stands")
            if stage.shared and len({architecture[i] for i in standing}) > 1:
                found.append(f"the slots of stage {stage.name} differ, but share one choice")
        return found

    def random(self, rng: Random, pinned: tuple[int, int] | None = None) -> Architecture:
        """One architecture: depths uniform, then choices uniform.

        ``pinned`` is (slot, choice): the sample is from those that have it.
        """
        chosen: list[int] = []
        for stage, span in zip(self.stages, self.spans, strict=True):
            chosen += self._random_stage(rng, stage, span, pinned)
        return tuple(chosen)

    def _random_stage(
        self, rng: Random, stage: Stage, span: range, pinned: tuple[int, int] | None
    ) -> list[int]:
        slot, choice = pinned if pinned is not None and pinned[0] in span else (-1, -1)
        depths = list(stage.depths)
        if slot >= 0:
            place = slot - span.start
            skips = self.is_skip(slot, choice)
            depths = [d for d in depths if (d <= place if skips else d > place)]
        depth = rng.choice(depths)
        picks = [rng.randrange(len(one.choices)) for one in stage.slots]
        if 0 <= slot - span.start < depth:
            picks[slot - span.start] = choice
            if stage.shared:
                picks = [choice] * len(picks)
        if stage.shared:
            picks = [picks[0]] * len(picks)
        skips_from = [len(one.choices) for one in stage.slots]
        return picks[:depth] + skips_from[depth:]

    def deepest(self, rng: Random) -> Architecture:
        """A random architecture in which every slot stands."""
        return tuple(rng.randrange(len(slot.choices)) for slot in self.slots)

    def mutated(self, architecture: Architecture, rng: Random, rate: float = 0.1) -> Architecture:
        """Each choice redrawn with probability ``rate``, at least one; depths mend themselves."""
        changed = list(architecture)
        forced = rng.randrange(len(changed))
        for i, width in enumerate(self.widths):
            if i == forced or rng.random() < rate:
                changed[i] = rng.randrange(width)
        return self.mended(tuple(changed))

    def crossed(self, one: Architecture, other: Architecture, rng: Random) -> Architecture:
        """Each choice from one parent or the other."""
        pairs = zip(one, other, strict=True)
        return self.mended(tuple(rng.choice(pair) for pair in pairs))

    def mended(self, choices: Sequence[int]) -> Architecture:
        """The nearest architecture: skips move to the end of their stage, shared choices agree."""
        mended: list[int] = []
        for stage, span in zip(self.stages, self.spans, strict=True):
            standing = [choices[i] for i in span if not self.is_skip(i, choices[i])]
            for i in range(len(standing), stage.depths.start):
                standing.append(0 if not standing else standing[-1] % len(stage.slots[i].choices))
            if stage.shared and standing:
                standing = [standing[0]] * len(standing)
            standing = [c % len(s.choices) for c, s in zip(standing, stage.slots, strict=False)]
            mended += standing
            mended += [len(slot.choices) for slot in stage.slots[len(standing) :]]
        return tuple(mended)

    def all(self) -> Iterator[Architecture]:
        """Every architecture; for small spaces."""
        for choices in product(*(range(width) for width in self.widths)):
            if not self.faults(choices):
                yield choices

    def text(self, architecture: Architecture) -> str:
        """What people read: ``a: k3 k5 | b: k3``; `parse` inverts it."""
        return " | ".join(
            f"{stage.name}: " + " ".join(self.word(i, architecture[i]) for i in span)
            for stage, span in zip(self.stages, self.spans, strict=True)
        )

    def word(self, slot: int, choice: int) -> str:
        """The name of one choice."""
        return SKIP if self.is_skip(slot, choice) else str(self.slots[slot].choices[choice])

    def parse(self, text: str) -> Architecture:
        """The architecture that `text` wrote.

        Raises:
            UsageError: it is none of this space.
        """
        words = [w for part in text.split("|") for w in part.partition(":")[2].split()]
        if len(words) != len(self.slots):
            raise UsageError(
                f"{text!r} has {len(words)} choices, space {self.name} has {len(self.slots)} slots"
            )
        found = tuple(self._number(i, word) for i, word in enumerate(words))
        faults = self.faults(found)
        if faults:
            raise UsageError(f"{text!r} is not of space {self.name}: {faults[0]}")
        return found

    def _number(self, slot: int, word: str) -> int:
        words = [self.word(slot, c) for c in range(self.widths[slot])]
        if word not in words:
            raise UsageError(
                f"slot {self.slots[slot].name} has no choice {word!r}; it has {', '.join(words)}"
            )
        return words.index(word)
