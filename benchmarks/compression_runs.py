"""Trains and compresses the networks of `benchmarks.compression`.

Every result is kept by its configuration: one is one training. Trained float networks are kept too,
since many begin from them.
"""

import hashlib
import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from benchmarks.datasets import DATASETS, Images, Split, disturbed
from benchmarks.residual import ResidualNet, build
from compress.apply import apply_recipe
from compress.compare import stored_bytes
from compress.programs import attach
from compress.recipe import Recipe
from splitter.cost.measured import cache_directory
from splitter.files import write_whole
from splitter.tracing.trace import trace

FORMAT = 4
"""Part of every key: results of other versions of this file are not seen."""
Step = Callable[[], None]


@dataclass(frozen=True)
class Schedule:
    """A network, its data, and how long it is trained."""

    data: str
    depth: int
    width: int
    batch: int
    epochs: int
    """Of the float network."""
    extra_epochs: int
    """What every method, and the float control, is trained on."""
    learning_rate: float
    extra_learning_rate: float

    @property
    def network(self) -> str:
        return f"resnet{6 * self.depth + 2}-w{self.width}"


QUICK = Schedule("digits", 1, 16, 50, 25, 10, 0.05, 0.01)
MNIST = Schedule("mnist", 1, 16, 64, 12, 6, 0.05, 0.01)
FASHION = Schedule("fashion", 3, 16, 128, 12, 5, 0.1, 0.02)


@cache
def split(data: str) -> Split:
    return DATASETS[data]()


def steps_of(schedule: Schedule, epochs: int) -> int:
    return epochs * (len(split(schedule.data).train) // schedule.batch)


def kept(key: Mapping[str, Any], make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """The result under ``key``, made at most once on this machine."""
    folder = cache_directory() / "compression"
    text = json.dumps({"format": FORMAT, **key}, sort_keys=True)
    path = folder / f"{hashlib.sha256(text.encode()).hexdigest()[:20]}.json"
    if path.is_file():
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return found
    made = make()
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(path, json.dumps(made) + "\n")
    return made


def train(
    model: nn.Module,
    schedule: Schedule,
    steps: int,
    learning_rate: float,
    seed: int,
    after_step: Step = lambda: None,
) -> None:
    """SGD with momentum along one cosine; the last step is at a learning rate of almost zero."""
    data = split(schedule.data)
    optimizer = torch.optim.SGD(
        model.parameters(), learning_rate, momentum=0.9, weight_decay=5e-4, nesterov=True
    )
    fall = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    generator = torch.Generator().manual_seed(seed)
    model.train()
    done, whole = 0, len(data.train) // schedule.batch
    while done < steps:
        order = torch.randperm(len(data.train), generator=generator)
        for rows in torch.split(order, schedule.batch)[: min(whole, steps - done)]:
            images = disturbed(data.train.images[rows], data.shift, data.noise, generator)
            optimizer.zero_grad()
            logits = model(images.contiguous(memory_format=torch.channels_last))
            loss = F.cross_entropy(logits, data.train.labels[rows])
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            fall.step()
            after_step()
            done += 1
    model.eval()


@torch.no_grad()
def score(model: nn.Module, images: Images) -> tuple[float, float]:
    """Accuracy in percent, and mean loss."""
    training = model.training
    model.eval()
    logits = torch.cat([model(part) for part in torch.split(images.images, 1000)])
    model.train(training)
    right = float((logits.argmax(1) == images.labels).float().mean())
    return 100 * right, float(F.cross_entropy(logits, images.labels))


def float_network(schedule: Schedule, seed: int) -> ResidualNet:
    """The trained float network; its checkpoint is kept."""
    key = {**asdict(replace(schedule, extra_epochs=0, extra_learning_rate=0.0)), "seed": seed}
    text = json.dumps({"format": FORMAT, **key}, sort_keys=True)
    name = f"{hashlib.sha256(text.encode()).hexdigest()[:20]}.pt"
    path = cache_directory() / "compression" / name
    model = build(schedule.depth, schedule.width, seed)
    if path.is_file():
        model.load_state_dict(torch.load(path, weights_only=True))
        return model.eval()
    train(model, schedule, steps_of(schedule, schedule.epochs), schedule.learning_rate, seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(f".{os.getpid()}")
    torch.save(model.state_dict(), draft)
    Path(draft).replace(path)
    return model


@dataclass(frozen=True)
class Figures:
    """One row's numbers."""

    accuracy: float
    disk_bytes: int
    macs: int
    seconds: float
    uncompressed_accuracy: float | None = None
    """Just before the last truncation, for low rank."""


def figures(
    model: nn.Module, tensors: Mapping[str, Any], schedule: Schedule, began: float
) -> Figures:
    """Accuracy on the test set; size and work of the traced program, norms folded."""
    data = split(schedule.data)
    program = attach(trace(model, (data.test.images[:1],)), tensors)
    accuracy, _ = score(model, data.test)
    seconds = time.perf_counter() - began
    return Figures(accuracy, stored_bytes(program), program.graph.macs, seconds)


def compressed(
    schedule: Schedule, seed: int, recipe: Recipe | None, *, trained: bool, scratch: bool
) -> Figures:
    """The float network, or one from scratch, trained on for the extra epochs while compressed."""
    began = time.perf_counter()
    extra = steps_of(schedule, schedule.extra_epochs)
    if scratch:
        model = build(schedule.depth, schedule.width, seed)
        steps, rate = steps_of(schedule, schedule.epochs) + extra, schedule.learning_rate
    else:
        model = deepcopy(float_network(schedule, seed))
        steps, rate = extra, schedule.extra_learning_rate
    before: list[float] = []

    def loop(net: nn.Module, asked: int, after_step: Step) -> None:
        del asked
        train(net, schedule, steps, rate, seed + 1000, after_step)
        before.append(score(net, split(schedule.data).test)[0])

    if recipe is None:
        if trained:
            loop(model, steps, lambda: None)
        return figures(model, {}, schedule, began)
    applied = apply_recipe(model, recipe, loop if trained else None)
    found = figures(model, applied.tensors, schedule, began)
    return replace(found, uncompressed_accuracy=before[0] if applied.factored and before else None)


def fine_tuned_after(schedule: Schedule, seed: int, recipe: Recipe) -> Figures:
    """Compressed from the weights alone, then trained in its new form for the extra epochs."""
    began = time.perf_counter()
    model = deepcopy(float_network(schedule, seed))
    apply_recipe(model, recipe)
    steps = steps_of(schedule, schedule.extra_epochs)
    train(model, schedule, steps, schedule.extra_learning_rate, seed + 1000)
    return figures(model, {}, schedule, began)


@torch.no_grad()
def macs_of(model: nn.Module, schedule: Schedule) -> int:
    """Multiply-accumulates of one image, counted while it runs: tracing takes much longer."""
    counts: list[int] = []

    def count(layer: nn.Module, inputs: Any, output: torch.Tensor) -> None:
        del inputs
        weight = layer.get_parameter("weight")
        counts.append(output.numel() * weight[0].numel())

    layers = [m for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    hooks = [layer.register_forward_hook(count) for layer in layers]
    model(split(schedule.data).test.images[:1])
    for hook in hooks:
        hook.remove()
    return sum(counts)


def mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def spread(values: Sequence[float]) -> float:
    """Standard deviation of the sample; 0 for one value."""
    if len(values) < 2:
        return 0.0
    middle = mean(values)
    return float((sum((v - middle) ** 2 for v in values) / (len(values) - 1)) ** 0.5)
