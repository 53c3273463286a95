"""Training of traced programs while they are compressed: with labels, or from the original network.

Without labels the original network is the teacher: the compressed one learns to give its outputs on
unlabelled inputs.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import fx, nn
from torch.nn import functional as F

from compress.networks import batched
from splitter.errors import InputError
from splitter.program import Program, check_tensor, dtype_name


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
    teach = batched(program.module)

    def train(model: nn.Module, steps: int, after_step: Callable[[], None]) -> None:
        assert isinstance(model, fx.GraphModule)
        _train(model, teach, samples, settings, steps, after_step)

    return train


def _train(
    model: fx.GraphModule,
    teach: Callable[[Sequence[torch.Tensor]], tuple[torch.Tensor, ...]],
    samples: Samples,
    settings: Training,
    steps: int,
    after_step: Callable[[], None],
) -> None:
    learn = batched(model)
    optimizer = torch.optim.Adam(model.parameters(), settings.learning_rate)
    fall = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    generator = torch.Generator().manual_seed(settings.seed)
    for done in range(steps):
        rows = torch.randint(
            len(samples), (min(settings.batch, len(samples)),), generator=generator
        )
        batch = samples.take(rows)
        with torch.no_grad():
            wanted = teach(batch.inputs)
        optimizer.zero_grad()
        loss = _loss(learn(batch.inputs), wanted, batch.labels)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        fall.step()
        after_step()
        if settings.progress is not None:
            settings.progress(done + 1, steps, f"loss {float(loss.detach()):.4g}")


def _loss(
    found: Sequence[torch.Tensor], wanted: Sequence[torch.Tensor], labels: torch.Tensor | None
) -> torch.Tensor:
    """Squared error of each float output, relative to its square; plus cross-entropy for labels."""
    parts = [
        (y - t).square().sum() / t.square().sum().clamp(min=1e-12)
        for y, t in zip(found, wanted, strict=True)
        if t.is_floating_point()
    ]
    if labels is not None:
        logits = found[0].reshape(-1, found[0].shape[-1])
        parts.append(F.cross_entropy(logits, labels.reshape(-1)))
    return torch.stack(parts).sum()
