"""Fair comparisons on an unfair machine."""

from collections.abc import Sequence

import pytest

import splitter
from runtime.build.lower.choice import Choice
from runtime.build.tune import contest
from runtime.build.tune.contest import (
    LineUp,
    Neighbours,
    by_signature,
    challengers,
    compare,
    runs_per_turn,
)
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


def neighbours(program: splitter.Program) -> Neighbours:
    return Neighbours(program.graph, tuple(layer.name for layer in program.graph.layers))


def held(
    machine: Machine, program: splitter.Program, monkeypatch: pytest.MonkeyPatch
) -> list[dict[str, float]]:
    monkeypatch.setattr(contest, "bench", machine.bench)
    programs = [[str(i)] for i in range(len(machine.factors))]
    name_of = {layer.signature: layer.name for layer in program.graph.layers}
    return [
        {name_of[s]: r for s, r in ratios.items()}
        for ratios in compare(neighbours(program), programs, runs=7)
    ]


def test_ratios(program: splitter.Program, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine([1.0, 0.5, 3.0])
    usual, faster, slower = held(machine, program, monkeypatch)
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
    for ratios in held(Machine([1.0, 1.0, 1.0], speed), program, monkeypatch):
        assert ratios["first"] > 0.95


def test_layers_of_one_signature_count_together(program: splitter.Program) -> None:
    times = {layer.name: CallTime(1.0, 0.5) for layer in program.graph.layers}
    signature = program.graph.by_name["second"].signature
    assert by_signature(program.graph, times)[signature] == 2.0


def test_what_the_next_layer_loses_counts(
    program: splitter.Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A way that is faster but leaves the next layer a cold cache."""

    def bench(words: Sequence[str], runs: int) -> dict[str, CallTime]:
        del runs
        times = dict.fromkeys((layer.name for layer in program.graph.layers), 1.0)
        if words == ["1"]:
            times |= {"first": 0.6, "second": 1.5}
        return {name: CallTime(s, s) for name, s in times.items()}

    monkeypatch.setattr(contest, "bench", bench)
    _, ratios = compare(neighbours(program), [["0"], ["1"]], runs=1)
    assert ratios[program.graph.by_name["first"].signature] == pytest.approx(1.1)
    assert ratios[program.graph.by_name["head"].signature] == 1.0


def test_neighbours(program: splitter.Program) -> None:
    """first, second, third (as second), last, last/mean, head."""
    found = neighbours(program)
    name = {layer.name: layer.signature for layer in program.graph.layers}
    assert found.own[name["second"]] == {"second", "third"}
    assert found.span[name["second"]] == {"second", "third", "last"}
    assert found.span[name["head"]] == {"head"}
    assert found.meet(name["first"], name["second"])
    assert found.meet(name["second"], name["first"])
    assert found.meet(name["head"], name["head"])
    assert not found.meet(name["first"], name["last"])


def test_as_few_programs_as_will_do(program: splitter.Program) -> None:
    first, second, last, head = (
        program.graph.by_name[name] for name in ("first", "second", "last", "head")
    )
    best = {second.signature: Choice("best"), "elsewhere": Choice("kept")}
    line_up = LineUp(neighbours(program), best, most=2)
    line_up.add(Candidate(first, Choice("a")))
    line_up.add(Candidate(last, Choice("b")))
    assert line_up.has_room(first.signature)
    line_up.add(Candidate(second, Choice("c")))
    line_up.add(Candidate(head, Choice("d")))
    assert [v.new for v in line_up.variants] == [
        {first.signature, last.signature, head.signature},
        {second.signature},
    ]
    assert line_up.variants[0].choices["elsewhere"] == Choice("kept")
    assert line_up.variants[0].choices[second.signature] == Choice("best")
    assert line_up.variants[1].choices == {**best, second.signature: Choice("c")}
    assert line_up.ways == 4
    assert not line_up.has_room(first.signature)
    assert line_up.has_room(head.signature)


def test_turns_are_short_and_contests_fit() -> None:
    assert runs_per_turn(0.0) == 100
    assert runs_per_turn(0.05) == 3
    assert runs_per_turn(9.0) == 1
    assert challengers(0.005, 60) == 3
    assert challengers(1.0, 30.1) == 2
    assert challengers(10.0, 0.0) == 1
