"""python -m benchmarks.compression: what each method costs in accuracy and saves in bytes and time.

The quick setting trains a small residual network on digits with three seeds. ``--data fashion`` is
the real thing: Fashion-MNIST in full, one seed, some hours on two cores. Results are kept under
the cache folder, so that a run that was stopped goes on where it was.
"""

import argparse
import json
import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from rich import box
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from benchmarks.compression_experiments import Experiment, experiments
from benchmarks.compression_figures import figures
from benchmarks.compression_runs import (
    SCHEDULES,
    Outcome,
    Schedule,
    kept,
    mean,
    spread,
    trained_float,
)

SEEDS = {"digits": 3, "mnist": 3, "fashion": 1}
Report = Callable[[str], None]
REFERENCES = {"trp": "from scratch, extra epochs"}
"""The float control with the same training, where that is not `_USUAL`."""
_USUAL = "extra epochs"


@dataclass(frozen=True)
class Job:
    """One experiment of one seed."""

    schedule: Schedule
    experiment: Experiment
    seed: int

    @property
    def text(self) -> str:
        return f"seed {self.seed}: {self.experiment.method} {self.experiment.setting}"

    def outcome(self) -> Outcome:
        """Made, or found."""
        method, setting = self.experiment.method, self.experiment.setting
        key = {**self.schedule.key, "method": method, "setting": setting, "seed": self.seed}
        return kept(key, lambda: self.experiment.run(self.schedule, self.seed))


def jobs_of(schedule: Schedule, seeds: int, methods: Sequence[str]) -> list[Job]:
    """All that is wanted; the float controls always are."""
    return [
        Job(schedule, experiment, seed)
        for seed in range(seeds)
        for experiment in experiments(schedule)
        if not methods or experiment.method.partition(" ")[0] in (*methods, "float")
    ]


def train_all(jobs: Sequence[Job], processes: int, report: Report) -> None:
    """Make every outcome, ``processes`` at a time."""
    if processes == 1:
        for job in jobs:
            report(job.text)
            job.outcome()
        return
    schedule = jobs[0].schedule
    for seed in sorted({job.seed for job in jobs}):
        trained_float(schedule, seed)  # Most of the others begin from it.
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, mp_context=spawn) as pool:
        waiting = {
            pool.submit(
                _train, job.schedule, job.experiment.method, job.experiment.setting, job.seed
            )
            for job in jobs
        }
        for i, done in enumerate(as_completed(waiting)):
            done.result()
            report(f"{i + 1} of {len(waiting)} trained")


def _train(schedule: Schedule, method: str, setting: str, seed: int) -> None:
    torch.set_num_threads(1)
    for experiment in experiments(schedule):
        if (experiment.method, experiment.setting) == (method, setting):
            Job(schedule, experiment, seed).outcome()


def rows_of(
    jobs: Sequence[Job], report: Report, *, measured: bool = True
) -> Iterator[dict[str, Any]]:
    """One row per job, with the accuracy of the float control that was trained as long.

    Memory and latency are those of the first seed: a seed changes little more than values.
    """
    controls = {
        (job.seed, job.experiment.setting): job.outcome().accuracy
        for job in jobs
        if job.experiment.method == "float"
    }
    for job in jobs:
        report(f"measuring, {job.text}")
        outcome, method = job.outcome(), job.experiment.method
        control = REFERENCES.get(method, _USUAL)
        yield {
            "network": job.schedule.network,
            "data": job.schedule.data,
            "method": method,
            "setting": job.experiment.setting,
            "seed": job.seed,
            "accuracy": outcome.accuracy,
            "float_accuracy": controls[job.seed, control],
            **figures(outcome, job.schedule, measured=measured and job.seed == 0),
            "uncompressed_accuracy": outcome.uncompressed_accuracy,
            "held_in_accuracy": outcome.held_in_accuracy,
            "seconds": outcome.seconds,
        }


def table_of(rows: Sequence[dict[str, Any]]) -> Table:
    network, data = rows[0]["network"], rows[0]["data"]
    count = len({row["seed"] for row in rows})
    table = Table(
        box=box.SIMPLE_HEAD, pad_edge=False, title=f"{network} on {data}, {count} seed(s)"
    )
    table.add_column("method")
    table.add_column("setting")
    headings = (
        "accuracy %",
        "against float",
        "truncation",
        "disk KB",
        "memory KB",
        "k MACs",
        "µs",
        "in kernel",
    )
    for heading in headings:
        table.add_column(heading, justify="right")
    for method, setting in dict.fromkeys((row["method"], row["setting"]) for row in rows):
        own = [r for r in rows if (r["method"], r["setting"]) == (method, setting)]
        table.add_row(method, setting, *_cells(own))
    return table


def _cells(own: Sequence[dict[str, Any]]) -> list[str]:
    accuracy = [row["accuracy"] for row in own]
    lost = [row["accuracy"] - row["float_accuracy"] for row in own]
    cut = [r["accuracy"] - r["uncompressed_accuracy"] for r in own if r["uncompressed_accuracy"]]
    return [
        f"{mean(accuracy):.2f} ± {spread(accuracy):.2f}",
        f"{mean(lost):+.2f} ± {spread(lost):.2f}",
        f"{mean(cut):+.2f}" if cut else "",
        _mean_of(own, "disk_bytes", 1e-3, 1),
        _mean_of(own, "resident_bytes", 1e-3, 0),
        _mean_of(own, "macs", 1e-3, 0),
        _mean_of(own, "latency_ms", 1e3, 1),
        _mean_of(own, "kernel_latency_ms", 1e3, 1),
    ]


def _mean_of(own: Sequence[dict[str, Any]], name: str, factor: float, digits: int) -> str:
    values = [row[name] for row in own if row[name] is not None]
    return f"{mean(values) * factor:.{digits}f}" if values else ""


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.compression",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--data", choices=tuple(SCHEDULES), default="digits")
    parser.add_argument("--method", action="append", default=[], help="only these; repeatable")
    parser.add_argument("--seeds", type=int, help="instead of the usual number")
    parser.add_argument("--json", type=Path, help="write the rows here")
    parser.add_argument("--device", default="cpu", help="where torch trains, such as cuda")
    parser.add_argument(
        "--jobs", type=int, default=min(2, os.cpu_count() or 1), help="trainings at a time"
    )
    parser.add_argument("--unmeasured", action="store_true", help="leave out latency and memory")
    options = parser.parse_args()
    torch.set_num_threads(1)
    schedule = replace(SCHEDULES[options.data], device=options.device)
    seeds = SEEDS[options.data] if options.seeds is None else options.seeds
    jobs = jobs_of(schedule, seeds, options.method)
    console = Console(width=None if Console().is_terminal else 150)
    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("training", total=None)

        def report(text: str) -> None:
            bar.update(task, description=text)

        train_all(jobs, options.jobs, report)
        rows = list(rows_of(jobs, report, measured=not options.unmeasured))
    console.print(table_of(rows))
    if options.json is not None:
        options.json.write_text(json.dumps({"rows": rows}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
