"""Training that can be stopped at any moment and goes on where it was, with the same result.

What a step does depends on the seed and the step's number alone: which images, how they are
moved, which path. A checkpoint appears whole or not at all.
"""

import io
from collections.abc import Callable
from dataclasses import asdict, dataclass
from math import cos, pi
from pathlib import Path
from time import monotonic
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from splitter.errors import UsageError
from splitter.files import write_whole
from splitter.zoo.datasets import Images, disturbed

Forward = Callable[[torch.Tensor, int], torch.Tensor]
"""Logits of (images, number of the step)."""
Progress = Callable[[int, int, str], None]
_CHECKPOINT_S = 30.0
_EVALUATED = 500
"""Images at a time when accuracy is measured."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """How long and how fast; SGD with Nesterov momentum, learning rate falling as a cosine."""

    epochs: float
    batch: int = 128
    learning_rate: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 4e-5
    shift: int = 2
    """Pixels by which images are moved at random."""
    flip: bool = True
    """Whether images are mirrored at random."""

    def steps(self, images: int) -> int:
        """Steps in all."""
        return max(1, round(self.epochs * images / self.batch))


def silent(done: int, total: int, what: str) -> None:
    """No progress shown."""
    del done, total, what


def best_device() -> torch.device:
    """A GPU where there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def to_best_device(model: nn.Module) -> None:
    """Move ``model`` there, in the layout in which small convolutions are fastest."""
    where = best_device()
    layout = torch.contiguous_format if where.type == "cuda" else torch.channels_last
    model.to(where)
    model.to(memory_format=layout)  # type: ignore[call-overload]


def to_plain(model: nn.Module) -> None:
    """Move ``model`` back to the processor and the usual layout, as tracing wants it."""
    model.cpu()
    model.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]


def train(
    model: nn.Module,
    forward: Forward,
    data: Images,
    schedule: Schedule,
    *,
    seed: int = 0,
    checkpoint: Path | None = None,
    key: str = "",
    deadline_s: float | None = None,
    progress: Progress = silent,
    what: str = "training",
) -> bool:
    """Train ``model`` in place; whether the schedule was ended before ``deadline_s``.

    Args:
        model: what is trained; moved to the best device there is.
        forward: logits of a batch in the numbered step, by ``model``.
        data: labelled images.
        schedule: how long and how fast.
        seed: of images' order and movements.
        checkpoint: file that training goes on from, and is kept in.
        key: says what is trained; a checkpoint of another is refused.
        deadline_s: of `time.monotonic`; the learning rate then falls by time instead of steps.
        progress: called with steps done, all steps, and ``what``.
        what: what is trained, in words.

    Raises:
        UsageError: the checkpoint is damaged or of another training.
    """
    to_best_device(model)
    model.train()
    data = data.to(best_device())  # once: a step then copies nothing and waits for nothing
    run = _Run(model, schedule, schedule.steps(len(data)), seed, checkpoint, key)
    run.load()
    began, saved = monotonic(), monotonic()
    first, whole = run.step, True
    try:
        while run.step < run.steps:
            if deadline_s is not None and _late(run, first, began, deadline_s):
                run.save()
                return False
            whole = False
            run.advance(forward, data)
            whole = True
            progress(run.step, run.steps, what)
            if monotonic() - saved > _CHECKPOINT_S:
                run.save()
                saved = monotonic()
    except KeyboardInterrupt:
        if whole:  # a step that was cut in half is done again from the last checkpoint
            run.save()
        raise
    run.save()
    return True


def _late(run: "_Run", first: int, began: float, deadline_s: float) -> bool:
    """Whether time is up; while it is not, steps that will not fit are taken off the schedule."""
    now = monotonic()
    done = run.step - first
    if done >= _PACE and done % _PACE == 0:
        pace_s = (now - began) / done
        # From the whole schedule each time: a pause that made the pace look slow is made up for.
        run.steps = min(run.planned, run.step + max(0, int((deadline_s - now) / pace_s)))
    return now > deadline_s


_PACE = 20
"""Steps after which the pace is known."""


