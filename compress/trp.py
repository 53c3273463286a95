"""TRP: trained rank pruning (Xu et al., IJCAI 2020, arXiv 2004.14566).

While the network trains, every few steps each layer is replaced by its low-rank approximation, and
the nuclear norm pulls singular values towards zero. In the end the trailing ones are so
small that factoring the layers costs nothing.

Deviations: strides are kept (in the kernel's factor; for ``vh`` one axis each), groups are
factored group by group, all matrices of a layer have one rank, and a layer whose factors would not
be smaller stays whole.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

from compress.formats import CompressedTensor
from compress.lowrank import NoDecompositionError, decompose
from compress.method import at_least
from compress.sites import Site, weight_of
from compress.svd import LowRank


@dataclass(frozen=True)
class TRP(LowRank):
    """Truncation in training; at the end factors, by default by the threshold."""

    name: ClassVar[str] = "trp"

    threshold: float = 5e-2
    """At the end keep singular values above this; 0 leaves it to ``energy``."""
    period: int = 5
    """Steps between truncations."""
    train_energy: float = 0.98
    """Share of the squared singular values that a truncation in training keeps. The paper has 0.9;
    in short trainings that compounds too quickly."""
    nuclear: float = 3e-4
    """Weight of the nuclear norm's sub-gradient, in the step after each truncation."""
    steps: int = 1000
    """Training steps, where the training asks the method."""

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(
            self.name,
            period=(self.period, 1),
            nuclear=(self.nuclear, 0),
            steps=(self.steps, 1),
            train_energy=(self.train_energy, 1e-6),
            **{"1 - train_energy": (1 - self.train_energy, 0)},
        )

    def begin(self, model: nn.Module, sites: tuple[Site, ...]) -> "_TrainedRun":
        """The first truncation is done at once."""
        return _TrainedRun(self, model, sites)


class _TrainedRun:
    def __init__(self, method: TRP, model: nn.Module, sites: tuple[Site, ...]) -> None:
        self._method, self._model, self._sites = method, model, sites
        self._done = 0
        self._pulls: dict[str, torch.Tensor] = {}
        """What is added to the next gradient of a weight."""
        weights = [(s.weight, weight_of(model, s)) for s in sites]
        self._hooks = [
            w.register_hook(_Pull(self._pulls, name))  # type: ignore[no-untyped-call]
            for name, w in weights
            if w.requires_grad
        ]
        self._truncate()

    @property
    def steps(self) -> int:
        """As the method says."""
        return self._method.steps

    def step(self) -> None:
        """Truncate when it is time."""
        self._done += 1
        self._pulls.clear()
        if self._done % self._method.period == 0:
            self._truncate()

    def finish(self) -> dict[str, CompressedTensor]:
        """Truncate for the last time, by the final rule."""
        for hook in self._hooks:
            hook.remove()
        return self._method.result(self._model, self._sites)

    @torch.no_grad()
    def _truncate(self) -> None:
        for site in self._sites:
            weight = weight_of(self._model, site)
            try:
                found = decompose(weight, self._method.scheme, site.groups)
            except NoDecompositionError:
                continue  # as in the paper: this layer, this time
            rank = found.rank_for_energy(self._method.train_energy)
            if self._method.rank:
                rank = min(rank, self._method.rank)
            weight.copy_(found.truncated(rank))
            if self._method.nuclear:
                pull = self._method.nuclear * found.nuclear_gradient(rank)
                self._pulls[site.weight] = pull.to(weight.dtype)


class _Pull:
    """Adds the nuclear norm's sub-gradient to a weight's gradient, once per truncation."""

    def __init__(self, pulls: dict[str, torch.Tensor], name: str) -> None:
        self._pulls, self._name = pulls, name

    def __call__(self, gradient: torch.Tensor) -> torch.Tensor:
        """The gradient to use."""
        pull = self._pulls.pop(self._name, None)
        return gradient if pull is None else gradient + pull
