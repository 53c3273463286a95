"""The benchmark of joint compression: whom it picks and what it prints."""

from pathlib import Path

from benchmarks.joint_compression import best, table_of
from benchmarks.joint_picture import draw
from benchmarks.joint_topologies import small_topologies
from splitter.memory import NODE_OVERHEAD_BYTES


def row(
    latency_ms: float, lost: float, error: float = 0.1, way: str = "joint"
) -> dict[str, object]:
    loss = {"points": lost, "error": error}
    return {
        "topology": "t", "way": way, "latency_ms": latency_ms, "predicted_drop": 1.0,
        "held_in": loss, "test": loss, "stored_bytes": 1000, "macs": 10**6,
    }  # fmt: skip


def test_first_devices_are_small() -> None:
    for topology in small_topologies(1_000_000):
        assert topology.devices[0].memory_bytes < NODE_OVERHEAD_BYTES + 500_000
        assert topology.source == topology.sink == topology.devices[0].name


def test_the_fastest_within_the_budget_wins_by_images_held_in() -> None:
    slow, fast, risky = row(3.0, 0.1), row(2.0, 0.5), row(1.0, 0.5, error=0.6)
    other = row(9.0, 0.0, way="split, then compress")
    rows = [slow, fast, risky, other]
    assert list(best(rows, 1.0, margin=1.0)) == [fast, other]
    assert list(best(rows, 1.0, margin=0.0)) == [risky, other]
    assert list(best(rows, 0.3, margin=1.0)) == [slow, other]
    assert list(best(rows, -1.0, margin=1.0)) == []


def test_table_and_picture(tmp_path: Path) -> None:
    rows = [row(2.0, 0.5), row(1.0, 2.5)]
    assert table_of(rows, [1.0, 3.0], 1.0).row_count == 2
    draw(rows, list(best(rows, 1.0, 1.0)), tmp_path / "p.png")
    assert (tmp_path / "p.png").stat().st_size > 1000
