"""Spend a budget of seconds on finding faster ways to compute the layers of one node."""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from time import monotonic

from runtime.build.kernels import Progress, compile_layer
from runtime.build.lower.choice import Choice
from runtime.build.machine import Machine, machine_of
from runtime.build.node import build_node
from runtime.build.tune.contest import by_signature, challengers, compare, line_up, runs_per_turn
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
    clock.start()
    while queue and (ways == 0 or clock.left_s > 0):
        batch = tuner.compile_some(queue, clock)
        tuner.hold(batch, queue.request_s)
        ways += len(batch)
    return tuner.report(ways, len(queue))


@dataclass
class _Clock:
    """The budget."""

    seconds: float
    progress: Progress
    end_s: float = 0.0

    def start(self) -> None:
        self.end_s = monotonic() + self.seconds

    @property
    def left_s(self) -> float:
        return max(0.0, self.end_s - monotonic())

    def slice_s(self) -> float:
        """Time to compile what competes in the next contest."""
        wanted = min(_LONGEST_S, max(_SHORTEST_S, self.seconds / _CONTESTS))
        return min(wanted, self.left_s / 2)

    def show(self, what: str) -> None:
        self.progress(round(self.seconds - self.left_s), round(self.seconds), what)


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

    def known(self) -> dict[str, dict[str, float]]:
        """Seconds of this node's layers by signature and way, measured at this kind of place."""
        kept = self.database.seconds(self.device, self.place.emulated)
        return {s: dict(kept[s]) for s in self.counts() if s in kept}

    def counts(self) -> dict[str, int]:
        """How many layers each signature has here."""
        found: dict[str, int] = {}
        for name in self.schedule.layers:
            signature = self.program.graph.by_name[name].signature
            found[signature] = found.get(signature, 0) + 1
        return found

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
        known, counts = self.known(), self.counts()
        fresh = {s: {BY_COST_MODEL: t / counts[s]} for s, t in times.items() if s not in known}
        self.database.add(self.device, self.place.emulated, fresh)
        layers = [graph.by_name[name] for name in self.schedule.layers]
        return Queue.of(self.program, layers, self.machine, times, self.known())

    def compile_some(self, queue: Queue, clock: _Clock) -> list[Candidate]:
        """The most promising candidates for the next contest, compiled."""
        end_s = monotonic() + clock.slice_s()
        most = challengers(queue.request_s, clock.left_s)
        batch: list[Candidate] = []
        while not batch or monotonic() < end_s:
            found = queue.take(most)
            if found is None:
                break
            clock.show(f"{self.device.name}: {found.layer.name}, {found.choice}")
            compile_layer(self.program, found.layer, self.machine, found.choice)
            batch.append(found)
        queue.next_contest()
        clock.show(f"{self.device.name}: measuring {len(batch)} ways")
        return batch

    def hold(self, batch: Sequence[Candidate], request_s: float) -> None:
        """Measure the candidates against the best ways known, and keep what was found."""
        best, known = self.best(), self.known()
        variants = line_up(best, batch)
        with self.programs([best, *(v.choices for v in variants)]) as programs:
            graph = self.program.graph
            _, *ratios = compare(graph, programs, runs_per_turn(request_s))
        found: dict[str, dict[str, float]] = {}
        for variant, ratio in zip(variants, ratios, strict=True):
            for signature in variant.new:
                base_s = known[signature][str(best.get(signature, BY_COST_MODEL))]
                way = str(variant.choices[signature])
                found.setdefault(signature, {})[way] = base_s * ratio[signature]
        self.database.add(self.device, self.place.emulated, found)

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
            *(self.program, self.schedule, self.device, folder, _NO_BUNDLE, 1), choices=choices
        )
        with self.place.put(folder, self.device.card.processor) as words:
            yield words

    def report(self, ways: int, untried: int) -> TuningReport:
        """What is known now."""
        known, counts = self.known(), self.counts()
        return TuningReport(
            device=self.device.name,
            ways=ways,
            untried=untried,
            layers=sum(counts[s] for s in self.best()),
            before_s=sum(counts[s] * ways[BY_COST_MODEL] for s, ways in known.items()),
            after_s=sum(counts[s] * ways[fastest(ways)] for s, ways in known.items()),
        )
