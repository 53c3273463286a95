"""The benchmark of compression: rows, controls, caching."""

import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import (
    compression,
    compression_experiments,
    compression_figures,
    compression_runs,
)
from benchmarks.compression_runs import QUICK, Outcome, Schedule, score, spread
from benchmarks.residual import build
from splitter.tracing.trace import trace
from splitter.zoo.datasets import Images, Split


@pytest.fixture
def one_thread() -> Iterator[None]:
    """As the benchmark has it: threads only wait for one another in networks this small."""
    usual = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(usual)


@pytest.fixture
def small(one_thread: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Schedule:
    """A tiny network on 40 random images, results in a folder of its own."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(60, 1, 8, 8, generator=generator)
    every = Images(images, (images.mean((1, 2, 3)) > 0).long())
    made = Split(every.rows(0, 40), every.rows(40, 50), every.rows(50, 60), 1, 0.1)
    for module in (compression_runs, compression_experiments, compression_figures):
        monkeypatch.setattr(module, "split", lambda data, device="cpu": made)
    monkeypatch.setenv("SPLITTER_CACHE", str(tmp_path))
    return replace(QUICK, width=4, batch=20, epochs=1, extra_epochs=5)


def rows_of(schedule: Schedule, methods: list[str]) -> list[dict[str, Any]]:
    jobs = compression.jobs_of(schedule, 1, methods)
    return list(compression.rows_of(jobs, lambda text: None, measured=False))


def test_rows(small: Schedule) -> None:
    rows = rows_of(small, ["kmeans"])
    assert {row["method"] for row in rows} == {"float", "kmeans"}
    for row in rows:
        assert 0 <= row["accuracy"] <= 100
        assert row["float_accuracy"] == rows[1]["accuracy"]
        assert row["network"] == "resnet8-w4"
    floats, quantized = rows[0], next(r for r in rows if r["setting"].startswith("kmeans:bits=3"))
    assert quantized["disk_bytes"] < floats["disk_bytes"] / 3
    assert quantized["macs"] == floats["macs"]
    json.dumps(rows)
    assert rows_of(small, ["float"]) == [r for r in rows if r["method"] == "float"]
    assert compression.table_of(rows).row_count == len(rows)


def test_low_rank_is_compared_with_equally_long_training(small: Schedule) -> None:
    rows = rows_of(small, ["trp"])
    scratch = next(r for r in rows if r["setting"] == "from scratch, extra epochs")
    low_rank = [r for r in rows if r["method"] == "trp"]
    assert len(low_rank) == 3
    assert all(r["float_accuracy"] == scratch["accuracy"] for r in low_rank)


@pytest.mark.parametrize("search", ["controller", "random", "greedy", "ilp"])
def test_allocations(small: Schedule, monkeypatch: pytest.MonkeyPatch, search: str) -> None:
    monkeypatch.setattr(compression_experiments, "EVALUATIONS", 10)
    found = compression_experiments._allocated(search, 4.0)(small, 0)
    assert isinstance(found, Outcome)


def test_outcomes_are_kept(small: Schedule) -> None:
    made = compression.jobs_of(small, 1, ["svd"])
    first = [job.outcome() for job in made]
    again = [replace(job, experiment=replace(job.experiment, run=never)).outcome() for job in made]
    assert [a.accuracy for a in first] == [b.accuracy for b in again]
    images = compression_runs.split("digits").test
    for outcome in again:
        assert score(outcome.network(small)[0], images)[0] == pytest.approx(outcome.accuracy)


def never(schedule: Schedule, seed: int) -> Outcome:
    raise AssertionError("it was trained before")


def test_network_and_spread(small: Schedule) -> None:
    graph = trace(build(3, 16, 0), (torch.zeros(1, 1, 28, 28),)).graph
    tiny = trace(build(1, 4, 0), (torch.zeros(1, 1, 8, 8),)).graph
    assert compression_runs.macs_of(build(1, 4, 0).eval(), small) == tiny.macs
    assert len([x for x in graph.layers if "conv" in x.kind]) == 1 + 18 + 2
    assert spread([1.0]) == 0
    assert spread([1.0, 3.0]) == pytest.approx(2**0.5)


def test_command_line(small: Schedule, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(compression, "SCHEDULES", {"digits": small})
    monkeypatch.setattr(compression_figures, "node_figures", lambda program, mode: NODE)
    file = tmp_path / "rows.json"
    words = ["x", "--method", "float", "--seeds", "1", "--jobs", "1", "--json", str(file)]
    monkeypatch.setattr(sys, "argv", words)
    compression.main()
    rows = json.loads(file.read_text())["rows"]
    wanted = {"network", "data", "method", "setting", "seed", "accuracy", "float_accuracy"}
    sizes = {"disk_bytes", "resident_bytes", "macs", "latency_ms"}
    assert all(wanted | sizes <= set(row) for row in rows)
    assert rows[0]["latency_ms"] == 2.0


NODE = {"resident_bytes": 1000, "latency_ms": 2.0}
