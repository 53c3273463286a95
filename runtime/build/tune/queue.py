"""The order in which ways to compute layers are measured: first where the time goes."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Self

import tvm_ffi

from runtime.build.integer import is_integer
from runtime.build.lower import lower_layer
from runtime.build.lower.choice import Choice
from runtime.build.machine import Machine
from runtime.build.schedule import schedule
from runtime.build.tune.candidates import shortlist
from splitter.graph import Layer
from splitter.program import Program

_MOST_PER_LAYER = 24
"""Ways of one layer that are ever measured."""
_HOPE = 0.8
"""Each further way of a layer promises this much of what the one before promised."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """One way to compute one layer, not measured yet."""

    layer: Layer
    """Stands for all of its signature."""
    choice: Choice


@dataclass
class _Lane:
    """The candidates of one signature."""

    layer: Layer
    seconds: float
    """That layers of the signature take in one request."""
    waiting: list[Choice]
    seen: set[int]
    """Structural hashes of the functions compiled so far: some choices mean the same."""
    rank: int = 0

    @property
    def promise_s(self) -> float:
        return self.seconds * _HOPE**self.rank


@dataclass
class Queue:
    """All candidates; `take` gives the most promising one."""

    program: Program
    machine: Machine
    request_s: float
    """That all layers take together."""
    lanes: list[_Lane]

    @classmethod
    def of(
        cls,
        program: Program,
        layers: Iterable[Layer],
        machine: Machine,
        seconds: Mapping[str, float],
        known: Mapping[str, Mapping[str, float]],
    ) -> Self:
        """The ways on offer for ``layers`` that are not known yet.

        Args:
            program: has the layers.
            layers: what to compute.
            machine: on what.
            seconds: of one request, by signature.
            known: ways measured before, by signature.
        """
        # Integer kernels have one way.
        one_each = {x.signature: x for x in layers if not is_integer(program, x)}
        lanes = [
            _lane(program, layer, machine, seconds[signature], known[signature])
            for signature, layer in one_each.items()
        ]
        return cls(program, machine, sum(seconds.values()), lanes)

    def __len__(self) -> int:
        return sum(len(lane.waiting) for lane in self.lanes)

    def take(self, has_room: Callable[[str], bool]) -> Candidate | None:
        """The most promising candidate that means something new, of signatures that have room."""
        while True:
            lanes = [x for x in self.lanes if x.waiting and has_room(x.layer.signature)]
            if not lanes:
                return None
            lane = max(lanes, key=lambda x: x.promise_s)
            choice = lane.waiting.pop(0)
            lowered = lower_layer(self.program, lane.layer, self.machine, choice)
            meaning = tvm_ffi.structural_hash(schedule(lowered, self.machine))
            if meaning not in lane.seen:
                lane.seen.add(meaning)
                lane.rank += 1
                return Candidate(lane.layer, choice)


def _lane(
    program: Program, layer: Layer, machine: Machine, seconds: float, known: Mapping[str, float]
) -> _Lane:
    lowered = lower_layer(program, layer, machine)
    wanted = shortlist(lowered.offers, _MOST_PER_LAYER)
    waiting = [choice for choice in wanted if str(choice) not in known]
    seen = {tvm_ffi.structural_hash(schedule(lowered, machine))}
    return _Lane(layer, seconds, waiting, seen, rank=len(known) - 1)
