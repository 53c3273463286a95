"""What all compression methods have in common: attach, step, finish.

    method = SLQ(bits=4)
    method.attach(model)
    for inputs, labels in data:
        optimizer.zero_grad()
        loss(model(inputs), labels).backward()
        optimizer.step()
        method.step()
    tensors = method.finish()

A method is a frozen dataclass of its hyper-parameters. What one use of it needs lives in a `Run`,
from `attach` to `finish`, so that the same method may be attached again afterwards.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal, Protocol

from torch import nn

from compress.formats import CompressedTensor
from compress.sites import Site, chosen_sites, sites_of
from splitter.errors import UsageError

Family = Literal["low rank", "bits"]


class Run(Protocol):
    """One use of a method, on one network."""

    @property
    def steps(self) -> int:
        """Training steps until the method has nothing left to change."""

    def step(self) -> None:
        """After each update of the weights."""

    def finish(self) -> dict[str, CompressedTensor]:
        """Leave the compressed weights in the network, and tell what they consist of."""


@dataclass(slots=True)
class _Slot:
    run: Run | None = None


@dataclass(frozen=True)
class Method(ABC):
    """A way to compress the weights of a network while, or without, training it."""

    name: ClassVar[str]
    family: ClassVar[Family]
    fits_requests: ClassVar[bool] = False
    """Whether, given unlabelled requests, layers are fitted to them instead of trained."""

    _slot: _Slot = field(default_factory=_Slot, init=False, repr=False, compare=False)

    def attach(
        self,
        model: nn.Module,
        layers: Sequence[str] | None = None,
        layer_names: Mapping[str, str] | None = None,
    ) -> None:
        """Begin to compress ``model``, in place.

        Args:
            model: an ``nn.Module``, or an fx module at ATen level such as that of a Program.
            layers: patterns of layer or parameter names; by default those the paper compresses.
            layer_names: name of the layer that reads each weight, where it is not the owner's path.

        Raises:
            UsageError: the method is attached already, a pattern matches nothing, or a layer that
                was asked for by name cannot be compressed this way.
        """
        sites = sites_of(model, layer_names)
        self.attach_to(
            model, self.default_sites(sites) if layers is None else chosen_sites(sites, layers)
        )

    def attach_to(self, model: nn.Module, sites: Sequence[Site]) -> None:
        """As `attach`, for exactly these sites of ``model``."""
        if self._slot.run is not None:
            raise UsageError(f"{self.name} is attached to a network already; call finish() first")
        for site in sites:
            fault = self.fault_of(site)
            if fault:
                raise UsageError(
                    f"layer {site.layer} cannot be compressed with {self.name}: {fault}"
                )
        self._slot.run = self.begin(model, tuple(sites))

    def step(self) -> None:
        """To be called after each ``optimizer.step()``.

        Raises:
            UsageError: the method is not attached.
        """
        self._running().step()

    def finish(self) -> dict[str, CompressedTensor]:
        """End: the network keeps its form and holds the compressed weights as floats.

        Rounds that were not trained yet are done at once, so that without any `step` this
        compresses from the weights alone. `compress.rewrite.factor` puts factor pairs in place.

        Returns:
            What each weight consists of, by the name of its parameter.

        Raises:
            UsageError: the method is not attached.
        """
        tensors = self._running().finish()
        self._slot.run = None
        return tensors

    @property
    def total_steps(self) -> int:
        """Training steps the whole schedule takes on the network it is attached to."""
        return self._running().steps

    @abstractmethod
    def default_sites(self, sites: Sequence[Site]) -> tuple[Site, ...]:
        """The sites that are compressed when nobody says which."""

    def fault_of(self, site: Site) -> str | None:
        """Why ``site`` cannot be compressed this way; None, as any weight can be quantized."""
        del site
        return None

    @abstractmethod
    def begin(self, model: nn.Module, sites: tuple[Site, ...]) -> Run:
        """A new use of this method."""

    def _running(self) -> Run:
        if self._slot.run is None:
            raise UsageError(f"{self.name} is not attached to a network; call attach(model) first")
        return self._slot.run


def at_least(method: str, **values: tuple[float, float]) -> None:
    """Check hyper-parameters: name=(value, lowest).

    Raises:
        UsageError: a value is lower.
    """
    for name, (value, lowest) in values.items():
        if not value >= lowest:
            raise UsageError(f"{method}: {name} must be {lowest} or more, not {value}")


def one_of(method: str, name: str, value: str, known: Sequence[str]) -> None:
    """Check that a hyper-parameter is one of a few words.

    Raises:
        UsageError: it is not.
    """
    if value not in known:
        raise UsageError(f"{method}: {name} must be one of {', '.join(known)}, not '{value}'")
