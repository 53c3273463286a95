"""torch.fx's own partitioner for accelerators."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch.fx import Graph as FxGraph
from torch.fx import GraphModule, Node
from torch.fx.experimental.accelerator_partitioner import Partitioner
from torch.fx.experimental.partitioner_utils import Device, PartitionerConfig, PartitionMode
from torch.fx.passes.shape_prop import TensorMetadata

from splitter.memory import NODE_OVERHEAD_BYTES
from splitter.objective import Objective
from splitter.partitioning.baselines.method import DoesNotApplyError
from splitter.partitioning.problem import Assignment, Problem


@dataclass(frozen=True, slots=True)
class FxPartitioner:
    """torch.fx.experimental.accelerator_partitioner, by size: the mode that takes any device.

    It fills one device's memory after the other and knows no speeds, links or rules; a model that
    fits the largest memory is left whole there, wherever the input is. Its mode that weighs time
    has one speed for all devices and one rate for all links, and walks every path of the graph,
    which residual networks have too many of. It counts weights and every tensor, and does not
    apply where these exceed all memories together although a memory plan would fit.
    """

    paper: ClassVar[str] = "torch.fx accelerator partitioner"

    def propose(self, problem: Problem, objective: Objective) -> Assignment:
        """Run it on a stand-in with the same sizes."""
        del objective
        module, nodes = _stand_in(problem)
        devices = [
            Device(d.name, max(0, limit - NODE_OVERHEAD_BYTES), i)
            for i, (d, limit) in enumerate(
                zip(problem.topology.devices, problem.limits, strict=True)
            )
        ]
        partitioner = Partitioner()
        try:
            partitioner.partition_graph(
                module, module, PartitionerConfig(devices, PartitionMode.size_based)
            )
        except RuntimeError as error:
            raise DoesNotApplyError(f"it gives up: {error}") from error
        place = {part.partition_id: part.logical_device_ids[0] for part in partitioner.partitions}
        return tuple(place[partitioner.node_to_partition[node]] for node in nodes)


class _Sized(torch.nn.Module):
    """A layer that has nothing but a size."""

    def __init__(self, weight_bytes: int):
        super().__init__()
        empty = torch.empty(weight_bytes, dtype=torch.uint8, device="meta")
        self.weight = torch.nn.Parameter(empty, requires_grad=False)


def _stand_in(problem: Problem) -> tuple[GraphModule, list[Node]]:
    """A module with a node of the same size for every layer, and the layers' nodes."""
    graph, root = FxGraph(), torch.nn.Module()
    made: dict[int, Node] = {}
    for w, wire in enumerate(problem.wires):
        if wire.is_input:
            made[w] = _sized(graph.placeholder(f"in{w}"), wire.bytes)
    nodes: list[Node] = []
    for v, layer in enumerate(problem.graph.layers):
        root.add_module(f"layer{v}", _Sized(problem.graph.layer_weight_bytes(layer)))
        node = graph.call_module(f"layer{v}", tuple(made[w] for w in problem.reads[v]))
        nodes.append(_sized(node, sum(problem.wires[w].bytes for w in problem.makes[v])))
        made |= dict.fromkeys(problem.makes[v], node)
    graph.output(tuple(made[w] for w, wire in enumerate(problem.wires) if wire.is_output))
    return GraphModule(root, graph), nodes


def _sized(node: Node, size: int) -> Node:
    shape = torch.Size([size])
    node.meta["tensor_meta"] = TensorMetadata(shape, torch.uint8, False, (1,), None, False, {})
    return node
