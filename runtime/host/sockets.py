"""TCP connections between the host and nodes: addresses, greeting, whole frames in and out."""

import contextlib
import selectors
import socket
from collections.abc import Callable
from time import monotonic, sleep

from runtime.host.wire import (
    HEADER_BYTES,
    HELLO_BYTES,
    FrameError,
    Header,
    Hello,
    decode_header,
    decode_hello,
    encode_hello,
)
from splitter.errors import DeploymentError, UsageError

_GREETING_BYTES = HEADER_BYTES + HELLO_BYTES
_PIECE_BYTES = 1 << 20
_LOOK_UP_S = 0.1
"""How often a waiting thread looks whether it is still wanted."""
_STRANGERS = 32
"""Connections that may be greeting at the same time."""


class LostPeer(DeploymentError):  # noqa: N818 - an end of a connection, not necessarily an error
    """The other side closed the connection."""


def parse_address(text: str) -> tuple[str, int]:
    """(host, port) of ``HOST:PORT`` or ``[IPV6]:PORT``.

    Raises:
        UsageError: it is neither.
    """
    host, colon, port = text.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    if not colon or not host or not port.isdecimal() or int(port) > 65535:
        raise UsageError(f"'{text}' is no address; write HOST:PORT, e.g. 127.0.0.1:7000")
    return (host[1:-1] if bracketed else host), int(port)


def format_address(bound: socket.socket) -> str:
    """HOST:PORT at which ``bound`` listens."""
    host, port = bound.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def listen_at(address: str) -> socket.socket:
    """A listening socket.

    Raises:
        UsageError: ``address`` is malformed, or nothing can listen there.
    """
    host, port = parse_address(address)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=_STRANGERS)
    except OSError as error:
        raise UsageError(f"cannot listen at {address}: {error.strerror or error}") from error


def connect_to(
    address: str, hello: Hello, deadline_s: float, wanted: Callable[[], bool]
) -> socket.socket:
    """A greeted connection to the node ``hello.peer``; it is retried until the deadline.

    Raises:
        DeploymentError: nobody answers there in time.
        FrameError: somebody else does.
    """
    where = parse_address(address)
    while True:
        try:
            connection = socket.create_connection(where, _attempt_s(deadline_s))
            break
        except OSError as error:
            if monotonic() + _LOOK_UP_S >= deadline_s or not wanted():
                raise DeploymentError(
                    f"cannot connect to node {hello.peer} at {address}: {error}"
                ) from error
            sleep(_LOOK_UP_S)
    try:
        _greet(connection, hello, deadline_s)
    except BaseException:
        connection.close()
        raise
    connection.settimeout(None)
    return connection


def _attempt_s(deadline_s: float) -> float:
    """Short, so that a thread that is no longer wanted notices it."""
    return min(2.0, max(0.01, deadline_s - monotonic()))


def _greet(connection: socket.socket, hello: Hello, deadline_s: float) -> None:
    """Say HELLO and check the answer."""
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.settimeout(max(0.01, deadline_s - monotonic()))
    answer = bytearray(_GREETING_BYTES)
    try:
        connection.sendall(encode_hello(hello))
        receive_into(connection, memoryview(answer), lambda: None)
        found = decode_hello(answer)
    except (OSError, LostPeer) as error:
        raise DeploymentError(f"node {hello.peer} does not answer the HELLO: {error}") from error
    except FrameError as error:
        raise FrameError(f"node {hello.peer} answers the HELLO wrongly: {error}") from error
    if found != hello.answer():
        raise FrameError(f"the node at the address of {hello.peer} is {found}, not {hello}")


def accept_from(
    listener: socket.socket, expected: Hello, deadline_s: float, wanted: Callable[[], bool]
) -> socket.socket:
    """The connection of the node ``expected.name``, greeted. Strangers are turned away.

    Raises:
        DeploymentError: the node does not come in time.
        FrameError: it is of another bundle.
    """
    with selectors.DefaultSelector() as selector:
        listener.setblocking(False)
        selector.register(listener, selectors.EVENT_READ)
        try:
            while monotonic() < deadline_s and wanted():
                for key, _ in selector.select(_LOOK_UP_S):
                    if key.fileobj is listener:
                        _admit(selector, listener)
                    elif connection := _hear(selector, key, expected):
                        return connection
        finally:
            for key in list(selector.get_map().values()):
                if key.fileobj is not listener:
                    _drop(selector, key)
    raise DeploymentError(f"node {expected.name} did not connect to the host in time")


def _admit(selector: selectors.BaseSelector, listener: socket.socket) -> None:
    with contextlib.suppress(OSError):
        stranger, _ = listener.accept()
        stranger.setblocking(False)
        oldest = [k for k in selector.get_map().values() if k.fileobj is not listener]
        if len(oldest) >= _STRANGERS:
            _drop(selector, oldest[0])
        selector.register(stranger, selectors.EVENT_READ, bytearray())


def _drop(selector: selectors.BaseSelector, key: selectors.SelectorKey) -> None:
    selector.unregister(key.fileobj)
    assert isinstance(key.fileobj, socket.socket)
    key.fileobj.close()


def _hear(
    selector: selectors.BaseSelector, key: selectors.SelectorKey, expected: Hello
) -> socket.socket | None:
    """Read on; the connection, answered, once it has proved to be the expected one."""
    connection, heard = key.fileobj, key.data
    assert isinstance(connection, socket.socket)
    try:
        piece = connection.recv(_GREETING_BYTES - len(heard))
        heard += piece
        if len(heard) >= HEADER_BYTES:
            decode_header(heard[:HEADER_BYTES])
        hello = decode_hello(heard) if len(heard) == _GREETING_BYTES else None
    except (OSError, FrameError):
        piece, hello = b"", None
    if hello == expected:
        selector.unregister(connection)
        connection.settimeout(None)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.sendall(encode_hello(expected.answer()))
        return connection
    if hello is not None and hello.name == expected.name:
        raise FrameError(f"HELLO of {hello}; expected {expected}")
    if hello is not None or not piece:
        _drop(selector, key)
    return None


def receive_into(connection: socket.socket, room: memoryview, progress: Callable[[], None]) -> None:
    """Fill ``room``.

    Raises:
        LostPeer: the connection ended before that.
        OSError: it broke.
    """
    done = 0
    while done < room.nbytes:
        got = connection.recv_into(room[done : done + _PIECE_BYTES])
        if got == 0:
            raise LostPeer(f"it closed the connection after {done} of {room.nbytes} bytes")
        done += got
        progress()


def receive_header(connection: socket.socket, progress: Callable[[], None]) -> Header:
    """The next frame's header.

    Raises:
        LostPeer: the connection ended.
        FrameError: what came is no header.
        OSError: the connection broke.
    """
    data = bytearray(HEADER_BYTES)
    receive_into(connection, memoryview(data), progress)
    return decode_header(data)


def send_frame(
    connection: socket.socket, header: bytes, payload: memoryview, progress: Callable[[], None]
) -> None:
    """Send one frame.

    Raises:
        OSError: the connection broke.
    """
    connection.sendall(header)
    for at in range(0, payload.nbytes, _PIECE_BYTES):
        connection.sendall(payload[at : at + _PIECE_BYTES])
        progress()


def hang_up(connection: socket.socket | None) -> None:
    """Close, and wake every thread that waits on the connection."""
    if connection is None:
        return
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()
