"""Depthwise convolutions of any shape against torch, each layer as a compiled kernel."""

import re

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch.nn import functional

from runtime.build.generate import generate
from runtime.build.lower import lower_layer
from runtime.build.schedule import schedule
from tests.runtime.build.run_kernel import MACHINES, relative_error, traced


@given(
    machine=st.sampled_from(sorted(MACHINES)),
    rank=st.integers(1, 3),
    channels=st.integers(1, 10),
    repeats=st.integers(1, 2),
    batch=st.integers(1, 2),
    data=st.data(),
)
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_against_torch(
    machine: str, rank: int, channels: int, repeats: int, batch: int, data: st.DataObject
) -> None:
    """Odd widths, strides, paddings and dilations; with and without an activation."""
    sizes = {1: 40, 2: 20, 3: 6}[rank]
    kernel = [data.draw(st.integers(1, 5)) for _ in range(rank)]
    stride = [data.draw(st.integers(1, 3)) for _ in range(rank)]
    dilation = [data.draw(st.integers(1, 2)) for _ in range(rank)]
    padding = [data.draw(st.integers(0, 2)) for _ in range(rank)]
    least = [
        max(1, d * (k - 1) + 1 - 2 * p) for d, k, p in zip(dilation, kernel, padding, strict=True)
    ]
    shape = [data.draw(st.integers(low, low + sizes)) for low in least]
    torch.manual_seed(0)
    inputs = (torch.randn(batch, channels, *shape),)
    outputs = channels * repeats
    weight = torch.randn(outputs, 1, *kernel)
    convolve = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}[rank]

    def function(x: torch.Tensor, w: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return torch.relu(convolve(x, w, b, stride, padding, dilation, channels))

    program = traced(function, inputs, (weight, torch.randn(outputs)))
    for layer in program.graph.layers:
        assert relative_error(program, layer, MACHINES[machine]) < 5e-6


@pytest.mark.parametrize("machine", sorted(MACHINES))
@pytest.mark.parametrize(("stride", "dilation", "kernel"), [(1, 1, 3), (2, 1, 5), (1, 2, 3)])
def test_large_planes_are_padded_by_strips(
    machine: str, stride: int, dilation: int, kernel: int
) -> None:
    torch.manual_seed(0)
    inputs, weight = (torch.randn(1, 2, 132, 150),), torch.randn(2, 1, kernel, kernel)

    def function(x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        return functional.conv2d(x, w, None, stride, 2, dilation, 2)

    program = traced(function, inputs, (weight,))
    (layer,) = program.graph.layers
    lowered = lower_layer(program, layer, MACHINES[machine])
    code = generate(schedule(lowered, MACHINES[machine]), "kernel", MACHINES[machine])
    kept = re.findall(r"alloca \[(\d+) x float\]", code.inspect_source("ll"))
    assert 0 < max(map(int, kept)) < 132 * 150 // 2
    assert relative_error(program, layer, MACHINES[machine]) < 5e-6


@pytest.mark.parametrize("pads", [(0, 1, 0, 1), (2, 0, 1, 3)])
@pytest.mark.parametrize("groups", [1, 6])
def test_padding_belongs_to_the_convolution(pads: tuple[int, ...], groups: int) -> None:
    """What only pads a convolution's input is no kernel of its own."""
    torch.manual_seed(0)
    inputs = (torch.randn(1, 6, 13, 11),)
    weight = torch.randn(6, 6 // groups, 3, 3)

    def function(x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        return functional.conv2d(functional.pad(x, pads), w, stride=2, groups=groups)

    program = traced(function, inputs, (weight,))
    (layer,) = program.graph.layers
    assert "conv2d" in layer.kind
    for machine in MACHINES.values():
        assert relative_error(program, layer, machine) < 5e-6


def test_padding_that_others_read_stays() -> None:
    """A padded tensor with two readers is made once, by a layer of its own."""
    inputs, weight = (torch.randn(1, 4, 6, 6),), torch.randn(4, 4, 3, 3)

    def function(x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        padded = functional.pad(x, (1, 1, 1, 1))
        return functional.conv2d(padded, w) + padded[:, :, 1:-1, 1:-1]

    kinds = [layer.kind for layer in traced(function, inputs, (weight,)).graph.layers]
    assert "constant_pad_nd" in kinds


def test_no_workspace_is_needed() -> None:
    """Padded planes and accumulators lie on the stack of the thread that computes."""
    inputs, weight = (torch.randn(1, 8, 14, 14),), torch.randn(8, 1, 3, 3)

    def function(x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        return functional.conv2d(x, w, padding=1, groups=8)

    program = traced(function, inputs, (weight,))
    machine = MACHINES["sse, two threads"]
    lowered = lower_layer(program, program.graph.layers[0], machine)
    code = generate(schedule(lowered, machine), "kernel", machine).inspect_source("ll")
    assert "TVMBackendParallelLaunch" in code
    assert "TVMBackendAllocWorkspace" not in code
