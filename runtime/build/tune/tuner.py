"""Spend a budget of seconds on finding faster ways to compute the layers of one node."""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from time import monotonic

from runtime.build.kernels import Progress, compile_layer
from runtime.build.lower.choice import Choice
from runtime.build.machine import Machine, machine_of
from runtime.build.node import build_node
from runtime.build.tune.contest import (
    LineUp,
    Neighbours,
    Variant,
    by_signature,
    challengers,
    compare,
    contest_s,
    runs_per_turn,
)
from runtime.build.tune.database import BY_COST_MODEL, TuningDatabase, fastest
from runtime.build.tune.queue import Candidate, Queue
from runtime.build.tune.reach import Place, bench
from splitter.program import Program
from splitter.schedule import NodeSchedule
from splitter.topology import Device

_CONTESTS = 8
"""Into about how many contests a budget is split..."""
_SHORTEST_S, _LONGEST_S = 2.0, 12.0
"""...as long as each has this much time to compile what competes."""
_NO_LIMIT_BYTES = 1 << 62
_NO_BUNDLE = bytes(32)


@dataclass(frozen=True, slots=True)
class TuningReport:
    """What tuning one device found."""

    device: str
    ways: int
    """Ways to compute a layer that were measured."""
    untried: int
    """Candidates for which no time was left."""
    layers: int
    """Layers that are now computed otherwise than the cost model would."""
    before_s: float
    """One request's layers as the cost model has them computed."""
    after_s: float
    """The same, each layer computed in the fastest way known."""


def tune_device(
    program: Program,
    schedule: NodeSchedule,
    device: Device,
    place: Place,
    seconds: float,
    database: TuningDatabase,
    progress: Progress = lambda done, total, what: None,
) -> TuningReport:
    """Measure ways to compute the layers of ``schedule`` at ``place`` until time is up.

    What the unmeasured program needs to be compiled does not count. Every contest is kept in
    ``database`` as it ends, so an interrupt loses at most the one under way.

    Raises:
        ToolchainError: the node could not be built, brought to its place or run.
        UnsupportedOperatorError: an operator has no lowering.
    """
    # Which ways fit the device's memory is decided when the node is built.
    roomy = replace(device, memory_bytes=_NO_LIMIT_BYTES)
    tuner = _Tuner(program, schedule, roomy, place, database)
    clock, queue, ways = _Clock(seconds, progress), tuner.start(), 0
    before = tuner.best()
    clock.start(reserved_s=contest_s(queue.request_s, 2))
    while queue and (ways == 0 or clock.left_s > 0):
        line_up = tuner.compile_some(queue, clock)
        tuner.hold(line_up, queue.request_s)
        ways += line_up.ways
    tuner.confirm(before, queue.request_s, clock)
    return tuner.report(ways, len(queue))


@dataclass
class _Clock:
    """The budget."""

    seconds: float
    progress: Progress
    end_s: float = 0.0

    def start(self, reserved_s: float) -> None:
        self.end_s = monotonic() + max(0.0, self.seconds - reserved_s)

    @property
    def left_s(self) -> float:
        return max(0.0, self.end_s - monotonic())

    def slice_s(self) -> float:
        """Time to compile what competes in the next contest."""
        wanted = min(_LONGEST_S, max(_SHORTEST_S, self.seconds / _CONTESTS))
        return min(wanted, self.left_s / 2)

    def show(self, what: str) -> None:
        self.progress(round(max(0.0, self.seconds - self.left_s)), round(self.seconds), what)


