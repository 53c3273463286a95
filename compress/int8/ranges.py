"""How large activations are, and which 256 numbers they become."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import fx

from splitter.errors import UsageError
from splitter.program import Program

Calibration = Literal["minmax", "mse"]
"""Cover everything that was seen, or what makes the mean squared error least."""
_BINS = 2048
_SHRINKS = 40
_LEVELS = 255


@dataclass(frozen=True, slots=True)
class Numbers:
    """Number q stands for ``scale * (q - zero)``."""

    scale: float
    zero: int

    def number(self, value: float) -> int:
        """The number of ``value``, within 0 to 255."""
        return min(max(round(value / self.scale) + self.zero, 0), _LEVELS)

    @classmethod
    def covering(cls, low: float, high: float) -> "Numbers":
        """Numbers for ``low`` to ``high`` and for zero, which is exact."""
        low, high = min(low, 0.0), max(high, 0.0)
        scale = (high - low) / _LEVELS
        if scale < torch.finfo(torch.float32).tiny:
            return cls(1.0, 0)
        return cls(scale, min(max(round(-low / scale), 0), _LEVELS))


def calibrate(
    program: Program, requests: Iterable[Sequence[torch.Tensor]], method: Calibration
) -> Mapping[str, Numbers]:
    """The numbers for every float tensor of ``program``, by the name of its fx node.

    Raises:
        UsageError: there is no request, or an activation is not finite.
    """
    listed = list(requests)
    if not listed:
        raise UsageError("calibration needs at least one request; give --calibrate a file of them")
    extremes = _Extremes(program.module)
    for request in listed:
        extremes.run(*request)
    for name, (low, high) in extremes.found.items():
        if not (abs(low) < float("inf") and abs(high) < float("inf")):
            raise UsageError(f"activation {name} is not finite for a calibration request")
    if method == "minmax":
        return {name: Numbers.covering(*ends) for name, ends in extremes.found.items()}
    counts = _Histograms(program.module, extremes.found)
    for request in listed:
        counts.run(*request)
    return {
        name: _least_squares(low, high, counts.found[name])
        for name, (low, high) in extremes.found.items()
    }


class Observer(fx.Interpreter, ABC):
    """Sees the value of every node that is a float tensor."""

    def run(self, *args: Any, **kwargs: Any) -> Any:
        """The outputs for one request."""
        with torch.no_grad():
            return super().run(*args, **kwargs)

    def run_node(self, n: fx.Node) -> Any:
        """The node's value, which is seen on the way."""
        value = super().run_node(n)
        seen = n.op in ("placeholder", "call_function") and isinstance(value, torch.Tensor)
        if seen and value.dtype == torch.float32 and value.numel():
            self.see(n.name, value)
        return value

    @abstractmethod
    def see(self, name: str, value: torch.Tensor) -> None:
        """What is made of the value of the node called ``name``."""


class _Extremes(Observer):
    def __init__(self, module: fx.GraphModule) -> None:
        super().__init__(module)
        self.found: dict[str, tuple[float, float]] = {}

    def see(self, name: str, value: torch.Tensor) -> None:
        low, high = (float(v) for v in value.aminmax())
        before = self.found.get(name, (low, high))
        self.found[name] = (min(low, before[0]), max(high, before[1]))


class _Histograms(Observer):
    def __init__(self, module: fx.GraphModule, extremes: Mapping[str, tuple[float, float]]) -> None:
        super().__init__(module)
        self.extremes = extremes
        self.found: dict[str, torch.Tensor] = {}

    def see(self, name: str, value: torch.Tensor) -> None:
        low, high = self.extremes[name]
        counts = torch.histc(value, _BINS, low, high) if low < high else torch.zeros(_BINS)
        self.found[name] = self.found.get(name, torch.zeros(_BINS)) + counts


def _least_squares(low: float, high: float, counts: torch.Tensor) -> Numbers:
    """Of ever narrower ranges the one whose numbers have the least squared error."""
    if not low < high:
        return Numbers.covering(low, high)
    width = (high - low) / _BINS
    centres = low + width * (torch.arange(_BINS, dtype=torch.float64) + 0.5)
    best, least = Numbers.covering(low, high), float("inf")
    for step in range(_SHRINKS):
        share = 1 - step / _SHRINKS * 0.75
        numbers = Numbers.covering(low * share, high * share)
        codes = (centres / numbers.scale).round() + numbers.zero
        gaps = (codes.clamp(0, _LEVELS) - numbers.zero) * numbers.scale - centres
        error = float((counts.double() * gaps.square()).sum())
        if error < least:
            best, least = numbers, error
    return best
