"""The smallest set of rules that cannot hold together.

A deletion filter first: drop one rule at a time, and leave it out for good when the rest still
conflicts (Chinneck and Dravnieks, "Locating Minimal Infeasible Constraint Sets in Linear Programs",
1991). What is left cannot be reduced, but another set may be smaller. So then the search by hitting
sets: every placement shows that the rules it keeps do not conflict, so a conflict has one of those
that it breaks; the smallest set that meets all these is a conflict, or yields one more placement
(Ignatiev, Previti, Liffiton and Marques-Silva, "Smallest MUS Extraction with Minimal Hitting Set
Dualization", 2015).
"""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

R = TypeVar("R", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Answer(Generic[R]):
    """What is known of some rules."""

    impossible: bool
    """It is proved that they conflict."""
    kept: frozenset[R]
    """All rules that a placement found for them keeps; themselves alone when none was found."""


Ask = Callable[[frozenset[R]], Answer[R]]


@dataclass(frozen=True, slots=True)
class Conflict(Generic[R]):
    """Rules that cannot hold together."""

    rules: tuple[R, ...]
    smallest: bool
    """Whether it is shown that no conflict has fewer rules."""


def smallest_conflict(
    rules: Sequence[R], ask: Ask[R], out_of_time: Callable[[], bool]
) -> Conflict[R]:
    """The smallest conflict among ``rules``, which conflict; when time runs out, a small one."""
    kept = _filtered(list(rules), ask, out_of_time)
    broken: list[frozenset[R]] = []
    while not out_of_time():
        candidate = _hitting(broken, rules, len(kept) - 1)
        if candidate is None:
            return Conflict(tuple(kept), True)
        answer = ask(frozenset(candidate))
        if answer.impossible:
            return Conflict(tuple(rule for rule in rules if rule in candidate), True)
        broken.append(frozenset(rules) - answer.kept)
    return Conflict(tuple(kept), False)


def _filtered(kept: list[R], ask: Ask[R], out_of_time: Callable[[], bool]) -> list[R]:
    """Drop halves, quarters ... and at last single rules while the rest conflicts."""
    size = len(kept)
    while size:
        at = 0
        while at < len(kept) and not out_of_time():
            fewer = kept[:at] + kept[at + size :]
            if ask(frozenset(fewer)).impossible:
                kept = fewer
            else:
                at += size
        size //= 2
    return kept


def _hitting(sets: Sequence[frozenset[R]], rules: Sequence[R], most: int) -> set[R] | None:
    """The smallest choice of rules that meets every set; None when it takes more than ``most``."""
    for size in range(most + 1):
        found = _meeting(sets, rules, size, set())
        if found is not None:
            return found
    return None


def _meeting(
    sets: Sequence[frozenset[R]], rules: Sequence[R], size: int, chosen: set[R]
) -> set[R] | None:
    missed = [one for one in sets if not one & chosen]
    if not missed:
        return chosen
    if not size:
        return None
    tightest = min(missed, key=len)
    for rule in rules:
        if rule in tightest:
            found = _meeting(missed, rules, size - 1, chosen | {rule})
            if found is not None:
                return found
    return None
