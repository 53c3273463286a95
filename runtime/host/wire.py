"""Frames as docs/wire.md defines them: bytes in, bytes out, no sockets."""

import struct
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum

import xxhash

from splitter.errors import DeploymentError

MAGIC = b"SPLT"
VERSION = 1
HEADER_BYTES = 40
BUNDLE_ID_BYTES = 32
NAME_BYTES = 64
HELLO_BYTES = BUNDLE_ID_BYTES + 2 * NAME_BYTES

_HEADER = struct.Struct("<4sHHQIIQQ")
_HELLO = struct.Struct(f"{BUNDLE_ID_BYTES}s{NAME_BYTES}s{NAME_BYTES}s")


class Kind(IntEnum):
    """What a frame carries."""

    HELLO = 1
    TENSOR = 2
    BYE = 3


class FrameError(DeploymentError):
    """A frame breaks the wire format; says which field, its value and what it should be."""


@dataclass(frozen=True, slots=True)
class Header:
    """The fields of a frame's header that vary."""

    kind: Kind
    request: int
    tensor: int
    length: int
    """Payload bytes."""
    checksum: int
    """XXH64 of the payload."""


@dataclass(frozen=True, slots=True)
class Hello:
    """Who opens a connection, to whom, for which bundle."""

    bundle_id: bytes
    name: str
    peer: str

    def answer(self) -> "Hello":
        """What the other side says when this is what it expects: the names swapped."""
        return Hello(self.bundle_id, self.peer, self.name)

    def __str__(self) -> str:
        return f"'{self.name}' of bundle {self.bundle_id.hex()[:8]}..., looking for '{self.peer}'"


def checksum(payload: bytes | bytearray | memoryview) -> int:
    """XXH64 with seed 0."""
    return xxhash.xxh64_intdigest(payload)


def encode_header(header: Header) -> bytes:
    """The 40 bytes of ``header``."""
    return _HEADER.pack(
        MAGIC,
        VERSION,
        header.kind,
        header.request,
        header.tensor,
        0,
        header.length,
        header.checksum,
    )


def decode_header(data: bytes | bytearray) -> Header:
    """The header in ``data``, 40 bytes; the payload is not looked at.

    Raises:
        FrameError: a field has a value that no frame can have.
    """
    magic, version, kind, request, tensor, reserved, length, digest = _HEADER.unpack(data)
    _expect(magic == MAGIC, "magic", magic.hex(), MAGIC.hex())
    _expect(version == VERSION, "version", version, VERSION)
    _expect(kind in set(Kind), "kind", kind, "1 HELLO, 2 TENSOR or 3 BYE")
    _expect(reserved == 0, "reserved field", reserved, 0)
    header = Header(Kind(kind), request, tensor, length, digest)
    _CHECKS[header.kind](header)
    return header


def tensor_header(request: int, tensor: int, payload: memoryview) -> Header:
    """The header that goes before ``payload``, the bytes of tensor number ``tensor``."""
    return Header(Kind.TENSOR, request, tensor, payload.nbytes, checksum(payload))


def encode_bye(requests: int) -> bytes:
    """The frame that says: ``requests`` were sent, no more will come."""
    return encode_header(Header(Kind.BYE, requests, 0, 0, checksum(b"")))


def encode_hello(hello: Hello) -> bytes:
    """The whole frame that carries ``hello``."""
    payload = _HELLO.pack(hello.bundle_id, hello.name.encode(), hello.peer.encode())
    return encode_header(Header(Kind.HELLO, 0, 0, len(payload), checksum(payload))) + payload


def decode_hello(frame: bytes | bytearray) -> Hello:
    """The HELLO in ``frame``, header and payload.

    Raises:
        FrameError: it is another kind of frame, or malformed.
    """
    header = decode_header(frame[:HEADER_BYTES])
    _expect(header.kind is Kind.HELLO, "kind", header.kind.name, "HELLO")
    payload = frame[HEADER_BYTES:]
    check_payload(header, memoryview(payload))
    bundle_id, name, peer = _HELLO.unpack(payload)
    return Hello(bundle_id, _name(name), _name(peer))


def check_payload(header: Header, payload: memoryview) -> None:
    """Compare the payload that came with what its header promised.

    Raises:
        FrameError: the checksum differs.
    """
    found = checksum(payload)
    _expect(
        found == header.checksum, "payload checksum", f"{found:016x}", f"{header.checksum:016x}"
    )


def _name(field: bytes) -> str:
    """A NUL padded name; letters that no name has become question marks."""
    text = field.split(b"\0", 1)[0].decode("ascii", "replace")
    return "".join(c if c.isascii() and c.isprintable() else "?" for c in text)


def _check_hello(header: Header) -> None:
    _expect(header.request == 0, "HELLO request", header.request, 0)
    _expect(header.tensor == 0, "HELLO tensor", header.tensor, 0)
    _expect(header.length == HELLO_BYTES, "HELLO length", header.length, HELLO_BYTES)


def _check_bye(header: Header) -> None:
    _expect(header.tensor == 0, "BYE tensor", header.tensor, 0)
    _expect(header.length == 0, "BYE length", header.length, 0)
    empty = checksum(b"")
    _expect(header.checksum == empty, "BYE checksum", f"{header.checksum:016x}", f"{empty:016x}")


def _check_tensor(header: Header) -> None:
    """Everything else about a TENSOR depends on who receives it."""


_CHECKS: dict[Kind, Callable[[Header], None]] = {
    Kind.HELLO: _check_hello,
    Kind.TENSOR: _check_tensor,
    Kind.BYE: _check_bye,
}


def _expect(holds: bool, what: str, value: object, wanted: object) -> None:
    if not holds:
        raise FrameError(f"frame {what} is {value}, expected {wanted}")
