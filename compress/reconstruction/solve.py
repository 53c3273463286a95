"""Rounding of a layer's weight that keeps the layer's outputs.

Before rounding, the weight makes up for what earlier layers' rounding did to the layer's input, by
least squares. Then it is rounded column by column; what rounding one column did to the outputs is
made up for by the columns that are left (Frantar et al., GPTQ, 2022; Hassibi and Stork, 1993).

Both fit the requests that are seen, so how far they go is chosen by other requests: from not at
all, which is rounding to the nearest value, to hardly damped.
"""

from collections.abc import Callable, Sequence

import torch

from compress.reconstruction.moments import Moments, Pair, Window, means, measured

Round = Callable[[torch.Tensor], torch.Tensor]
"""[groups, outputs, some columns] -> the nearest values that can be stored."""
Damping = float | None
"""Of the mean variance, added to each input's own: rare inputs shall not take on large weights.
None: such a step is not done at all."""
_DAMPINGS: tuple[Damping, ...] = (None, 1.0, 0.1, 0.01)
MOST_INPUTS = 2304
"""Of one output that is fitted: the work grows with their cube, and many errors cancel anyway."""
_BLOCK = 64


def fitted(
    weight: torch.Tensor, pairs: Sequence[Pair], window: Window | None, nearest: Round
) -> tuple[torch.Tensor, torch.Tensor]:
    """``weight`` in values that ``nearest`` gives, and what that takes from the mean outputs.

    Args:
        weight: [groups, outputs, k], float64, of the original layer.
        pairs: its inputs, for each request.
        window: how it reads them.
        nearest: rounds some columns.
    """
    if weight.shape[-1] > MOST_INPUTS:
        found, (mean, original) = nearest(weight), means(pairs, window)
    else:
        moments, halves = measured(pairs, window)
        found = reconstructed(weight, moments, halves, nearest)
        mean, original = moments.mean, moments.original_mean
    return found, (weight @ original[..., None] - found @ mean[..., None])[..., 0]


def reconstructed(
    weight: torch.Tensor,
    moments: Moments,
    halves: tuple[Moments, Moments] | None,
    nearest: Round,
) -> torch.Tensor:
    """``weight`` [groups, outputs, k], float64, in values that ``nearest`` gives.

    Args:
        weight: of the original layer.
        moments: of all requests.
        halves: of two parts of them: one to try on, one to judge by. None: there are too few, and
            only rounding to the nearest value is safe.
        nearest: rounds some columns.
    """
    if halves is None:
        return nearest(weight)
    fit, judge = halves

    def error_of(trial: torch.Tensor) -> float:
        return excess(trial, weight, judge)

    trials = {d: corrected(weight, fit, d) for d in _DAMPINGS}
    correction = min(_DAMPINGS, key=lambda d: error_of(trials[d]))
    wanted = trials[correction]
    feedback = min(_DAMPINGS, key=lambda d: error_of(rounded(wanted, fit, d, nearest)))
    return rounded(corrected(weight, moments, correction), moments, feedback, nearest)


def excess(trial: torch.Tensor, weight: torch.Tensor, moments: Moments) -> float:
    """Squared error of the outputs, but for what no weight can change and what a bias mends."""
    step = trial - weight
    own = ((step @ moments.covariance) * step).sum()
    return float(own - 2 * ((weight @ moments.cross) * step).sum())


def corrected(weight: torch.Tensor, moments: Moments, damping: Damping) -> torch.Tensor:
    """The weight that gives the original outputs best from the inputs as they are now."""
    if damping is None:
        return weight
    factor = _factor(_damped(moments.covariance, damping))
    if factor is None:
        return weight
    return weight + weight @ torch.cholesky_solve(moments.cross.mT, factor).mT


def rounded(
    weight: torch.Tensor, moments: Moments, damping: Damping, nearest: Round
) -> torch.Tensor:
    """``weight`` in values that ``nearest`` gives, with feedback unless ``damping`` is None."""
    if damping is None:
        return nearest(weight)
    return round_with_feedback(weight, moments.covariance, damping, nearest)


def round_with_feedback(
    weight: torch.Tensor, covariance: torch.Tensor, damping: float, nearest: Round
) -> torch.Tensor:
    """``weight`` [groups, outputs, k] in values that ``nearest`` gives, column by column."""
    order = covariance.diagonal(dim1=-2, dim2=-1).sum(0).argsort(descending=True)
    ordered = _damped(covariance, damping)[:, order][:, :, order]
    spread = _inverse_factor(ordered)
    if spread is None:
        return nearest(weight)
    left = weight[..., order].clone()
    found = torch.empty_like(left)
    for start in range(0, left.shape[-1], _BLOCK):
        end = min(start + _BLOCK, left.shape[-1])
        errors = torch.empty_like(left[..., start:end])
        for i in range(start, end):
            found[..., i] = nearest(left[..., i : i + 1])[..., 0]
            gap = (left[..., i] - found[..., i]) / spread[:, None, i, i]
            left[..., i:end] -= gap[..., None] * spread[:, None, i, i:end]
            errors[..., i - start] = gap
        left[..., end:] -= errors @ spread[:, start:end, end:]
    return found[..., order.argsort()]


def _factor(matrices: torch.Tensor) -> torch.Tensor | None:
    """Lower Cholesky factors; None where rounding errors are larger than the damping."""
    factor, faults = torch.linalg.cholesky_ex(matrices)
    return None if bool(faults.any()) or not bool(torch.isfinite(factor).all()) else factor


def _inverse_factor(matrices: torch.Tensor) -> torch.Tensor | None:
    """Upper S with ``S^T S`` the inverse, by factoring the matrix back to front."""
    factor = _factor(matrices.flip(-1, -2))
    if factor is None:
        return None
    unit = torch.eye(matrices.shape[-1], dtype=matrices.dtype)
    found: torch.Tensor = torch.linalg.solve_triangular(factor.flip(-1, -2), unit, upper=True)
    return found


def _damped(covariance: torch.Tensor, damping: float) -> torch.Tensor:
    mean = covariance.diagonal(dim1=-2, dim2=-1).mean(-1)
    extra = torch.where(mean > 0, damping * mean, 1.0)
    return covariance + extra[:, None, None] * torch.eye(covariance.shape[-1], dtype=torch.float64)
