"""Our plan beside the published baselines, as a table."""

from typing import Any

from rich import box
from rich.table import Table

from splitter.objective import objective_noun, quantity
from splitter.partitioning.baselines import Baseline
from splitter.partitioning.contest import Contest
from splitter.plan import Plan


def contest_table(contest: Contest) -> Table:
    """Methods by value, ours first, those without a plan last."""
    plan = contest.plan
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    table.add_column("method", no_wrap=True)
    table.add_column(objective_noun(plan.objective), justify="right", no_wrap=True)
    table.add_column("times ours", justify="right", no_wrap=True)
    table.add_column("devices", justify="right")
    table.add_column("where it comes from, or why it has no plan", overflow="fold")
    reached = plan.estimate.value(plan.objective)
    used = str(len(set(plan.placement.values())))
    table.add_row("ours", quantity(plan.objective, reached), "1.00", used, _proof(plan))
    for one in _ordered(contest.baselines):
        table.add_row(*_row(plan, one))
    return table


def _row(plan: Plan, one: Baseline) -> tuple[str, str, str, str, str]:
    used = str(len(set(one.placement.values()))) if one.placement else "-"
    if one.value is None:
        return one.method, "-", "-", used, f"{one.paper}: {one.reason}"
    reached = plan.estimate.value(plan.objective)
    return (
        one.method,
        quantity(plan.objective, one.value),
        times(one.value, reached),
        used,
        one.paper,
    )


def times(value: float, reached: float) -> str:
    """How many times ``reached`` a value is."""
    if reached > 0:
        return f"{value / reached:.2f}"
    return "1.00" if value == reached else "-"


def _proof(plan: Plan) -> str:
    if plan.proof.status == "optimal":
        return "proved optimal"
    return f"at most {100 * plan.proof.gap:.2g} % from optimal"


def _ordered(baselines: tuple[Baseline, ...]) -> list[Baseline]:
    valid = [one for one in baselines if one.value is not None]
    ranked = sorted(valid, key=lambda one: one.value or 0.0)
    return ranked + [one for one in baselines if one.value is None]


def contest_to_dict(contest: Contest) -> dict[str, Any]:
    """JSON form of the baselines; the plan has its own."""
    best = contest.best
    return {
        "best_baseline": None if best is None else best.method,
        "baselines": [
            {
                "method": one.method,
                "paper": one.paper,
                "value": one.value,
                "reason": one.reason,
                "placement": dict(one.placement),
                "seconds": one.seconds,
            }
            for one in contest.baselines
        ],
    }
