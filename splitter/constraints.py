"""What a placement must respect besides memory, as the user wrote it. Pure values.

docs/constraints.md has every rule with its TOML, command-line and Python form. Layers are named by
shell-style patterns (``features.1.*``).
"""

from dataclasses import dataclass, fields
from typing import Any


@dataclass(frozen=True, slots=True)
class Constraints:
    """Rules that hold together; ``a + b`` are the rules of both."""

    pins: tuple[tuple[str, str], ...] = ()
    """(layer pattern, device): matching layers run there."""
    bans: tuple[tuple[str, str], ...] = ()
    """(layer pattern, device): matching layers never run there."""
    private_input: bool = False
    """The model's raw inputs never leave the device where they are born."""
    max_sent_bytes: int | None = None
    """Cap on the bytes that all links together carry for one request."""
    together: tuple[tuple[str, ...], ...] = ()
    """Layer patterns: all layers that match any pattern of one entry run on one device."""
    contiguous: bool = False
    """Devices can be put in an order in which no tensor goes back, as the stages of a pipeline; so
    no path leaves a device and comes back. Layers of kind ``backward`` do not count."""

    def __add__(self, other: "Constraints") -> "Constraints":
        """Both at once; of two caps the smaller holds."""
        names = [field.name for field in fields(self)]
        return Constraints(**{n: _both(getattr(self, n), getattr(other, n)) for n in names})


def _both(one: Any, other: Any) -> Any:
    """Lists joined, flags either, caps the smaller."""
    if isinstance(one, tuple):
        return one + other
    if isinstance(one, bool):
        return one or other
    return min((cap for cap in (one, other) if cap is not None), default=None)