@dataclass(frozen=True)
class _Tuner:
    """What one device's contests share."""

    program: Program
    schedule: NodeSchedule
    device: Device
    place: Place
    database: TuningDatabase

    @property
    def machine(self) -> Machine:
        return machine_of(self.device)

    @cached_property
    def neighbours(self) -> Neighbours:
        """Which layers follow which."""
        return Neighbours(self.program.graph, self.schedule.layers)

    def known(self) -> dict[str, dict[str, float]]:
        """Seconds of this node's layers by signature and way, measured at this kind of place."""
        kept = self.database.seconds(self.device, self.place.emulated)
        return {s: dict(kept[s]) for s in self.neighbours.own if s in kept}

    def best(self) -> dict[str, Choice]:
        """The fastest ways known at this kind of place."""
        ways = {s: fastest(found) for s, found in self.known().items()}
        return {s: Choice.parse(way) for s, way in ways.items() if way}

    def start(self) -> Queue:
        """Measure the best program known; the queue of what might be faster."""
        graph = self.program.graph
        with self.programs([self.best()]) as (words,):
            request_s = sum(by_signature(graph, bench(words, 1)).values())
            times = by_signature(graph, bench(words, runs_per_turn(request_s)))
        known, own = self.known(), self.neighbours.own
        fresh = {s: {BY_COST_MODEL: t / len(own[s])} for s, t in times.items() if s not in known}
        self.database.add(self.device, self.place.emulated, fresh)
        layers = [graph.by_name[name] for name in self.schedule.layers]
        return Queue.of(self.program, layers, self.machine, times, self.known())

    def compile_some(self, queue: Queue, clock: _Clock) -> LineUp:
        """The most promising candidates for the next contest, compiled."""
        end_s = monotonic() + clock.slice_s()
        most = challengers(queue.request_s, clock.left_s)
        line_up = LineUp(self.neighbours, self.best(), most)
        while not line_up.variants or monotonic() < end_s:
            found = queue.take(line_up.has_room)
            if found is None:
                break
            clock.show(f"{self.device.name}: {found.layer.name}, {found.choice}")
            compile_layer(self.program, found.layer, self.machine, found.choice)
            line_up.add(found)
        clock.show(
            f"{self.device.name}: measuring {sum(len(v.new) for v in line_up.variants)} ways"
        )
        return line_up

    def hold(self, line_up: LineUp, request_s: float) -> None:
        """Measure the candidates against the best ways known, and keep what was found."""
        known, best = self.known(), line_up.best
        found: dict[str, dict[str, float]] = {}
        for variant, ratio in self.contest(line_up, request_s):
            for signature in variant.new:
                base_s = known[signature][str(best.get(signature, BY_COST_MODEL))]
                way = str(variant.choices[signature])
                found.setdefault(signature, {})[way] = base_s * ratio[signature]
        self.database.add(self.device, self.place.emulated, found)

    def confirm(self, before: Mapping[str, Choice], request_s: float, clock: _Clock) -> None:
        """Measure the new winners once more, against the cost model's ways.

        The best of many noisy figures is too good; all figures of the layer are mended alike.
        """
        line_up = LineUp(self.neighbours, {}, most=len(self.schedule.layers))
        for signature, choice in self.best().items():
            if before.get(signature) != choice:
                name = min(self.neighbours.own[signature])
                line_up.add(Candidate(self.program.graph.by_name[name], choice))
        if not line_up.variants:
            return
        clock.show(f"{self.device.name}: measuring what was faster once more")
        known = self.known()
        found: dict[str, dict[str, float]] = {}
        for variant, ratio in self.contest(line_up, request_s):
            for signature in variant.new:
                ways = known[signature]
                fresh_s = ways[BY_COST_MODEL] * ratio[signature]
                factor = fresh_s / ways[str(variant.choices[signature])]
                found[signature] = {w: s * (factor if w else 1.0) for w, s in ways.items()}
        self.database.add(self.device, self.place.emulated, found)

    def contest(
        self, line_up: LineUp, request_s: float
    ) -> Iterator[tuple[Variant, Mapping[str, float]]]:
        """Each program with its layers' times relative to those of the best program."""
        variants = line_up.variants
        with self.programs([line_up.best, *(v.choices for v in variants)]) as programs:
            _, *ratios = compare(self.neighbours, programs, runs_per_turn(request_s))
        return zip(variants, ratios, strict=True)

    @contextmanager
    def programs(self, variants: Sequence[Mapping[str, Choice]]) -> Iterator[list[Sequence[str]]]:
        """Commands that start a node for each of ``variants``, for a while."""
        with ExitStack() as stack:
            scratch = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            yield [
                stack.enter_context(self._program(scratch / str(i), choices))
                for i, choices in enumerate(variants)
            ]

    @contextmanager
    def _program(self, folder: Path, choices: Mapping[str, Choice]) -> Iterator[Sequence[str]]:
        build_node(
            *(self.program, self.schedule, self.device, folder, _NO_BUNDLE, 1),
            choices=choices,
            join=False,
        )
        with self.place.put(folder, self.device.card.processor) as words:
            yield words

    def report(self, ways: int, untried: int) -> TuningReport:
        """What is known now."""
        known, own = self.known(), self.neighbours.own
        return TuningReport(
            device=self.device.name,
            ways=ways,
            untried=untried,
            layers=sum(len(own[s]) for s in self.best()),
            before_s=sum(len(own[s]) * ways[BY_COST_MODEL] for s, ways in known.items()),
            after_s=sum(len(own[s]) * ways[fastest(ways)] for s, ways in known.items()),
        )
