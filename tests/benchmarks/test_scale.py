"""The scale benchmark from end to end, on graphs that plan in no time."""

import json
import sys
from pathlib import Path

import pytest

from benchmarks import scale


def test_rows_table_and_plot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file, plot = tmp_path / "rows.json", tmp_path / "plot.png"
    words = ["--sizes", "20", "--devices", "3", "--families", "chain", "--limit", "2"]
    monkeypatch.setattr(sys, "argv", ["scale", *words, "--json", str(file), "--plot", str(plot)])
    scale.main()
    rows = json.loads(file.read_text())["rows"]
    assert [row["objective"] for row in rows] == ["latency", "throughput"]
    for row in rows:
        assert row["status"].startswith("verified")
        assert 0.0 < row["bound"] <= row["value"]
        assert row["peak_bytes"] > 2**20
    assert "chain" in capsys.readouterr().out
    assert plot.read_bytes().startswith(b"\x89PNG")


def test_what_cannot_be_planned_is_a_row_that_says_so() -> None:
    row = scale._measured(
        {
            "family": "experts",
            "layers": 60,
            "devices": 2,
            "objective": "latency",
            "limit_s": 1e-9,
            "seed": 0,
        }
    )
    assert row["value"] is None or row["status"].startswith("verified")
    assert row["seconds"] > 0.0
