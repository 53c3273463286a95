"""Estimators and rewards on NAS-Bench-201, whose answers are all known."""

from random import Random
from statistics import fmean
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from splitter.search.estimate.conditional import conditional_means
from splitter.search.estimate.correlation import kendall_tau
from splitter.search.estimate.naswot import Naswot
from splitter.search.estimate.regression import fit_linear, fit_pairs
from splitter.search.space.nasbench201 import SPACE, BenchTable, cell_network
from splitter.search.space.space import Architecture
from splitter.zoo.datasets import fashion

LABELS = (62, 124, 434, 3007)
"""Labels for the estimators: 2, 4, 14 and 97 passes of the 31 that conditional means take."""
_SEEDS = 3
_HELD_OUT = 1000
_NASWOT_CELLS, _NASWOT_IMAGES, _NASWOT_SIDE = 300, 64, 16
_BROKEN = 0.5
"""Accuracy below which a cell counts as broken."""


def table_part(table: BenchTable, console: Console) -> dict[str, Any]:
    """Compare, print."""
    labels = [_at(table, n) for n in LABELS]
    shown = Table(box=box.SIMPLE_HEAD, pad_edge=False, title="Kendall tau on 1,000 cells held out")
    for heading in ("labels", "conditional means", "linear", "pairs"):
        shown.add_column(heading, justify="right")
    for row in labels:
        shown.add_row(str(row["labels"]), *(f"{row[k]:.3f}" for k in ("means", "linear", "pairs")))
    console.print(shown)
    shots = _shots(table)
    console.print(
        "one-shot / few-shot: tau {one_shot[tau]:.3f} / {few_shot[tau]:.3f}, in the best 1,000 "
        "{one_shot[top_tau]:.3f} / {few_shot[top_tau]:.3f}, accuracy of the pick "
        "{one_shot[pick]:.2f} / {few_shot[pick]:.2f} %".format(**shots)
    )
    naswot = _naswot(table)
    console.print(
        "NASWOT on {cells} cells: tau {tau:.3f} (parameters {parameters:.3f}); without broken "
        "cells {healthy:.3f} (parameters {healthy_parameters:.3f})".format(**naswot)
    )
    return {"labels": labels, "shots": shots, "naswot": naswot}


def _at(table: BenchTable, labels: int) -> dict[str, Any]:
    taus: dict[str, list[float]] = {"means": [], "linear": [], "pairs": []}
    for seed in range(_SEEDS):
        cells = sorted(table.rows)
        Random(seed).shuffle(cells)
        held_out, rest = cells[:_HELD_OUT], cells[_HELD_OUT:]
        truth = [table.accuracy(a) for a in held_out]
        sampled = rest[:labels]
        scores = [table.accuracy(a) for a in sampled]
        passes = labels // (1 + sum(SPACE.widths))
        means = conditional_means(SPACE, lambda a, _: table.accuracy(a), passes=passes, seed=seed)
        models = {
            "means": means.bilinear(SPACE),
            "linear": fit_linear(SPACE, sampled, scores),
            "pairs": fit_pairs(SPACE, sampled, scores),
        }
        for name, model in models.items():
            taus[name].append(kendall_tau(truth, [model.score(a) for a in held_out]))
    return {"labels": labels, **{name: fmean(values) for name, values in taus.items()}}


def _shots(table: BenchTable) -> dict[str, dict[str, float]]:
    cells = sorted(table.rows)
    Random(0).shuffle(cells)
    some, top = cells[:4000], sorted(cells, key=table.accuracy)[-1000:]
    found = {}
    for name in ("one_shot", "few_shot"):
        column = table.column(name)
        found[name] = {
            "tau": _tau(table, some, [column.score(a) for a in some]),
            "top_tau": _tau(table, top, [column.score(a) for a in top]),
            "pick": 100 * table.accuracy(max(cells, key=column.score)),
        }
    return found


def _tau(table: BenchTable, cells: list[Architecture], scores: list[float]) -> float:
    return kendall_tau([table.accuracy(a) for a in cells], scores)


def _naswot(table: BenchTable) -> dict[str, float]:
    import torch

    cells = Random(0).sample(sorted(table.rows), _NASWOT_CELLS)
    images = fashion().train.images[:_NASWOT_IMAGES]
    images = torch.nn.functional.interpolate(images, _NASWOT_SIDE)
    naswot = Naswot(lambda a: cell_network(a, cells=2, inputs=1), images)
    scores = [naswot.score(a) for a in cells]
    parameters = [_parameters(a) for a in cells]
    healthy = [i for i, a in enumerate(cells) if table.accuracy(a) >= _BROKEN]
    kept = [cells[i] for i in healthy]
    return {
        "cells": len(cells),
        "tau": _tau(table, cells, scores),
        "parameters": _tau(table, cells, parameters),
        "healthy": _tau(table, kept, [scores[i] for i in healthy]),
        "healthy_parameters": _tau(table, kept, [parameters[i] for i in healthy]),
    }


def _parameters(architecture: Architecture) -> float:
    network = cell_network(architecture, cells=2, inputs=1)
    return float(sum(p.numel() for p in network.parameters()))
