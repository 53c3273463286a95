"""Tables corrected by execution, on devices that are slower or faster than their cards say."""

from collections.abc import Mapping
from functools import cache, cached_property
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_strategies import FAMILY, SPACE, WORTH

from splitter.errors import InfeasibleError
from splitter.joint.execution import ROUNDS, Execute, Execution, corrected, settled
from splitter.joint.settings import Settings, Workspace
from splitter.joint.steps import Search
from splitter.search.estimate.bilinear import Bilinear
from splitter.search.estimate.blocks import BlockTable, parts_of
from splitter.search.space.space import Architecture
from splitter.search.strategy.problem import Goal
from splitter.search.strategy.program import front, solve_program


class Known(Search):
    """A search whose accuracies are known without training."""

    @cached_property
    def table(self) -> BlockTable:
        return blocks()

    @cached_property
    def accuracy(self) -> Bilinear:
        return WORTH

    def measured(self, architecture: Architecture, part: str = "held_in") -> float:
        return WORTH.score(architecture)


@cache
def blocks() -> BlockTable:
    parts = parts_of(FAMILY)
    return parts.table(parts.program().graph, FAMILY.input_shape)


def search(folder: Path, latency_s: float) -> Known:
    folder.mkdir(parents=True, exist_ok=True)
    wanted = Settings("small_space:tiny", "loopback3", "digits", latency_s, roofline=True)
    return Known(wanted, Workspace(folder), lambda *_: None, 0.0)


def machine(truth: Mapping[str, float], overhead_s: float) -> Execute:
    """Computes so many times slower than the cards say, and takes so long besides."""

    def execute(asked: Search, architecture: Architecture) -> Execution:
        problem, answer = asked.problem, asked.tried[0][0]
        assert answer.joint.choices(problem) == architecture
        predicted: dict[str, float] = {}
        for vertex, option, d in zip(
            problem.vertices, answer.joint.options, answer.joint.devices, strict=True
        ):
            device = problem.devices[d]
            seconds = vertex.options[option].seconds[d]
            predicted[device] = predicted.get(device, 0.0) + seconds
        taken = {d: s / asked.slowdown.get(d, 1.0) * truth[d] for d, s in predicted.items()}
        late_s = sum(taken.values()) - sum(predicted.values())
        return Execution(
            network=SPACE.text(architecture),
            predicted_s=answer.time_s + asked.overhead_s,
            executed_s=answer.time_s + late_s + overhead_s,
            floor=0.0,
            overhead_s=asked.overhead_s,
            predicted_computing_s=predicted,
            computing_s=taken,
        )

    return execute


def limits(folder: Path) -> tuple[float, float]:
    """Latency of the fastest network and of the most accurate one."""
    problem = search(folder, 1.0).problem
    fastest = solve_program(problem, Goal(weight=0.0, price_per_s=1.0)).time_s
    return fastest, front(problem, points=2)[-1].time_s


def test_what_comes_true_is_executed_once(tmp_path: Path) -> None:
    begun = search(tmp_path / "a", limits(tmp_path)[1] * 1.01)
    exact = machine(dict.fromkeys(begun.topology.by_name, 1.0), 0.0)
    found, runs = settled(begun, exact)
    assert found is begun
    assert len(runs) == 1
    assert runs[0].agrees


def test_a_late_network_makes_room_for_one_in_time(tmp_path: Path) -> None:
    budget_s = limits(tmp_path)[1] * 1.05
    begun = search(tmp_path / "a", budget_s)
    slow = machine(dict.fromkeys(begun.topology.by_name, 1.5), 0.0)
    found, runs = settled(begun, slow)
    assert runs[0].late(budget_s)
    assert not runs[-1].late(budget_s)
    assert runs[-1].agrees
    assert runs[-1].network != runs[0].network
    assert SPACE.text(found.tried[0][0].joint.choices(found.problem)) == runs[-1].network


def test_a_fast_machine_gets_a_more_accurate_network(tmp_path: Path) -> None:
    fastest_s, best_s = limits(tmp_path)
    begun = search(tmp_path / "a", fastest_s + 0.3 * (best_s - fastest_s))
    found, _ = settled(begun, machine(dict.fromkeys(begun.topology.by_name, 0.5), 0.0))
    assert found.tried[0][1] > begun.tried[0][1]


def test_where_nothing_is_in_time_other_devices_are_tried(tmp_path: Path) -> None:
    budget_s = limits(tmp_path)[1]
    begun = search(tmp_path / "a", budget_s)
    found, runs = settled(begun, machine(dict.fromkeys(begun.topology.by_name, 100.0), 0.0))
    assert all(run.late(budget_s) for run in runs)
    assert {d for run in runs for d in run.computing_s} >= {"camera", "server"}
    with pytest.raises(InfeasibleError, match="the fastest takes"):
        corrected(found, runs[-1]).check_budget()
    with pytest.raises(InfeasibleError, match="the fastest takes"):
        search(tmp_path / "b", 1e-9).check_budget()


def test_executions_are_kept(tmp_path: Path) -> None:
    begun = search(tmp_path / "a", limits(tmp_path)[1] * 1.01)
    slow = machine(dict.fromkeys(begun.topology.by_name, 1.2), 1e-5)
    _, runs = settled(begun, slow)

    def never(asked: Search, architecture: Architecture) -> Execution:
        raise AssertionError(architecture)

    assert settled(search(tmp_path / "a", begun.settings.latency_s), never)[1] == runs


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    truth=st.lists(st.floats(0.4, 2.5), min_size=3, max_size=3),
    overhead=st.floats(0.0, 0.3),
    part=st.floats(0.1, 1.2),
)
def test_ends_in_time_unless_no_network_is(
    tmp_path_factory: pytest.TempPathFactory, truth: list[float], overhead: float, part: float
) -> None:
    folder = tmp_path_factory.mktemp("search")
    fastest_s, best_s = limits(folder)
    budget_s = fastest_s + part * (best_s - fastest_s)
    begun = search(folder / "a", budget_s)
    names = list(begun.topology.by_name)
    execute = machine(dict(zip(names, truth, strict=True)), overhead * budget_s)
    found, runs = settled(begun, execute)
    assert len(runs) <= ROUNDS
    last = execute(found, found.tried[0][0].joint.choices(found.problem))
    if len(runs) < ROUNDS and last.late(budget_s):
        with pytest.raises(InfeasibleError):
            corrected(found, last).check_budget()
