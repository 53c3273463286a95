"""Accuracy by shared weights: one-shot, and few-shot with several networks of shared weights.

Guo et al., "Single Path One-Shot Neural Architecture Search with Uniform Sampling", 2020; Zhao et
al., "Few-shot Neural Architecture Search", 2021. As BINAS does, the heaviest path is trained first.
"""

from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import torch

from splitter.search.estimate.training import Progress as Progress
from splitter.search.estimate.training import Right, Schedule, best_device, evaluate, silent, train
from splitter.search.space.network import ChosenNet
from splitter.search.space.shared import Supernet
from splitter.search.space.space import Architecture
from splitter.zoo.datasets import Images

HEAVIEST_FIRST = 0.2
"""Part of the steps in which only the path of every slot's last choice is trained."""
_RECALIBRATED = 2000
"""Images from which running statistics are found again."""


def heaviest(net: Supernet) -> Architecture:
    """The path with every slot's last choice."""
    return tuple(len(slot.choices) - 1 for slot in net.family.space.slots)


def train_supernet(
    net: Supernet,
    data: Images,
    schedule: Schedule,
    *,
    seed: int = 0,
    heaviest_first: float = HEAVIEST_FIRST,
    pinned: tuple[int, int] | None = None,
    checkpoint: Path | None = None,
    deadline_s: float | None = None,
    progress: Progress = silent,
    what: str = "supernet",
) -> bool:
    """Train one uniformly drawn path a step; whether the schedule was ended in time.

    ``pinned`` is (slot, choice) that every path has. The other arguments, and what is raised, are
    those of `training.train`.
    """
    space, first = net.family.space, heaviest(net)
    warm = int(heaviest_first * schedule.steps(len(data)))

    def forward(images: torch.Tensor, step: int) -> torch.Tensor:
        if step < warm:
            return net(images, first)  # type: ignore[no-any-return]
        rng = Random(seed * 1_000_003 + step)
        return net(images, space.random(rng, pinned))  # type: ignore[no-any-return]

    key = f"supernet of {space.name} ({space.size} networks), {heaviest_first:g} heaviest, {pinned}"
    return train(
        *(net, forward, data, schedule),
        seed=seed,
        checkpoint=checkpoint,
        key=key,
        deadline_s=deadline_s,
        progress=progress,
        what=what,
    )


@dataclass(frozen=True)
class OneShot:
    """Accuracy of a path of one network of shared weights on images held in."""

    net: Supernet
    data: Images
    _known: dict[Architecture, float] = field(default_factory=dict, repr=False)

    def score(self, architecture: Architecture) -> float:
        """Part of the images that are classified right."""
        if architecture not in self._known:
            self._known[architecture] = self.on(architecture, self.data).accuracy
        return self._known[architecture]

    def on(self, architecture: Architecture, data: Images) -> Right:
        """How right the path is on other images."""
        self.net.to(best_device())
        return evaluate(lambda x: self.net(x, architecture), data)


@dataclass(frozen=True)
class FewShot:
    """Accuracy of a path in the network that was trained with its choice of one slot."""

    slot: int
    parts: tuple[OneShot, ...]
    """By choice of the slot."""

    def score(self, architecture: Architecture) -> float:
        """Part of the images that are classified right."""
        return self.parts[architecture[self.slot]].score(architecture)


def few_shot(
    net: Supernet,
    train_data: Images,
    held_in: Images,
    slot: int,
    schedule: Schedule,
    *,
    seed: int = 0,
    progress: Progress = silent,
) -> FewShot:
    """One network for each choice of ``slot``, each trained on from ``net``."""
    parts = []
    for choice in range(net.family.space.widths[slot]):
        own = deepcopy(net)
        word = net.family.space.word(slot, choice)
        train_supernet(
            *(own, train_data, schedule),
            seed=seed + 1 + choice,
            heaviest_first=0.0,
            pinned=(slot, choice),
            progress=progress,
            what=f"sub-supernet {word}",
        )
        parts.append(OneShot(own, held_in))
    return FewShot(slot, tuple(parts))


@torch.no_grad()
def recalibrated(network: ChosenNet, data: Images) -> ChosenNet:
    """``network`` with running statistics of its batch norms found from ``data``."""
    norms = [m for m in network.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the mean over batches
    network.train().to(best_device())
    rows = min(_RECALIBRATED, len(data))
    for start in range(0, rows, 500):
        network(data.images[start : min(start + 500, rows)].to(best_device()))
    for norm in norms:
        norm.momentum = 0.1
    return network.eval()
