"""Fair comparisons on an unfair machine."""

from collections.abc import Sequence

import pytest

import splitter
from runtime.build.lower.choice import Choice
from runtime.build.tune import contest
from runtime.build.tune.contest import by_signature, challengers, compare, line_up, runs_per_turn
from runtime.build.tune.queue import Candidate
from runtime.build.tune.reach import CallTime


class Machine:
    """Runs programs that take 1 s times their factor, as fast as ``speed`` says at each turn."""

    def __init__(self, factors: Sequence[float], speed: Sequence[float] = (1.0,)) -> None:
        self.factors, self.speed, self.turns = factors, speed, list[int]()

    def bench(self, words: Sequence[str], runs: int) -> dict[str, CallTime]:
        assert runs == 7
        slowness = self.speed[len(self.turns) % len(self.speed)]
        program = int(words[0])
        self.turns.append(program)
        usual = {"first": 1.0, "second": 2.0, "third": 2.0, "last": 1.0, "last/mean": 1, "head": 1}
        return {
            layer: CallTime(s * slowness * (self.factors[program] if layer == "first" else 1), 0)
            for layer, s in usual.items()
        }


def held(
    machine: Machine, graph: splitter.Graph, monkeypatch: pytest.MonkeyPatch
) -> list[dict[str, float]]:
    monkeypatch.setattr(contest, "bench", machine.bench)
    programs = [[str(i)] for i in range(len(machine.factors))]
    name_of = {layer.signature: layer.name for layer in graph.layers}
    return [
        {name_of[s]: r for s, r in ratios.items()} for ratios in compare(graph, programs, runs=7)
    ]


def test_ratios(program: splitter.Program, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine([1.0, 0.5, 3.0])
    usual, faster, slower = held(machine, program.graph, monkeypatch)
    assert set(usual.values()) == {1.0}
    assert faster["first"] == 0.5
    assert slower["first"] == 3.0
    assert {r for name, r in faster.items() if name != "first"} == {1.0}
    assert machine.turns[:6] == [0, 1, 2, 2, 1, 0]


@pytest.mark.parametrize(
    "speed",
    [
        [1.05**k for k in range(50)],
        [1, 1, 1, 1, 40, 40, 40, 1, 1, 1, 1, 1, 1, 1, 1],
        [5, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1],
    ],
    ids=["slowing down", "a pause", "a slow start"],
)
def test_noise_makes_no_winner(
    speed: Sequence[float], program: splitter.Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    for ratios in held(Machine([1.0, 1.0, 1.0], speed), program.graph, monkeypatch):
        assert ratios["first"] > 0.95


def test_layers_of_one_signature_count_together(program: splitter.Program) -> None:
    times = {layer.name: CallTime(1.0, 0.5) for layer in program.graph.layers}
    signature = program.graph.by_name["second"].signature
    assert by_signature(program.graph, times)[signature] == 2.0


def test_as_few_programs_as_will_do(program: splitter.Program) -> None:
    first, second = (program.graph.by_name[name] for name in ("first", "second"))
    ways = [Choice(name) for name in "abcd"]
    batch = [
        Candidate(layer, way)
        for layer, way in [(first, ways[0]), (first, ways[1]), (second, ways[2]), (first, ways[3])]
    ]
    best = {second.signature: Choice("best"), "elsewhere": Choice("kept")}
    found = line_up(best, batch)
    assert [v.new for v in found] == [
        {first.signature, second.signature},
        {first.signature},
        {first.signature},
    ]
    assert found[0].choices == {**best, first.signature: ways[0], second.signature: ways[2]}
    assert found[1].choices == {**best, first.signature: ways[1]}
    assert line_up(best, []) == []


def test_turns_are_short_and_contests_fit() -> None:
    assert runs_per_turn(0.0) == 100
    assert runs_per_turn(0.05) == 3
    assert runs_per_turn(9.0) == 1
    assert challengers(0.005, 60) == 3
    assert challengers(1.0, 30.1) == 2
    assert challengers(10.0, 0.0) == 1
