"""What is packed comes back, in the size that was promised."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from compress.packing import (
    pack_bits,
    pack_ternary,
    packed_bits_bytes,
    packed_ternary_bytes,
    unpack_bits,
    unpack_ternary,
)


@given(st.integers(1, 8), st.data())
def test_bits_round_trip(bits: int, data: st.DataObject) -> None:
    numbers = data.draw(st.lists(st.integers(0, 2**bits - 1), max_size=70))
    indices = np.array(numbers, np.uint8)
    packed = pack_bits(indices, bits)
    assert packed.size == packed_bits_bytes(len(numbers), bits) == (len(numbers) * bits + 7) // 8
    assert unpack_bits(packed, len(numbers), bits).tolist() == numbers


@given(st.integers(1, 8), st.data())
def test_bits_are_little_endian(bits: int, data: st.DataObject) -> None:
    numbers = data.draw(st.lists(st.integers(0, 2**bits - 1), min_size=1, max_size=20))
    value = sum(number << bits * i for i, number in enumerate(numbers))
    packed = pack_bits(np.array(numbers, np.uint8), bits)
    assert int.from_bytes(packed.tobytes(), "little") == value


@given(st.lists(st.integers(-1, 1), max_size=70))
def test_ternary_round_trip(numbers: list[int]) -> None:
    packed = pack_ternary(np.array(numbers, np.int8))
    assert packed.size == packed_ternary_bytes(len(numbers)) == (len(numbers) + 4) // 5
    assert unpack_ternary(packed, len(numbers)).tolist() == numbers


def test_ternary_digits_by_hand() -> None:
    assert pack_ternary(np.array([-1, 0, 1, 0, 1, 1], np.int8)).tolist() == [
        0 + 3 + 2 * 9 + 27 + 2 * 81,
        2 + 3 + 9 + 27 + 81,
    ]


def test_other_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match="3 bytes of packed numbers instead of 4"):
        unpack_bits(np.zeros(3, np.uint8), 8, 4)
    with pytest.raises(ValueError, match="1 bytes of packed numbers instead of 2"):
        unpack_ternary(np.zeros(1, np.uint8), 6)
