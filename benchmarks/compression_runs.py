"""Trains and compresses the networks of `benchmarks.compression`.

Every result is kept by its configuration: one is one training. What is kept is the network itself,
so that sizes and times can be taken from it later, on another machine if need be.
"""

import hashlib
import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from benchmarks.residual import build
from compress.apply import apply_recipe
from compress.formats import CompressedTensor, Factors
from compress.recipe import Recipe
from compress.rewrite import factor
from compress.storage import from_bytes, to_bytes
from splitter.cost.measured import cache_directory
from splitter.files import write_whole
from splitter.zoo.datasets import DATASETS, Images, Split, disturbed

FORMAT = 5
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
    device: str = field(default="cpu", compare=False)
    """Where torch trains; no part of the key."""

    @property
    def network(self) -> str:
        return f"resnet{6 * self.depth + 2}-w{self.width}"

    @property
    def key(self) -> dict[str, Any]:
        return {name: value for name, value in asdict(self).items() if name != "device"}


QUICK = Schedule("digits", 1, 16, 50, 25, 10, 0.05, 0.01)
MNIST = Schedule("mnist", 1, 16, 64, 12, 6, 0.05, 0.01)
FASHION = Schedule("fashion", 3, 16, 128, 12, 5, 0.1, 0.02)
SCHEDULES = {
    "digits": QUICK,
    "mnist": MNIST,
    "fashion": FASHION,
    "fashion-10k": replace(FASHION, data="fashion-10k"),
}


@cache
def split(data: str, device: str = "cpu") -> Split:
    if device != "cpu":
        found = split(data)
        train, held_in, test = (x.to(device) for x in (found.train, found.held_in, found.test))
        return Split(train, held_in, test, found.shift, found.noise)
    return DATASETS[data]()


