"""Rank correlation."""

from collections.abc import Sequence

import numpy as np


def kendall_tau(one: Sequence[float], other: Sequence[float]) -> float:
    """Kendall's tau-b: 1 for the same order, -1 for the reverse; ties count for neither."""
    a, b = np.asarray(one, np.float64), np.asarray(other, np.float64)
    upper = np.triu_indices(len(a), 1)
    first, second = _order(a)[upper], _order(b)[upper]
    scale = np.sqrt(np.count_nonzero(first) * np.count_nonzero(second))
    return float(first @ second / scale) if scale else 0.0


def _order(values: np.ndarray) -> np.ndarray:
    """1 where the first of a pair is larger, -1 where smaller; infinities are like numbers."""
    larger = values[:, None] > values[None, :]
    return larger.astype(np.int64) - larger.T.astype(np.int64)
