"""What part mobile runs, and how its rows become a table; nothing is trained here."""

from pathlib import Path

import pytest
from rich.console import Console

from benchmarks.search_mobile import Found, Mobile, Setting, search_of
from benchmarks.search_view import table_of
from splitter.search.estimate.training import silent


def row(seed: int, accuracy: float | None, **more: object) -> dict[str, object]:
    fixed = {"topology": "a", "budget_ms": 1.5, "method": "joint", "seed": seed}
    found = {"accuracy": accuracy, "cuts": 1, "predicted_ms": 1.0 + seed, "executed_ms": None}
    return fixed | found | more


def test_all_seeds_run_at_the_tight_budgets_only() -> None:
    mobile = Mobile(Setting(), ("a", "b"), (5, 6), tight=2)
    assert list(mobile.runs("a", [1.0, 2.0, 3.0])) == [
        *(("a", seed, budget) for budget in (1.0, 2.0) for seed in (5, 6)),
        ("a", 5, 3.0),
    ]


def test_planning_waits_for_its_seed_and_for_the_budgets() -> None:
    found = Found(Mobile(Setting(), ("a", "b"), (5, 6), tight=1))
    first, second = found.begin()
    assert not list(found.then(second, None))  # there are no budgets yet
    asked = list(found.then(first, None))
    assert [work.what for work in asked] == ["budgets", "budgets"]
    planned = [work for one in asked for work in found.then(one, [1.0, 2.0])]
    assert len(planned) == 2 * 3  # both seeds at the first budget, one at the second
    tuned = []
    for work in planned:
        seed = work.given[2]
        rows = [row(seed, None, picked=(1, 2)), row(seed, None, picked=None)]
        tuned += list(found.then(work, rows))
    assert [work.given[1:] for work in tuned] == [(5, (1, 2)), (6, (1, 2))]  # once each
    for work in tuned:
        assert not list(found.then(work, 0.5))
    assert set(found.accuracy.values()) == {0.5}
    assert len(list(found.in_order())) == 2 * 3 * 2


def test_rows_of_all_seeds_are_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    computing = {"planned_computing_ms": 1.0, "computing_ms": 0.9}
    rows = [
        row(0, 0.9),
        row(0, None, method="single cut"),
        row(1, 0.8, executed_ms=2.1, planned_ms=2.0, floor=0.03, **computing),
    ]
    Console(width=200).print(table_of(rows))
    text = capsys.readouterr().out
    joint = next(line for line in text.splitlines() if "joint" in line)
    for word in ("85.00", "80.00 to 90.00", "1.5", "2.1", "+5.0%", "3.0%", "-10.0%"):
        assert word in joint
    assert "impossible" in next(line for line in text.splitlines() if "single cut" in line)


def test_fine_tunings_of_another_length_share_the_supernet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPLITTER_CACHE", str(tmp_path))
    usual = search_of("boards", 1, Setting(full=True), silent)
    (usual.workspace.path / "supernet.pt").write_bytes(b"weights")
    longer = search_of("boards", 1, Setting(full=True, tune_epochs=3.0), silent)
    assert longer.workspace.path != usual.workspace.path
    assert (longer.workspace.path / "supernet.pt").read_bytes() == b"weights"
    assert longer.settings.tune_epochs == 3.0
    assert longer.settings.supernet_epochs == usual.settings.supernet_epochs
