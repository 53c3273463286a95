"""What decoding weights in the kernel costs, beside the MACs.

Measured on a ResNet-20 of 270,000 weights on an AVX-512 core of 2.1 GHz: seconds of the node with
decoding in the kernel less those of the float node, per weight, in operations of one cycle.
"""

from collections.abc import Mapping

from compress.formats import Codebook, CompressedTensor, Ternary
from splitter.cost.roofline import scalar_seconds
from splitter.costs import CostTable
from splitter.program import Program
from splitter.stored import decodes_in_kernel
from splitter.topology import Topology

CODEBOOK_OPERATIONS: Mapping[int, float] = {3: 1.3, 4: 1.8, 5: 4.7}
"""Per weight, by bits."""
TERNARY_OPERATIONS = 2.6
_OTHERS = max(CODEBOOK_OPERATIONS.values())


def decode_operations(tensor: CompressedTensor) -> float:
    """Scalar operations to decode all of ``tensor`` once."""
    match tensor:
        case Codebook():
            return tensor.indices.size * CODEBOOK_OPERATIONS.get(tensor.bits, _OTHERS)
        case Ternary():
            return tensor.codes.size * TERNARY_OPERATIONS
    return 0.0


def with_decoding(program: Program, topology: Topology, costs: CostTable) -> CostTable:
    """``costs`` and the time that each layer takes to decode its weights."""
    operations = {
        name: decode_operations(tensor)
        for name, tensor in program.compressed.items()
        if decodes_in_kernel(program, name)
    }
    entries = dict(costs.entries)
    for layer in program.graph.layers:
        work = sum(operations.get(weight, 0.0) for weight in layer.weights)
        for device in topology.devices if work else ():
            known = entries[layer.name, device.name]
            seconds = known.seconds + scalar_seconds(work, device)
            entries[layer.name, device.name] = type(known)(seconds, known.source)
    return CostTable(entries)
