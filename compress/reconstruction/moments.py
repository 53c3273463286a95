"""What a layer's outputs depend on: means and covariances of the patches that it multiplies.

For one layer two inputs are seen for each request: the one that it has in the original network, and
the one that it has behind layers that are rounded already.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch.nn import functional as F

Pair = tuple[torch.Tensor, torch.Tensor]
"""Input of a layer behind rounded layers, and in the original network; both [1, c, h, w] or
[n, c]."""


@dataclass(frozen=True)
class Window:
    """How a convolution reads its input; a linear layer has none."""

    kernel: tuple[int, int]
    stride: Sequence[int]
    padding: Sequence[int]
    """Top, left, bottom, right."""
    dilation: Sequence[int]
    groups: int


@dataclass(frozen=True, eq=False)
class Moments:
    """Of the patches of one layer, for each of its groups."""

    count: int
    """Patches that were seen."""
    mean: torch.Tensor
    """[groups, k] of the input behind rounded layers."""
    original_mean: torch.Tensor
    """[groups, k] of the original input."""
    covariance: torch.Tensor
    """[groups, k, k] of the input behind rounded layers."""
    cross: torch.Tensor
    """[groups, k, k]: covariance of (original - rounded) with rounded."""

    @classmethod
    def halves(
        cls, pairs: Sequence[Pair], window: Window | None
    ) -> "tuple[Moments, Moments] | None":
        """Of the first and the second half of the requests: neighbours may be alike."""
        middle = len(pairs) // 2
        if not middle:
            return None
        return cls.of(pairs[:middle], window), cls.of(pairs[middle:], window)

    @classmethod
    def both(cls, one: "Moments", other: "Moments") -> "Moments":
        """Of the patches of both."""
        count = one.count + other.count
        share = other.count / count
        step = (other.mean - one.mean)[..., None]
        gap = (other.original_mean - one.original_mean)[..., None] - step
        return cls(
            count,
            one.mean.lerp(other.mean, share),
            one.original_mean.lerp(other.original_mean, share),
            one.covariance.lerp(other.covariance, share) + share * (1 - share) * step @ step.mT,
            one.cross.lerp(other.cross, share) + share * (1 - share) * gap @ step.mT,
        )

    @classmethod
    def of(cls, pairs: Iterable[Pair], window: Window | None) -> "Moments":
        """Over all requests and positions; there is at least one."""
        count, pilot = 0, torch.zeros(())
        totals: list[torch.Tensor] = []
        for x, y in _gathered(pairs, window):
            if not totals:  # about a mean, since squares of what hardly changes cancel
                pilot = x.mean(-1, keepdim=True)
            gap, x = y - x, x - pilot
            parts = [x.sum(-1), gap.sum(-1), x @ x.mT, gap @ x.mT]
            totals = [
                part.double() + (totals[place] if totals else 0.0)
                for place, part in enumerate(parts)
            ]
            count += x.shape[-1]
        shift, gap_mean, square, product = (total / count for total in totals)
        mean = pilot[..., 0].double() + shift
        return cls(
            count,
            mean,
            mean + gap_mean,
            square - shift[..., None] * shift[..., None, :],
            product - gap_mean[..., None] * shift[..., None, :],
        )


def means(pairs: Sequence[Pair], window: Window | None) -> tuple[torch.Tensor, torch.Tensor]:
    """[groups, k] of the input behind rounded layers, and of the original one."""
    found = [[patches(x, window).double().mean(-1) for x in pair] for pair in pairs]
    rounded, original = (torch.stack(part).mean(0) for part in zip(*found, strict=True))
    return rounded, original


def measured(
    pairs: Sequence[Pair], window: Window | None
) -> tuple[Moments, tuple[Moments, Moments] | None]:
    """Of all requests, and of both halves where there are two requests or more."""
    halves = Moments.halves(pairs, window)
    return (Moments.of(pairs, window) if halves is None else Moments.both(*halves)), halves


def _gathered(pairs: Iterable[Pair], window: Window | None) -> Iterator[Pair]:
    """Patches of several requests at once: adding up large matrices takes longer than the sums."""
    held: list[Pair] = []
    for rounded, original in pairs:
        held.append((patches(rounded, window), patches(original, window)))
        if sum(x.shape[-1] for x, _ in held) >= held[0][0].shape[-2]:
            yield _side_by_side(held)
            held = []
    if held:
        yield _side_by_side(held)


def _side_by_side(held: Sequence[Pair]) -> Pair:
    x, y = (torch.cat(part, -1) for part in zip(*held, strict=True))
    return x, y


def patches(x: torch.Tensor, window: Window | None) -> torch.Tensor:
    """[groups, k, positions]: in each column what one output is a product of."""
    if window is None:
        return x.reshape(-1, x.shape[-1]).T[None]
    top, left, bottom, right = window.padding
    padded = F.pad(x, (left, right, top, bottom))
    if window.kernel == (1, 1):
        down, across = window.stride
        columns = padded[..., ::down, ::across].flatten(2)
    else:
        columns = F.unfold(padded, window.kernel, tuple(window.dilation), 0, tuple(window.stride))
    n, k, positions = columns.shape
    grouped = columns.reshape(n, window.groups, k // window.groups, positions)
    return grouped.permute(1, 2, 0, 3).reshape(window.groups, k // window.groups, n * positions)
