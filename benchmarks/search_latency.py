"""Latency models on measured cells, and MnasNet's reward on the whole table."""

from random import Random
from typing import Any

import torch
from rich.console import Console

from splitter.search.estimate.bilinear import Bilinear
from splitter.search.estimate.latency import Measured, compare_models, measure
from splitter.search.estimate.regression import fit_linear
from splitter.search.space.nasbench201 import SPACE, BenchTable, cell_network
from splitter.search.space.space import Architecture
from splitter.search.strategy.mnasnet import HARD, SOFT, Reinforce, reward
from splitter.search.strategy.problem import INPUT, Goal, JointProblem, Option, Vertex
from splitter.search.strategy.task import Task, strategy

_MEASURED, _HELD_OUT = 360, 60
_TARGETS = (0.3, 0.5, 0.8)
"""Parts of the way from the fastest cell to the slowest at which rewards aim."""
_EVALUATIONS = 800


def latency_part(table: BenchTable, console: Console) -> dict[str, Any]:
    """Measure, fit, compare, search."""
    cells = Random(1).sample(sorted(table.rows), _MEASURED)
    images = torch.randn((1, 3, 32, 32), generator=torch.Generator().manual_seed(0))
    measured = measure(cells, lambda a: cell_network(a, cells=1), images)
    models = compare_models(SPACE, measured.rows(_HELD_OUT, _MEASURED), measured.rows(0, _HELD_OUT))
    console.print(
        "latency of cells, one thread: floor {floor:.1%}; additive table {table_error:.1%}, tau "
        "{table_tau:.3f}; regressor {regressor_error:.1%}, tau {regressor_tau:.3f}".format(**models)
    )
    rewards = [_rewarded(table, measured, part, console) for part in _TARGETS]
    return {"models": models, "rewards": rewards}


def _rewarded(
    table: BenchTable, measured: Measured, part: float, console: Console
) -> dict[str, Any]:
    seconds = fit_linear(SPACE, measured.architectures, measured.seconds, ridge=1e-3)
    times = {a: seconds.score(a) for a in table.rows}
    low, high = min(times.values()), max(times.values())
    target = low + (high - low) * part
    found: dict[str, Any] = {"target_ms": target * 1e3}
    for name, exponents in (("soft", SOFT), ("hard", HARD)):
        pick = max(table.rows, key=lambda a: reward(table.accuracy(a), times[a], target, exponents))
        found[name] = _facts(table, times, pick)
    task = Task(SPACE, table.column("test"), _problem(seconds), Goal(budget_s=target), _EVALUATIONS)
    for name, search in (("reinforce", Reinforce()), ("random", strategy("random"))):
        answer = search.search(task)
        found[name] = _facts(table, times, answer.joint.choices(task.problem))
    console.print(
        f"reward at {target * 1e3:.2f} ms: "
        + "; ".join(
            f"{n} {found[n]['accuracy']:.2%} at {found[n]['ms']:.2f} ms, dominated by "
            f"{found[n]['dominated_by']}"
            for n in ("soft", "hard", "reinforce", "random")
        )
    )
    return found


def _facts(
    table: BenchTable, times: dict[Architecture, float], pick: Architecture
) -> dict[str, float]:
    accuracy, seconds = table.accuracy(pick), times[pick]
    better = sum(
        table.accuracy(a) >= accuracy and t <= seconds
        for a, t in times.items()
        if (table.accuracy(a), t) != (accuracy, seconds)
    )
    return {"accuracy": accuracy, "ms": seconds * 1e3, "dominated_by": better}


def _problem(seconds: Bilinear) -> JointProblem:
    """One device; each edge takes what the additive table says."""
    lowest = min(min(terms) for terms in seconds.unary)
    base = seconds.base + len(SPACE.slots) * lowest
    vertices = [
        Vertex(
            slot.name,
            tuple(Option(c, (t - lowest,), 0) for c, t in enumerate(terms)),
            (i - 1 if i else INPUT,),
            slot=i,
        )
        for i, (slot, terms) in enumerate(zip(SPACE.slots, seconds.unary, strict=True))
    ]
    vertices.append(Vertex("rest", (Option(0, (base,), 0),), (len(SPACE.slots) - 1,)))
    nothing = Bilinear(tuple((0.0,) * width for width in SPACE.widths))
    return JointProblem(tuple(vertices), ("here",), {0: {}}, nothing, 0)
