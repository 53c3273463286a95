"""Does every device's memory hold? Part of `splitter.verify`; nothing is shared with the planner.

A request's slot holds what arrives, leaves, or is read in a later stage than it is made in; all
else lives in one arena from the layer that makes it to the last that reads it.
"""

from collections import defaultdict
from collections.abc import Iterator
from itertools import accumulate

from splitter.graph import Graph, Layer
from splitter.plan import Plan
from splitter.topology import Topology

_NODE_BYTES = 3 * 2**20
_ALIGN = 64


def memory_faults(plan: Plan, graph: Graph, topology: Topology) -> list[str]:
    """What is wrong with the devices' memory figures; empty when they hold and fit."""
    faults: list[str] = []
    arriving, leaving = _crossing(plan, graph, topology)
    placed: dict[str, list[Layer]] = defaultdict(list)
    for layer in graph.layers:
        placed[plan.placement[layer.name]].append(layer)
    for load, device in zip(plan.estimate.devices, topology.devices, strict=True):
        name, layers = device.name, placed[device.name]
        weights = {w for layer in layers for w in layer.weights}
        weight_bytes = sum(graph.weight_bytes[w] for w in weights)
        slot, live, arena = _activations(graph, layers, arriving[name], leaving[name])
        least, most = plan.slots * slot + live, plan.slots * slot + arena
        node = _NODE_BYTES if load.layers or slot else 0
        if device.role != "node":  # Parts of one computer count what their layers weigh.
            least, most, node = 0, 0, 0
        if load.weight_bytes != weight_bytes:
            faults.append(f"{name} holds {weight_bytes} bytes of weights")
        if not least <= load.activation_bytes <= most:
            faults.append(
                f"{name} needs {least} to {most} bytes of activations, not {load.activation_bytes}"
            )
        if load.memory_bytes != load.weight_bytes + load.activation_bytes + node:
            faults.append(f"the memory of {name} does not add up")
        if load.memory_limit_bytes != device.memory_bytes:
            faults.append(f"{name} has {device.memory_bytes} bytes of memory")
        if load.memory_bytes > device.memory_bytes:
            faults.append(f"{name} needs {load.memory_bytes} bytes, has {device.memory_bytes}")
    return faults


_PerDevice = dict[str, set[str]]


def _crossing(plan: Plan, graph: Graph, topology: Topology) -> tuple[_PerDevice, _PerDevice]:
    """Tensors that come to each device from outside, and that leave it."""
    arriving: _PerDevice = defaultdict(set)
    leaving: _PerDevice = defaultdict(set)
    for t in plan.transfers:
        arriving[t.target].add(t.tensor)
        leaving[t.source].add(t.tensor)
    for tensor in graph.inputs:
        arriving[topology.source_of(tensor)].add(tensor)
    for tensor in graph.outputs:
        leaving[topology.sink_of(tensor)].add(tensor)
    return arriving, leaving


def _activations(
    graph: Graph, layers: list[Layer], arriving: set[str], leaving: set[str]
) -> tuple[int, int, int]:
    """Bytes of one request slot; the arena's largest live sum; the sum of all arena blocks."""
    stage, seen, stage_of = 0, set[str](), dict[str, int]()
    for layer in layers:
        waits_for = (set(layer.inputs) & arriving) - seen
        stage += bool(waits_for)
        seen |= waits_for
        stage_of[layer.name] = stage
    kept = arriving | leaving
    blocks: list[tuple[int, int, int]] = []
    position = {layer.name: i for i, layer in enumerate(layers)}
    readers: dict[str, list[str]] = defaultdict(list)
    for layer in layers:
        for tensor in layer.inputs:
            readers[tensor].append(layer.name)
    for at, layer in enumerate(layers):
        blocks.append((_round(layer.scratch_bytes), at, at))
        for tensor in layer.outputs:
            if tensor in kept:
                continue
            if any(stage_of[reader] != stage_of[layer.name] for reader in readers[tensor]):
                kept.add(tensor)
                continue
            last = max([at, *(position[reader] for reader in readers[tensor])])
            blocks.append((_round(graph.tensors[tensor].bytes), at, last))
    slot = sum(_round(graph.tensors[tensor].bytes) for tensor in kept)
    return slot, max(_live_sums(blocks, len(layers)), default=0), sum(b[0] for b in blocks)


def _live_sums(blocks: list[tuple[int, int, int]], steps: int) -> Iterator[int]:
    """Bytes alive at each step."""
    change = [0] * (steps + 1)
    for size, first, last in blocks:
        change[first] += size
        change[last + 1] -= size
    return accumulate(change)


def _round(size: int) -> int:
    return size + -size % _ALIGN
