"""Accuracy predictors fitted to scores of sampled architectures: linear, and with pairs of slots.

The closed form of Nayman et al., "BINAS", 2022, with a ridge instead of dropped singular values.
"""

from collections.abc import Sequence
from itertools import combinations

import numpy as np
import numpy.typing as npt

from splitter.search.estimate.bilinear import Bilinear, Pairs
from splitter.search.estimate.conditional import skips_of
from splitter.search.space.space import Architecture, Space

_RIDGE = 1.0


def fit_linear(
    space: Space, sampled: Sequence[Architecture], scores: Sequence[float], ridge: float = _RIDGE
) -> Bilinear:
    """A term for each choice of each slot."""
    return _fit(space, sampled, scores, (), ridge)


def fit_pairs(
    space: Space, sampled: Sequence[Architecture], scores: Sequence[float], ridge: float = _RIDGE
) -> Bilinear:
    """A term for each choice, and for each pair of choices of each two slots."""
    pairs = tuple(combinations(range(len(space.slots)), 2))
    return _fit(space, sampled, scores, pairs, ridge)


def _fit(
    space: Space,
    sampled: Sequence[Architecture],
    scores: Sequence[float],
    pairs: tuple[tuple[int, int], ...],
    ridge: float,
) -> Bilinear:
    base = float(np.mean(scores))
    features = np.stack([_encoded(space, a, pairs) for a in sampled])
    gram = features.T @ features + ridge * np.eye(features.shape[1])
    weights = np.linalg.solve(gram, features.T @ (np.asarray(scores) - base))
    unary, at = [], 0
    for width in space.widths:
        unary.append(tuple(map(float, weights[at : at + width])))
        at += width
    tables: dict[tuple[int, int], tuple[tuple[float, ...], ...]] = {}
    for i, j in pairs:
        size = space.widths[i] * space.widths[j]
        block = weights[at : at + size].reshape(space.widths[i], space.widths[j])
        tables[i, j] = tuple(tuple(map(float, row)) for row in block)
        at += size
    found: Pairs = tables
    return Bilinear(unary=tuple(unary), base=base, skips=skips_of(space), pairs=found)


def _encoded(
    space: Space, architecture: Architecture, pairs: tuple[tuple[int, int], ...]
) -> npt.NDArray[np.float64]:
    hot = [np.eye(width)[c] for width, c in zip(space.widths, architecture, strict=True)]
    return np.concatenate([*hot, *(np.outer(hot[i], hot[j]).ravel() for i, j in pairs)])
