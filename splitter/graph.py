"""The problem as planners, cost models and searches see it: layers, tensors, numbers.

A Graph holds no weights and imports no framework, so everything that works on it is tested in
milliseconds. One Layer is what the compiler turns into one kernel launch (or a few launches that
share a scratch buffer): plan granularity is kernel granularity.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any

import networkx as nx

DTYPE_BYTES: Mapping[str, int] = {
    "float32": 4,
    "float64": 8,
    "float16": 2,
    "int64": 8,
    "int32": 4,
    "int16": 2,
    "int8": 1,
    "uint8": 1,
    "bool": 1,
}

BACKWARD = "backward"
"""Kind of the layers of a training step's backward pass."""


@dataclass(frozen=True, slots=True)
class Tensor:
    """One value that flows between layers, or enters or leaves the model."""

    name: str
    shape: tuple[int, ...]
    dtype: str = "float32"

    @property
    def bytes(self) -> int:
        """Size of the dense tensor in bytes."""
        return prod(self.shape) * DTYPE_BYTES[self.dtype]

    def __str__(self) -> str:
        return f"{self.name}: {self.dtype}[{', '.join(map(str, self.shape))}]"


@dataclass(frozen=True, slots=True)
class Layer:
    """One unit of placement: an operator with the element-wise tail fused into it."""

    name: str
    """Stable name, derived from the parameter's module path where there is one."""
    kind: str
    """Operator family in the field's words: ``conv2d``, ``linear``, ``softmax``, ..."""
    inputs: tuple[str, ...]
    """Names of the tensors it reads, each once."""
    outputs: tuple[str, ...]
    """Names of the tensors it makes."""
    weights: tuple[str, ...] = ()
    """Names of the constants it reads; layers that name the same one share it."""
    macs: int = 0
    """Multiply-accumulates for one request."""
    scratch_bytes: int = 0
    """Memory needed only while the layer runs."""
    signature: str = ""
    """Equal for two layers exactly when one kernel serves both (weights' values aside)."""


