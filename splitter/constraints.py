"""What a placement must respect besides memory, as the user wrote it. Pure values.

docs/constraints.md has every rule with its TOML, command-line and Python form. Layers are named by
shell-style patterns (``features.1.*``).
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from splitter.objective import objective_noun, quantity

Key = tuple[str, Any]
"""(field of `Constraints`, entry of it): names one rule."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule that can be kept or dropped by itself."""

    key: Key
    words: str
    """What it demands, to stand after "under" or "conflicts with"."""
    origin: str = ""
    """What the user wrote and where; empty when the rule was made in Python."""

    def __str__(self) -> str:
        return f"{self.words} ({self.origin})" if self.origin else self.words


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
    apart: tuple[tuple[str, ...], ...] = ()
    """Layer patterns: layers of different patterns of one entry never share a device; an entry of
    one pattern keeps each of its layers from all its others."""
    max_devices: int | None = None
    """Most devices that run layers."""
    max_cuts: int | None = None
    """Most tensors, made by one layer and read by another, that a second device reads."""
    link_caps: tuple[tuple[str, str, int], ...] = ()
    """(from, to, bytes): cap on what this link carries for one request."""
    energy_caps: tuple[tuple[str, float], ...] = ()
    """(device, joules): cap on what computing takes there for one request."""
    reserves: tuple[tuple[str, int], ...] = ()
    """(device, bytes): memory that the plan leaves free there."""
    drained: tuple[str, ...] = ()
    """Devices on which nothing runs; tensors may still pass through."""
    no_relay: tuple[str, ...] = ()
    """Devices that pass no tensor on that they did not make."""
    without: tuple[str, ...] = ()
    """Devices that take no part at all, as if they were not there."""
    optional: tuple[str, ...] = ()
    """Devices that may leave: a placement without each of them must exist as well."""
    at_most: tuple[tuple[str, float], ...] = ()
    """(objective, value in SI units): cap on latency, throughput (the period), energy, memory or
    dollars of the plan."""
    origins: Mapping[Key, str] = field(default_factory=dict, compare=False, repr=False)
    """What the user wrote for a rule, and where."""

    def __add__(self, other: "Constraints") -> "Constraints":
        """Both at once; of two caps the smaller holds."""
        names = [one.name for one in fields(self)]
        return Constraints(**{n: _both(getattr(self, n), getattr(other, n)) for n in names})

    def listed(self) -> tuple[Rule, ...]:
        """Every rule by itself."""
        return tuple(
            Rule((name, entry), words(entry), self.origins.get((name, entry), ""))
            for name, words in _WORDS.items()
            for entry in dict.fromkeys(self._entries(name))
        )

    def only(self, keys: Collection[Key]) -> "Constraints":
        """The rules named by ``keys``, the others dropped."""
        kept: dict[str, Any] = {}
        for name in _WORDS:
            entries = tuple(entry for entry in self._entries(name) if (name, entry) in keys)
            if isinstance(getattr(self, name), tuple):
                kept[name] = entries
            elif not entries:
                kept[name] = type(self).__dataclass_fields__[name].default
        return replace(self, **kept)

    def _entries(self, name: str) -> tuple[Any, ...]:
        value = getattr(self, name)
        if isinstance(value, tuple):
            return value
        return () if value is None or value is False else (value,)


def _both(one: Any, other: Any) -> Any:
    """Lists joined, flags either, caps the smaller; of two origins of a rule the first."""
    if isinstance(one, tuple):
        return one + other
    if isinstance(one, bool):
        return one or other
    if isinstance(one, Mapping):
        return {**other, **one}
    return min((cap for cap in (one, other) if cap is not None), default=None)


_WORDS: Mapping[str, Callable[[Any], str]] = {
    "pins": lambda e: f"the pin of {e[0]!r} to {e[1]}",
    "bans": lambda e: f"the ban of {e[0]!r} from {e[1]}",
    "private_input": lambda _: "the raw input staying where it appears",
    "max_sent_bytes": lambda e: f"the cap of {e / 1e6:g} MB sent",
    "together": lambda e: f"keeping {_quoted(e)} together",
    "contiguous": lambda _: "the devices forming a pipeline",
    "apart": lambda e: f"keeping {_quoted(e)} apart",
    "max_devices": lambda e: f"at most {e} device{'s' * (e != 1)}",
    "max_cuts": lambda e: f"at most {e} cut{'s' * (e != 1)}",
    "link_caps": lambda e: f"the cap of {e[2] / 1e6:g} MB on {e[0]} -> {e[1]}",
    "energy_caps": lambda e: f"the cap of {e[1] * 1e3:g} mJ on {e[0]}",
    "reserves": lambda e: f"the {e[1] / 1e6:g} MB kept free on {e[0]}",
    "drained": lambda e: f"the draining of {e}",
    "no_relay": lambda e: f"nothing passing through {e}",
    "without": lambda e: f"doing without {e}",
    "optional": lambda e: f"{e} being optional",
    "at_most": lambda e: f"the limit of {quantity(*e)} on the {objective_noun(e[0])}",
}


def _quoted(patterns: tuple[str, ...]) -> str:
    return " and ".join(repr(pattern) for pattern in patterns)
