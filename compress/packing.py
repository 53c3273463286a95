"""Small whole numbers as bytes: b bits each, or five ternary digits to a byte.

Bits are little-endian: index 0 lies in the lowest bits of byte 0. A ternary byte holds
``d0 + 3 d1 + 9 d2 + 27 d3 + 81 d4`` with digits 0, 1, 2 for -1, 0, +1; a last byte that is not full
has zeros (the digit 1) in its place.
"""

import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.uint8]
Codes = npt.NDArray[np.int8]

TERNARY_PER_BYTE = 5
_POWERS = np.array([1, 3, 9, 27, 81], np.uint8)


def packed_bits_bytes(count: int, bits: int) -> int:
    """Bytes that ``count`` numbers of ``bits`` bits need."""
    return -(-count * bits // 8)


def pack_bits(indices: Bytes, bits: int) -> Bytes:
    """Each of ``indices`` (flat, below ``2 ** bits``) in ``bits`` bits."""
    assert 1 <= bits <= 8, bits
    assert indices.size == 0 or int(indices.max()) < 1 << bits, (int(indices.max()), bits)
    flat = np.ascontiguousarray(indices, np.uint8).reshape(-1, 1)
    digits = np.unpackbits(flat, axis=1, bitorder="little")[:, :bits]
    return np.packbits(digits.reshape(-1), bitorder="little")


def unpack_bits(packed: Bytes, count: int, bits: int) -> Bytes:
    """The ``count`` numbers that `pack_bits` packed.

    Raises:
        ValueError: ``packed`` has another size.
    """
    _check_size(packed, packed_bits_bytes(count, bits))
    digits = np.unpackbits(packed, count=count * bits, bitorder="little").reshape(count, bits)
    return np.packbits(digits, axis=1, bitorder="little").reshape(count)


def packed_ternary_bytes(count: int) -> int:
    """Bytes that ``count`` ternary digits need."""
    return -(-count // TERNARY_PER_BYTE)


def pack_ternary(codes: Codes) -> Bytes:
    """``codes`` (flat; -1, 0 or 1), five to a byte."""
    padded = np.zeros(packed_ternary_bytes(codes.size) * TERNARY_PER_BYTE, np.int8)
    padded[: codes.size] = codes.reshape(-1)
    digits = (padded + 1).astype(np.uint8).reshape(-1, TERNARY_PER_BYTE)
    packed: Bytes = (digits * _POWERS).sum(axis=1, dtype=np.uint8)
    return packed


def unpack_ternary(packed: Bytes, count: int) -> Codes:
    """The ``count`` codes that `pack_ternary` packed.

    Raises:
        ValueError: ``packed`` has another size.
    """
    _check_size(packed, packed_ternary_bytes(count))
    digits = packed.reshape(-1, 1) // _POWERS % 3
    return (digits.astype(np.int8) - 1).reshape(-1)[:count]


def _check_size(packed: Bytes, expected: int) -> None:
    if packed.size != expected:
        raise ValueError(f"{packed.size} bytes of packed numbers instead of {expected}")
