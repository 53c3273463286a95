"""The executable form of a model: an ATen-level torch.fx module with weights, and its Graph.

One trace serves planning (its `Graph`), compression (its weights) and lowering (its nodes). A
layer of the graph is a run of fx nodes; `Program.layer_module` cuts one out as a module.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING

import torch
from torch import fx

from splitter.errors import InputError
from splitter.graph import Graph, Layer, Tensor

if TYPE_CHECKING:
    from compress.formats import CompressedTensor


def dtype_name(dtype: torch.dtype) -> str:
    """``torch.float32`` -> ``float32``."""
    return str(dtype).removeprefix("torch.")


def torch_dtype(name: str) -> torch.dtype:
    """``float32`` -> ``torch.float32``."""
    dtype = getattr(torch, name)
    assert isinstance(dtype, torch.dtype), name
    return dtype


@dataclass(frozen=True)
class Program:
    """A traced model in canonical form.

    Every constant has exactly one get_attr node, every node its value's shape in ``meta["val"]``.
    """

    module: fx.GraphModule
    """Placeholders are the model inputs, get_attr nodes its constants; the rest calls ATen."""
    graph: Graph
    layer_nodes: Mapping[str, tuple[str, ...]]
    """Names of the fx nodes of each layer, in execution order."""
    tensor_nodes: Mapping[str, str]
    """Name of the fx node that computes each tensor of the graph."""
    example_inputs: tuple[torch.Tensor, ...] = ()
    """One request, on which a compiled bundle is compared with this program."""
    compressed: "Mapping[str, CompressedTensor]" = field(default_factory=dict)
    """What constants consist of that are compressed, by name; their values are exactly these."""

    def __str__(self) -> str:
        return str(self.graph)

    def constant(self, name: str) -> torch.Tensor:
        """The constant ``name``: dense, detached, on the CPU."""
        return constant_of(self.module, name).detach().cpu().contiguous()

    def __call__(self, *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """The unsplit model's outputs, computed by torch.

        Raises:
            InputError: number, shape or type of the inputs is wrong.
        """
        self.check_inputs(inputs)
        with torch.no_grad():
            return tuple(self.module(*inputs))

    def tensors(self, *inputs: torch.Tensor) -> dict[str, torch.Tensor]:
        """Every tensor of the graph by name, computed by the unsplit model in torch.

        Raises:
            InputError: number, shape or type of the inputs is wrong.
        """
        self.check_inputs(inputs)
        recorder = _Recorder(self.module, {n: t for t, n in self.tensor_nodes.items()})
        with torch.no_grad():
            recorder.run(*inputs)
        return recorder.found

    def check_inputs(self, inputs: Iterable[torch.Tensor]) -> None:
        """Raise InputError unless ``inputs`` have the model's number, shapes and types."""
        given = tuple(inputs)
        if len(given) != len(self.graph.inputs):
            raise InputError(
                f"{self.graph.name} takes {len(self.graph.inputs)} inputs "
                f"({', '.join(self.graph.inputs)}), but {len(given)} were given"
            )
        for name, value in zip(self.graph.inputs, given, strict=True):
            check_tensor(self.graph.tensors[name], tuple(value.shape), dtype_name(value.dtype))

    def layer_module(self, layer: Layer) -> fx.GraphModule:
        """The layer alone: placeholders are its inputs, then its weights; outputs in layer order.

        Constants become placeholders too, so that equal layers give equal modules.
        """
        free = [self.tensor_nodes[tensor] for tensor in layer.inputs]
        free += [self._constant_nodes[weight] for weight in layer.weights]
        return self._cut(self.layer_nodes[layer.name], free, layer.outputs)

    def joined(self, pairs: Sequence[tuple[Layer, Layer]], kind: str) -> "Program":
        """Each pair as one layer in the place of its second, which alone reads the first.

        Tensors stay as they are, in the same order; what the first made has no producer any more.
        """
        first = {a.name for a, _ in pairs}
        whole = {b.name: _one_layer(a, b, kind) for a, b in pairs}
        layers = [whole.get(x.name, x) for x in self.graph.layers if x.name not in first]
        nodes = {
            whole[b.name].name: (*self.layer_nodes[a.name], *self.layer_nodes[b.name])
            for a, b in pairs
        }
        return replace(
            self,
            graph=replace(self.graph, layers=tuple(layers)),
            layer_nodes={**self.layer_nodes, **nodes},
        )

    def extract(self, layers: Iterable[str], name: str) -> "Program":
        """The named layers as a Program: inputs and outputs are the tensors at its edge."""
        chosen = set(layers)
        kept = [layer for layer in self.graph.layers if layer.name in chosen]
        made = {tensor for layer in kept for tensor in layer.outputs}
        read = dict.fromkeys(t for layer in kept for t in layer.inputs if t not in made)
        leaving = [
            t for t in self.graph.tensors if t in made and self._is_needed_outside(t, chosen)
        ]
        weights = self.graph.weights_of(layer.name for layer in kept)
        nodes = [self._constant_nodes[w] for w in weights]
        nodes += [node for layer in kept for node in self.layer_nodes[layer.name]]
        module = self._cut(nodes, [self.tensor_nodes[t] for t in read], leaving)
        graph = Graph(
            name=name,
            layers=tuple(kept),
            tensors={t: self.graph.tensors[t] for t in self.graph.tensors if t in made | set(read)},
            inputs=tuple(read),
            outputs=tuple(leaving),
            weight_bytes={w: self.graph.weight_bytes[w] for w in weights},
        )
        return replace(
            self,
            module=module,
            graph=graph,
            layer_nodes={layer.name: self.layer_nodes[layer.name] for layer in kept},
            tensor_nodes={t: self.tensor_nodes[t] for t in graph.tensors},
            example_inputs=(),
            compressed={w: self.compressed[w] for w in weights if w in self.compressed},
        )

    def _is_needed_outside(self, tensor: str, chosen: set[str]) -> bool:
        readers = self.graph.consumers[tensor]
        return tensor in self.graph.outputs or any(r.name not in chosen for r in readers)

    @cached_property
    def _nodes(self) -> Mapping[str, fx.Node]:
        return {node.name: node for node in self.module.graph.nodes}

    @cached_property
    def _constant_nodes(self) -> Mapping[str, str]:
        nodes = self.module.graph.nodes
        return {str(node.target): node.name for node in nodes if node.op == "get_attr"}

    def _cut(
        self, members: Iterable[str], free: Iterable[str], outputs: Iterable[str]
    ) -> fx.GraphModule:
        graph = fx.Graph()
        env: dict[str, fx.Node] = {}
        for name in free:
            env[name] = graph.placeholder(name)
            env[name].meta["val"] = self._nodes[name].meta["val"]
        for name in members:
            env[name] = graph.node_copy(self._nodes[name], lambda node: env[node.name])
        graph.output(tuple(env[self.tensor_nodes[tensor]] for tensor in outputs))
        return fx.GraphModule(self.module, graph)


