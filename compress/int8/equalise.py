"""Channels of a tensor brought to similar ranges, which one scale for the whole tensor needs.

What makes a channel may be multiplied by a factor if all that reads it is divided by it: the
network stays the same (Nagel et al., Data-Free Quantization Through Weight Equalization and Bias
Correction, 2019). The factor moves errors of rounding from activations to weights and back (Xiao et
al., SmoothQuant, 2023); of several the one is taken that is predicted to leave least error in what
the readers compute. A bound such as ReLU6's holds for all channels alike, so that a channel is
never scaled past it: beyond what the requests show, with some room, it is clipped.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import fx

from compress.int8.channels import Group, Reader, groups_of
from compress.int8.ranges import Observer
from compress.networks import frozen_copy
from splitter.program import Program, constant_of, set_constant

_ROOM = 2.0
"""Between the largest value of a channel that was seen, and where it is clipped."""
_POWERS = (0.25, 0.5, 0.75, 1.0)


@dataclass(slots=True)
class _Channels:
    """What was seen of one tensor, per channel."""

    largest: torch.Tensor
    squares: torch.Tensor
    count: int


def equalised(program: Program, requests: Iterable[Sequence[torch.Tensor]]) -> Program:
    """``program`` with factors between its layers that make it lose less in 8-bit numbers.

    Args:
        program: a float32 program.
        requests: unlabelled inputs.
    """
    found = groups_of(program.module)
    seen = _Watch(program.module, {name for group in found for name in group.tensors})
    for request in requests:
        seen.run(*request)
    module = frozen_copy(program.module)
    for group in found:
        factors = _best(module, group, seen.found)
        if factors is not None:
            _scale(module, group, factors)
    return replace(program, module=module, compressed={})


class _Watch(Observer):
    def __init__(self, module: fx.GraphModule, wanted: set[str]) -> None:
        super().__init__(module)
        self.wanted = wanted
        self.found: dict[str, _Channels] = {}

    def see(self, name: str, value: torch.Tensor) -> None:
        if name not in self.wanted:
            return
        rows = value.movedim(1, 0).flatten(1).double()
        largest, squares = rows.abs().amax(1), rows.square().sum(1)
        known = self.found.get(name)
        if known is None:
            self.found[name] = _Channels(largest, squares, rows.shape[1])
            return
        known.largest = torch.maximum(known.largest, largest)
        known.squares, known.count = known.squares + squares, known.count + rows.shape[1]


def _best(
    module: fx.GraphModule, group: Group, seen: Mapping[str, _Channels]
) -> torch.Tensor | None:
    """The factors that are predicted to leave least error; None where they are no better."""
    least, best = _error(module, group, seen, None), None
    for factors in _trials(module, group, seen):
        error = _error(module, group, seen, factors)
        if error < least:
            least, best = error, factors
    return best


def _trials(
    module: fx.GraphModule, group: Group, seen: Mapping[str, _Channels]
) -> Iterator[torch.Tensor]:
    """Factors that even out activations, or activations and weights, more or less.

    No channel is made larger than the largest one, less some room: what a channel may be was seen
    for few requests. So factors are 1 or more, and the range of the whole tensor stays.
    """
    ranges = torch.stack([seen[name].largest for name in group.tensors]).amax(0)
    read = torch.stack([_columns(module, reader).amax(0) for reader in group.readers]).amax(0)
    used = (ranges > 0) & (read > 0)
    limit = torch.where(used, ranges.amax() / (ranges * _ROOM), 1.0)
    for name, bound in group.bounds:
        largest = seen[name].largest
        limit = torch.minimum(limit, torch.where(largest > 0, bound / (largest * _ROOM), 1.0))
    for power in _POWERS:
        for wanted in (ranges.amax() / ranges, read / ranges):
            factors = torch.where(used, wanted, 1.0) ** power
            least = factors[used].amin() if bool(used.any()) else 1.0
            yield torch.minimum(factors / least, limit).clamp(min=1.0)


def _error(
    module: fx.GraphModule,
    group: Group,
    seen: Mapping[str, _Channels],
    factors: torch.Tensor | None,
) -> float:
    """Predicted squared error of what reads the group, relative to what it computes, summed."""
    one = torch.ones_like(seen[group.tensors[0]].largest)
    scale = one if factors is None else factors
    steps = sum(float((seen[name].largest * scale).amax()) ** 2 for name in group.tensors)
    error = 0.0
    for reader in group.readers:
        energy = seen[reader.source].squares / seen[reader.source].count
        columns = _columns(module, reader)
        powers = _powers(module, reader)
        from_tensors = steps / 255**2 * (powers / scale.square()).sum()
        largest = (columns / scale).amax(1) if not reader.depthwise else (columns / scale)[0]
        taps = reader.taps
        if reader.depthwise:
            from_weights = (largest.square() * energy * scale.square()).sum() * taps / 127**2
        else:
            from_weights = largest.square().sum() * (energy * scale.square()).sum() * taps / 127**2
        error += float((from_tensors + from_weights) / (powers * energy).sum().clamp(min=1e-30))
    return error


def _columns(module: fx.GraphModule, reader: Reader) -> torch.Tensor:
    """Largest magnitude for each output (one for a depthwise layer) and input channel."""
    weight = constant_of(module, reader.weight).detach().double().abs()
    if reader.depthwise:
        return weight.flatten(1).amax(1)[None]
    return weight.flatten(2).amax(2) if weight.dim() > 2 else weight


def _powers(module: fx.GraphModule, reader: Reader) -> torch.Tensor:
    """Sum of the squared weights that read each input channel."""
    weight = constant_of(module, reader.weight).detach().double().square()
    return weight.flatten(1).sum(1) if reader.depthwise else weight.movedim(1, 0).flatten(1).sum(1)


def _scale(module: fx.GraphModule, group: Group, factors: torch.Tensor) -> None:
    for weight, bias in group.makers:
        for name in (weight, bias):
            if name is not None:
                _multiply(module, name, factors, 0)
    for reader in group.readers:
        _multiply(module, reader.weight, 1 / factors, 0 if reader.depthwise else 1)


def _multiply(module: fx.GraphModule, name: str, factors: torch.Tensor, axis: int) -> None:
    value = constant_of(module, name)
    shape = [-1 if i == axis else 1 for i in range(value.dim())]
    made = (value.double() * factors.reshape(shape)).to(value.dtype)
    set_constant(module, name, made)
    for node in module.graph.nodes:
        if node.op == "get_attr" and str(node.target) == name:
            node.meta["val"] = made
