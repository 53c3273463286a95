"""Every block that a family's networks are made of, traced once: layers, MACs, bytes.

All distinct blocks are traced together as one program with an input and an output each. Its layers
are those that the compiler will make kernels of, so `splitter profile` measures them as any other
program's, and seconds add up to a network's.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import nn

from splitter.costs import CostTable
from splitter.errors import ModelError
from splitter.graph import Graph, Layer
from splitter.memory import Block, aligned, pack
from splitter.search.space.network import Family
from splitter.tracing.trace import trace

Shape = tuple[int, ...]
"""Channels, height and width of a tensor between blocks."""
STEM, HEAD = -1, -2
"""Slot numbers of the fixed parts."""
Key = tuple[int, int, Shape]
"""(slot, choice, shape of the input); the fixed parts have choice 0."""


@dataclass(frozen=True, slots=True)
class BlockCost:
    """What one block costs, wherever it runs."""

    layers: tuple[str, ...]
    """Its layers in `BlockTable.graph`."""
    shape: Shape
    """Of its output."""
    output_bytes: int
    weight_bytes: int
    working_bytes: int
    """Arena for its inner tensors, with input and output."""
    macs: int


@dataclass(frozen=True)
class BlockTable:
    """The blocks of a family."""

    graph: Graph
    """All distinct blocks side by side."""
    blocks: tuple[BlockCost, ...]
    number: Mapping[Key, int]
    """Which block each option is; several may be alike."""
    input_bytes: int

    def __getitem__(self, key: Key) -> BlockCost:
        return self.blocks[self.number[key]]

    @cached_property
    def by_slot(self) -> Mapping[int, tuple[Key, ...]]:
        """Options of each slot."""
        found: dict[int, list[Key]] = {}
        for key in self.number:
            found.setdefault(key[0], []).append(key)
        return {slot: tuple(keys) for slot, keys in found.items()}

    def seconds(self, key: Key, costs: CostTable, device: str) -> float:
        """Time of one block on ``device``: the sum of its layers'."""
        return sum(costs.seconds(layer, device) for layer in self[key].layers)

    def to_dict(self) -> dict[str, Any]:
        """JSON form; `from_dict` inverts it."""
        return {
            "graph": self.graph.to_dict(),
            "outputs": [list(b.shape) for b in self.blocks],
            "number": [[s, c, list(shape), n] for (s, c, shape), n in self.number.items()],
            "input_bytes": self.input_bytes,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "BlockTable":
        """The table that `to_dict` wrote."""
        graph = Graph.from_dict(data["graph"])
        shapes = [tuple(shape) for shape in data["outputs"]]
        number = {(s, c, tuple(shape)): n for s, c, shape, n in data["number"]}
        return cls(graph, _costs(graph, shapes), number, data["input_bytes"])


class Blocks(nn.Module):
    """Blocks side by side, each with an input and an output of its own."""

    def __init__(self, blocks: Sequence[nn.Module]) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)

    def forward(self, *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """The output of each block."""
        return tuple(block(x) for block, x in zip(self.blocks, inputs, strict=True))


@dataclass(frozen=True)
class Parts:
    """Distinct blocks of a family, before they are traced."""

    modules: tuple[nn.Module, ...]
    inputs: tuple[Shape, ...]
    outputs: tuple[Shape, ...]
    number: Mapping[Key, int]

    def program(self) -> Any:
        """All of them as one traced program, batch 1."""
        examples = [torch.zeros((1, *shape)) for shape in self.inputs]
        return trace(Blocks(self.modules).eval(), examples, name="blocks")

    def table(self, graph: Graph, input_shape: Shape) -> BlockTable:
        """The table, from the graph of `program`."""
        size = 4 * torch.Size(input_shape).numel()
        return BlockTable(graph, _costs(graph, list(self.outputs)), self.number, size)


def parts_of(family: Family) -> Parts:
    """Every distinct block: equal blocks (by choice, print and shapes) are one."""
    made = _Collector()
    space = family.space
    shapes = {made.add((STEM, 0, family.input_shape), family.stem()[0])}
    for i, slot in enumerate(space.slots):
        found: set[Shape] = set()
        for choice, picked in enumerate(slot.choices):
            for shape in sorted(shapes):
                module, _ = family.block(i, picked, shape[0])
                found.add(made.add((i, choice, shape), module))
        shapes = found | (shapes if space.optional[i] else set())
    for shape in sorted(shapes):
        made.add((HEAD, 0, shape), family.head(shape[0]))
    return Parts(tuple(made.modules), tuple(made.inputs), tuple(made.outputs), made.number)


class _Collector:
    def __init__(self) -> None:
        self.modules: list[nn.Module] = []
        self.inputs: list[Shape] = []
        self.outputs: list[Shape] = []
        self.number: dict[Key, int] = {}
        self._known: dict[tuple[str, Shape], int] = {}

    def add(self, key: Key, module: nn.Module) -> Shape:
        """Take in one block; returns the shape of its output."""
        shape = key[2]
        alike = (repr(module), shape)
        if alike not in self._known:
            module.eval()
            with torch.no_grad():
                made = module(torch.zeros((1, *shape)))
            self._known[alike] = len(self.modules)
            self.modules.append(module)
            self.inputs.append(shape)
            self.outputs.append(tuple(made.shape[1:]))
        self.number[key] = self._known[alike]
        return self.outputs[self.number[key]]


def _costs(graph: Graph, shapes: Sequence[Shape]) -> tuple[BlockCost, ...]:
    if len(graph.inputs) != len(shapes):
        raise ModelError(f"{len(shapes)} blocks were traced into {len(graph.inputs)} inputs")
    return tuple(_cost(graph, i, shape) for i, shape in enumerate(shapes))


def _cost(graph: Graph, number: int, shape: Shape) -> BlockCost:
    layers = _reached(graph, graph.inputs[number])
    names = tuple(layer.name for layer in layers)
    output = graph.tensors[graph.outputs[number]]
    return BlockCost(
        layers=names,
        shape=shape,
        output_bytes=output.bytes,
        weight_bytes=sum(graph.weight_bytes[w] for w in graph.weights_of(names)),
        working_bytes=_working_bytes(graph, layers, graph.inputs[number], output.name),
        macs=sum(layer.macs for layer in layers),
    )


def _reached(graph: Graph, tensor: str) -> list[Layer]:
    """Layers that depend on an input, in graph order."""
    known, found = {tensor}, []
    for layer in graph.layers:
        if known & set(layer.inputs):
            known |= set(layer.outputs)
            found.append(layer)
    return found


def _working_bytes(graph: Graph, layers: Sequence[Layer], start: str, end: str) -> int:
    place = {layer.name: i for i, layer in enumerate(layers)}
    blocks = []
    for tensor in dict.fromkeys([start, *(t for layer in layers for t in layer.outputs)]):
        made = place[graph.producer[tensor].name] if tensor in graph.producer else 0
        last = max([made, *(place[r.name] for r in graph.consumers[tensor])])
        last = len(layers) if tensor == end else last
        blocks.append(Block(tensor, graph.tensors[tensor].bytes, made, last))
    for layer in layers:
        step = place[layer.name]
        if layer.scratch_bytes:
            blocks.append(Block(f"{layer.name}/scratch", layer.scratch_bytes, step, step))
    at = pack(blocks)
    return max((at[b.name] + aligned(b.bytes) for b in blocks), default=0)
