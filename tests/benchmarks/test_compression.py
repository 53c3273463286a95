"""The benchmark of compression: its data readers, on small files of the same formats, and rows."""

import gzip
import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import compression, compression_runs, datasets
from benchmarks.compression_runs import QUICK, Figures, kept, spread
from benchmarks.datasets import Images, Split, disturbed
from benchmarks.residual import build
from splitter.errors import InputError
from splitter.tracing.trace import trace


def idx(path: Path, array: np.ndarray) -> None:
    head = bytes([0, 0, 8, array.ndim]) + b"".join(n.to_bytes(4, "big") for n in array.shape)
    path.write_bytes(gzip.compress(head + array.astype(np.uint8).tobytes()))


def test_fashion_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    for part, count in (("train", 30), ("t10k", 7)):
        idx(tmp_path / f"{part}-images-idx3-ubyte.gz", random.integers(0, 256, (count, 28, 28)))
        idx(tmp_path / f"{part}-labels-idx1-ubyte.gz", np.arange(count) % 10)
    monkeypatch.setattr(datasets, "FASHION", tmp_path)
    found = datasets.fashion()
    assert found.test.images.shape == (7, 1, 28, 28)
    assert found.test.labels.sort().values.tolist() == list(range(7))
    assert float(found.train.images.min()) >= -1
    assert len(found.train) == 30
    monkeypatch.setattr(datasets, "FASHION", tmp_path / "none")
    with pytest.raises(InputError, match="install the Debian package dataset-fashion-mnist"):
        datasets.fashion()


def test_table_files(tmp_path: Path) -> None:
    path = tmp_path / "t.csv.gz"
    rows = np.arange(10).reshape(2, 5)
    path.write_bytes(gzip.compress("\n".join(",".join(map(str, r)) for r in rows).encode()))
    images, labels = datasets._table(path, 2)
    assert images.tolist() == [[[[0, 1], [2, 3]]], [[[5, 6], [7, 8]]]]
    assert labels.tolist() == [4, 9]
    with pytest.raises(InputError, match="not 10 to a row"):
        datasets._table(path, 3)


def test_shifted_images() -> None:
    image = torch.full((40, 1, 5, 5), -1.0)
    image[:, 0, 2, 2] = 1.0
    moved = disturbed(image, 2, 0.0, torch.Generator().manual_seed(0))
    assert moved.sum((1, 2, 3)).tolist() == image.sum((1, 2, 3)).tolist()
    places = {tuple(p) for p in (moved[:, 0] == 1).nonzero()[:, 1:].tolist()}
    assert len(places) > 10
    assert torch.equal(disturbed(image, 0, 0.0, torch.Generator()), image)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> compression_runs.Schedule:
    """A tiny network on 40 random images, results in a folder of its own."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(60, 1, 8, 8, generator=generator)
    every = Images(images, (images.mean((1, 2, 3)) > 0).long())
    made = Split(every.rows(0, 40), every.rows(40, 50), every.rows(50, 60), 1, 0.1)
    monkeypatch.setattr(compression_runs, "split", lambda data: made)
    monkeypatch.setattr(compression, "split", lambda data: made)
    monkeypatch.setenv("SPLITTER_CACHE", str(tmp_path))
    return replace(QUICK, width=4, batch=20, epochs=1, extra_epochs=5)


def test_rows(small: compression_runs.Schedule) -> None:
    rows = compression.rows_of(small, 1, ["svd", "kmeans"], lambda text: None)
    assert {row["method"] for row in rows} == {"float", "svd", "kmeans"}
    for row in rows:
        assert 0 <= row["accuracy"] <= 100
        assert row["float_accuracy"] == rows[1]["accuracy"]
        assert row["network"] == "resnet8-w4"
    floats, quantized = rows[0], next(r for r in rows if r["setting"].startswith("kmeans:bits=3"))
    assert quantized["disk_bytes"] < floats["disk_bytes"] / 3
    assert quantized["macs"] == floats["macs"]
    json.dumps(rows)
    assert compression.rows_of(small, 1, ["kmeans"], lambda text: None)[0] == rows[0]
    assert compression.table_of(rows).row_count == len(rows)


def test_allocations(small: compression_runs.Schedule, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compression, "_EVALUATIONS", 10)
    for search in ("controller", "random", "greedy", "ilp"):
        found = compression._allocated(search, 4.0)(small, 0)
        assert isinstance(found, Figures)


def test_results_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPLITTER_CACHE", str(tmp_path))
    calls: list[int] = []

    def make() -> dict[str, int]:
        calls.append(1)
        return {"x": len(calls)}

    assert [kept({"a": 1}, make), kept({"a": 1}, make), kept({"a": 2}, make)] == [
        {"x": 1},
        {"x": 1},
        {"x": 2},
    ]


def test_network_and_spread(small: compression_runs.Schedule) -> None:
    graph = trace(build(3, 16, 0), (torch.zeros(1, 1, 28, 28),)).graph
    tiny = trace(build(1, 4, 0), (torch.zeros(1, 1, 8, 8),)).graph
    assert compression_runs.macs_of(build(1, 4, 0).eval(), small) == tiny.macs
    assert len([x for x in graph.layers if "conv" in x.kind]) == 1 + 18 + 2
    assert spread([1.0]) == 0
    assert spread([1.0, 3.0]) == pytest.approx(2**0.5)


def test_command_line(
    small: compression_runs.Schedule, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(compression, "SCHEDULES", {"digits": small})
    file = tmp_path / "rows.json"
    words = ["x", "--method", "kmeans", "--seeds", "1", "--json", str(file)]
    monkeypatch.setattr(sys, "argv", words)
    compression.main()
    rows = json.loads(file.read_text())["rows"]
    wanted = {"network", "data", "method", "setting", "seed", "accuracy", "float_accuracy"}
    assert all(wanted | {"disk_bytes", "macs"} <= set(row) for row in rows)
