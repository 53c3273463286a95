"""Winograd convolutions of any shape against torch, in every way on offer."""

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch.nn import functional

from runtime.build.kernels import compact_choices
from runtime.build.lower import lower_layer
from runtime.build.lower.packing import WINOGRAD, Packing
from runtime.build.machine import Machine
from splitter.program import Program
from tests.runtime.build.run_kernel import MACHINES, relative_error, traced

WIDE = Machine("x86_64", "x86-64-v3", (), 32, 2)
TOLERANCE = {2: 1e-5, 4: 1e-4}
"""Of the result's magnitude: the larger the tile, the larger the numbers that cancel."""


def convolution(
    channels: tuple[int, int],
    shape: tuple[int, int],
    padding: tuple[int, int] = (1, 1),
    batch: int = 1,
) -> Program:
    """A 3x3 convolution with bias, activation and residual."""
    torch.manual_seed(0)
    inner, outer = channels
    out = [e + 2 * p - 2 for e, p in zip(shape, padding, strict=True)]
    inputs = (torch.randn(batch, inner, *shape), torch.randn(batch, outer, *out))
    constants = (torch.randn(outer, inner, 3, 3) / (3 * inner**0.5), torch.randn(outer))

    def function(
        x: torch.Tensor, rest: torch.Tensor, w: torch.Tensor, b: torch.Tensor
    ) -> torch.Tensor:
        return torch.relu(functional.conv2d(x, w, b, padding=padding) + rest)

    return traced(function, inputs, constants)


@given(
    channels=st.tuples(st.integers(1, 20), st.integers(1, 40)),
    shape=st.tuples(st.integers(3, 21), st.integers(3, 21)),
    padding=st.tuples(st.integers(0, 2), st.integers(0, 2)),
    batch=st.integers(1, 2),
    size=st.sampled_from(sorted(WINOGRAD)),
    machine=st.sampled_from([MACHINES["avx2"], MACHINES["sse, two threads"], WIDE]),
    data=st.data(),
)
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_against_torch(
    channels: tuple[int, int],
    shape: tuple[int, int],
    padding: tuple[int, int],
    batch: int,
    size: int,
    machine: Machine,
    data: st.DataObject,
) -> None:
    """Channels and sizes that no tile divides, too."""
    program = convolution(channels, shape, padding, batch)
    (layer,) = program.graph.layers
    offers = lower_layer(program, layer, machine).offers
    ways = [o.choice for o in offers if o.choice.algorithm == f"winograd{size}"]
    choice = data.draw(st.sampled_from(ways))
    assert relative_error(program, layer, machine, choice) < TOLERANCE[size]


def test_strips_of_a_large_image() -> None:
    """Images whose tiles do not fit the cache are computed a strip of rows at a time."""
    program = convolution((64, 64), (64, 64))
    (layer,) = program.graph.layers
    for machine in (MACHINES["avx2"], WIDE):
        choice = lower_layer(program, layer, machine).offers[0].choice
        assert choice.algorithm == "winograd4"
        assert relative_error(program, layer, machine, choice) < TOLERANCE[4]


@pytest.mark.parametrize(
    ("stride", "dilation", "kernel"), [(2, 1, 3), (1, 2, 3), (1, 1, 5), (1, 1, 1)]
)
def test_only_for_plain_3x3(stride: int, dilation: int, kernel: int) -> None:
    """Other convolutions have no such offer."""
    inputs, weight = (torch.randn(1, 32, 32, 32),), torch.randn(32, 32, kernel, kernel)

    def function(x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        return functional.conv2d(x, w, stride=stride, dilation=dilation)

    program = traced(function, inputs, (weight,))
    offers = lower_layer(program, program.graph.layers[0], WIDE).offers
    assert offers
    assert {offer.choice.algorithm for offer in offers} == {"tiled"}


@pytest.mark.parametrize("size", sorted(WINOGRAD))
def test_transformed_weights(size: int) -> None:
    """A kernel that is 1 in one corner: the products of its transformed column and row."""
    value = np.zeros((3, 2, 3, 3), "f4")
    value[2, 1, 0, 2] = 1
    packing = Packing(4, winograd=size)
    packed = packing.apply(value)
    assert packed.shape == packing.shape(value.shape) == (size + 2, size + 2, 1, 2, 4)
    matrix = np.array(WINOGRAD[size])
    assert np.allclose(packed[:, :, 0, 1, 2], np.outer(matrix[:, 0], matrix[:, 2]))
    packed[:, :, 0, 1, 2] = 0
    assert not packed.any()


def test_compact_choices_keep_the_weights_small() -> None:
    """For devices without room for transformed weights."""
    program = convolution((64, 64), (32, 32))
    (layer,) = program.graph.layers
    assert not lower_layer(program, layer, WIDE).offers[0].choice.is_compact
    choices = compact_choices(program, program.graph.layers, WIDE)
    assert choices[layer.signature].algorithm == "tiled"
    assert relative_error(program, layer, WIDE, choices[layer.signature]) < 1e-5
