"""Squares turned in registers: what a strided copy comes to, on values."""

import numpy as np
import pytest
import torch
import tvm
from hypothesis import given, settings
from hypothesis import strategies as st
from run_kernel import MACHINES, relative_error, traced
from torch.nn import functional
from tvm import s_tir, te

from runtime.build.generate import generate
from runtime.build.lower import lower_layer
from runtime.build.machine import Machine
from runtime.build.schedule import schedule
from runtime.build.schedule.turned import _squares
from splitter.program import Program


def planes(batch: int, inner: int, outer: int, size: tuple[int, int], residual: bool) -> Program:
    """A pointwise convolution with what usually follows it."""
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(batch, inner, *size, generator=generator)
    weight = torch.randn(outer, inner, 1, 1, generator=generator)
    bias = torch.randn(outer, generator=generator)
    other = torch.randn(batch, outer, *size, generator=generator)
    if residual:
        return traced(
            lambda x, r, w, b: torch.relu(functional.conv2d(x, w, b) + r),
            (image, other),
            (weight, bias),
        )
    return traced(
        lambda x, w, b: functional.relu6(functional.conv2d(x, w, b)), (image,), (weight, bias)
    )


@settings(deadline=None, max_examples=10)
@given(
    st.integers(1, 2),
    st.integers(8, 40),
    st.integers(1, 70),
    st.tuples(st.integers(1, 15), st.integers(1, 15)),
    st.booleans(),
    st.sampled_from(sorted(MACHINES)),
)
def test_against_torch(
    batch: int, inner: int, outer: int, size: tuple[int, int], residual: bool, machine: str
) -> None:
    program = planes(batch, inner, outer, size, residual)
    (layer,) = program.graph.layers
    assert relative_error(program, layer, MACHINES[machine]) < 5e-6


def test_no_lane_is_stored_by_itself() -> None:
    """The rows of a 14x14 image: twelve squares of 16x16, and smaller ones for the rest."""
    program = planes(1, 64, 96, (14, 14), residual=True)
    (layer,) = program.graph.layers
    machine = Machine("x86_64", "x86-64-v4", ("-prefer-256-bit",), 64, 1)
    lowered = lower_layer(program, layer, machine)
    assert lowered.anchor is not None
    assert lowered.anchor.turned
    text = generate(schedule(lowered, machine), "kernel", machine).inspect_source("ll")
    assert text.count("shufflevector <16 x float>") >= 64
    assert "extractelement <16 x float>" not in text


@given(st.integers(1, 5000), st.sampled_from([2, 4, 8, 16]))
def test_squares_cover_every_position_once(positions: int, lanes: int) -> None:
    sizes = _squares(positions, lanes)
    assert sum(count for count, _ in sizes) == positions
    assert all(count % side == 0 for count, side in sizes)
    assert [side for _, side in sizes] == sorted({side for _, side in sizes}, reverse=True)


@pytest.mark.parametrize("lanes", [2, 4, 8, 16])
@pytest.mark.parametrize("more", [0, 1])
def test_only_squares_are_replaced(lanes: int, more: int) -> None:
    """A strided copy of another shape stays what it is, and both give the right numbers."""
    source = te.placeholder((lanes, 32), name="source")
    result = te.compute((lanes + more, lanes), lambda i, j: source(j, i), name="result")
    sch = s_tir.Schedule(te.create_prim_func([source, result]))
    i, j = sch.get_loops(sch.get_sblock("result"))
    sch.vectorize(j)
    sch.unroll(i)
    built = generate(sch.mod["main"], "copy", MACHINES["avx2"])
    assert more or "shufflevector" in built.inspect_source("ll")
    values = np.random.rand(lanes, 32).astype("f4")
    operands = [tvm.runtime.tensor(x) for x in (values, np.zeros((lanes + more, lanes), "f4"))]
    built["copy"](*operands)
    assert np.array_equal(operands[1].numpy(), values[:, : lanes + more].T)
