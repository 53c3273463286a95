"""How conditional means rank networks of the mobile space that they have not seen."""

from random import Random
from typing import Any

from rich.console import Console

from benchmarks.search_mobile import Setting, search_of
from splitter.joint.steps import Progress, Search
from splitter.search.estimate.correlation import kendall_tau
from splitter.search.estimate.estimator import Estimator, MacCount, ParameterCount

NETWORKS, IMAGES = 100, 2000
"""Networks held out, and test images on which each is scored with the supernet's weights."""


def estimator_part(
    setting: Setting, seed: int, report: Progress, console: Console
) -> dict[str, Any]:
    """Rank, compare with controls, print."""
    search = search_of("camera_chain", seed, setting, report)
    rows = search.workspace.kept("ranked", lambda: _ranked(search, report))
    architectures = [tuple(row["architecture"]) for row in rows]
    halves = [[row["halves"][k] for row in rows] for k in (0, 1)]
    truth = [sum(pair) / 2 for pair in zip(*halves, strict=True)]
    space = search.family.space
    estimators: dict[str, Estimator] = {
        "conditional means": search.means.bilinear(space),
        "conditional means, global base": search.means.bilinear(space, centred=False),
        "parameters": ParameterCount(search.family),
        "macs": MacCount(search.family),
    }
    taus = {
        name: kendall_tau(truth, [estimator.score(a) for a in architectures])
        for name, estimator in estimators.items()
    }
    same = kendall_tau(*halves)
    said = ", ".join(f"{name} {tau:.3f}" for name, tau in taus.items())
    console.print(
        f"seed {seed}, Kendall tau over {NETWORKS} networks held out, {IMAGES} test images: {said}"
        f"; one half of the images against the other {same:.3f}; accuracies {min(truth):.4f} to "
        f"{max(truth):.4f}"
    )
    return {
        "seed": seed,
        "networks": NETWORKS,
        "images": IMAGES,
        "tau": taus,
        "tau_of_halves": same,
    }


def _ranked(search: Search, report: Progress) -> list[dict[str, Any]]:
    rng, space, half = Random(12345), search.family.space, IMAGES // 2
    images = [search.data.test.rows(k * half, (k + 1) * half) for k in (0, 1)]
    found = []
    for i in range(NETWORKS):
        architecture = space.random(rng)
        halves = [search.one_shot.on(architecture, part).accuracy for part in images]
        found.append({"architecture": architecture, "halves": halves})
        report(i + 1, NETWORKS, "networks held out")
    return found
