"""Training of traced programs while they are compressed.

The original network is the teacher: the compressed one learns to give its outputs. In a training as
short as this that is worth more than labels, which add to it with little weight.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import fx, nn
from torch.nn import functional as F

from compress.networks import Outputs, batched
from splitter.errors import InputError
from splitter.program import Program, check_tensor, dtype_name

_KEPT_BYTES = 1 << 28
"""The teacher's outputs are kept where all of them take no more."""


@dataclass(frozen=True)
class Samples:
    """Requests to train with."""

    inputs: tuple[torch.Tensor, ...]
    """One tensor per model input: requests along a first axis before the input's own shape."""
    labels: torch.Tensor | None = None
    """Class of each request (int64 [n]), or one for each of its rows ([n, batch])."""

    def __len__(self) -> int:
        return len(self.inputs[0])

    def check(self, program: Program) -> None:
        """Raise InputError unless these are requests of ``program``."""
        names = program.graph.inputs
        if len(names) != len(self.inputs) or not len(self):
            raise InputError(
                f"{program.graph.name} takes {', '.join(names)}; give one or more of each"
            )
        for name, value in zip(names, self.inputs, strict=True):
            shape = tuple(value.shape[1:])
            check_tensor(program.graph.tensors[name], shape, dtype_name(value.dtype))

    def requests(self) -> list[tuple[torch.Tensor, ...]]:
        """One tensor per model input for each request."""
        return list(zip(*self.inputs, strict=True))

    def take(self, rows: torch.Tensor) -> "Samples":
        """The requests numbered ``rows``."""
        labels = None if self.labels is None else self.labels[rows]
        return Samples(tuple(value[rows] for value in self.inputs), labels)


@dataclass(frozen=True)
class Training:
    """Settings of the training."""

    batch: int = 16
    """Requests per update."""
    learning_rate: float = 1e-4
    """Of Adam at the start; falls to zero along a cosine."""
    seed: int = 0
    """Of the order of the requests."""
    label_weight: float = 0.1
    """Of the cross-entropy of labels, beside the distance from the teacher."""
    progress: Callable[[int, int, str], None] | None = None
    """Is told updates done, updates in all, and the loss."""


def trainer(
    program: Program, samples: Samples, settings: Training
) -> Callable[[nn.Module, int, Callable[[], None]], None]:
    """What `apply_recipe` trains copies of ``program`` with.

    Raises:
        InputError: the samples do not fit.
    """
    samples.check(program)
    teacher = _Teacher(program, samples)

    def train(model: nn.Module, steps: int, after_step: Callable[[], None]) -> None:
        assert isinstance(model, fx.GraphModule)
        _train(model, teacher, samples, settings, steps, after_step)

    return train


class _Teacher:
    """Outputs of the original network; of small ones, each sample's are computed once."""

    def __init__(self, program: Program, samples: Samples) -> None:
        self._run, self._samples = batched(program.module), samples
        graph = program.graph
        size = len(samples) * sum(graph.tensors[name].bytes for name in graph.outputs)
        self._kept: Outputs | None = None
        self._known = torch.zeros(len(samples), dtype=torch.bool)
        self._keeps = size <= _KEPT_BYTES

    @torch.no_grad()
    def outputs(self, rows: torch.Tensor) -> Outputs:
        """Of the samples numbered ``rows``."""
        if not self._keeps:
            return self._run(self._samples.take(rows).inputs)
        new = torch.unique(rows[~self._known[rows]])
        if len(new):
            self._keep(new, self._run(self._samples.take(new).inputs))
        assert self._kept is not None
        return tuple(kept[rows] for kept in self._kept)

    def _keep(self, rows: torch.Tensor, found: Outputs) -> None:
        if self._kept is None:
            count = len(self._samples)
            self._kept = tuple(y.new_zeros((count, *y.shape[1:])) for y in found)
        for kept, y in zip(self._kept, found, strict=True):
            kept[rows] = y
        self._known[rows] = True


def _train(
    model: fx.GraphModule,
    teacher: _Teacher,
    samples: Samples,
    settings: Training,
    steps: int,
    after_step: Callable[[], None],
) -> None:
    learn = batched(model)
    optimizer = torch.optim.Adam(model.parameters(), settings.learning_rate)
    fall = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    generator = torch.Generator().manual_seed(settings.seed)
    orders = _orders(len(samples), min(settings.batch, len(samples)), generator)
    for done, rows in zip(range(steps), orders, strict=False):
        batch = samples.take(rows)
        optimizer.zero_grad()
        loss = _loss(
            learn(batch.inputs), teacher.outputs(rows), batch.labels, settings.label_weight
        )
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        fall.step()
        after_step()
        if settings.progress is not None:
            settings.progress(done + 1, steps, f"loss {float(loss.detach()):.4g}")


def _orders(count: int, size: int, generator: torch.Generator) -> Iterator[torch.Tensor]:
    """Numbers of the samples of each batch: all of them in random order, again and again."""
    while True:
        order = torch.randperm(count, generator=generator)
        yield from torch.split(order[: count - count % size], size)


def _loss(
    found: Sequence[torch.Tensor],
    wanted: Sequence[torch.Tensor],
    labels: torch.Tensor | None,
    label_weight: float,
) -> torch.Tensor:
    """Squared error of each float output, relative to its square; plus cross-entropy for labels."""
    parts = [
        (y - t).square().sum() / t.square().sum().clamp(min=1e-12)
        for y, t in zip(found, wanted, strict=True)
        if t.is_floating_point()
    ]
    if labels is not None:
        logits = found[0].reshape(-1, found[0].shape[-1])
        parts.append(label_weight * F.cross_entropy(logits, labels.reshape(-1)))
    return torch.stack(parts).sum()
