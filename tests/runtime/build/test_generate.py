"""Where generated code keeps what a kernel needs besides its operands."""

import re
from collections.abc import Callable

import pytest
import torch
from torch.nn import functional

from runtime.build.generate import generate
from runtime.build.lower import lower_layer
from runtime.build.schedule import schedule
from splitter.program import Program
from splitter.tracing.work import STACK_BYTES
from tests.runtime.build.run_kernel import MACHINES, traced


def code(program: Program, machine: str) -> str:
    """LLVM's intermediate form of the only layer."""
    (layer,) = program.graph.layers
    target = MACHINES[machine]
    lowered = lower_layer(program, layer, target)
    return generate(schedule(lowered, target), "kernel", target).inspect_source("ll")


def floats_on_stack(text: str) -> list[int]:
    return [int(count) for count in re.findall(r"alloca \[(\d+) x (?:float|i8|<)", text)]


def long_rows() -> Program:
    """A depthwise convolution of a recording: one row is larger than a thread's stack."""

    def function(x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        return functional.conv1d(x, w, padding=1, groups=2)

    return traced(function, (torch.randn(1, 2, 400_000),), (torch.randn(2, 1, 3),))


def large_groups() -> Program:
    """Each group's padded planes together are larger than a thread's stack."""

    def function(x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        return functional.conv2d(x, w, padding=1, groups=2)

    return traced(function, (torch.randn(1, 256, 112, 112),), (torch.randn(4, 128, 3, 3),))


@pytest.mark.parametrize("machine", sorted(MACHINES))
@pytest.mark.parametrize("large", [long_rows, large_groups])
def test_what_is_large_is_no_threads_own(machine: str, large: Callable[[], Program]) -> None:
    """Threads of a node have a stack of a megabyte."""
    text = code(large(), machine)
    assert "TVMBackendAllocWorkspace" in text
    assert all(4 * count <= STACK_BYTES for count in floats_on_stack(text))


def test_large_groups_are_in_the_plan() -> None:
    """The planner counts what every thread takes."""
    (layer,) = large_groups().graph.layers
    assert layer.scratch_bytes >= 128 * 114 * 114 * 4
