"""Compile one layer in a given way and run it in this process, against torch."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import tvm

from runtime.build.generate import generate
from runtime.build.lower import LoweredLayer, lower_layer
from runtime.build.lower.choice import Choice
from runtime.build.machine import Machine
from runtime.build.schedule import schedule
from splitter.graph import Layer
from splitter.program import Program
from splitter.tracing import trace

MACHINES = {
    "avx2": Machine("x86_64", "x86-64-v3", (), 32, 1),
    "sse, two threads": Machine("x86_64", "x86-64", (), 16, 2),
    "scalar": Machine("x86_64", "x86-64", (), 4, 1),
}


class Function(torch.nn.Module):
    """A function whose last arguments are constants."""

    def __init__(self, function: Callable[..., Any], constants: tuple[torch.Tensor, ...]) -> None:
        super().__init__()
        self.function = function
        self.count = len(constants)
        for i, value in enumerate(constants):
            self.register_parameter(f"w{i}", torch.nn.Parameter(value, requires_grad=False))

    def forward(self, *inputs: torch.Tensor) -> Any:
        return self.function(*inputs, *(getattr(self, f"w{i}") for i in range(self.count)))


def traced(
    function: Callable[..., Any],
    inputs: tuple[torch.Tensor, ...],
    constants: tuple[torch.Tensor, ...] = (),
) -> Program:
    return trace(Function(function, constants), inputs)


def relative_error(
    program: Program, layer: Layer, machine: Machine, choice: Choice | None = None
) -> float:
    """Largest difference of the layer's outputs from torch's, relative to their magnitude."""
    lowered = lower_layer(program, layer, machine, choice)
    library = generate(schedule(lowered, machine), "kernel", machine)
    expected = program.tensors(*program.example_inputs)
    arguments = [tvm.runtime.tensor(value) for value in values(program, lowered, expected)]
    library["kernel"](*arguments)
    worst = 0.0
    for operand, found in zip(lowered.operands, arguments, strict=True):
        if operand.role == "output":
            wanted = expected[operand.name].numpy()
            gap = np.abs(found.numpy().reshape(wanted.shape) - wanted).max()
            worst = max(worst, float(gap / max(1.0, np.abs(wanted).max())))
    return worst


def values(
    program: Program, lowered: LoweredLayer, expected: dict[str, torch.Tensor]
) -> list[np.ndarray]:
    """Operands in order: inputs as in ``expected``, constants packed, outputs not yet written."""
    found: list[np.ndarray] = []
    for operand in lowered.operands:
        if operand.role == "input":
            value = expected[operand.name].numpy()
        elif operand.role == "weight":
            value = program.constant(operand.name).numpy()
            value = operand.packing.apply(value) if operand.packing else value
        else:
            value = np.full(operand.shape, np.nan, operand.dtype)
        found.append(np.ascontiguousarray(value).reshape(operand.shape))
    return found
