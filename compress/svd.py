"""Plain SVD: factor the layers of a trained network as they are.

The control for TRP (Zhang et al., Accelerating Very Deep Convolutional Networks, 2016, in its
linear form). Both share `LowRank`: which rank a layer keeps, and what `finish` gives.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

from compress.formats import CompressedTensor
from compress.lowrank import (
    SCHEMES,
    Decomposition,
    NoDecompositionError,
    decompose,
    fault_of,
    is_smaller,
)
from compress.method import Family, Method, at_least, one_of
from compress.sites import Site, weight_of
from splitter.errors import ModelError, UsageError


@dataclass(frozen=True)
class LowRank(Method):
    """A method that gives a layer two factors.

    Of the rules for the rank the first that is set counts: ``rank``, ``threshold``, ``energy``.
    """

    family: ClassVar[Family] = "low rank"

    scheme: str = "nc"
    """``nc``: kernel to r channels, then 1x1; ``vh``: column, then row kernel; ``nd``: 1x1, then
    r single-channel kernels per output."""
    rank: int = 0
    """Rank per group (for ``nd`` per output); 0 leaves it to the other rules."""
    threshold: float = 0.0
    """Keep singular values above this; 0 leaves it to ``energy``."""
    energy: float = 0.9
    """Share of the squared singular values that is kept."""
    multiple: int = 1
    """Ranks are raised to a multiple of this where the factors still are smaller: kernels compute
    blocks of channels, and a block that is not full takes as long."""

    def __post_init__(self) -> None:
        one_of(self.name, "scheme", self.scheme, SCHEMES)
        at_least(self.name, rank=(self.rank, 0), threshold=(self.threshold, 0))
        at_least(self.name, multiple=(self.multiple, 1))
        if not 0 < self.energy <= 1:
            raise UsageError(
                f"{self.name}: energy must be above 0 and at most 1, not {self.energy}"
            )

    def default_sites(self, sites: Sequence[Site]) -> tuple[Site, ...]:
        """Convolutions with a kernel, but the first; those that cannot be factored are left."""
        spatial = [s for s in sites if s.is_spatial]
        return tuple(s for s in spatial[1:] if self.fault_of(s) is None)

    def fault_of(self, site: Site) -> str | None:
        """Depends on the scheme and on who else reads the weight."""
        return fault_of(site, self.scheme)

    def kept_rank(self, found: Decomposition) -> int:
        """The rank by the first rule that is set."""
        if self.rank:
            return min(self.rank, found.values.shape[1])
        if self.threshold:
            return found.rank_for_threshold(self.threshold)
        return found.rank_for_energy(self.energy)

    def _raised(self, site: Site, rank: int, most: int) -> int:
        """The next multiple, if there is one that saves something."""
        raised = -(-rank // self.multiple) * self.multiple
        return raised if raised <= most and is_smaller(site, self.scheme, raised) else rank

    def result(self, model: nn.Module, sites: Sequence[Site]) -> dict[str, CompressedTensor]:
        """Truncate every layer in place; factors of those that become smaller by them.

        Raises:
            ModelError: a weight is not finite.
        """
        tensors: dict[str, CompressedTensor] = {}
        for site in sites:
            weight = weight_of(model, site)
            try:
                found = decompose(weight, self.scheme, site.groups)
            except NoDecompositionError as error:
                raise ModelError(
                    f"weight {site.weight} cannot be factored ({error}); train with a lower "
                    "learning rate, or leave the layer out"
                ) from error
            rank = self._raised(site, self.kept_rank(found), found.values.shape[1])
            if is_smaller(site, self.scheme, rank):
                factors = found.factors(rank)
                with torch.no_grad():
                    weight.copy_(torch.from_numpy(factors.dense()))
                tensors[site.weight] = factors
        return tensors


class _PlainRun:
    steps = 0

    def __init__(self, method: LowRank, model: nn.Module, sites: tuple[Site, ...]) -> None:
        self._method, self._model, self._sites = method, model, sites

    def step(self) -> None:
        """Nothing happens in training."""

    def finish(self) -> dict[str, CompressedTensor]:
        """Truncate and factor."""
        return self._method.result(self._model, self._sites)


@dataclass(frozen=True)
class SVD(LowRank):
    """Factors of the weights as they are when it ends."""

    name: ClassVar[str] = "svd"

    def begin(self, model: nn.Module, sites: tuple[Site, ...]) -> _PlainRun:
        """Nothing is changed before the end."""
        return _PlainRun(self, model, sites)
