"""The benchmark of placement problems: rows, JSON, and a second opinion that can say no."""

import json
import subprocess
import sys
from pathlib import Path
from random import Random
from typing import Any

import pytest

from benchmarks.placement_check import agrees, period_ms
from benchmarks.planner import problem_files, solve_file

sys.path.insert(0, str(Path(__file__).parent.parent / "splitter"))

from placement_cases import period_ms as brute_period_ms
from placement_cases import random_problem, write_problem

FIELDS = ["file", "nodes", "value", "bound", "gap", "seconds", "status", "verified"]


def chain(count: int = 4, **changes: Any) -> dict[str, Any]:
    nodes = [
        {
            "id": i,
            "supportedOnFpga": True,
            "cpuLatency": 10.0,
            "fpgaLatency": 1.0,
            "isBackwardNode": False,
            "colorClass": i,
            "size": 1.0,
        }
        for i in range(count)
    ]
    edges = [{"sourceId": i, "destId": i + 1, "cost": 0.5} for i in range(count - 1)]
    data = {"maxSizePerFPGA": 10.0, "maxFPGAs": 2, "maxCPUs": 1, "nodes": nodes, "edges": edges}
    return data | changes


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    inner = tmp_path / "problems" / "deeper"
    inner.mkdir(parents=True)
    write_problem(inner.parent, chain(), "a.json")
    write_problem(inner, chain(maxCPUs=0, maxSizePerFPGA=1.5), "b.json")
    (inner / "c.json").write_text("{", encoding="utf-8")
    return inner.parent


def run(*arguments: object) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "benchmarks.planner", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_rows_of_a_folder_and_its_subfolders(folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "rows.json"
    done = run(folder, "--json", file, "--limit", 10)
    rows = json.loads(file.read_text())["rows"]
    assert [list(row) for row in rows] == [FIELDS] * 3
    assert [row["file"] for row in rows] == ["a.json", "deeper/b.json", "deeper/c.json"]
    assert [row["status"] for row in rows] == ["optimal", "infeasible", "error"]
    assert rows[0]["value"] == pytest.approx(2.5)
    assert rows[0]["bound"] == pytest.approx(2.5)
    assert (rows[0]["nodes"], rows[0]["gap"], rows[0]["verified"]) == (4, 0.0, True)
    assert rows[1]["value"] is None
    assert done.returncode == 1
    assert "c.json: is not valid JSON" in done.stderr.replace("\n", "")
    assert "Traceback" not in done.stderr


def test_one_file_free(folder: Path) -> None:
    done = run(folder / "a.json", "--free", "--threads", 1)
    assert done.returncode == 0, done.stderr
    assert "2.5000" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--limit", "0"], "is no time limit"),
        (["--threads", "none"], "is no number of threads"),
        (["--objective", "beauty"], "invalid choice"),
    ],
)
def test_impossible_options_are_told(folder: Path, arguments: list[str], message: str) -> None:
    done = run(folder, *arguments)
    assert done.returncode == 2
    assert message in done.stderr


def test_an_empty_folder_is_told(tmp_path: Path) -> None:
    done = run(tmp_path)
    assert done.returncode == 2
    assert "no .json file" in " ".join(done.stderr.split())
    assert problem_files(tmp_path) == []


def test_a_row_of_each_objective(folder: Path) -> None:
    row, remark = solve_file(folder / "a.json", "a", "throughput", False, 1, 10.0)
    assert (row.verified, remark) == (True, "")


@pytest.mark.parametrize("seed", range(60))
def test_second_opinion_agrees_with_the_definition(tmp_path: Path, seed: int) -> None:
    chance = Random(seed)
    data = random_problem(chance)
    path = write_problem(tmp_path, data)
    devices = [f"acc{i}" for i in range(data["maxFPGAs"])]
    devices += [f"cpu{i}" for i in range(data["maxCPUs"])]
    home = {node["id"]: chance.choice(devices) for node in data["nodes"]}
    wanted = brute_period_ms(data, home, contiguous=True)
    found = period_ms(path, home, contiguous=True)
    if wanted is None:
        assert isinstance(found, str)
    else:
        assert agrees(wanted, found)
        assert not agrees(wanted + 0.1, found)
    assert isinstance(period_ms(path, {**home, 1000: "acc0"}, contiguous=True), str)
