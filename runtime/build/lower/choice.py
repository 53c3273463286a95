"""The ways in which one layer can be computed: lowering offers them, one is chosen.

Without measurements the cost model's cheapest offer is taken; `runtime/build/tune` measures others.
An algorithm becomes a candidate by being offered: see docs/tuning.md.
"""

from dataclasses import dataclass, fields
from typing import Any, Literal, Self, get_args

from runtime.build.lower.tile import Tile

Order = Literal["", "channels-inside", "space-inside"]


@dataclass(frozen=True, slots=True)
class Choice:
    """One way to compute a layer's product. Its text form is the key in databases."""

    algorithm: str
    """Name in the table of the operator's lowering."""
    tile: Tile | None = None
    """Register tile."""
    order: Order = ""
    """Which tiles follow one another: those of one position, or of one block of channels; empty
    leaves it to the schedule's rule."""

    @property
    def is_compact(self) -> bool:
        """Whether constants are stored at about their own size."""
        return self.algorithm == "tiled"

    def __str__(self) -> str:
        given = {f.name: getattr(self, f.name) for f in fields(self)[1:]}
        kept = [f"{k}={v}" for k, v in given.items() if v != _DEFAULTS[k]]
        return " ".join([self.algorithm, *kept])

    @classmethod
    def parse(cls, text: str) -> Self:
        """The choice that `str` gave.

        Raises:
            ValueError: the text is none.
        """
        algorithm, *given = text.split(" ")
        pairs = dict(_pair(part) for part in given)
        found = cls(algorithm, **pairs)
        if str(found) != text:
            raise ValueError(f"{text!r} is no choice")
        return found


_DEFAULTS = {f.name: f.default for f in fields(Choice)[1:]}


def _pair(part: str) -> tuple[str, Any]:
    name, equals, value = part.partition("=")
    if not equals or name not in _DEFAULTS:
        raise ValueError(f"{part!r} is no part of a choice")
    if name == "tile":
        return name, Tile.parse(value)
    if name == "order" and value not in get_args(Order):
        raise ValueError(f"{value!r} is no order of tiles")
    return name, int(value) if isinstance(_DEFAULTS[name], int) else value


@dataclass(frozen=True, slots=True)
class Offer:
    """A choice and what the cost model says of it."""

    cost: float
    """Estimated vector instructions per useful multiply-accumulate of a full vector."""
    choice: Choice