JOIN = " + "
"""Between the names of layers that became one; no layer's own name holds it."""


def _one_layer(first: Layer, second: Layer, kind: str) -> Layer:
    signature = hashlib.sha256(f"{kind} {first.signature} {second.signature}".encode())
    return Layer(
        name=f"{first.name}{JOIN}{second.name}",
        kind=kind,
        inputs=first.inputs,
        outputs=second.outputs,
        weights=tuple(dict.fromkeys((*first.weights, *second.weights))),
        macs=first.macs + second.macs,
        scratch_bytes=max(first.scratch_bytes, second.scratch_bytes),
        signature=signature.hexdigest()[:16],
    )


def check_tensor(expected: Tensor, shape: tuple[int, ...], dtype: str) -> None:
    """Raise InputError unless a value of ``shape`` and ``dtype`` fits ``expected``."""
    if shape != expected.shape:
        raise InputError(
            f"input {expected.name} must have shape {list(expected.shape)}, not {list(shape)}"
        )
    if dtype != expected.dtype:
        raise InputError(f"input {expected.name} must be {expected.dtype}, not {dtype}")


def constant_of(module: torch.nn.Module, name: str) -> torch.Tensor:
    """The parameter or buffer at the dotted path ``name``."""
    value: object = module
    for part in name.split("."):
        value = getattr(value, part)
    assert isinstance(value, torch.Tensor), name
    return value


def set_constant(module: torch.nn.Module, name: str, value: torch.Tensor) -> None:
    """Put ``value`` at the dotted path ``name``, making plain modules on the way."""
    *path, leaf = name.split(".")
    for part in path:
        if not hasattr(module, part):
            module.add_module(part, torch.nn.Module())
        module = getattr(module, part)
    module.register_buffer(leaf, value)


class _Recorder(fx.Interpreter):
    def __init__(self, module: fx.GraphModule, wanted: Mapping[str, str]) -> None:
        super().__init__(module)
        self.wanted = wanted
        self.found: dict[str, torch.Tensor] = {}

    def run_node(self, n: fx.Node) -> object:
        value = super().run_node(n)
        if n.name in self.wanted:
            assert isinstance(value, torch.Tensor)
            self.found[self.wanted[n.name]] = value
        return value
