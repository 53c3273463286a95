"""What the tests of the command line share."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Outcome:
    """How a command ended."""

    code: int
    out: str
    err: str


Cli = Callable[..., Outcome]
"""``cli("plan", "mobilenet_v2", ...)``"""
Refused = Callable[..., str]
"""``refused(exit_code, "plan", ...)``, which gives the message."""
