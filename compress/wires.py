"""Smaller tensors on links: float32 is encoded before it is sent and decoded where it is used.

Encoding and decoding are layers of the program, so plans count their bytes and time, and the
equivalence gate compares with a program that has them as well.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count
from typing import Literal

import torch
from torch import fx

from compress.int8.ranges import Numbers, calibrate
from splitter.graph import Graph, Tensor
from splitter.program import Program
from splitter.schedule import destinations, home_of
from splitter.topology import Topology
from splitter.tracing.layers import group_layers

WireEncoding = Literal["fp16", "int8"]
"""IEEE half precision, or 256 numbers between the least and the largest value seen."""
WIRE_TYPE: Mapping[WireEncoding, str] = {"fp16": "float16", "int8": "uint8"}
"""Type of the tensors that cross."""
ops = torch.ops.splitter


@dataclass(frozen=True)
class Encoded:
    """A program whose links carry encoded tensors."""

    program: Program
    placement: Mapping[str, str]
    """Device of each of its layers."""
    tensors: tuple[str, ...]
    """Tensors of the original program that are encoded."""


def encode_wires(
    program: Program,
    topology: Topology,
    placement: Mapping[str, str],
    encoding: WireEncoding,
    requests: Sequence[Sequence[torch.Tensor]],
) -> Encoded:
    """``program`` with every float32 tensor that crosses a link encoded.

    Args:
        program: what is placed.
        topology: where.
        placement: device of each layer.
        encoding: how values are sent.
        requests: inputs that show the ranges of int8; fp16 needs none.

    Raises:
        UsageError: int8 without a request, or with one that is not finite.
    """
    crossing = _crossing(program, topology, placement)
    if not crossing:
        return Encoded(program, placement, ())
    numbers = calibrate(program, requests, "minmax") if encoding == "int8" else {}
    return _Encoder(program, topology, placement, crossing, numbers).encoded()


def as_sent(graph: Graph, encoding: WireEncoding) -> Graph:
    """``graph`` with every tensor as large as it is on a link.

    To plan with: its transfers are those of the encoded program. That encoding and decoding take
    time, and that tensors are whole in memory, is left out, so that no placement of the encoded
    program costs less than it costs here.
    """
    sizes = {
        name: replace(tensor, dtype=WIRE_TYPE[encoding]) if _is_encoded(tensor) else tensor
        for name, tensor in graph.tensors.items()
    }
    return replace(graph, tensors=sizes)


def _is_encoded(tensor: Tensor) -> bool:
    return tensor.dtype == "float32" and len(tensor.shape) > 1


def relative_error(
    program: Program, other: Program, requests: Sequence[Sequence[torch.Tensor]]
) -> float:
    """Largest difference of any output, relative to the output's largest magnitude."""
    worst = 0.0
    for request in requests:
        for wanted, found in zip(program(*request), other(*request), strict=True):
            if wanted.is_floating_point() and wanted.numel():
                gap = float((found.double() - wanted.double()).abs().max())
                scale = float(wanted.double().abs().max())
                worst = max(worst, gap / scale if scale > 0 else gap)
    return worst


def _crossing(
    program: Program, topology: Topology, placement: Mapping[str, str]
) -> dict[fx.Node, str]:
    """The nodes of tensors that cross links, with the device on which each is made."""
    nodes = {node.name: node for node in program.module.graph.nodes}
    graph = program.graph
    return {
        nodes[program.tensor_nodes[name]]: home_of(graph, topology, placement, name)
        for name, tensor in graph.tensors.items()
        if _is_encoded(tensor) and destinations(graph, topology, placement, name)
    }


