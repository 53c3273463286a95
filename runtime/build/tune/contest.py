"""Measure several node programs against each other so that a noisy machine is fair to all."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from runtime.build.lower.choice import Choice
from runtime.build.tune.queue import Candidate
from runtime.build.tune.reach import CallTime, bench
from splitter.graph import Graph

_MOST_CHALLENGERS = 3
"""Programs that compete with the best one known, each with another way for many layers."""
_ROUNDS = 5
_TURN_S = 0.15
"""Each turn of a program runs about this long: short beside the drift of a machine's speed."""
_MOST_RUNS = 100
_LEAST_RATIO = 0.01
"""Noise must not make a layer infinitely fast."""


@dataclass(frozen=True)
class Neighbours:
    """Which layers a layer's way of computing can be felt in: its own, and the next ones.

    The order in which a result is written decides what of it the next layer finds in the cache.
    """

    graph: Graph
    layers: tuple[str, ...]
    """In execution order."""

    @cached_property
    def own(self) -> Mapping[str, frozenset[str]]:
        """The layers of each signature."""
        found: dict[str, set[str]] = {}
        for name in self.layers:
            found.setdefault(self.graph.by_name[name].signature, set()).add(name)
        return {signature: frozenset(names) for signature, names in found.items()}

    @cached_property
    def span(self) -> Mapping[str, frozenset[str]]:
        """The layers of each signature and those that follow one of them."""
        after = dict(zip(self.layers, self.layers[1:], strict=False))
        return {
            signature: names | {after[name] for name in names if name in after}
            for signature, names in self.own.items()
        }

    def meet(self, one: str, other: str) -> bool:
        """Whether the layers of two signatures can be felt in a layer of the other."""
        return bool(self.span[one] & self.own[other] or self.own[one] & self.span[other])


@dataclass(frozen=True)
class Variant:
    """A program that competes with the best one known."""

    choices: dict[str, Choice]
    """By signature."""
    new: set[str] = field(default_factory=set)
    """Signatures that are computed in another way than in the best program."""


@dataclass(frozen=True)
class LineUp:
    """Programs that show candidates: in each, none can be felt in the figures of another."""

    neighbours: Neighbours
    best: Mapping[str, Choice]
    most: int
    """Programs there may be."""
    variants: list[Variant] = field(default_factory=list)

    @property
    def ways(self) -> int:
        """How many candidates are shown."""
        return sum(len(variant.new) for variant in self.variants)

    def has_room(self, signature: str) -> bool:
        """Whether one more way of these layers can be shown."""
        return len(self.variants) < self.most or self._free(signature) is not None

    def add(self, candidate: Candidate) -> None:
        """Show one more candidate, in as few programs as will do."""
        signature = candidate.layer.signature
        variant = self._free(signature)
        if variant is None:
            variant = Variant(dict(self.best))
            self.variants.append(variant)
        variant.choices[signature] = candidate.choice
        variant.new.add(signature)

    def _free(self, signature: str) -> Variant | None:
        meet = self.neighbours.meet
        fitting = (v for v in self.variants if not any(meet(signature, x) for x in v.new))
        return next(fitting, None)


def runs_per_turn(request_s: float) -> int:
    """Runs of a program whose layers take ``request_s``."""
    return min(_MOST_RUNS, max(1, round(_TURN_S / max(request_s, 1e-9))))


def contest_s(request_s: float, challengers: int) -> float:
    """About how long a contest takes."""
    return _ROUNDS * (challengers + 1) * (runs_per_turn(request_s) + 1) * request_s


def challengers(request_s: float, left_s: float) -> int:
    """How many programs can compete with the best one in the time left; at least one."""
    fitting = (n for n in range(_MOST_CHALLENGERS, 1, -1) if contest_s(request_s, n) <= left_s)
    return next(fitting, 1)


def compare(
    neighbours: Neighbours, programs: Sequence[Sequence[str]], runs: int
) -> list[Mapping[str, float]]:
    """How long layers take in each program, by signature, relative to the first program.

    What a program gains or loses in the layers that follow counts as well. The programs take turns,
    forth and back, so that a drift meets all alike. Of each layer the larger of two figures
    counts: the median over the rounds of the ratio within a round, and the ratio of the best
    rounds. A burst of noise may make one of them too small, hardly both.
    """
    rounds: list[list[Mapping[str, CallTime]]] = []
    order = range(len(programs))
    for k in range(_ROUNDS):
        turns = {i: bench(programs[i], runs) for i in (reversed(order) if k % 2 else order)}
        rounds.append([turns[i] for i in order])
    return [
        {s: _ratio(neighbours, s, [(r[i], r[0]) for r in rounds]) for s in neighbours.own}
        for i in order
    ]


Times = Mapping[str, CallTime]


def _ratio(neighbours: Neighbours, signature: str, rounds: Sequence[tuple[Times, Times]]) -> float:
    own, span = neighbours.own[signature], neighbours.span[signature]
    usual = [_sum(base, own) for _, base in rounds]
    spans = [(_sum(new, span), _sum(base, span)) for new, base in rounds]
    within = statistics.median(
        (new - base) / own_s for (new, base), own_s in zip(spans, usual, strict=True)
    )
    best = (min(new for new, _ in spans) - min(base for _, base in spans)) / min(usual)
    return max(_LEAST_RATIO, 1 + max(within, best))


def _sum(times: Times, layers: frozenset[str]) -> float:
    return max(1e-9, sum(times[name].median_s for name in layers))


def by_signature(graph: Graph, times: Times) -> Mapping[str, float]:
    """Median seconds of one request that go into the layers of each signature."""
    found: dict[str, float] = {}
    for layer, time in times.items():
        signature = graph.by_name[layer].signature
        found[signature] = found.get(signature, 0.0) + time.median_s
    return found
