"""Tables of methods and of fronts against golden files."""

from collections.abc import Callable
from dataclasses import replace
from io import StringIO

from planner_cases import chain, costs_of, mobilenet_like, phone_edge_cloud, three_equal
from rich.console import Console, RenderableType

from splitter.partitioning.contest import contest
from splitter.partitioning.pareto import pareto_front
from splitter.report.contest_report import contest_table
from splitter.report.front_report import front_picture, front_report, front_to_dict
from splitter.report.plan_report import plan_text
from splitter.topology import Constraints

Golden = Callable[[str, str], None]


def text_of(what: RenderableType) -> str:
    out = StringIO()
    Console(file=out, width=100, color_system=None).print(what)
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines()) + "\n"


def test_comparison(golden: Golden) -> None:
    graph, topology = mobilenet_like(), phone_edge_cloud()
    costs = costs_of(graph, topology)
    golden("compare.txt", text_of(contest_table(contest(graph, topology, costs))))
    period = contest(graph, topology, costs, objective="throughput")
    golden("compare_period.txt", text_of(contest_table(period)))


def test_front(golden: Golden) -> None:
    graph, topology = mobilenet_like(), phone_edge_cloud()
    front = pareto_front(graph, topology, costs_of(graph, topology), ("throughput", "sent"))
    golden("front.txt", text_of(front_report(front)))
    part = replace(
        front,
        complete=False,
        points=(replace(front.points[0], exact=False, gap=0.03), *front.points[1:3]),
    )
    golden("front_part.txt", text_of(front_report(part)))
    assert front_picture(part).startswith(b"\x89PNG")
    assert front_picture(front) == front_picture(front)
    assert [point["exact"] for point in front_to_dict(part)["points"]] == [False, True, True]


def test_rules_and_fallbacks_are_in_the_report(golden: Golden) -> None:
    graph, topology = chain(6), three_equal()
    rules = Constraints(
        apart=(("l0", "l5"),),
        max_cuts=1,
        optional=("hub",),
        origins={("max_cuts", 1): "mine.toml: max_cuts = 1"},
    )
    found = contest(graph, topology, costs_of(graph, topology), constraints=rules).plan
    golden("ruled.txt", plan_text(found, graph, topology))
