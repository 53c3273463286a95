"""`splitter plan --compare`, `--pareto` and rules: what they print, and what they refuse."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import Cli

from splitter.partitioning.baselines import METHODS

TINY = "tiny_models:tiny"
Refused = Callable[..., str]
USAGE_ERROR = 2


def test_comparison_with_published_methods(cli: Cli, two: Path) -> None:
    text = cli("plan", TINY, "-t", two, "--compare").out
    found = cli("plan", TINY, "-t", two, "--compare", "--json")
    data = json.loads(found.out)
    assert [row["method"] for row in data["baselines"]] == list(METHODS)
    assert all(name in text for name in (*METHODS, "ours", "times ours", "SOSP 2019"))
    ours = data["estimate"]["latency_s"]
    assert all(row["value"] is None or row["value"] >= ours for row in data["baselines"])
    assert data["best_baseline"] in METHODS
    assert set(data["placement"]) == {"first", "second", "second/mean", "head"}


def test_front_as_table_picture_and_json(cli: Cli, two: Path, tmp_path: Path) -> None:
    picture = tmp_path / "front.png"
    words = ("plan", TINY, "-t", two, "--pareto", "period,sent", "--picture", picture)
    found = cli(*words)
    assert found.code == 0, found.err
    assert "period against bytes sent" in found.out
    assert picture.read_bytes().startswith(b"\x89PNG")
    data = json.loads(cli(*words, "--json").out)
    assert data["objectives"] == ["throughput", "sent"]
    assert data["complete"] is True
    assert all(point["exact"] for point in data["points"])
    values = [tuple(point["values"].values()) for point in data["points"]]
    assert values == sorted(values)


def test_rules_reach_the_plan_and_its_report(cli: Cli, two: Path, tmp_path: Path) -> None:
    rules = tmp_path / "mine.toml"
    rules.write_text('together = [["first", "head"]]\n')
    words = ("plan", TINY, "-t", two, "--rules", rules, "--rule", "max_devices = 1")
    text = " ".join(cli(*words).out.split())
    assert "at most 1 device (--rule max_devices = 1)" in text
    assert (
        "keeping 'first' and 'head' together (mine.toml: together: [\"first\", \"head\"])" in text
    )
    data = json.loads(cli(*words, "--json").out)
    assert len(set(data["placement"].values())) == 1
    assert len(data["rules"]) == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--picture", "x.png"], "--picture draws a front; give --pareto"),
        (["--pareto", "latency"], "--pareto latency: write two objectives"),
        (["--pareto", "latency,speed"], "unknown objective 'speed'"),
        (["--pareto", "energy,energy"], "two different objectives"),
        (["--pareto", "latency,energy", "--compare"], "ask one at a time"),
        (["--pareto", "latency,energy", "--dot", "x.dot"], "--dot is about one plan"),
        (["--compare", "--plan", "x.json"], "--compare searches for a plan"),
    ],
)
def test_options_that_exclude_one_another(
    options: list[str], message: str, two: Path, refused: Refused
) -> None:
    assert message in refused(USAGE_ERROR, "plan", TINY, "-t", two, *options)
