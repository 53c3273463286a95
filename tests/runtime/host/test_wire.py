"""The codec against itself, against docs/wire.md, and against noise."""

import struct
from contextlib import suppress

import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from runtime.host.wire import (
    HEADER_BYTES,
    FrameError,
    Header,
    Hello,
    Kind,
    check_payload,
    decode_header,
    decode_hello,
    encode_bye,
    encode_header,
    encode_hello,
    tensor_header,
)

U64 = st.integers(0, 2**64 - 1)
U32 = st.integers(0, 2**32 - 1)
NAMES = st.from_regex(r"[a-z][a-z0-9_-]{0,30}", fullmatch=True)
HELLOS = st.builds(Hello, st.binary(min_size=32, max_size=32), NAMES, NAMES)


@given(st.builds(Header, st.just(Kind.TENSOR), U64, U32, U64, U64))
def test_header_inverts(header: Header) -> None:
    data = encode_header(header)
    assert len(data) == HEADER_BYTES
    assert decode_header(data) == header


@given(HELLOS)
def test_hello_inverts(hello: Hello) -> None:
    assert decode_hello(encode_hello(hello)) == hello
    assert hello.answer().answer() == hello


def test_layout_is_that_of_the_document() -> None:
    payload = memoryview(b"abcd")
    data = encode_header(tensor_header(7, 9, payload))
    assert data[:4] == bytes.fromhex("53504c54")
    fields = struct.unpack("<HHQIIQQ", data[4:])
    assert fields == (1, 2, 7, 9, 0, 4, xxhash.xxh64_intdigest(b"abcd"))
    assert decode_header(encode_bye(5)) == Header(Kind.BYE, 5, 0, 0, xxhash.xxh64_intdigest(b""))


@given(st.binary(min_size=HEADER_BYTES, max_size=HEADER_BYTES))
def test_noise_is_a_frame_error(data: bytes) -> None:
    with pytest.raises(FrameError, match="magic"):
        decode_header(data)


@given(HELLOS, st.integers(0, 199), st.integers(1, 255))
def test_no_changed_byte_of_a_hello_passes(hello: Hello, at: int, change: int) -> None:
    frame = bytearray(encode_hello(hello))
    frame[at] ^= change
    with pytest.raises(FrameError):
        decode_hello(frame)


@given(st.binary(min_size=36, max_size=36))
def test_noise_behind_the_magic_is_a_header_or_a_frame_error(rest: bytes) -> None:
    with suppress(FrameError):
        assert encode_header(decode_header(b"SPLT" + rest)) == b"SPLT" + rest


@pytest.mark.parametrize(
    ("at", "value", "message"),
    [
        (4, b"\x02\0", "version is 2, expected 1"),
        (6, b"\x04\0", "kind is 4, expected 1 HELLO, 2 TENSOR or 3 BYE"),
        (16, b"\x01\0\0\0", "BYE tensor is 1, expected 0"),
        (20, b"\x01\0\0\0", "reserved field is 1, expected 0"),
        (24, b"\xff" * 8, "BYE length is 18446744073709551615, expected 0"),
        (32, bytes(8), "BYE checksum is 0000000000000000, expected ef46db3751d8e999"),
    ],
)
def test_wrong_field_is_named(at: int, value: bytes, message: str) -> None:
    frame = bytearray(encode_bye(3))
    frame[at : at + len(value)] = value
    with pytest.raises(FrameError, match=message):
        decode_header(frame)


def test_wrong_payload_is_found() -> None:
    with pytest.raises(FrameError, match="payload checksum"):
        check_payload(tensor_header(0, 0, memoryview(b"abc")), memoryview(b"abd"))