class _Encoder:
    def __init__(
        self,
        program: Program,
        topology: Topology,
        placement: Mapping[str, str],
        crossing: Mapping[fx.Node, str],
        numbers: Mapping[str, Numbers],
    ) -> None:
        self.program, self.topology, self.crossing = program, topology, crossing
        self.numbers = numbers
        self.device_of = {
            node: placement[layer] for layer, nodes in program.layer_nodes.items() for node in nodes
        }
        self.graph = fx.Graph()
        self.copies: dict[fx.Node, fx.Node] = {}
        self.sent: dict[fx.Node, fx.Node] = {}
        self.received: dict[tuple[fx.Node, str], fx.Node] = {}
        self.places: dict[str, str] = {}

    def encoded(self) -> Encoded:
        for node in self.program.module.graph.nodes:
            if node.op == "output":
                self.graph.output(tuple(self._output(i) for i in range(len(node.args[0]))))
                continue
            device = self.device_of.get(node.name, "")
            copy = self.graph.node_copy(node, lambda n, d=device: self._at(n, d))  # type: ignore[misc]
            self.copies[node] = copy
            self.places[copy.name] = device
        module = fx.GraphModule(self.program.module, self.graph)
        graph = self.program.graph
        made = _with_outputs(group_layers(module, graph.name, graph.inputs, ()), graph.outputs)
        kept = {n: t for n, t in self.program.compressed.items() if n in made.graph.weight_bytes}
        # What constants take was decided before: compressed ones may count less than their floats.
        sizes = {n: graph.weight_bytes[n] for n in made.graph.weight_bytes}
        made = replace(
            made,
            graph=replace(made.graph, weight_bytes=sizes),
            example_inputs=self.program.example_inputs,
            compressed=kept,
        )
        placement = {layer: self.places[nodes[-1]] for layer, nodes in made.layer_nodes.items()}
        names = {node: tensor for tensor, node in self.program.tensor_nodes.items()}
        return Encoded(made, placement, tuple(names[node.name] for node in self.sent))

    def _output(self, position: int) -> fx.Node:
        name = self.program.graph.outputs[position]
        output = next(reversed(self.program.module.graph.nodes))
        results = output.args[0]
        assert isinstance(results, tuple | list)
        node = results[position]
        assert isinstance(node, fx.Node)
        return self._at(node, self.topology.sink_of(name))

    def _at(self, node: fx.Node, device: str) -> fx.Node:
        """``node`` as the layers on ``device`` see it."""
        if node not in self.crossing or self.crossing[node] == device:
            return self.copies[node]
        if (node, device) not in self.received:
            made = self._decode(node)
            self.received[node, device] = made
            self.places[made.name] = device
        return self.received[node, device]

    def _decode(self, node: fx.Node) -> fx.Node:
        if node not in self.sent:
            self.sent[node] = self._encode(node)
            self.places[self.sent[node].name] = self.crossing[node]
        if not self.numbers:
            return self._call("decode_half", self.sent[node])
        numbers = self.numbers[node.name]
        return self._call("dequantize", self.sent[node], numbers.scale, numbers.zero)

    def _encode(self, node: fx.Node) -> fx.Node:
        if not self.numbers:
            return self._call("encode_half", self.copies[node])
        numbers = self.numbers[node.name]
        return self._call("quantize", self.copies[node], 1.0 / numbers.scale, numbers.zero)

    def _call(self, name: str, source: fx.Node, *rest: float) -> fx.Node:
        target = getattr(ops, name).default
        made = self.graph.call_function(target, (source, *rest))
        value = source.meta["val"]
        made.meta["val"] = target(torch.empty(value.shape, dtype=value.dtype, device="meta"), *rest)
        return made


def _with_outputs(program: Program, names: Sequence[str]) -> Program:
    """``program`` with its outputs called ``names``; what had such a name before gets another."""
    graph = program.graph
    wanted = dict(zip(graph.outputs, names, strict=True))
    new: dict[str, str] = {}
    for tensor in graph.tensors:
        label = wanted.get(tensor, tensor)
        if tensor not in wanted and tensor in names:
            label = next(n for n in _numbered(f"{tensor}/whole") if n not in graph.tensors)
        new[tensor] = label
    layers = (
        replace(
            layer,
            inputs=tuple(new[t] for t in layer.inputs),
            outputs=tuple(new[t] for t in layer.outputs),
        )
        for layer in graph.layers
    )
    tensors = {new[n]: replace(t, name=new[n]) for n, t in graph.tensors.items()}
    renamed = replace(graph, layers=tuple(layers), tensors=tensors, outputs=tuple(names))
    nodes = {new[tensor]: node for tensor, node in program.tensor_nodes.items()}
    return replace(program, graph=renamed, tensor_nodes=nodes)


def _numbered(base: str) -> Iterator[str]:
    yield base
    yield from (f"{base}.{i}" for i in count(2))
