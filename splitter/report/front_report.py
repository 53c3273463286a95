"""A Pareto front as a table, a picture and JSON."""

from collections import Counter
from io import BytesIO
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from splitter.objective import objective_noun, objective_unit
from splitter.partitioning.pareto import Front, Point


def front_report(front: Front) -> RenderableType:
    """The front for a terminal of 100 columns or more."""
    first, second = front.objectives
    count = f"{len(front.points)} plan{'s' * (len(front.points) != 1)}"
    whole = "all there are" if front.complete else "spread over the front; there may be more"
    title = Text.assemble(
        (f"{front.model} on {front.topology}", "bold"),
        f": {objective_noun(first)} against {objective_noun(second)}: {count}, {whole}",
    )
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for name in front.objectives:
        heading = f"{objective_noun(name)} {objective_unit(name)[1]}"
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("proved", no_wrap=True)
    table.add_column("layers per device", overflow="fold")
    for point in front.points:
        values = zip(front.objectives, point.values, strict=True)
        table.add_row(*(_shown(name, value) for name, value in values), _proof(point), _use(point))
    return Group(title, table)


def _shown(objective: str, value: float) -> str:
    return f"{value * objective_unit(objective)[0]:.5g}"


def _proof(point: Point) -> str:
    if point.exact:
        return "exact"
    return f"within {100 * point.gap:.2g} %" if point.gap < 1 else "no"


def _use(point: Point) -> str:
    count = Counter(point.plan.placement.values())
    devices = (load.device for load in point.plan.estimate.devices)
    return ", ".join(f"{name} {count[name]}" for name in devices if count[name])


def front_to_dict(front: Front) -> dict[str, Any]:
    """JSON form, in SI units."""
    return {
        "model": front.model,
        "topology": front.topology,
        "objectives": list(front.objectives),
        "complete": front.complete,
        "points": [
            {
                "values": dict(zip(front.objectives, point.values, strict=True)),
                "exact": point.exact,
                "gap": point.gap,
                "placement": dict(point.plan.placement),
            }
            for point in front.points
        ],
    }


def front_picture(front: Front) -> bytes:
    """The front as a PNG: plans joined by the steps below which no plan lies."""
    from matplotlib.figure import Figure

    first, second = front.objectives
    (in_first, unit_first), (in_second, unit_second) = map(objective_unit, front.objectives)
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.add_subplot()
    across = [point.values[0] * in_first for point in front.points]
    up = [point.values[1] * in_second for point in front.points]
    axes.step(across, up, where="post", color="0.7", zorder=1)
    for exact, face in ((True, "tab:blue"), (False, "white")):
        some = [i for i, point in enumerate(front.points) if point.exact == exact]
        label = "proved" if exact else "not proved"
        where = [across[i] for i in some], [up[i] for i in some]
        if some:
            axes.scatter(*where, color=face, edgecolor="tab:blue", label=label, zorder=2)
    axes.set_xlabel(f"{objective_noun(first)} ({unit_first})")
    axes.set_ylabel(f"{objective_noun(second)} ({unit_second})")
    axes.set_title(f"{front.model} on {front.topology}")
    axes.legend()
    image = BytesIO()
    figure.savefig(image, format="png", dpi=120, metadata={"Software": None})
    return image.getvalue()
