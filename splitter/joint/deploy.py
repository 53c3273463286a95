"""From the winner to a running bundle."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

from runtime.build.bundle import BuildResult, build_bundle
from runtime.host.bundle import Bundle
from runtime.host.processor import is_native
from runtime.host.report import RunReport, run_report
from splitter.joint.steps import Progress, Search, candidate_name
from splitter.pipeline import partition
from splitter.plan import Plan
from splitter.program import Program
from splitter.search.estimate.memory_access import lint
from splitter.search.estimate.training import network_accuracy, to_plain, train_network
from splitter.search.space.network import ChosenNet
from splitter.search.space.space import Architecture
from splitter.topology import Topology
from splitter.tracing.trace import trace

FINAL_RATE = 0.05
_REQUESTS = 200
"""Test images sent through the running nodes."""


@dataclass(frozen=True)
class Deployed:
    """The winner as it runs."""

    plan: Plan
    test_accuracy: float
    """Of the trained network on all test images."""
    executed_s: float | None
    """Median latency of one request on the running nodes; None where that means nothing here."""
    floor: float | None
    """Relative difference between the medians of both halves of the requests."""
    computed_s: Mapping[str, float]
    """Of ``executed_s``, what each device computed; the rest is links, sockets and waking up."""
    agreement: float | None
    """Part of the requests for which nodes and network name the same class."""
    emulated: bool
    """Whether some node was for another processor, so that its time means nothing."""
    ran: bool
    lint: tuple[str, ...] = ()
    """What ShuffleNetV2's rules object to."""


def final_network(search: Search, architecture: Architecture) -> ChosenNet:
    """The winner, trained on from where its fine-tuning ended."""
    settings, network = search.settings, search.tuned(architecture)
    if settings.final_epochs > 0:
        train_network(
            *(network, search.data.train),
            settings.schedule(settings.final_epochs, FINAL_RATE),
            seed=settings.seed + 1,
            checkpoint=search.workspace.path / f"final-{candidate_name(architecture)}.pt",
            key=search.family.space.text(architecture),
            deadline_s=search.until_s(0.95),
            progress=search.progress,
            what="final training",
        )
    return network


def deploy(search: Search, network: ChosenNet) -> Deployed:
    """Plan, compile and run the winner; the bundle is ``bundle`` in the search's folder."""
    accuracy = network_accuracy(network, search.data.test)
    to_plain(network.eval())
    program = trace(network, (search.family.example(),), name=search.settings.space)
    plan = partition(program, search.topology, costs=search.costs_of(program.graph))
    built, said = _built(search, program, plan), tuple(lint(program.graph))
    if not built.gate.ran:
        return Deployed(plan, accuracy, None, None, {}, None, True, False, said)
    return replace(_run(search, network, plan, accuracy, built.path), lint=said)


def _built(search: Search, program: Program, plan: Plan) -> BuildResult:
    path = search.workspace.path / "bundle"
    return build_bundle(program, plan, search.topology, path, progress=search.progress)


def _run(search: Search, network: ChosenNet, plan: Plan, accuracy: float, path: Path) -> Deployed:
    bundle = Bundle.open(path)
    emulated = not _all_native(search.topology, plan)
    images = search.data.test.rows(0, 20 if emulated else _REQUESTS).images
    same, seconds, report = _serve(bundle, network, images, search.progress)
    alone = seconds[len(seconds) // 10 :]
    halves = median(alone[::2]), median(alone[1::2])
    return Deployed(
        plan=plan,
        test_accuracy=accuracy,
        executed_s=None if emulated else median(alone),
        floor=None if emulated else abs(halves[0] - halves[1]) / median(alone),
        computed_s={} if emulated else _computed(report),
        agreement=same,
        emulated=emulated,
        ran=True,
    )


def _computed(report: RunReport) -> dict[str, float]:
    found: dict[str, float] = {}
    for stage in report.stages:
        if stage.measured_s is not None:
            found[stage.device] = found.get(stage.device, 0.0) + stage.measured_s
    return found


def _serve(
    bundle: Bundle, network: ChosenNet, images: torch.Tensor, progress: Progress
) -> tuple[float, list[float], RunReport]:
    """(part of equal classes, seconds of each request, what nodes did), one request at a time."""
    with torch.no_grad():
        wanted = network(images).argmax(1)
    same = 0
    with TemporaryDirectory() as traces:
        where = Path(traces)
        with bundle.launch(shape_links=True, timeout_s=60.0, trace_dir=where) as deployment:
            for i in range(len(images)):
                answer: Any = deployment(images[i : i + 1])
                same += int(np.asarray(answer).argmax()) == int(wanted[i])
                progress(i + 1, len(images), "running")
            times = deployment.times
        report = run_report(bundle, where, times)
    return same / len(images), [(t.end_ns - t.start_ns) / 1e9 for t in times], report


def _all_native(topology: Topology, plan: Plan) -> bool:
    used = {load.device for load in plan.estimate.devices if load.layers}
    return all(is_native(topology.by_name[d].card.processor) for d in used)
