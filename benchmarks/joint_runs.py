"""What `benchmarks.joint_compression` measures: each once, kept by its configuration.

Networks are trained by recipe: ways of choosing that come to the same recipe share its network.
"""

import multiprocessing
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any

import torch

from benchmarks.compression_runs import Schedule, cached_json, float_network, split
from compress.compare import stored_bytes
from compress.joint import Retrain, trained_by
from compress.joint_choice import JointRequest, plan_of
from compress.programs import compress_program
from compress.recipe import Recipe
from compress.recovery import Trial, try_kinds
from compress.sensitivity import Judge, Loss, Sensitivity, measure_forms
from compress.teach import Samples, Training
from splitter.cost.roofline import roofline
from splitter.cost.variants import Candidate
from splitter.errors import InfeasibleError
from splitter.program import Program
from splitter.topology import Topology
from splitter.tracing.trace import trace
from splitter.variants import Variant
from splitter.zoo.datasets import Images, disturbed

TRAINING = Training(batch=64, learning_rate=1e-3)
Report = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Outcome:
    """A network after its training."""

    held_in: Loss
    """Against the float network, on images that choices are made on."""
    test: Loss
    """On images that no choice sees."""
    stored_bytes: int
    macs: int
    seconds: float
    """Of the training."""


@cache
def program_of(schedule: Schedule) -> Program:
    """The trained float network."""
    model = float_network(schedule, 0).to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    example = (split(schedule.data).test.images[:1],)
    return trace(model, example, name=schedule.network)


@cache
def judges_of(schedule: Schedule) -> tuple[Judge, Judge]:
    """Of the images held in, and of the test images."""
    data, program = split(schedule.data), program_of(schedule)
    return Judge(program, samples_of(data.held_in)), Judge(program, samples_of(data.test))


@cache
def training_samples(schedule: Schedule, steps: int) -> Samples:
    """Disturbed images for so many steps, each image as often as the others."""
    data, generator = split(schedule.data), torch.Generator().manual_seed(0)
    copies = max(round(steps * TRAINING.batch / len(data.train)), 1)
    orders = [torch.randperm(len(data.train), generator=generator) for _ in range(copies)]
    rows = torch.cat(orders)[: steps * TRAINING.batch]
    moved = disturbed(data.train.images[rows], data.shift, data.noise, generator)
    return samples_of(Images(moved, data.train.labels[rows]))


@cache
def trainer_of(schedule: Schedule, steps: int) -> Retrain:
    """Trains what a recipe makes of the float network."""
    return trained_by(program_of(schedule), training_samples(schedule, steps), TRAINING)


def samples_of(images: Images) -> Samples:
    """One request per image."""
    return Samples((images.images[:, None],), images.labels[:, None])


def sensitivity_of(schedule: Schedule, images: int, report: Report) -> Sensitivity:
    """Of every form of every layer, on so many of the images held in."""

    def make() -> dict[str, Any]:
        held_in = samples_of(split(schedule.data).held_in)
        some = held_in.take(torch.arange(min(images, len(held_in))))
        found = measure_forms(program_of(schedule), some, report)
        candidates = {k: [asdict(one) for one in own] for k, own in found.candidates.items()}
        return {"candidates": candidates, "weight": dict(found.weight)}

    known = cached_json("sensitivity", {**schedule.key, "images": images, "forms": 3}, make)
    return Sensitivity(
        {layer: tuple(map(_candidate, own)) for layer, own in known["candidates"].items()},
        known["weight"],
    )


def _candidate(fields: Mapping[str, Any]) -> Candidate:
    return Candidate(**{**fields, "variant": Variant(**fields["variant"])})


def trials_of(
    schedule: Schedule, steps: int, sensitivity: Sensitivity, report: Report
) -> Iterator[Trial]:
    """What training leaves of every kind of form, as `compress.recovery` tries it."""

    def trained_loss(recipe: Recipe) -> Loss:
        return outcome_of(schedule, steps, recipe.to_toml()).held_in

    return try_kinds(sensitivity, trained_loss, steps, report)


def train_all(
    schedule: Schedule, steps: int, recipes: Sequence[str], jobs: int, report: Report
) -> Iterator[Outcome]:
    """The outcome of every recipe (as TOML), ``jobs`` at a time, which share the threads."""
    missing = dict.fromkeys(recipes)
    if jobs > 1:
        spawn = multiprocessing.get_context("spawn")
        threads = max(torch.get_num_threads() // jobs, 1)
        with ProcessPoolExecutor(jobs, spawn, torch.set_num_threads, (threads,)) as pool:
            waiting = [pool.submit(outcome_of, schedule, steps, recipe) for recipe in missing]
            for i, one in enumerate(as_completed(waiting)):
                one.result()
                report(i + 1, len(waiting), "trained")
    for i, recipe in enumerate(recipes):
        report(i, len(recipes), "training")
        yield outcome_of(schedule, steps, recipe)


def outcome_of(schedule: Schedule, steps: int, recipe: str) -> Outcome:
    """Trained once; an empty recipe is the float network."""

    def make() -> dict[str, Any]:
        program, began = program_of(schedule), time.perf_counter()
        if recipe:
            program = trainer_of(schedule, steps)(Recipe.from_toml(recipe))
        seconds = time.perf_counter() - began
        held_in, test = (asdict(judge.loss(program.module)) for judge in judges_of(schedule))
        sizes = {"stored_bytes": stored_bytes(program), "macs": program.graph.macs}
        return {"held_in": held_in, "test": test, "seconds": seconds, **sizes}

    how = {"batch": TRAINING.batch, "learning_rate": TRAINING.learning_rate}
    key = {**how, "label_weight": TRAINING.label_weight, "steps": steps}
    found = cached_json("joint", {**schedule.key, **key, "recipe": recipe}, make)
    return Outcome(**{**found, "held_in": Loss(**found["held_in"]), "test": Loss(**found["test"])})


def latency_of(schedule: Schedule, recipe: str, topology: Topology, limit_s: float) -> float | None:
    """Seconds of the best plan of the compressed network, whose shapes no training changes.

    None where it does not fit the devices.
    """

    def make() -> dict[str, Any]:
        made = program_of(schedule)
        if recipe:
            made = compress_program(made, Recipe.from_toml(recipe))[0]
        try:
            plan = plan_of(made, request_for(topology, limit_s))
        except InfeasibleError:
            return {"latency_s": None}
        return {"latency_s": plan.estimate.latency_s}

    key = {"topology": repr(topology), "recipe": recipe, "limit_s": limit_s}
    seconds: float | None = cached_json("joint-plan", {**schedule.key, **key}, make)["latency_s"]
    return seconds


def request_for(topology: Topology, limit_s: float) -> JointRequest:
    """Least latency on ``topology``; accuracy is none of its business here."""
    return JointRequest(topology, lambda g: roofline(g, topology), 0.0, time_limit_s=limit_s)
