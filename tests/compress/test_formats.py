"""Compressed tensors: their floats, their bytes, what is refused."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compress.formats import Codebook, CompressedTensor, Factors, Ternary, unpack
from compress.payload import Scale
from compress.storage import disk_bytes, from_bytes, to_bytes
from splitter.errors import ModelError

SHAPES = st.lists(st.integers(1, 5), min_size=2, max_size=4).map(tuple)


@st.composite
def tensors(draw: st.DrawFn) -> CompressedTensor:
    shape = draw(SHAPES)
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    kind = draw(st.sampled_from(["codebook", "ternary", "factors"]))
    axis = draw(st.integers(0, len(shape) - 1))
    scale = Scale(random.normal(size=shape[axis]).astype(np.float32), axis)
    chosen = draw(st.sampled_from([None, scale]))
    if kind == "codebook":
        bits = draw(st.integers(2, 8))
        values = np.sort(random.normal(size=draw(st.integers(1, 2**bits)))).astype(np.float32)
        indices = random.integers(0, len(values), shape).astype(np.uint8)
        return Codebook(indices, values, bits, chosen)
    if kind == "ternary":
        low, high = (float(np.float32(x)) for x in random.uniform(0, 3, 2))
        return Ternary(random.integers(-1, 2, shape).astype(np.int8), low, high, chosen)
    n, c, *kernel = shape
    rank = draw(st.integers(1, 4))
    first = random.normal(size=(rank, c, *kernel)).astype(np.float32)
    second = random.normal(size=(n, rank, *[1] * len(kernel))).astype(np.float32)
    return Factors("nc", first, second)


@given(tensors())
def test_bytes_round_trip(tensor: CompressedTensor) -> None:
    back = unpack(tensor.describe(), tensor.pack())
    assert type(back) is type(tensor)
    assert back.shape == tensor.shape == tensor.dense().shape
    assert back.dense().dtype == np.float32
    assert np.array_equal(back.dense(), tensor.dense())


@given(st.lists(tensors(), max_size=4))
@settings(max_examples=40)
def test_storage_round_trip(found: list[CompressedTensor]) -> None:
    named = {f"layer{i}.weight": tensor for i, tensor in enumerate(found)}
    back = from_bytes(to_bytes(named))
    assert list(back) == list(named)
    assert all(np.array_equal(back[n].dense(), t.dense()) for n, t in named.items())
    assert all(disk_bytes(back[n]) == disk_bytes(t) for n, t in named.items())


@given(st.data())
@settings(max_examples=60)
def test_damage_is_told(data: st.DataObject) -> None:
    whole = to_bytes({"w": Ternary(np.ones((4, 7), np.int8), 1.0, 2.0)})
    end = data.draw(st.integers(0, len(whole) - 1))
    for damaged in (whole[:end], whole + b"x", b"\x00" + whole[1:]):
        with pytest.raises(ModelError, match=r"in f\.pt2 are damaged .*; compress the model again"):
            from_bytes(damaged, "f.pt2")


def test_index_outside_the_codebook() -> None:
    tensor = Codebook(np.array([[3]], np.uint8), np.zeros(4, np.float32), 2)
    payload = tensor.pack()
    with pytest.raises(ValueError, match="outside the codebook"):
        unpack({**tensor.describe(), "values": 3}, payload[4:])


@given(tensors(), st.integers(0, 2**32 - 1))
def test_scaled(tensor: CompressedTensor, seed: int) -> None:
    if not isinstance(tensor, Factors) and tensor.scale is not None and tensor.scale.axis != 0:
        return
    factors = np.random.default_rng(seed).normal(size=tensor.shape[0]).astype(np.float32)
    wanted = Scale(factors, 0).times(tensor.dense())
    np.testing.assert_allclose(tensor.scaled(Scale(factors, 0)).dense(), wanted, 1e-4, 1e-5)


def test_sizes() -> None:
    """What the formats are for: a few bits per weight."""
    count = 64 * 64 * 9
    for bits in range(2, 9):
        tensor = Codebook(
            np.zeros((64, 64, 3, 3), np.uint8), np.zeros(2 ** (bits - 1) + 1, np.float32), bits
        )
        assert disk_bytes(tensor) <= (bits + 0.3) / 32 * 4 * count
    assert disk_bytes(Ternary(np.zeros((64, 64, 3, 3), np.int8), 1.0, 1.0)) <= 4 * count / 14
