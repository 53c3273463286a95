"""Which of the ways to compute a layer are worth measuring."""

from collections.abc import Hashable, Sequence

from runtime.build.lower.choice import Choice, Offer


def shortlist(offers: Sequence[Offer], count: int) -> tuple[Choice, ...]:
    """The ``count`` ways to measure besides the cost model's own, most promising first.

    The cheapest of each family comes before the second of any: the cost model ranks tiles of one
    family better than it compares algorithms.
    """
    others = offers[1:]
    seen: set[Hashable] = {_family(offers[0].choice)} if offers else set()
    first: list[Choice] = []
    rest: list[Choice] = []
    for offer in others:
        (rest if _family(offer.choice) in seen else first).append(offer.choice)
        seen.add(_family(offer.choice))
    return tuple([*first, *rest][:count])


def _family(choice: Choice) -> Hashable:
    return choice.algorithm, choice.tile.scheme if choice.tile else "", choice.order
