"""Resize and Upsample.

Where torch's interpolate means exactly the same it is used; all other coordinate rules become, per
axis, a row of picked indices (nearest) or a small matrix product (linear, cubic), worked out at
import.
"""

from collections.abc import Sequence
from math import ceil, floor

import torch
from torch.nn import functional as F

from splitter.tracing.onnx_ops.node import OpNode


def upsample(node: OpNode, x: torch.Tensor, scales: torch.Tensor | None = None) -> torch.Tensor:
    """Upsample, the forerunner of Resize: asymmetric coordinates, nearest rounds down."""
    factors = node.get("scales") if scales is None else node.known(scales, "scales").tolist()
    sizes = [floor(n * s) for n, s in zip(x.shape, factors, strict=True)]
    return _resized(node, x, sizes, factors, "asymmetric", "floor")


def resize(
    node: OpNode,
    x: torch.Tensor,
    roi: torch.Tensor | None = None,
    scales: torch.Tensor | None = None,
    sizes: torch.Tensor | None = None,
) -> torch.Tensor:
    """Resize; operator set 10 has its scales as second input and asymmetric coordinates."""
    if node.opset < 11:
        return upsample(node, x, roi)
    rule = node.get("coordinate_transformation_mode", "half_pixel")
    if rule == "tf_crop_and_resize":
        raise node.unsupported("it crops to a region of interest", "Resize with half_pixel")
    target, factors = _target(node, x, scales, sizes)
    return _resized(node, x, target, factors, rule, node.get("nearest_mode", "round_prefer_floor"))


def _target(
    node: OpNode, x: torch.Tensor, scales: torch.Tensor | None, sizes: torch.Tensor | None
) -> tuple[list[int], list[float]]:
    """Output size and scale of every axis."""
    axes = [axis % x.dim() for axis in node.get("axes", range(x.dim()))]
    target, factors = list(x.shape), [1.0] * x.dim()
    if sizes is not None and sizes.numel():
        wanted = _kept_ratio(node, x, axes, node.ints(sizes, "sizes"))
        for axis, (size, factor) in zip(axes, wanted, strict=True):
            target[axis], factors[axis] = size, factor
        return target, factors
    if scales is None or not scales.numel():
        raise ValueError("neither sizes nor scales are given")
    for axis, factor in zip(axes, node.known(scales, "scales").tolist(), strict=True):
        target[axis], factors[axis] = floor(x.shape[axis] * factor), factor
    return target, factors


def _kept_ratio(
    node: OpNode, x: torch.Tensor, axes: Sequence[int], sizes: Sequence[int]
) -> list[tuple[int, float]]:
    policy = node.get("keep_aspect_ratio_policy", "stretch")
    factors = [size / x.shape[axis] for axis, size in zip(axes, sizes, strict=True)]
    if policy == "stretch":
        return list(zip(sizes, factors, strict=True))
    factor = min(factors) if policy == "not_larger" else max(factors)
    return [(floor(x.shape[axis] * factor + 0.5), factor) for axis in axes]


def _resized(
    node: OpNode,
    x: torch.Tensor,
    target: Sequence[int],
    factors: Sequence[float],
    rule: str,
    rounding: str,
) -> torch.Tensor:
    mode = node.get("mode", "nearest")
    spatial_only = x.dim() == 4 and list(target[:2]) == list(x.shape[:2])
    if mode == "nearest":
        return _nearest(x, target, factors, rule, rounding, spatial_only)
    stretched = all(
        abs(size - n * factor) < 1e-6
        for size, n, factor in zip(target, x.shape, factors, strict=True)
    )
    plain = mode == "linear" and not node.get("antialias", 0) and stretched and spatial_only
    if plain and rule == "align_corners":
        return F.interpolate(x, list(target[2:]), mode="bilinear", align_corners=True)
    if plain and rule in ("half_pixel", "pytorch_half_pixel") and min(target[2:]) > 1:
        return F.interpolate(x, list(target[2:]), mode="bilinear", align_corners=False)
    for axis, (size, factor) in enumerate(zip(target, factors, strict=True)):
        if size != x.shape[axis] or factor != 1:
            matrix = _weights(node, x.shape[axis], size, factor, rule).to(x.dtype)
            x = _along_axis(x, axis, matrix)
    return x


