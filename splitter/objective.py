"""What a plan can minimise, and in which words and units people read it."""

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Literal

from splitter.errors import UsageError

Objective = Literal["latency", "throughput", "energy", "memory", "sent", "dollars"]
"""Seconds until one request's result; seconds between results of a pipeline; joules, the largest
memory of any device in bytes, bytes over all links, and dollars, each for one request."""
OBJECTIVES: tuple[Objective, ...] = (
    "latency",
    "throughput",
    "energy",
    "memory",
    "sent",
    "dollars",
)

_NOUNS: Mapping[str, str] = {
    "latency": "latency",
    "throughput": "period",
    "energy": "energy",
    "memory": "largest memory",
    "sent": "bytes sent",
    "dollars": "price",
}
_UNITS: Mapping[str, tuple[float, str]] = {
    "latency": (1e3, "ms"),
    "throughput": (1e3, "ms"),
    "energy": (1e3, "mJ"),
    "memory": (1e-6, "MB"),
    "sent": (1e-3, "KB"),
    "dollars": (1e6, "$ per million"),
}


def objective_noun(objective: str) -> str:
    """What the objective measures."""
    return _NOUNS[objective]


def objective_unit(objective: str) -> tuple[float, str]:
    """(units in one SI unit, the unit's name): ``("latency") -> (1000, "ms")``."""
    return _UNITS[objective]


def quantity(objective: str, value: float) -> str:
    """A value of the objective in the unit that people use for it."""
    factor, unit = _UNITS[objective]
    return f"{value * factor:.4g} {unit}"


def as_objective(name: str) -> Objective:
    """``name`` as an objective.

    Raises:
        UsageError: it is none; the message names the nearest.
    """
    for objective in OBJECTIVES:
        if name == objective:
            return objective
    near = get_close_matches(name, OBJECTIVES, n=1, cutoff=0.0)
    raise UsageError(
        f"unknown objective {name!r}; did you mean {near[0]!r}? Known: {', '.join(OBJECTIVES)}"
    )
