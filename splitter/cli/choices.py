"""`splitter plan --compare` and `--pareto`: more than one plan to look at."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from splitter.cli.console import out, print_json, status
from splitter.cli.effort import Effort
from splitter.cli.output import writing
from splitter.errors import UsageError
from splitter.files import write_whole
from splitter.objective import Objective, as_objective
from splitter.plan import Plan, plan_to_dict
from splitter.program import Program
from splitter.topology import Topology

_ALIASES = {"period": "throughput", "price": "dollars", "bytes": "sent"}


def check_choices(
    compare: bool, pareto: str | None, picture: Path | None, alone: Mapping[str, object]
) -> None:
    """Options that exclude one another.

    Args:
        compare: Whether ``--compare`` is given.
        pareto: What ``--pareto`` says.
        picture: Where the picture of the front goes.
        alone: Options that are about one plan, with their values.

    Raises:
        UsageError: they are given together, or a picture without a front.
    """
    if picture is not None and pareto is None:
        raise UsageError("--picture draws a front; give --pareto FIRST,SECOND as well")
    if pareto is not None and compare:
        raise UsageError("--pareto and --compare are two questions; ask one at a time")
    for option, value in alone.items():
        if pareto is not None and value is not None:
            raise UsageError(f"{option} is about one plan and --pareto finds several; drop one")
    if compare and alone["--plan"] is not None:
        raise UsageError("--compare searches for a plan and --plan gives one; drop one")


def parse_pair(text: str) -> tuple[Objective, Objective]:
    """``latency,energy`` as two objectives.

    Raises:
        UsageError: it is no such pair.
    """
    names = [name.strip() for name in text.split(",")]
    if len(names) != 2:
        raise UsageError(f"--pareto {text}: write two objectives, such as latency,energy")
    first, second = (as_objective(_ALIASES.get(name, name)) for name in names)
    return first, second


def show_front(
    program: Program,
    topology: Topology,
    pair: tuple[Objective, Objective],
    effort: Effort,
    *,
    points: int,
    picture: Path | None,
    json: bool,
) -> None:
    """Find the front and print it."""
    from splitter.pipeline import pareto
    from splitter.report.front_report import front_picture, front_report, front_to_dict

    with status(f"{pair[0]} against {pair[1]} for {program.graph.name} on {topology.name}"):
        front = pareto(
            *(program, topology, pair),
            costs=effort.costs(program.graph, topology),
            points=points,
            **effort.limits,
        )
    if picture is not None:
        with writing(picture):
            write_whole(picture, front_picture(front))
    if json:
        print_json(front_to_dict(front))
    else:
        out.print(front_report(front))


def compared(
    program: Program, topology: Topology, effort: Effort
) -> tuple[Plan, Any, dict[str, Any]]:
    """Our plan, the table of all methods, and the same for JSON."""
    from splitter.pipeline import compare
    from splitter.report.contest_report import contest_table, contest_to_dict

    with status(f"planning {program.graph.name} on {topology.name} in ten ways"):
        found = compare(
            *(program, topology),
            objective=effort.objective,
            costs=effort.costs(program.graph, topology),
            **effort.limits,
        )
    data = {**plan_to_dict(found.plan), **contest_to_dict(found)}
    return found.plan, contest_table(found), data