class _Run:
    """A model in training: its optimiser and how far it is."""

    def __init__(
        self,
        model: nn.Module,
        schedule: Schedule,
        steps: int,
        seed: int,
        checkpoint: Path | None,
        key: str,
    ) -> None:
        self.model = model
        self.schedule = schedule
        self.planned = self.steps = steps
        self.seed = seed
        self.checkpoint = checkpoint
        self.key = f"{key} {asdict(schedule)} seed {seed}"
        self.step = 0
        self.order = torch.empty(0, dtype=torch.int64)
        self.epoch = -1
        self.optimizer = torch.optim.SGD(
            model.parameters(),
            lr=schedule.learning_rate,
            momentum=schedule.momentum,
            weight_decay=schedule.weight_decay,
            nesterov=schedule.momentum > 0,
        )

    def advance(self, forward: Forward, data: Images) -> None:
        """One step."""
        images, labels = self.batch(data)
        for group in self.optimizer.param_groups:
            group["lr"] = self.schedule.learning_rate * 0.5 * (1 + cos(pi * self.step / self.steps))
        self.optimizer.zero_grad(set_to_none=True)
        loss = functional.cross_entropy(forward(images, self.step), labels)
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        self.step += 1

    def batch(self, data: Images) -> tuple[torch.Tensor, torch.Tensor]:
        """The images and labels of this step, drawn where the images are."""
        size, where = min(self.schedule.batch, len(data)), data.labels.device
        epoch, place = divmod(self.step * size, len(data) // size * size)
        if epoch != self.epoch:
            shuffled = torch.Generator().manual_seed(self.seed * 1_000_003 + epoch)
            self.order = torch.randperm(len(data), generator=shuffled).to(where)
            self.epoch = epoch
        rows = self.order[place : place + size]
        generator = torch.Generator(where).manual_seed(self.seed * 7_919 + self.step)
        images = disturbed(data.images[rows], self.schedule.shift, 0.0, generator)
        if self.schedule.flip:
            mirrored = torch.rand(len(rows), generator=generator, device=where) < 0.5
            images = torch.where(mirrored[:, None, None, None], images.flip(3), images)
        return images, data.labels[rows]

    def save(self) -> None:
        """Keep everything that the next step needs."""
        if self.checkpoint is None:
            return
        file = io.BytesIO()
        state = {
            "key": self.key,
            "step": self.step,
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }
        torch.save(state, file)
        self.checkpoint.parent.mkdir(parents=True, exist_ok=True)
        write_whole(self.checkpoint, file.getvalue())

    def load(self) -> None:
        """Go on from the checkpoint if there is one."""
        if self.checkpoint is None or not self.checkpoint.is_file():
            return
        state = read_checkpoint(self.checkpoint)
        if state.get("key") != self.key:
            raise UsageError(
                f"{self.checkpoint} is of another training ({state.get('key')}); "
                "delete it or give another folder"
            )
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step = state["step"]


def read_checkpoint(path: Path) -> dict[str, Any]:
    """What a checkpoint holds.

    Raises:
        UsageError: it is damaged.
    """
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise UsageError(f"{path} is no checkpoint: {error}; delete it to start anew") from error
    return state


@dataclass(frozen=True, slots=True)
class Right:
    """How right a network is."""

    accuracy: float
    """Part of the images whose class has the largest logit."""
    probability: float
    """Of the right class, the mean over images: the accuracy to expect if classes were drawn as
    the network sees them. It tells two networks apart with far fewer images.
    """


@torch.no_grad()
def evaluate(forward: Callable[[torch.Tensor], torch.Tensor], data: Images) -> Right:
    """How right ``forward`` is on ``data``."""
    data = data.to(best_device())
    right = torch.zeros((), dtype=torch.int64, device=data.labels.device)
    probability = torch.zeros((), dtype=torch.float64, device=data.labels.device)
    for start in range(0, len(data), _EVALUATED):
        part = data.rows(start, min(start + _EVALUATED, len(data)))
        logits = forward(part.images.to(memory_format=torch.channels_last))
        right += (logits.argmax(1) == part.labels).sum()
        probability += logits.softmax(1).gather(1, part.labels[:, None]).sum()
    return Right(int(right) / len(data), float(probability) / len(data))


def train_network(
    network: nn.Module, data: Images, schedule: Schedule, *, seed: int = 0, **options: Any
) -> bool:
    """`train` for a plain network; options are those of `train`."""
    return train(network, lambda x, _: network(x), data, schedule, seed=seed, **options)


def network_accuracy(network: nn.Module, data: Images) -> float:
    """Accuracy of a plain network in evaluation mode."""
    to_best_device(network.eval())
    return evaluate(network, data).accuracy