def steps_of(schedule: Schedule, epochs: int) -> int:
    return epochs * (len(split(schedule.data).train) // schedule.batch)


@dataclass(frozen=True)
class Outcome:
    """A trained and compressed network, and how well it answers."""

    accuracy: float
    """On the test images, in percent."""
    held_in_accuracy: float
    """On the images that settings are chosen by."""
    seconds: float
    """Of the training, on whatever device that was."""
    state: Mapping[str, torch.Tensor]
    factored: Mapping[str, tuple[str, int]] = field(default_factory=dict)
    """Scheme and groups of the layers that are two layers now, by the weight they had."""
    tensors: bytes = b""
    """What the compressed weights consist of, as `compress.storage` writes them."""
    uncompressed_accuracy: float | None = None
    """On the test images just before the last truncation, for low rank."""

    def network(self, schedule: Schedule) -> tuple[nn.Module, dict[str, CompressedTensor]]:
        """The network again, and what its compressed weights consist of."""
        model = build(schedule.depth, schedule.width, 0)
        pairs = {name: self._factors(name, *how) for name, how in self.factored.items()}
        factor(model, pairs)
        model.load_state_dict(dict(self.state))
        return model.eval(), from_bytes(self.tensors) if self.tensors else {}

    def _factors(self, weight: str, scheme: str, groups: int) -> Factors:
        first, second = (
            self.state[f"{weight.removesuffix('.weight')}.{i}.weight"].numpy() for i in (0, 1)
        )
        return Factors(scheme, first, second, groups)


def kept(key: Mapping[str, Any], make: Callable[[], Outcome]) -> Outcome:
    """The outcome under ``key``, made at most once on this machine."""
    text = json.dumps({"format": FORMAT, **key}, sort_keys=True)
    path = cache_directory() / "compression" / f"{hashlib.sha256(text.encode()).hexdigest()[:20]}"
    path = path.with_suffix(".pt")
    if path.is_file():
        found = torch.load(path, weights_only=True)
        return Outcome(**{**found, "tensors": found["tensors"].numpy().tobytes()})
    made = make()
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(f".{os.getpid()}")
    packed = torch.frombuffer(bytearray(made.tensors) or bytearray(1), dtype=torch.uint8)
    fields = {**made.__dict__, "state": dict(made.state), "factored": dict(made.factored)}
    torch.save({**fields, "tensors": packed[: len(made.tensors)]}, draft)
    Path(draft).replace(path)
    return made


def cached_json(
    kind: str, key: Mapping[str, Any], make: Callable[[], dict[str, Any]]
) -> dict[str, Any]:
    """What ``make`` gives for ``key``, made at most once on this machine."""
    text = json.dumps({"format": FORMAT, "kind": kind, **key}, sort_keys=True)
    name = f"{kind}-{hashlib.sha256(text.encode()).hexdigest()[:20]}.json"
    path = cache_directory() / "compression" / name
    if path.is_file():
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return found
    made = make()
    path.parent.mkdir(parents=True, exist_ok=True)
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
    data = split(schedule.data, schedule.device)
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.SGD(
        model.parameters(), learning_rate, momentum=0.9, weight_decay=5e-4, nesterov=True
    )
    fall = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    generator = torch.Generator().manual_seed(seed)
    moves = torch.Generator(schedule.device).manual_seed(seed)
    model.train()
    done, whole = 0, len(data.train) // schedule.batch
    while done < steps:
        order = torch.randperm(len(data.train), generator=generator).to(schedule.device)
        for rows in torch.split(order, schedule.batch)[: min(whole, steps - done)]:
            images = disturbed(data.train.images[rows], data.shift, data.noise, moves)
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


def trained_float(schedule: Schedule, seed: int) -> Outcome:
    """The float network, trained as long as one trains it; most methods begin from it."""
    key = {**schedule.key, "extra_epochs": 0, "extra_learning_rate": 0.0, "seed": seed}

    def make() -> Outcome:
        began = time.perf_counter()
        model = build(schedule.depth, schedule.width, seed).to(schedule.device)
        train(model, schedule, steps_of(schedule, schedule.epochs), schedule.learning_rate, seed)
        return _outcome(model, schedule, began)

    return kept(key, make)


def float_network(schedule: Schedule, seed: int) -> nn.Module:
    """The trained float network, to be changed at will."""
    return trained_float(schedule, seed).network(schedule)[0].to(schedule.device)


def compressed(
    schedule: Schedule, seed: int, recipe: Recipe | None, *, trained: bool, scratch: bool
) -> Outcome:
    """The float network, or one from scratch, trained on for the extra epochs while compressed."""
    began = time.perf_counter()
    extra = steps_of(schedule, schedule.extra_epochs)
    if scratch:
        model: nn.Module = build(schedule.depth, schedule.width, seed).to(schedule.device)
        steps, rate = steps_of(schedule, schedule.epochs) + extra, schedule.learning_rate
    else:
        model = float_network(schedule, seed)
        steps, rate = extra, schedule.extra_learning_rate
    before: list[float] = []

    def loop(net: nn.Module, asked: int, after_step: Step) -> None:
        del asked
        train(net, schedule, steps, rate, seed + 1000, after_step)
        before.append(score(net, split(schedule.data, schedule.device).test)[0])

    if recipe is None:
        if trained:
            loop(model, steps, lambda: None)
        return _outcome(model, schedule, began)
    applied = apply_recipe(model, recipe, loop if trained else None)
    found = _outcome(model, schedule, began, applied.factored, applied.tensors)
    return replace(found, uncompressed_accuracy=before[0] if applied.factored and before else None)


def fine_tuned_after(schedule: Schedule, seed: int, recipe: Recipe) -> Outcome:
    """Compressed from the weights alone, then trained in its new form for the extra epochs."""
    began = time.perf_counter()
    model = float_network(schedule, seed)
    applied = apply_recipe(model, recipe)
    steps = steps_of(schedule, schedule.extra_epochs)
    train(model, schedule, steps, schedule.extra_learning_rate, seed + 1000)
    return _outcome(model, schedule, began, applied.factored)


def _outcome(
    model: nn.Module,
    schedule: Schedule,
    began: float,
    factored: Mapping[str, Factors] | None = None,
    tensors: Mapping[str, CompressedTensor] | None = None,
) -> Outcome:
    data = split(schedule.data, schedule.device)
    accuracy, held_in = score(model, data.test)[0], score(model, data.held_in)[0]
    return Outcome(
        accuracy,
        held_in,
        time.perf_counter() - began,
        {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()},
        {name: (pair.scheme, pair.groups) for name, pair in (factored or {}).items()},
        to_bytes(tensors) if tensors else b"",
    )


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
    model(split(schedule.data, schedule.device).test.images[:1])
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
