"""Weights of convolutions and products as low-rank matrices, and back.

A weight [n, c, h, w] in g groups unfolds to a batch of matrices, depending on the scheme:

- ``nc`` (channels): one n/g x (c h w) matrix per group;
- ``vh`` (space): one (c h) x (n/g w) matrix per group;
- ``nd`` (decoupled): one c x (h w) matrix per output.

All matrices of a weight get the same rank, because one pair of layers computes them all.
"""

from dataclasses import dataclass

import numpy as np
import torch

from compress.formats import Factors
from compress.sites import Site

SCHEMES = ("nc", "vh", "nd")


class NoDecompositionError(ArithmeticError):
    """A weight has no singular value decomposition: it is not finite, or none was found."""


@dataclass(frozen=True, eq=False)
class Decomposition:
    """Singular values and vectors of the matrices of one weight."""

    scheme: str
    shape: tuple[int, ...]
    groups: int
    left: torch.Tensor
    """[batch, rows, k]"""
    values: torch.Tensor
    """[batch, k], falling."""
    right: torch.Tensor
    """[batch, k, columns]"""

    def rank_for_energy(self, energy: float) -> int:
        """The smallest rank that keeps this share of the squared singular values, 1 or more."""
        squares = self.values.double().square().sum(0)
        kept = squares.cumsum(0)
        wanted = energy * float(kept[-1])
        return min(int((kept < wanted * (1 - 1e-12)).sum()) + 1, len(squares))

    def rank_for_threshold(self, threshold: float) -> int:
        """The number of singular values above ``threshold`` in any of the matrices, 1 or more."""
        return max(int((self.values.amax(0) > threshold).sum()), 1)

    def truncated(self, rank: int) -> torch.Tensor:
        """The weight with only its largest ``rank`` singular values."""
        kept = self.left[..., :rank] * self.values[:, None, :rank]
        return fold(kept @ self.right[:, :rank], self.scheme, self.shape, self.groups)

    def nuclear_gradient(self, rank: int) -> torch.Tensor:
        """A sub-gradient of the nuclear norm at the truncated weight: U V^T, as a weight."""
        product = self.left[..., :rank] @ self.right[:, :rank]
        return fold(product, self.scheme, self.shape, self.groups)

    def factors(self, rank: int) -> Factors:
        """The truncated weight as a pair: root of the values on both sides, for ``vh`` right."""
        values = self.values[:, :rank]
        root = values if self.scheme == "vh" else values.sqrt()
        left_scale = torch.ones_like(values) if self.scheme == "vh" else root
        left = self.left[..., :rank] * left_scale[:, None]
        right = self.right[:, :rank] * root[..., None]
        first, second = self._weights(left, right, rank)
        return Factors(self.scheme, _numpy(first), _numpy(second), self.groups)

    def _weights(
        self, left: torch.Tensor, right: torch.Tensor, rank: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        n, c, *kernel = self.shape
        ones = [1] * len(kernel)
        if self.scheme == "nc":
            return right.reshape(-1, c, *kernel), left.reshape(n, rank, *ones)
        if self.scheme == "nd":
            first = left.transpose(1, 2).reshape(n * rank, c, *ones)
            return first, right.reshape(n, rank, *kernel)
        h, w = kernel
        first = left.transpose(1, 2).reshape(self.groups * rank, c, h, 1)
        second = right.reshape(self.groups, rank, n // self.groups, w).transpose(1, 2)
        return first, second.reshape(n, rank, 1, w)


def decompose(weight: torch.Tensor, scheme: str, groups: int) -> Decomposition:
    """The singular value decomposition of ``weight``.

    Raises:
        NoDecompositionError: it does not converge, or the weight is not finite.
    """
    matrices = unfold(weight.detach(), scheme, groups)
    # Many small matrices: LAPACK needs a fraction of the time of a GPU's solver.
    exact = (matrices if matrices.dtype == torch.float64 else matrices.float()).cpu()
    if not bool(torch.isfinite(exact).all()):
        raise NoDecompositionError("it is not finite")
    try:
        left, values, right = torch.linalg.svd(exact, full_matrices=False)
    except RuntimeError as error:
        raise NoDecompositionError("the decomposition does not converge") from error
    found = (part.to(weight.device) for part in (left, values, right))
    return Decomposition(scheme, tuple(weight.shape), groups, *found)


def unfold(weight: torch.Tensor, scheme: str, groups: int) -> torch.Tensor:
    """The matrices [batch, rows, columns] of a weight; see the module."""
    n, c, *kernel = weight.shape
    if scheme == "nc":
        return weight.reshape(groups, n // groups, -1)
    if scheme == "nd":
        return weight.reshape(n, c, -1)
    h, w = kernel
    grouped = weight.reshape(groups, n // groups, c, h, w)
    return grouped.permute(0, 2, 3, 1, 4).reshape(groups, c * h, n // groups * w)


def fold(matrices: torch.Tensor, scheme: str, shape: tuple[int, ...], groups: int) -> torch.Tensor:
    """The inverse of `unfold`."""
    if scheme in ("nc", "nd"):
        return matrices.reshape(shape)
    n, c, h, w = shape
    grouped = matrices.reshape(groups, c, h, n // groups, w).permute(0, 3, 1, 2, 4)
    return grouped.reshape(shape)


def fault_of(site: Site, scheme: str) -> str | None:
    """Why the weight at ``site`` cannot be factored by ``scheme``, or None."""
    if not site.alone:
        return "other layers share its weight, or it is not an ordinary layer"
    if site.kind == "linear" or (site.is_convolution and not site.is_spatial):
        return None if scheme == "nc" else f"scheme {scheme} needs a kernel; use nc"
    if not site.is_convolution:
        return f"a {site.kind} has no factored form"
    if scheme == "vh" and len(site.shape) != 4:
        return "scheme vh needs a kernel with two axes; use nc"
    return None


def is_smaller(site: Site, scheme: str, rank: int) -> bool:
    """Whether both factors together have fewer weights than the layer, and fewer MACs."""
    dense = int(np.prod(site.shape))
    first, second = factored_sizes(site, scheme, rank)
    return max(first + second, first * _positions(site, scheme) + second) < dense


def factored_sizes(site: Site, scheme: str, rank: int) -> tuple[int, int]:
    """Numbers in the weights of the first and the second layer."""
    n, c, *kernel = site.shape
    taps = int(np.prod(kernel)) if kernel else 1
    if scheme == "nc":
        return rank * site.groups * c * taps, rank * n
    if scheme == "nd":
        return rank * n * c, rank * n * taps
    h, w = kernel
    return rank * site.groups * c * h, rank * n * w


def _positions(site: Site, scheme: str) -> int:
    """Output positions of the first layer for each one of the second, which has the stride left."""
    if scheme == "nd":
        return int(np.prod(site.stride))
    return site.stride[1] if scheme == "vh" else 1


def _numpy(values: torch.Tensor) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    found: np.ndarray[tuple[int, ...], np.dtype[np.float32]]
    found = np.ascontiguousarray(values.float().cpu().numpy())
    return found
