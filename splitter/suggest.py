"""Help for misspelt names."""

from collections.abc import Sequence
from difflib import get_close_matches


def did_you_mean(name: str, known: Sequence[str]) -> str:
    """``; did you mean "..."?`` with the nearest known name, or nothing when none is near."""
    near = get_close_matches(name.lower(), known, n=1, cutoff=0.6)
    return f'; did you mean "{near[0]}"?' if near else ""
