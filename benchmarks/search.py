"""python -m benchmarks.search: the joint search against search and split one after the other.

Parts: ``exact`` (program, path and brute force); ``table`` (estimators on NAS-Bench-201) and
``latency`` (models of measured cells, MnasNet's reward), which need --table FILE; ``mobile``
(Fashion-MNIST, five budgets on each topology, all methods); ``estimator`` (rank correlation of
conditional means on the mobile space); ``longer`` (one network of the front, trained longer; part
of --full). What was trained is kept under the cache folder, so that a run that was stopped goes on
where it was.
"""

import argparse
import json
import os
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress

from benchmarks.search_estimator import estimator_part
from benchmarks.search_exact import exact_part
from benchmarks.search_latency import latency_part
from benchmarks.search_mobile import SEEDS, TOPOLOGIES, Mobile, Setting, longer_part
from benchmarks.search_table import table_part
from benchmarks.search_view import table_of
from splitter.files import write_whole
from splitter.joint.steps import Progress as Report
from splitter.search.space.nasbench201 import read_table

_JOBS = min(4, len(os.sched_getaffinity(0)))
PARTS = ("exact", "table", "latency", "mobile", "estimator", "longer")
TABLE_PARTS = ("table", "latency")


def _usual_parts(given: argparse.Namespace) -> list[str]:
    """Those of the setting: with a table its parts too, with --full a network trained longer."""
    skipped = set() if given.full else {"longer"}
    if given.table is None:
        skipped |= set(TABLE_PARTS)
    return [part for part in PARTS if part not in skipped]


def _trained(
    part: str, given: argparse.Namespace, report: Report, console: Console
) -> dict[str, Any]:
    """The parts that train networks."""
    topologies = tuple(given.topology or (TOPOLOGIES[:3] if given.full else TOPOLOGIES[:2]))
    seeds = tuple(given.seed or range(SEEDS))
    setting = Setting(given.full, given.tune)
    if part == "estimator":
        return {part: estimator_part(setting, seeds[0], report, console)}
    if part == "longer":
        made = longer_part(topologies[0], seeds[0], setting, given.epochs, given.minutes, report)
        console.print(
            "{network} on {topology}, {predicted_ms:.4g} ms, trained on for at most {epochs:g} "
            "epochs: {accuracy:.2%} of the test images".format(**made)
        )
        return {part: made}
    rows = list(Mobile(setting, topologies, seeds, given.tight).rows(given.jobs, report))
    console.print(table_of(rows))
    return {"rows": rows}


def main() -> None:
    """Run the chosen parts, print tables, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--full", action="store_true", help="longer trainings, third topology")
    parser.add_argument("--part", action="append", choices=PARTS)
    parser.add_argument("--topology", action="append", choices=TOPOLOGIES)
    parser.add_argument(
        "--seed",
        type=int,
        action="append",
        help="of supernet, estimator and fine-tuning; several for part mobile (0, 1 and 2)",
    )
    parser.add_argument("--tight", type=int, default=2, help="budgets at which all seeds run")
    parser.add_argument("--tune", type=float, help="epochs of every picked network")
    parser.add_argument("--jobs", type=int, default=_JOBS, help="processes of part mobile")
    parser.add_argument("--epochs", type=float, default=12.0, help="of part longer")
    parser.add_argument("--minutes", type=float, help="most that part longer may train")
    parser.add_argument("--table", type=Path, metavar="FILE", help="of NAS-Bench-201, .csv.gz")
    given = parser.parse_args()
    parts = given.part or _usual_parts(given)
    missing = [part for part in parts if part in TABLE_PARTS and given.table is None]
    if missing:
        parser.error(f"part {missing[0]} needs --table FILE")
    console = Console(width=130)
    found: dict[str, Any] = {"rows": []}
    if "exact" in parts:
        found["exact"] = exact_part(console)
    if "table" in parts:
        found["table"] = table_part(read_table(given.table), console)
    if "latency" in parts:
        found["latency"] = latency_part(read_table(given.table), console)
    trained = [p for p in PARTS if p in parts and p in ("mobile", "estimator", "longer")]
    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=None)

        def report(done: int, total: int, what: str) -> None:
            bar.update(task, completed=done, total=total or None, description=what)

        for part in trained:
            found |= _trained(part, given, report, console)
    if given.json is not None:
        write_whole(given.json, json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
