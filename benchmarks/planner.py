"""Published placement problems: value, proved bound and time of every file in a folder.

    python -m benchmarks.planner DIR [--objective throughput|latency] [--contiguous/--free]
                                     [--threads N] [--limit SECONDS] [--json F]

DIR is searched for *.json with all its subfolders; a single file does as well. Values are
milliseconds, seconds run from opening the file to the verified plan. Every plan is judged by
`splitter.verify` and once more from the file's own fields. For latency an accelerator is called
once per request, so what it runs is contiguous with --free as well.
"""

import argparse
import json
import os
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from rich.table import Table

    from splitter.plan import Plan

Objective = Literal["throughput", "latency"]


@dataclass(frozen=True, slots=True)
class Row:
    """What came of one file."""

    file: str
    nodes: int | None
    value: float | None
    """Milliseconds."""
    bound: float | None
    """Milliseconds that no placement can beat."""
    gap: float | None
    """(value - bound) / value."""
    seconds: float
    status: str
    """``optimal``, ``feasible``, ``infeasible``, ``unsolved`` or ``error``."""
    verified: bool


def main() -> None:
    chosen = _arguments()
    # The array library reads this once, when it is first imported.
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = str(chosen.threads)
    from splitter.cli.console import err, out

    files = problem_files(chosen.folder)
    if not files:
        err.print(f"{chosen.folder}: no .json file in it or its subfolders")
        sys.exit(2)
    rows: list[Row] = []
    for file in files:
        name = file.name if file == chosen.folder else str(file.relative_to(chosen.folder))
        row, remark = solve_file(
            file, name, chosen.objective, chosen.contiguous, chosen.threads, chosen.limit
        )
        rows.append(row)
        err.print(f"{name}: {remark or row.status}, {row.seconds:.2f} s", markup=False)
    out.print(table_of(rows, chosen.objective))
    if chosen.json:
        _write(chosen.json, json.dumps({"rows": [asdict(row) for row in rows]}, indent=1) + "\n")
    sys.exit(0 if all(row.verified or row.status == "infeasible" for row in rows) else 1)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.planner",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folder", type=Path, metavar="DIR")
    parser.add_argument("--objective", choices=("throughput", "latency"), default="throughput")
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("--contiguous", action="store_true", default=True)
    kind.add_argument("--free", dest="contiguous", action="store_false")
    parser.add_argument("--threads", type=_threads, default=1, metavar="N")
    parser.add_argument("--limit", type=_seconds, default=60.0, metavar="SECONDS")
    parser.add_argument("--json", type=Path, metavar="F")
    return parser.parse_args()


def _threads(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 256:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of threads; give 1 to 256")
    return int(text)


def _seconds(text: str) -> float:
    try:
        found = float(text)
    except ValueError:
        found = 0.0
    if not 0.0 < found < 1e6:
        raise argparse.ArgumentTypeError(f"{text!r} is no time limit; give a number above 0")
    return found


def _write(path: Path, text: str) -> None:
    from splitter.cli.console import err
    from splitter.files import write_whole

    try:
        write_whole(path, text)
    except OSError as error:
        err.print(f"{path}: cannot be written: {error.strerror}", markup=False)
        sys.exit(1)


def problem_files(folder: Path) -> list[Path]:
    """The files of a folder and its subfolders by path, or the file itself."""
    if folder.is_file():
        return [folder]
    return sorted(path for path in folder.rglob("*.json") if path.is_file())


def solve_file(
    path: Path,
    name: str,
    objective: Objective,
    contiguous: bool,
    threads: int,
    limit_s: float,
) -> tuple[Row, str]:
    """The row of one file, and a remark when there is no plan."""
    from splitter.errors import InfeasibleError, ModelError, SplitterError
    from splitter.partitioning import partition
    from splitter.placement import read_placement
    from splitter.verify import verify

    began = perf_counter()
    nodes: int | None = None

    def without(status: str, error: SplitterError) -> tuple[Row, str]:
        seconds = perf_counter() - began
        return Row(name, nodes, None, None, None, seconds, status, False), str(error)

    try:
        # Calls are contiguous by themselves; between them processors may take over.
        read = read_placement(path, contiguous=contiguous and objective == "throughput")
        nodes = len(read.graph.layers)
        plan = partition(
            read.graph,
            read.topology,
            read.costs,
            objective=objective,
            time_limit_s=limit_s,
            threads=threads,
        )
    except ModelError as error:
        return without("error", error)
    except InfeasibleError as error:
        return without("infeasible", error)
    except SplitterError as error:
        return without("unsolved", error)
    faults = verify(plan, read.graph, read.topology, read.costs, read.topology.constraints)
    seconds = perf_counter() - began
    faults += _second_opinion(path, plan, contiguous)
    value, bound = plan.estimate.value(plan.objective) * 1e3, plan.proof.bound * 1e3
    row = Row(
        name, nodes, value, bound, plan.proof.gap, seconds, plan.proof.status, verified=not faults
    )
    return row, "; ".join(faults)


def _second_opinion(path: Path, plan: "Plan", contiguous: bool) -> list[str]:
    """Faults found from the file itself."""
    from benchmarks.placement_check import agrees, latency_ms, period_ms

    checks: dict[str, Callable[[], float | str]] = {
        "throughput": lambda: period_ms(path, home, contiguous=contiguous),
        "latency": lambda: latency_ms(path, home),
    }
    home = {int(layer[1:]): device for layer, device in plan.placement.items()}
    if plan.objective not in checks:
        return []
    stated, checked = plan.estimate.value(plan.objective) * 1e3, checks[plan.objective]()
    return [] if agrees(stated, checked) else [f"the file says {checked}, the plan {stated}"]


def table_of(rows: list[Row], objective: Objective) -> "Table":
    """The rows for people."""
    from rich.table import Table

    what = "period" if objective == "throughput" else "latency"
    table = Table(title=f"{what} of published placement problems, ms")
    table.add_column("file")
    for column in ("nodes", "value", "bound", "gap %", "seconds"):
        table.add_column(column, justify="right")
    table.add_column("status")
    table.add_column("verified")
    for row in rows:
        table.add_row(
            row.file,
            _shown(row.nodes, "d"),
            _shown(row.value, ".4f"),
            _shown(row.bound, ".4f"),
            _shown(None if row.gap is None else 100 * row.gap, ".2g"),
            f"{row.seconds:.2f}",
            row.status,
            "yes" if row.verified else "no",
        )
    return table


def _shown(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


if __name__ == "__main__":
    main()
