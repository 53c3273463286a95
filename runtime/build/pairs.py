"""Layers that become one kernel: an expansion and the depthwise convolution that alone reads it.

Planning, tuning and bundles know them as two layers. Where both are in one stage of one device and
the map between them would leave the caches, the node computes them as one; the result is the same
to the last bit, so where the cut runs still changes nothing.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from torch import fx

from runtime.build.lower.collapse import is_plain_pointwise
from runtime.build.lower.context import dtype_of
from runtime.build.lower.layer import EXPANDED_DEPTHWISE, Encodings
from runtime.build.lower.tile import row_lanes
from runtime.build.machine import Machine
from splitter.graph import Graph, Layer
from splitter.memory import plan_memory
from splitter.program import Program
from splitter.schedule import NodeSchedule, Stage
from splitter.tracing.arguments import argument, listed, shape_of
from splitter.tracing.operators import is_elementwise, kind_of

_LEAVES_CACHE = 4
"""How many times `Machine.kept_bytes` a map must have for it to be worth computing in strips."""


def paired(
    program: Program, schedule: NodeSchedule, machine: Machine, encodings: Encodings
) -> tuple[Program, NodeSchedule]:
    """Program and schedule of one node with such layers joined, unless that took more memory."""
    pairs = [
        pair
        for stage in schedule.stages
        for pair in _pairs(program, stage, machine)
        if not any(weight in encodings for layer in pair for weight in layer.weights)
    ]
    if not pairs:
        return program, schedule
    joined = program.joined(pairs, EXPANDED_DEPTHWISE)
    shorter = _joined_schedule(joined.graph, schedule, pairs)
    before, after = plan_memory(program.graph, schedule), plan_memory(joined.graph, shorter)
    if after.arena_bytes > before.arena_bytes:
        return program, schedule
    return joined, shorter


def _joined_schedule(
    graph: Graph, schedule: NodeSchedule, pairs: Sequence[tuple[Layer, Layer]]
) -> NodeSchedule:
    names = {b.name: graph.producer[b.outputs[0]].name for _, b in pairs}
    gone = {a.name for a, _ in pairs}

    def shorter(stage: Stage) -> Stage:
        return replace(stage, layers=tuple(names.get(x, x) for x in stage.layers if x not in gone))

    return replace(schedule, stages=tuple(map(shorter, schedule.stages)))


def _pairs(program: Program, stage: Stage, machine: Machine) -> Iterator[tuple[Layer, Layer]]:
    graph, members = program.graph, set(stage.layers)
    nodes = {node.name: node for node in program.module.graph.nodes}
    for name in stage.layers:
        first = graph.by_name[name]
        readers = [r for tensor in first.outputs for r in graph.consumers[tensor]]
        if len(first.outputs) != 1 or len(readers) != 1 or first.outputs[0] in graph.outputs:
            continue
        (second,) = readers
        if second.name not in members or second.inputs != first.outputs:
            continue
        if len(first.inputs) != 1 or len(second.outputs) != 1:
            continue
        a, b = ([nodes[n] for n in program.layer_nodes[x.name]] for x in (first, second))
        if _fit(a, b, machine):
            yield first, second


def _fit(first: list[fx.Node], second: list[fx.Node], machine: Machine) -> bool:
    """Whether the nodes of two layers are an expansion and a depthwise convolution, both plain."""
    (expansion, *tail), (depthwise, *rest) = first, second
    if not is_plain_pointwise(expansion) or kind_of(depthwise) != "depthwise conv2d":
        return False
    if not all(map(is_elementwise, (*tail, *rest))) or shape_of(expansion) != shape_of(first[-1]):
        return False
    if not all(_is_private(node.args[1]) for node in (expansion, depthwise)):
        return False
    return _is_expansion(expansion, machine) and _reads_whole_rows(depthwise, machine)


def _is_expansion(node: fx.Node, machine: Machine) -> bool:
    """Whether whole vectors make up its rows, and its map leaves the cache."""
    batch, channels, rows, columns = shape_of(node)
    numbers = dtype_of(node) == "float32" and channels % 2 == 0
    whole = machine.lanes > 1 and columns % machine.lanes == 0
    bytes_ = 4 * batch * channels * rows * columns
    return numbers and whole and bytes_ > _LEAVES_CACHE * machine.kept_bytes


def _is_private(weight: object) -> bool:
    return isinstance(weight, fx.Node) and weight.op == "get_attr" and len(weight.users) == 1


def _reads_whole_rows(node: fx.Node, machine: Machine) -> bool:
    """Whether a depthwise product, computed by whole vectors, reads every column of its input."""
    taps = shape_of(node.args[1])[-1]
    stride, padding, dilation = (
        listed(argument(node, position, name, usual), 2)[-1]
        for position, name, usual in ((3, "stride", 1), (4, "padding", 0), (5, "dilation", 1))
    )
    lanes = row_lanes(machine, shape_of(node)[-1])
    wide = -(-shape_of(node)[-1] // lanes) * lanes
    steps = [tap * dilation for tap in range(taps)]
    phases = {step % stride for step in steps}
    last = (wide - 1 + steps[-1] // stride) * stride + max(phases) - padding
    return len(phases) == stride and last >= shape_of(node.args[0])[-1] - 1
