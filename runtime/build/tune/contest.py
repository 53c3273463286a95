"""Measure several node programs against each other so that a noisy machine is fair to all."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

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


@dataclass(frozen=True)
class Variant:
    """A program that competes with the best one known."""

    choices: dict[str, Choice]
    """By signature."""
    new: set[str] = field(default_factory=set)
    """Signatures that are computed in another way than in the best program."""


def line_up(best: Mapping[str, Choice], batch: Sequence[Candidate]) -> list[Variant]:
    """As few programs as can show all candidates: one way per layer in each."""
    variants: list[Variant] = []
    for candidate in batch:
        signature = candidate.layer.signature
        free = next((v for v in variants if signature not in v.new), None)
        if free is None:
            free = Variant(dict(best))
            variants.append(free)
        free.choices[signature] = candidate.choice
        free.new.add(signature)
    return variants


def runs_per_turn(request_s: float) -> int:
    """Runs of a program whose layers take ``request_s``."""
    return min(_MOST_RUNS, max(1, round(_TURN_S / max(request_s, 1e-9))))


def challengers(request_s: float, left_s: float) -> int:
    """How many programs can compete with the best one in the time left; at least one."""
    turn_s = (runs_per_turn(request_s) + 1) * request_s
    return max(1, min(_MOST_CHALLENGERS, int(left_s / (_ROUNDS * turn_s + 1e-9)) - 1))


def compare(
    graph: Graph, programs: Sequence[Sequence[str]], runs: int
) -> list[Mapping[str, float]]:
    """How long each layer takes in each program, by signature, relative to the first program.

    The programs take turns, forth and back, so that a drift meets all alike. Of each layer the
    larger of two figures counts: the median over the rounds of the ratio within a round, and the
    ratio of the best rounds. A burst of noise may make one of them too small, hardly both.
    """
    rounds: list[list[Mapping[str, float]]] = []
    order = range(len(programs))
    for k in range(_ROUNDS):
        turns = {i: bench(programs[i], runs) for i in (reversed(order) if k % 2 else order)}
        rounds.append([by_signature(graph, turns[i]) for i in order])
    return [
        {s: _ratio([r[i][s] for r in rounds], [r[0][s] for r in rounds]) for s in rounds[0][0]}
        for i in order
    ]


def by_signature(graph: Graph, times: Mapping[str, CallTime]) -> Mapping[str, float]:
    """Median seconds of one request that go into the layers of each signature."""
    found: dict[str, float] = {}
    for layer, time in times.items():
        signature = graph.by_name[layer].signature
        found[signature] = found.get(signature, 0.0) + time.median_s
    return found


def _ratio(own: Sequence[float], usual: Sequence[float]) -> float:
    tiny = 1e-9
    within = statistics.median(max(a, tiny) / max(b, tiny) for a, b in zip(own, usual, strict=True))
    return max(within, max(min(own), tiny) / max(min(usual), tiny))
