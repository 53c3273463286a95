"""Weights of an integer program rounded anew, layer by layer, with the float network as teacher.

In order of execution every layer sees its input twice: as the integer program makes it, whose
earlier layers are rounded already, and as the float program does. Its weights are fitted to give
the float outputs from the integer inputs and rounded with feedback (`compress.reconstruction`); the
bias takes what is left on average.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import fx

from compress.int8.ranges import Numbers
from compress.int8.weights import channel_scale, grid, integer_weight
from compress.reconstruction.moments import Window
from compress.reconstruction.solve import fitted
from compress.reconstruction.values import Values
from splitter.program import set_constant
from splitter.quantized_ops import nearly_qconv2d
from splitter.tracing.arguments import operator_name

REQUESTS = 32
"""Most that are looked at: the integer operators are slow in torch."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where an integer layer comes from."""

    source: fx.Node
    """Its input in the float graph."""
    weight: torch.Tensor
    bias: torch.Tensor | None
    numbers: Numbers
    """Of its input."""
    out_scale: float


@torch.no_grad()
def refine(
    module: fx.GraphModule,
    original: fx.GraphModule,
    origins: Mapping[fx.Node, Origin],
    requests: Sequence[Sequence[torch.Tensor]],
) -> None:
    """Give the layers of ``module`` better constants, in place.

    Args:
        module: the integer program's.
        original: the float program's.
        origins: of the layers of ``module`` whose weights may change.
        requests: unlabelled inputs.
    """
    some = requests[:REQUESTS]
    teacher = Values(original, some, [origin.source for origin in origins.values()])
    faster = {"qconv2d": nearly_qconv2d}
    pupil = Values(module, some, [node.all_input_nodes[0] for node in origins], faster)
    for node in module.graph.nodes:
        if node in origins:
            origin = origins[node]
            seen = [_floats(q, origin.numbers) for q in pupil.of(node.all_input_nodes[0])]
            _renew(module, node, origin, list(zip(seen, teacher.of(origin.source), strict=True)))


def _floats(q: torch.Tensor, numbers: Numbers) -> torch.Tensor:
    """What numbers stand for, channels first."""
    return ((q.float() - numbers.zero) * numbers.scale).movedim(-1, 1)


def _renew(
    module: fx.GraphModule,
    node: fx.Node,
    origin: Origin,
    pairs: Sequence[tuple[torch.Tensor, torch.Tensor]],
) -> None:
    window = _window(node, origin)
    weight = origin.weight.detach().double().reshape(*_grouped(origin.weight, window))
    scale = channel_scale(weight.flatten(0, 1)).reshape(*weight.shape[:2], 1)
    found, shift = fitted(weight, pairs, window, lambda part: grid(part, scale))
    bias = shift.reshape(-1)
    if origin.bias is not None:
        bias = bias + origin.bias.detach().double()
    made = integer_weight(
        *(found.reshape(origin.weight.shape), bias, origin.numbers, origin.out_scale),
        scale.reshape(-1),
    )
    last = operator_name(node) == "qconv2d"
    codes = made.weight.movedim(1, -1).contiguous() if last else made.weight
    for place, value in zip(node.args[1:4], (codes, made.bias, made.factor), strict=True):
        assert isinstance(place, fx.Node)
        set_constant(module, str(place.target), value)
        place.meta["val"] = value


def _window(node: fx.Node, origin: Origin) -> Window | None:
    if operator_name(node) != "qconv2d":
        return None
    stride, padding, dilation, groups = node.args[4:8]
    return Window(tuple(origin.weight.shape[2:]), stride, padding, dilation, groups)  # type: ignore[arg-type]


def _grouped(weight: torch.Tensor, window: Window | None) -> tuple[int, int, int]:
    groups = 1 if window is None else window.groups
    return groups, weight.shape[0] // groups, -1