@dataclass(frozen=True)
class Graph:
    """A directed acyclic graph of layers, listed in one topological order.

    The order is the order in which a device executes the layers that are placed on it.
    """

    name: str
    layers: tuple[Layer, ...]
    tensors: Mapping[str, Tensor]
    """Every model input and every layer output, by name."""
    inputs: tuple[str, ...]
    """Names of the tensors that the user supplies."""
    outputs: tuple[str, ...]
    """Names of the tensors that the user wants, in the model's own order."""
    weight_bytes: Mapping[str, int]
    """Size of each constant, by name."""

    @cached_property
    def producer(self) -> Mapping[str, Layer]:
        """The layer that makes each tensor; model inputs are absent."""
        return {tensor: layer for layer in self.layers for tensor in layer.outputs}

    @cached_property
    def consumers(self) -> Mapping[str, tuple[Layer, ...]]:
        """The layers that read each tensor, in graph order."""
        readers: dict[str, list[Layer]] = {name: [] for name in self.tensors}
        for layer in self.layers:
            for tensor in layer.inputs:
                readers[tensor].append(layer)
        return {name: tuple(layers) for name, layers in readers.items()}

    @cached_property
    def by_name(self) -> Mapping[str, Layer]:
        """Layers by name."""
        return {layer.name: layer for layer in self.layers}

    @cached_property
    def index(self) -> Mapping[str, int]:
        """Position of each layer in execution order, by name."""
        return {layer.name: i for i, layer in enumerate(self.layers)}

    def layer_weight_bytes(self, layer: Layer) -> int:
        """Bytes of all constants that ``layer`` reads, shared ones included."""
        return sum(self.weight_bytes[w] for w in layer.weights)

    def weights_of(self, layers: Iterable[str]) -> tuple[str, ...]:
        """Names of the distinct constants that the named layers read, in first-use order."""
        names = (w for layer in layers for w in self.by_name[layer].weights)
        return tuple(dict.fromkeys(names))

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one request."""
        return sum(layer.macs for layer in self.layers)

    @property
    def total_weight_bytes(self) -> int:
        """Bytes of all constants, each counted once."""
        return sum(self.weight_bytes.values())

    def dag(self) -> "nx.DiGraph[str]":
        """Layers as a networkx graph; an edge carries the names of its tensors."""
        dag: nx.DiGraph[str] = nx.DiGraph()
        dag.add_nodes_from(layer.name for layer in self.layers)
        for layer in self.layers:
            for tensor in layer.inputs:
                if tensor not in self.producer:
                    continue
                source = self.producer[tensor].name
                carried: list[str] = dag.get_edge_data(source, layer.name, {}).get("tensors", [])
                dag.add_edge(source, layer.name, tensors=[*carried, tensor])
        return dag

    def faults(self) -> list[str]:
        """Every broken invariant, in words; an empty list means the graph is sound.

        Checks: names are unique; every tensor read is a model input or made by an *earlier*
        layer; every tensor has one producer; outputs and weights exist; sizes are not negative.
        """
        found: list[str] = []
        if len(self.by_name) != len(self.layers):
            found.append("two layers have the same name")
        known = set(self.inputs)
        for layer in self.layers:
            found += [
                f"layer {layer.name} reads {tensor}, which no earlier layer makes"
                for tensor in layer.inputs
                if tensor not in known
            ]
            found += [
                f"layer {layer.name} makes {tensor}, which exists already"
                for tensor in layer.outputs
                if tensor in known
            ]
            found += [
                f"layer {layer.name} reads the unknown constant {weight}"
                for weight in layer.weights
                if weight not in self.weight_bytes
            ]
            if layer.macs < 0 or layer.scratch_bytes < 0:
                found.append(f"layer {layer.name} has a negative cost")
            known.update(layer.outputs)
        found += [f"output {name} is never made" for name in self.outputs if name not in known]
        found += [f"tensor {name} has no shape" for name in known if name not in self.tensors]
        return found

    def to_dict(self) -> dict[str, Any]:
        """JSON form; `from_dict` inverts it."""
        return {
            "name": self.name,
            "inputs": list(self.inputs),
            "outputs": list(self.outputs),
            "tensors": [
                {"name": t.name, "shape": list(t.shape), "dtype": t.dtype}
                for t in self.tensors.values()
            ],
            "weight_bytes": dict(self.weight_bytes),
            "layers": [
                {
                    "name": layer.name,
                    "kind": layer.kind,
                    "inputs": list(layer.inputs),
                    "outputs": list(layer.outputs),
                    "weights": list(layer.weights),
                    "macs": layer.macs,
                    "scratch_bytes": layer.scratch_bytes,
                    "signature": layer.signature,
                }
                for layer in self.layers
            ],
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Graph":
        """The Graph that `to_dict` wrote; a missing key raises KeyError, a wrong type TypeError."""
        return cls(
            name=data["name"],
            layers=tuple(
                Layer(
                    name=item["name"],
                    kind=item["kind"],
                    inputs=tuple(item["inputs"]),
                    outputs=tuple(item["outputs"]),
                    weights=tuple(item["weights"]),
                    macs=item["macs"],
                    scratch_bytes=item["scratch_bytes"],
                    signature=item["signature"],
                )
                for item in data["layers"]
            ),
            tensors={
                t["name"]: Tensor(t["name"], tuple(t["shape"]), t["dtype"]) for t in data["tensors"]
            },
            inputs=tuple(data["inputs"]),
            outputs=tuple(data["outputs"]),
            weight_bytes=dict(data["weight_bytes"]),
        )

    def __str__(self) -> str:
        return (
            f"{self.name}: {len(self.layers)} layers, {self.macs / 1e6:.1f} M MACs, "
            f"{self.total_weight_bytes / 1e6:.2f} MB of weights"
        )