def _nearest(
    x: torch.Tensor,
    target: Sequence[int],
    factors: Sequence[float],
    rule: str,
    rounding: str,
    spatial_only: bool,
) -> torch.Tensor:
    picks = [
        _nearest_places(n, size, factor, rule, rounding)
        for n, size, factor in zip(x.shape, target, factors, strict=True)
    ]
    if spatial_only and all(
        pick == [i * n // size for i in range(size)]
        for pick, n, size in zip(picks, x.shape, target, strict=True)
    ):
        return F.interpolate(x, list(target[2:]), mode="nearest")
    for axis, pick in enumerate(picks):
        if pick != list(range(x.shape[axis])):
            x = torch.index_select(x, axis, torch.tensor(pick))
    return x


def _nearest_places(size: int, wanted: int, factor: float, rule: str, rounding: str) -> list[int]:
    places = (_coordinate(i, size, wanted, factor, rule) for i in range(wanted))
    return [min(max(_rounded(place, rounding), 0), size - 1) for place in places]


def _rounded(place: float, rounding: str) -> int:
    if rounding == "floor":
        return floor(place)
    if rounding == "ceil":
        return ceil(place)
    return ceil(place - 0.5) if rounding == "round_prefer_floor" else floor(place + 0.5)


def _coordinate(i: int, size: int, wanted: int, factor: float, rule: str) -> float:
    """Where output element ``i`` lies among the ``size`` input elements."""
    if rule == "asymmetric":
        return i / factor
    if rule == "align_corners":
        return i * (size - 1) / (wanted - 1) if wanted > 1 else 0.0
    if rule == "pytorch_half_pixel" and wanted == 1:
        return 0.0
    if rule == "half_pixel_symmetric":
        adjustment = wanted / (factor * size)
        return size / 2 * (1 - adjustment) + (i + 0.5) / factor - 0.5
    return (i + 0.5) / factor - 0.5


def _weights(node: OpNode, size: int, wanted: int, factor: float, rule: str) -> torch.Tensor:
    """The wanted-by-size matrix that interpolates one axis."""
    cubic = node.get("mode") == "cubic"
    stretch = max(1.0 / factor, 1.0) if node.get("antialias", 0) else 1.0
    reach = (2 if cubic else 1) * stretch
    matrix = torch.zeros(wanted, size, dtype=torch.float64)
    for i in range(wanted):
        centre = _coordinate(i, size, wanted, factor, rule)
        for place in range(floor(centre - reach), ceil(centre + reach) + 1):
            distance = abs(place - centre) / stretch
            weight = _cubic(node, distance) if cubic else max(1.0 - distance, 0.0)
            inside = 0 <= place < size
            if inside or not node.get("exclude_outside", 0):
                matrix[i, min(max(place, 0), size - 1)] += weight
    return matrix / matrix.sum(1, keepdim=True)


def _cubic(node: OpNode, distance: float) -> float:
    """Keys' cubic kernel."""
    a, d = node.get("cubic_coeff_a", -0.75), distance
    if d <= 1:
        return float((a + 2) * d**3 - (a + 3) * d**2 + 1)
    return float(a * d**3 - 5 * a * d**2 + 8 * a * d - 4 * a) if d < 2 else 0.0


def _along_axis(x: torch.Tensor, axis: int, matrix: torch.Tensor) -> torch.Tensor:
    """The matrix applied to one axis of ``x``."""
    last = x.dim() - 1
    if axis == last:
        return F.linear(x, matrix)
    return torch.transpose(F.linear(torch.transpose(x, axis, last), matrix), axis, last)
