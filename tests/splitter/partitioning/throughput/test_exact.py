"""The least period equals the best of all placements, on random small problems."""

from pathlib import Path
from random import Random

import pytest
from placement_cases import least_period_ms, period_ms, random_problem, write_problem

from splitter import partition
from splitter.errors import InfeasibleError
from splitter.partitioning.throughput import orders, pipeline
from splitter.placement import read_placement

CASES, PER_TEST = 300, 50


@pytest.mark.parametrize("contiguous", [True, False])
@pytest.mark.parametrize("first", range(0, CASES, PER_TEST))
def test_equal_to_trying_everything(tmp_path: Path, contiguous: bool, first: int) -> None:
    for seed in range(first, first + PER_TEST):
        _compare(tmp_path, seed, contiguous)


def test_branching_on_loose_blocks_finds_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "_LISTED", 0)
    for seed in range(1000, 1000 + 3 * PER_TEST):
        _compare(tmp_path, seed, contiguous=True)


def test_the_integer_program_of_pipelines_finds_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "_CELLS", 0)
    monkeypatch.setattr(orders, "_IDLE_ROUNDS", 1)
    for seed in range(2000, 2000 + PER_TEST):
        _compare(tmp_path, seed, contiguous=True)


def _compare(folder: Path, seed: int, contiguous: bool) -> None:
    data = random_problem(Random(seed))
    read = read_placement(write_problem(folder, data), contiguous=contiguous)
    wanted = least_period_ms(data, contiguous=contiguous)
    if wanted is None:
        with pytest.raises(InfeasibleError):
            partition(read.graph, read.topology, costs=read.costs, objective="throughput")
        return
    plan = partition(read.graph, read.topology, costs=read.costs, objective="throughput")
    home = {int(layer[1:]): device for layer, device in plan.placement.items()}
    reached = period_ms(data, home, contiguous=contiguous)
    assert plan.estimate.period_s * 1e3 == pytest.approx(reached, rel=1e-9), seed
    assert reached == pytest.approx(wanted, rel=1e-6, abs=1e-9), seed
    assert plan.proof.status == "optimal", seed
    assert plan.proof.bound * 1e3 == pytest.approx(wanted, rel=1e-6, abs=1e-9), seed
