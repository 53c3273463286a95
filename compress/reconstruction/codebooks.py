"""Codebooks for the layers of a graph, one after another, with the float network as teacher."""

from collections.abc import Mapping, Sequence

import torch
from torch import fx

from compress.clusters import cluster_count, first_centroids, lloyd, nearest
from compress.codebooks import channel_scale
from compress.direct import KMeans
from compress.formats import Codebook
from compress.payload import Scale
from compress.reconstruction.moments import Pair, Window
from compress.reconstruction.solve import fitted
from compress.reconstruction.values import Values
from splitter.program import constant_of
from splitter.tracing.arguments import argument, listed, operator_name, shape_of

REQUESTS = 128
"""Most that are looked at."""


@torch.no_grad()
def reconstruct_codebooks(
    module: fx.GraphModule,
    original: fx.GraphModule,
    wanted: Mapping[str, KMeans],
    requests: Sequence[Sequence[torch.Tensor]],
) -> dict[str, Codebook]:
    """Give weights of ``module`` codebooks, in place, in order of execution.

    Args:
        module: at ATen level.
        original: a copy of it with the weights as they were before anything was compressed.
        wanted: what codebooks shall be like, by the name of the weight; all `understood`.
        requests: unlabelled inputs, one or more.
    """
    some = requests[:REQUESTS]
    found = [n for n in module.graph.nodes if _weight(n) in wanted]
    twins = dict(zip(module.graph.nodes, original.graph.nodes, strict=True))
    teacher = Values(original, some, [twins[_source(n)] for n in found])
    pupil = Values(module, some, [_source(n) for n in found])
    made: dict[str, Codebook] = {}
    for node in found:
        inputs = zip(pupil.of(_source(node)), teacher.of(twins[_source(node)]), strict=True)
        weight = constant_of(original, _weight(node)).double()
        made[_weight(node)] = _renew(module, node, weight, list(inputs), wanted[_weight(node)])
    return made


def understood(module: fx.GraphModule) -> set[str]:
    """Weights that `reconstruct_codebooks` can fit."""
    return {_weight(n) for n in module.graph.nodes if _weight(n) and _is_understood(n)}


def _is_understood(node: fx.Node) -> bool:
    """Whether ``node`` is a layer whose outputs are products of patches with its own weight."""
    name = operator_name(node)
    weight = node.args[1]
    assert isinstance(weight, fx.Node)
    if len(weight.users) != 1:
        return False
    if name == "linear":
        return True
    padding = argument(node, 4, "padding", 0)
    return name == "conv2d" and len(shape_of(node)) == 4 and not isinstance(padding, str)


def _weight(node: fx.Node) -> str:
    """Name of the weight of a convolution or linear layer, else an empty one."""
    if node.op != "call_function" or operator_name(node) not in ("conv2d", "linear"):
        return ""
    weight = node.args[1]
    return str(weight.target) if isinstance(weight, fx.Node) and weight.op == "get_attr" else ""


def _source(node: fx.Node) -> fx.Node:
    source = node.args[0]
    assert isinstance(source, fx.Node)
    return source


def _renew(
    module: fx.GraphModule,
    node: fx.Node,
    original: torch.Tensor,
    pairs: Sequence[Pair],
    like: KMeans,
) -> Codebook:
    value, window = constant_of(module, _weight(node)), _window(node)
    groups = 1 if window is None else window.groups
    weight = original.reshape(groups, len(value) // groups, -1)
    scale = channel_scale(value, 0).reshape(-1) if like.per_channel else torch.ones(len(value))
    steps = scale.double().reshape(groups, -1, 1)
    levels = codebook(weight / steps, cluster_count(like.bits, like.full))
    found, shift = fitted(
        weight, pairs, window, lambda part: levels[nearest(part / steps, levels)] * steps
    )
    indices = nearest(found / steps, levels).reshape(value.shape).to(torch.uint8)
    factors = Scale(scale.numpy(), 0) if like.per_channel else None
    made = Codebook(indices.numpy(), levels.float().numpy(), like.bits, factors)
    value.copy_(torch.from_numpy(made.dense()))
    _shift(module, node, shift)
    return made


def codebook(weight: torch.Tensor, clusters: int) -> torch.Tensor:
    """Float64 centroids of ``weight``, as they are stored; one is exactly zero."""
    start = first_centroids(weight, clusters)
    still = torch.zeros(len(start), dtype=torch.bool)
    still[len(still) // 2] = True
    return lloyd(weight, start, still).float().double()


def _shift(module: fx.GraphModule, node: fx.Node, shift: torch.Tensor) -> None:
    """The bias takes what the outputs are off on average."""
    bias = argument(node, 2, "bias")
    if isinstance(bias, fx.Node) and bias.op == "get_attr" and len(bias.users) == 1:
        constant_of(module, str(bias.target)).add_(shift.reshape(-1).float())


def _window(node: fx.Node) -> Window | None:
    if operator_name(node) == "linear":
        return None
    weight = node.args[1]
    assert isinstance(weight, fx.Node)
    kernel = shape_of(weight)[2:]
    down, across = listed(argument(node, 4, "padding", 0), 2)
    return Window(
        (kernel[0], kernel[1]),
        listed(argument(node, 3, "stride", 1), 2),
        (down, across, down, across),
        listed(argument(node, 5, "dilation", 1), 2),
        int(argument(node, 6, "groups", 1)),
    )
