"""Coarse levels made of pieces of the graph order, cut where little is alive.

Pieces of a chain of blocks are its blocks, whatever happens inside them: dense connections, experts
side by side, skips. Coarser pieces are unions of finer ones.
"""

from collections import deque
from collections.abc import Sequence

import numpy as np

from splitter.partitioning.large.tables import Floats, Tables


def cut_bytes(tables: Tables) -> Floats:
    """Bytes alive before each layer and after the last, (n + 1,)."""
    change = np.zeros(tables.n + 2)
    for w, wire in enumerate(tables.problem.wires):
        first = max(tables.maker[w] + 1, 0)
        last = tables.n if wire.is_output else max(wire.readers, default=first - 1)
        if last >= first:
            change[first] += wire.bytes
            change[last + 1] -= wire.bytes
    total: Floats = np.cumsum(change)[: tables.n + 1]
    return total


def nested_pieces(tables: Tables, counts: Sequence[int]) -> list[list[int]]:
    """Per count, coarsest first: the piece of each layer, with about as many pieces as wanted."""
    work = np.where(np.isfinite(tables.compute), tables.compute, 0.0).mean(axis=1)
    spent = np.concatenate([[0.0], np.cumsum(work)])
    cuts = cut_bytes(tables)
    places = list(range(tables.n + 1))
    found: list[list[int]] = []
    for count in sorted(counts, reverse=True):
        places = _chosen(places, cuts, spent, 2.0 * spent[-1] / count)
        pieces = np.searchsorted(np.array(places), np.arange(tables.n), side="right") - 1
        found.append(pieces.tolist())
    return found[::-1]


def _chosen(places: list[int], cuts: Floats, spent: Floats, most: float) -> list[int]:
    """Those of ``places`` with the least cuts in all such that no piece has more than ``most``."""
    best = [0.0] * len(places)
    back = [0] * len(places)
    window: deque[int] = deque([0])
    for i in range(1, len(places)):
        while len(window) > 1 and spent[places[i]] - spent[places[window[0]]] > most:
            window.popleft()
        j = window[0]
        best[i], back[i] = best[j] + cuts[places[i]], j
        while window and best[window[-1]] >= best[i]:
            window.pop()
        window.append(i)
    chosen, i = [places[-1]], len(places) - 1
    while i:
        i = back[i]
        chosen.append(places[i])
    return chosen[::-1]
