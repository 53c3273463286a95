"""What compressed constants cost a node: bytes as they are stored, and as they are used."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from torch import fx

from splitter.program import Program
from splitter.tracing.arguments import argument, operator_name

Decode = Literal["load", "kernel"]
"""When compressed constants become floats: all at start, or piece by piece as kernels run."""


@dataclass(frozen=True)
class Decoding:
    """When each device decodes its compressed constants."""

    usual: Decode = "load"
    by_device: Mapping[str, Decode] = field(default_factory=dict)

    def of(self, device: str) -> Decode:
        """What ``device`` does."""
        return self.by_device.get(device, self.usual)


DECODE_AT_LOAD = Decoding()


def stored_program(program: Program, decoding: Decoding) -> Program:
    """``program`` with a graph that counts constants at the memory they will take.

    What is decoded in the kernel takes its packed bytes, other compressed constants those and their
    floats. Where devices differ, the larger counts.
    """
    kernel_only = decoding.usual == "kernel" and "load" not in decoding.by_device.values()
    sizes = dict(program.graph.weight_bytes)
    for name, size in packed_bytes(program).items():
        stays = kernel_only and decodes_in_kernel(program, name)
        sizes[name] = size if stays else size + program.graph.weight_bytes[name]
    return replace(program, graph=replace(program.graph, weight_bytes=sizes))


def packed_bytes(program: Program) -> dict[str, int]:
    """Bytes of each compressed constant as it is stored, by name."""
    return {name: len(tensor.pack()) for name, tensor in program.compressed.items()}


def decodes_in_kernel(program: Program, name: str) -> bool:
    """Whether kernels read the constant block by block, so that they can decode it.

    So do convolutions of one group, transposed ones without dilation, and linear layers.
    """
    tensor = program.compressed[name]
    nodes = [n for n in program.module.graph.nodes if n.op == "get_attr" and n.target == name]
    users = [user for node in nodes for user in node.users]
    scale = getattr(tensor, "scale", None)
    return bool(users) and all(
        _reads_blocks(user) and (scale is None or scale.axis == _output_axis(user))
        for user in users
    )


def _output_axis(node: fx.Node) -> int:
    return 1 if operator_name(node).startswith("conv_transpose") else 0


def _reads_blocks(node: fx.Node) -> bool:
    name = operator_name(node)
    if name == "linear":
        return True
    if name in ("conv1d", "conv2d", "conv3d"):
        return int(argument(node, 6, "groups", 1)) == 1
    return False
