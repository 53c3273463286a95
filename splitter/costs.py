"""Seconds of every layer on every device, and where each figure comes from."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Source = Literal["roofline", "measured"]


@dataclass(frozen=True, slots=True)
class LayerCost:
    """Cost of one layer on one device."""

    seconds: float
    source: Source
    """Whether the figure was computed from the device card or measured there."""


@dataclass(frozen=True)
class CostTable:
    """Cost[layer name, device name]; complete for a graph and a topology."""

    entries: Mapping[tuple[str, str], LayerCost]

    def __getitem__(self, key: tuple[str, str]) -> LayerCost:
        return self.entries[key]

    def seconds(self, layer: str, device: str) -> float:
        """Compute time of ``layer`` on ``device``."""
        return self.entries[layer, device].seconds
