"""A node of two layers with kernels that no compiler made: tables and weights file alone."""

from pathlib import Path

import torch
from torch import nn

import splitter
from runtime.build.kernels import Kernel
from runtime.build.lower import KernelOperand
from runtime.build.lower.packing import Packing
from splitter.schedule import NodeSchedule, node_schedules


class Twins(nn.Module):
    """Two linear layers with one weight, and a bias each."""

    def __init__(self) -> None:
        super().__init__()
        self.left = nn.Linear(4, 4)
        self.right = nn.Linear(4, 4)
        self.right.weight = self.left.weight
        with torch.no_grad():
            self.left.weight.copy_(torch.arange(16.0).reshape(4, 4))
            self.left.bias.fill_(0.5)
            self.right.bias.fill_(-2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.right(torch.relu(self.left(x)))


def twins() -> splitter.Program:
    return splitter.trace(Twins(), (torch.ones(1, 4),), name="twins")


def kernels(program: splitter.Program, packing: Packing | None) -> dict[str, Kernel]:
    """One kernel per layer; ``packing`` is that of the second layer's weight."""
    first = program.graph.layers[0]
    return {
        layer.name: Kernel(
            symbol=f"k_{layer.kind}_{layer is first:d}",
            object_path=Path("kernel.o"),
            operands=(
                KernelOperand("input", layer.inputs[0], (1, 4), "float32", None),
                _weight(layer.weights[0], None if layer is first else packing),
                KernelOperand("weight", layer.weights[1], (4,), "float32", None),
                KernelOperand("output", layer.outputs[0], (4,), "float32", None),
            ),
        )
        for layer in program.graph.layers
    }


def _weight(name: str, packing: Packing | None) -> KernelOperand:
    shape = packing.shape((4, 4)) if packing else (4, 4)
    return KernelOperand("weight", name, shape, "float32", packing)


def schedules(program: splitter.Program, *devices: str) -> tuple[NodeSchedule, ...]:
    """What each device does when the layers run on ``devices`` in turn."""
    topology = splitter.load_topology("loopback3")
    names = [layer.name for layer in program.graph.layers]
    placement = dict(zip(names, devices, strict=True))
    return node_schedules(program.graph, topology, placement)
