"""`splitter search` from labelled images to a running bundle, on a space of the user's own."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from splitter.cli.main import app
from splitter.errors import InfeasibleError, SplitterError, UsageError

pytestmark = pytest.mark.models
"""The digits are those of scikit-learn."""

QUICK = (
    *("search", "--space", "small_space:tiny", "--data", "digits", "-t", "loopback3"),
    *("--epochs", "4", "--tune-epochs", "1", "--final-epochs", "1", "--passes", "1"),
    *("--candidates", "1", "--seed", "3"),
)


def search(folder: Path, latency_ms: str, *more: str) -> str:
    found = CliRunner().invoke(app, [*QUICK, "--latency-ms", latency_ms, "-o", str(folder), *more])
    if found.exception is not None:
        raise found.exception
    return found.output


def test_from_images_to_running_nodes(tmp_path: Path) -> None:
    folder = tmp_path / "found"
    said = search(folder, "5")
    report = json.loads((folder / "report.json").read_text())
    made = report["deployed"]
    assert made["ran"]
    assert made["agreement"] == 1.0
    assert made["test_accuracy"] > 0.3
    assert report["winner"]["latency_s"] <= 5e-3
    assert made["planned_s"] <= report["winner"]["latency_s"] * (1 + 1e-6)
    assert {row["what"] for row in report["baselines"]} >= {"joint", "single cut"}
    assert (folder / "front.png").read_bytes().startswith(b"\x89PNG")
    assert "stem" in (folder / "network.txt").read_text()
    assert "binds" in said
    # What was trained is not trained again, and the result is the same.
    kept = (folder / "supernet.pt").stat().st_mtime_ns
    search(folder, "5")
    again = json.loads((folder / "report.json").read_text())
    assert (folder / "supernet.pt").stat().st_mtime_ns >= kept
    assert again["winner"] == report["winner"]
    assert again["deployed"]["test_accuracy"] == made["test_accuracy"]
    with pytest.raises(UsageError, match="another latency_s"):
        search(folder, "6")


def test_what_cannot_be_is_said_before_anything_is_trained(tmp_path: Path) -> None:
    with pytest.raises(InfeasibleError, match="the fastest takes"):
        search(tmp_path / "fast", "0.0001")
    cases = {
        "no data set": ("--data", "imagenet"),
        "are 1x28x28": ("--data", "mnist"),
        "no search space": ("--space", "mobil"),
        "no topology": ("-t", "nowhere"),
    }
    for said, options in cases.items():
        with pytest.raises(SplitterError, match=said):
            search(tmp_path / "bad", "5", *options)
    occupied = tmp_path / "occupied"
    occupied.mkdir()
    (occupied / "file").write_text("mine")
    with pytest.raises(UsageError, match="is no folder of a search"):
        search(occupied, "5")
    assert not (tmp_path / "fast" / "supernet.pt").exists()
