"""The comparison with published methods: its rows, table and summary."""

from math import inf

import pytest
from rich.console import Console

from benchmarks import baselines
from splitter.graph import Graph, Layer, Tensor
from splitter.partitioning.baselines import METHODS


def chain(n: int, weight: int = 100_000) -> Graph:
    names = ["x", *(f"t{i}" for i in range(n))]
    layers = tuple(
        Layer(f"l{i}", "conv2d", (names[i],), (names[i + 1],), (f"w{i}",), macs=1_000_000)
        for i in range(n)
    )
    tensors = {name: Tensor(name, (1000,)) for name in names}
    weights = {f"w{i}": weight for i in range(n)}
    return Graph(f"chain{n}", layers, tensors, ("x",), (names[-1],), weights)


def row_of(**ratios: float | None) -> dict[str, object]:
    found = {name: {"value": None, "ratio": ratios.get(name), "reason": ""} for name in METHODS}
    return {
        "model": "m", "topology": "t", "objective": "latency", "value": 0.01, "gap": 0.0,
        "devices": ["a"], "baselines": found, "seconds": 1.0,
    }  # fmt: skip


def test_one_problem_as_a_row() -> None:
    row = baselines.measure(chain(5), "camera_chain", "latency", 5.0)
    assert row["status"] == "optimal"
    assert list(row["baselines"]) == list(METHODS)
    ratios = [one["ratio"] for one in row["baselines"].values()]
    assert all(ratio is None or ratio >= 1 - 1e-9 for ratio in ratios)
    Console().print(baselines.table_of([row], "latency"))


def test_what_does_not_fit_is_a_row_as_well() -> None:
    row = baselines.measure(chain(60, weight=2_000_000), "loopback3", "latency", 5.0)
    assert row["unsolved"] == "does not fit"
    assert "does not fit into the memory" in row["why"]
    assert baselines.table_of([row], "latency").row_count == 1


def test_summary_counts_and_averages() -> None:
    rows = [row_of(one_cut=1.0, pipedream=2.0), row_of(one_cut=1.5, pipedream=8.0), row_of()]
    lines = "\n".join(baselines.summary(rows))
    assert "one_cut: has a plan in 2 of 3, as good as ours in 1" in lines
    assert "pipedream: has a plan in 2 of 3, as good as ours in 0; geometric mean 4.00" in lines
    assert "min_cut: has no plan in any of 3" in lines
    assert "one device is best in 3 of 3" in lines
    assert "alone in fitting, in 2 of 3" in lines
    assert baselines.best_ratio(rows[2]) == inf
    assert baselines.best_ratio(rows[0]) == pytest.approx(1.0)
