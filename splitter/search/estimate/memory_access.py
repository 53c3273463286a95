"""What ShuffleNetV2's rules say about a network: features of its cost, and a lint.

Ma et al., "ShuffleNet V2: Practical Guidelines for Efficient CNN Architecture Design", 2018: G1
equal channel widths need least memory access, G2 groups cost it, G3 fragments lower parallelism,
G4 element-wise operators are not free.
"""

from dataclasses import dataclass
from math import prod, sqrt

from splitter.graph import Graph, Layer

_UNEQUAL = 1.5
"""Memory access over its bound from which G1 is mentioned."""
_ELEMENTWISE = 0.3
"""Part of all bytes from which G4 is mentioned."""
_ANCHORS = ("conv", "linear", "matmul")


@dataclass(frozen=True, slots=True)
class Features:
    """Cost features of a network that need no measurement."""

    macs: int
    bytes: int
    """Read and written, weights included."""
    kernels: int
    elementwise_bytes: int
    """Of them by layers without multiply-accumulates."""


def features(graph: Graph) -> Features:
    """The features of ``graph``."""
    moved = {layer.name: _bytes(graph, layer) for layer in graph.layers}
    light = sum(moved[layer.name] for layer in graph.layers if not _is_anchor(layer))
    return Features(graph.macs, sum(moved.values()), len(graph.layers), light)


def lint(graph: Graph) -> list[str]:
    """What the rules object to, in words; advice, not errors."""
    found = []
    for layer in graph.layers:
        if layer.kind.startswith("pointwise"):
            found += _unequal(graph, layer)
        if layer.kind.startswith("grouped"):
            found.append(f"G2: {layer.name} has groups, which cost memory access at equal MACs")
    wide = _widest_fragment(graph)
    if wide > 2:
        found.append(f"G3: {wide} branches run side by side; few large kernels are faster")
    all_of_it = features(graph)
    part = all_of_it.elementwise_bytes / max(all_of_it.bytes, 1)
    if part > _ELEMENTWISE:
        found.append(f"G4: {part:.0%} of the bytes are moved by layers that multiply nothing")
    return found


def access_bound(positions: int, macs: int) -> float:
    """G1: least values that a 1x1 convolution of so many ``macs`` touches on ``positions``."""
    return 2.0 * sqrt(positions * macs) + macs / positions


def access(positions: int, inputs: int, outputs: int) -> int:
    """Values that a 1x1 convolution touches."""
    return positions * (inputs + outputs) + inputs * outputs


def _unequal(graph: Graph, layer: Layer) -> list[str]:
    source, made = graph.tensors[layer.inputs[0]].shape, graph.tensors[layer.outputs[0]].shape
    positions = prod(made[2:])
    inputs, outputs = source[1], made[1]
    ratio = access(positions, inputs, outputs) / access_bound(positions, layer.macs)
    if ratio <= _UNEQUAL or layer.macs != positions * inputs * outputs:
        return []
    return [f"G1: {layer.name} goes from {inputs} to {outputs} channels: {ratio:.1f} x the least"]


def _bytes(graph: Graph, layer: Layer) -> int:
    tensors = sum(graph.tensors[name].bytes for name in (*layer.inputs, *layer.outputs))
    return tensors + graph.layer_weight_bytes(layer)


def _is_anchor(layer: Layer) -> bool:
    return any(word in layer.kind for word in _ANCHORS)


def _widest_fragment(graph: Graph) -> int:
    """Most layers that read one tensor, the element-wise ones aside."""
    counts = [sum(_is_anchor(reader) for reader in readers) for readers in graph.consumers.values()]
    return max(counts, default=0)
