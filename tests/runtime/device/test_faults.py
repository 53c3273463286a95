"""What a node does when a peer, the network or a kernel is wrong: one message, the right code."""

import contextlib
import signal
import socket
import struct
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from node_harness import (
    AFTER_CALL,
    BUNDLE,
    BYE,
    HELLO,
    TENSOR,
    Builder,
    Node,
    Tables,
    address_of,
    connect,
    frame,
    greet,
    header,
    hello,
    in_background,
    listener,
    padded,
    peers_text,
    read_exact,
    read_frame,
    says,
    session,
    simple,
    tensor_frame,
    values,
    vector,
    welcome,
)

PAYLOAD = values(0).tobytes()
OTHER_BUNDLE = bytes(32)

MALFORMED = {
    "magic": (header(TENSOR, 0, 0, PAYLOAD, magic=b"HTTP"), "magic is 50545448"),
    "version": (header(TENSOR, 0, 0, PAYLOAD, version=2), "version is 2, expected 1"),
    "kind": (header(9, 0, 0, PAYLOAD), "kind is 9"),
    "kind 0": (header(0, 0, 0, PAYLOAD), "kind is 0"),
    "reserved": (header(TENSOR, 0, 0, PAYLOAD, reserved=7), "reserved field is 7"),
    "tensor": (header(TENSOR, 0, 5, PAYLOAD), "tensor 5 is none"),
    "own tensor": (header(TENSOR, 0, 1, PAYLOAD), "tensor 1 is none"),
    "huge tensor": (header(TENSOR, 0, 2**32 - 1, PAYLOAD), "tensor 4294967295"),
    "short": (header(TENSOR, 0, 0, PAYLOAD[:-4]), "has 60 bytes, expected 64"),
    "empty": (header(TENSOR, 0, 0, b""), "has 0 bytes, expected 64"),
    "long": (header(TENSOR, 0, 0, PAYLOAD + bytes(1)), "has 65 bytes, expected 64"),
    "huge": (header(TENSOR, 0, 0, PAYLOAD, length=2**64 - 1), f"has {2**64 - 1} bytes"),
    "checksum": (header(TENSOR, 0, 0, PAYLOAD, checksum=1) + PAYLOAD, "0000000000000001"),
    "payload": (header(TENSOR, 0, 0, PAYLOAD) + bytes(64), "its payload gives"),
    "early": (header(TENSOR, 1, 0, PAYLOAD), "of request 1, expected 0"),
    "very early": (header(TENSOR, 2**64 - 1, 0, PAYLOAD), f"of request {2**64 - 1}, expected 0"),
    "hello": (hello("host", "a"), "second HELLO"),
    "bye with tensor": (header(BYE, 0, 3, b""), "BYE names tensor 3"),
    "bye with payload": (header(BYE, 0, 0, b"1"), "BYE has length 1"),
    "bye with checksum": (header(BYE, 0, 0, b"", checksum=0), "BYE has checksum"),
    "bye too early": (header(BYE, 1, 0, b""), "BYE after 1 requests"),
}


@pytest.mark.parametrize(("data", "message"), MALFORMED.values(), ids=MALFORMED.keys())
def test_malformed_frame(simple_node: Path, data: bytes, message: str) -> None:
    with session(simple_node) as it:
        it.feed.sendall(data)
        code, error = it.node.ended()
        assert (code, says(error, "from host", message)) == (5, True), error


@pytest.mark.parametrize("request_number", [0, 2, 5])
def test_request_out_of_order(simple_node: Path, request_number: int) -> None:
    with session(simple_node) as it:
        it.ask(0, values(0))
        it.feed.sendall(tensor_frame(request_number, 0, values(0)))
        code, error = it.node.ended()
        assert code == 5
        assert says(error, "host", f"of request {request_number}, expected 1"), error


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "closed the connection without BYE"),
        (tensor_frame(0, 0, values(0))[:10], "10 of 40 bytes of a header"),
        (tensor_frame(0, 0, values(0))[:-1], "63 of 64 bytes of a tensor"),
    ],
    ids=["idle", "header", "payload"],
)
def test_peer_dies(simple_node: Path, data: bytes, message: str) -> None:
    with session(simple_node) as it:
        it.feed.sendall(data)
        it.feed.close()
        code, error = it.node.ended()
        assert (code, says(error, "lost peer host", message)) == (4, True), error


def test_peer_resets(simple_node: Path) -> None:
    with session(simple_node) as it:
        linger = struct.pack("ii", 1, 0)
        it.feed.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        it.feed.close()
        code, error = it.node.ended()
        assert (code, says(error, "lost peer host", "reset")) == (4, True), error


@pytest.mark.parametrize("length", [10, 60])
def test_peer_stalls_within_a_frame(simple_node: Path, length: int) -> None:
    with session(simple_node, timeout_s=0.3) as it:
        time.sleep(0.5)  # between frames it may be silent for long
        it.feed.sendall(tensor_frame(0, 0, values(0))[:length])
        code, error = it.node.ended()
        assert (code, says(error, "lost peer host", "nothing came in time")) == (4, True), error


def test_receiver_dies(simple_node: Path) -> None:
    with session(simple_node) as it:
        it.result.close()
        for request in range(2):
            it.feed.sendall(tensor_frame(request, 0, values(request)))
            time.sleep(0.05)
        code, error = it.node.ended()
        assert (code, says(error, "lost peer host while sending tensor 1")) == (4, True), error


def test_kernel_error(sanitized: Builder) -> None:
    with session(sanitized.node(simple("kernel_picky"))) as it:
        it.ask(0, values(0))
        it.feed.sendall(tensor_frame(1, 0, values(-1)))
        code, error = it.node.ended()
        assert code == 6
        assert says(error, "layer0 (call 0)", "ValueError: element is negative"), error


@pytest.mark.parametrize("kernel", ["kernel_parallel_fails", "kernel_picky"])
def test_kernel_error_without_reason(sanitized: Builder, kernel: str) -> None:
    with session(sanitized.node(simple(kernel, threads=2))) as it:
        it.feed.sendall(tensor_frame(0, 0, values(-5)))
        code, error = it.node.ended()
        assert (code, says(error, "layer0", "no reason")) == (6, True), error


def test_barrier_of_more_tasks_than_threads(sanitized: Builder) -> None:
    with session(sanitized.node(simple("kernel_barrier_of_many", threads=2))) as it:
        it.feed.sendall(tensor_frame(0, 0, values(0)))
        code, error = it.node.ended()
        assert (code, says(error, "50 tasks", "at most 2")) == (6, True), error


def test_workspace_too_large(plain: Builder) -> None:
    with session(plain.node(simple("kernel_greedy"))) as it:
        it.feed.sendall(tensor_frame(0, 0, values(0)))
        code, error = it.node.ended()
        assert (code, says(error, "workspace")) == (7, True), error


def _refused(address: str, data: bytes) -> None:
    """Sends something as a stranger and waits to be hung up on."""
    with connect(address) as stranger:
        stranger.settimeout(5)
        stranger.sendall(data)
        with contextlib.suppress(ConnectionResetError):
            assert stranger.recv(1) == b""


STRANGERS = {
    "unknown name": (hello("mallory", "a"), "it is 'mallory'"),
    "looks for another": (hello("host", "b"), "looks for 'b'; this is 'a'"),
    "own name": (hello("a", "a"), "it is 'a'"),
    "unprintable": (hello("\x1b[31m", "a"), "it is '?[31m'"),
    "not terminated": (
        frame(HELLO, payload=BUNDLE + b"x" * 64 + b"y" * 64),
        "it is '" + "x" * 63 + "'",
    ),
    "not padded": (
        frame(HELLO, payload=BUNDLE + padded("host")[:-1] + b"!" + padded("a")),
        "it is 'host'",
    ),
    "unknown bundle": (hello("mallory", "a", OTHER_BUNDLE), "bundle 00000000"),
    "web browser": (b"GET / HTTP/1.1\r\nHost: localhost\r\nAccept: text/html\r\n\r\n", "magic"),
    "tensor first": (tensor_frame(0, 0, values(0)), "no HELLO"),
    "wrong length": (header(HELLO, 0, 0, bytes(159)), "length 159"),
    "huge length": (header(HELLO, 0, 0, b"", length=2**63), "length 9223372036854775808"),
    "request": (header(HELLO, 1, 0, bytes(160)), "request 1"),
    "checksum": (header(HELLO, 0, 0, b"", length=160) + bytes(160), "payload gives"),
    "second connection": (hello("host", "a"), "connection already"),
}


def test_strangers_are_refused(simple_node: Path) -> None:
    """All at one node, which serves on and says why it refused each."""
    with session(simple_node) as it:
        for data, _ in STRANGERS.values():
            _refused(it.address, data)
        connect(it.address).close()
        np.testing.assert_array_equal(it.ask(0, values(1)).values, 2 * values(1))
        code, error = it.bye(1)
        assert code == 0
        lines = error.splitlines()
        assert all(
            line.startswith("node a: refused a connection from 127.0.0.1:") for line in lines
        )
        assert len(lines) == len(STRANGERS) + 1
        for line, (_, message) in zip(lines, STRANGERS.values(), strict=False):
            assert message in line


def test_silent_strangers_keep_nobody_out(simple_node: Path) -> None:
    with listener() as server, Node(simple_node, "--peers", "-") as node:
        address = node.address()
        node.tell_peers(peers_text({"host": address_of(server)}))
        crowd = [connect(address) for _ in range(40)]
        with greet(address, "host", "a") as feed, welcome(server, "host", "a") as result:
            feed.sendall(tensor_frame(0, 0, values(2)) + frame(BYE, 1))
            np.testing.assert_array_equal(read_frame(result).values, 2 * values(2))
            code, error = node.ended()
            assert code == 0
            assert "others came before" in error
        for stranger in crowd:
            stranger.close()


def test_silent_stranger_is_hung_up_on(simple_node: Path) -> None:
    with session(simple_node, timeout_s=0.3) as it:
        _refused(it.address, b"SPLT")
        assert "did not say HELLO in time" in it.bye(0)[1]


def test_peer_of_another_bundle(simple_node: Path) -> None:
    with listener() as server, Node(simple_node, "--peers", "-") as node:
        address = node.address()
        node.tell_peers(peers_text({"host": address_of(server)}))
        _refused(address, hello("host", "a", OTHER_BUNDLE))
        code, error = node.ended()
        assert code == 5
        assert says(error, "peer host runs another bundle", "00000000", "00010203"), error


def _answer(simple_node: Path, answer: bytes, timeout_s: float = 10) -> tuple[int, str]:
    """How a node ends that gets this answer to its HELLO."""
    with (
        listener() as server,
        Node(simple_node, "--peers", "-", timeout_s=timeout_s) as node,
    ):
        address = node.address()
        node.tell_peers(peers_text({"host": address_of(server)}))
        connection, _ = server.accept()
        with greet(address, "host", "a"), connection:
            read_exact(connection, 200)
            connection.sendall(answer)
            if not answer:
                connection.close()
            return node.ended()


@pytest.mark.parametrize(
    ("answer", "expected_code", "message"),
    [
        (hello("host", "a", OTHER_BUNDLE), 5, "runs another bundle: 00000000"),
        (hello("b", "a"), 5, "is 'b', expected host"),
        (hello("host", "b"), 5, "is 'host', expected host"),
        (b"SPLT" + bytes(196), 5, "version is 0"),
        (b"HTTP/1.1 400 Bad Request\r\n" + bytes(174), 5, "magic"),
        (b"", 4, "did not answer the HELLO: the peer closed the connection"),
    ],
)
def test_wrong_answer(simple_node: Path, answer: bytes, expected_code: int, message: str) -> None:
    code, error = _answer(simple_node, answer)
    assert (code, says(error, message)) == (expected_code, True), error


def test_no_answer(simple_node: Path) -> None:
    code, error = _answer(simple_node, b"SPLT", timeout_s=0.3)
    assert (code, says(error, "peer host", "did not answer the HELLO")) == (4, True), error


def test_receiver_never_starts(simple_node: Path) -> None:
    with listener() as server:
        address = address_of(server)
    with Node(simple_node, "--peers", "-", timeout_s=0.3) as node:
        own = node.address()
        node.tell_peers(peers_text({"host": address}))
        with greet(own, "host", "a"):
            code, error = node.ended()
    assert (code, says(error, "cannot connect to peer host", address)) == (4, True), error


def test_sender_never_starts(simple_node: Path) -> None:
    with listener() as server, Node(simple_node, "--peers", "-", timeout_s=0.3) as node:
        node.address()
        node.tell_peers(peers_text({"host": address_of(server)}))
        with welcome(server, "host", "a"):
            code, error = node.ended()
    assert (code, says(error, "peer host did not connect in time")) == (4, True), error


def test_peer_starts_late(simple_node: Path) -> None:
    with listener() as server:
        port = server.getsockname()[1]
    with Node(simple_node, "--peers", "-") as node:
        address = node.address()
        node.tell_peers(peers_text({"host": f"127.0.0.1:{port}"}))
        time.sleep(0.2)
        with (
            socket.create_server(("127.0.0.1", port)) as server,
            greet(address, "host", "a") as feed,
            welcome(server, "host", "a"),
        ):
            assert node.line() == "ready\n"
            feed.sendall(frame(BYE, 0))
            assert node.ended() == (0, "")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_drains(sanitized: Builder, number: signal.Signals) -> None:
    """The request under way is finished and sent; then BYE."""
    with session(sanitized.node(simple("kernel_slow"))) as it:
        it.feed.sendall(tensor_frame(0, 0, values(7)))
        time.sleep(0.05)
        it.node.process.send_signal(number)
        np.testing.assert_array_equal(read_frame(it.result).values, values(7) + 1)
        last = read_frame(it.result)
        assert (last.kind, last.request) == (BYE, 1)
        assert it.node.ended() == (0, "")


def test_signal_when_idle(simple_node: Path) -> None:
    with session(simple_node) as it:
        it.node.process.send_signal(signal.SIGTERM)
        last = read_frame(it.result)
        assert (last.kind, last.request) == (BYE, 0)
        assert it.node.ended() == (0, "")


def test_signal_before_peers_are_known(simple_node: Path) -> None:
    with Node(simple_node, "--peers", "-") as node:
        node.address()
        node.process.send_signal(signal.SIGTERM)
        assert node.ended() == (0, "")


def test_signal_before_peers_are_there(simple_node: Path) -> None:
    with listener() as server, Node(simple_node, "--peers", "-") as node:
        node.address()
        node.tell_peers(peers_text({"host": address_of(server)}))
        with welcome(server, "host", "a"):
            node.process.send_signal(signal.SIGTERM)
            assert node.ended() == (0, "")


def test_drain_has_a_deadline(simple_node: Path) -> None:
    with session(simple_node) as it:
        it.feed.sendall(tensor_frame(0, 0, values(0))[:50])
        time.sleep(0.1)
        it.node.process.send_signal(signal.SIGTERM)
        code, error = it.node.ended()
        assert (code, says(error, "1 requests unfinished")) == (4, True), error


def _join() -> Tables:
    """host and b each send one tensor; their sum goes to the host."""
    return Tables(
        tensors=[vector(0), vector(64), vector(128)],
        peers=["host", "b"],
        calls=[("kernel_add", [0, 1, 2])],
        stages=[(0, 1, [0, 1])],
        receives=[(0, 0, 0), (1, 1, 1)],
        sends=[(2, 2, 0, AFTER_CALL, 0)],
        slots=2,
    )


@pytest.fixture(scope="session")
def join_node(sanitized: Builder) -> Path:
    return sanitized.node(_join())


@pytest.fixture
def joined(join_node: Path) -> Iterator[tuple[Node, socket.socket, socket.socket, socket.socket]]:
    with listener() as server, Node(join_node, "--peers", "-") as node:
        address = node.address()
        node.tell_peers(peers_text({"host": address_of(server)}))
        with (
            greet(address, "host", "a") as feed,
            greet(address, "b", "a") as other,
            welcome(server, "host", "a") as result,
        ):
            yield node, feed, other, result


Joined = tuple[Node, socket.socket, socket.socket, socket.socket]


def test_one_sender_runs_ahead(joined: Joined) -> None:
    """It is held back at the slots; the other then finds its place."""
    node, feed, other, result = joined

    def run_ahead() -> None:
        feed.sendall(b"".join(tensor_frame(r, 0, values(r)) for r in range(50)) + frame(BYE, 50))

    with in_background(run_ahead):
        time.sleep(0.1)
        for request in range(50):
            other.sendall(tensor_frame(request, 1, values(1)))
            got = read_frame(result)
            assert got.request == request
            np.testing.assert_array_equal(got.values, values(request) + values(1))
    assert read_frame(result).kind == BYE
    assert node.ended() == (0, "")


def test_one_bye_is_enough_but_all_requests_are_done(joined: Joined) -> None:
    node, feed, other, result = joined
    feed.sendall(tensor_frame(0, 0, values(0)) + frame(BYE, 1))
    time.sleep(0.1)
    other.sendall(tensor_frame(0, 1, values(0)))
    np.testing.assert_array_equal(read_frame(result).values, 2 * values(0))
    assert read_frame(result).request == 1
    assert node.ended() == (0, "")


def test_byes_contradict(joined: Joined) -> None:
    node, feed, other, _ = joined
    feed.sendall(b"".join(tensor_frame(r, 0, values(r)) for r in range(2)))
    time.sleep(0.2)
    other.sendall(frame(BYE, 0))
    code, error = node.ended()
    assert (code, says(error, "from b", "BYE after 0 requests", "sent 2")) == (5, True), error


def test_data_after_bye(joined: Joined) -> None:
    node, feed, _, _ = joined
    feed.sendall(tensor_frame(0, 0, values(0)) + frame(BYE, 1) + b"x")
    code, error = node.ended()
    assert (code, says(error, "from host: more data after BYE")) == (5, True), error


def test_peer_dies_after_the_others_bye(joined: Joined) -> None:
    """Its tensor is still missing, so the request can never be done."""
    node, feed, other, _ = joined
    feed.sendall(tensor_frame(0, 0, values(0)) + frame(BYE, 1))
    other.close()
    code, error = node.ended()
    assert (code, says(error, "lost peer b")) == (4, True), error


def test_tensor_of_another_peer(joined: Joined) -> None:
    node, feed, _, _ = joined
    feed.sendall(tensor_frame(0, 1, values(0)))
    code, error = node.ended()
    assert (code, says(error, "from host", "tensor 1 is none that it sends")) == (5, True), error


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.one_of(st.binary(max_size=300), st.binary(max_size=200).map(lambda b: b"SPLT" + b)))
def test_garbage_from_strangers(living: "_Living", data: bytes) -> None:
    """Whatever strangers say, the node goes on."""
    with connect(living.address) as stranger:
        stranger.sendall(data)
    living.check()


class _Living:
    def __init__(self, node: Node, address: str, feed: socket.socket, result: socket.socket):
        self.address, self._node, self._feed, self._result = address, node, feed, result
        self._next = 0

    def check(self) -> None:
        self._feed.sendall(tensor_frame(self._next, 0, values(self._next)))
        got = read_frame(self._result)
        assert got.request == self._next
        np.testing.assert_array_equal(got.values, 2 * values(self._next))
        self._next += 1


@pytest.fixture(scope="module")
def living(simple_node: Path) -> Iterator[_Living]:
    with session(simple_node) as it:
        assert it.node.process.stderr is not None
        stderr = it.node.process.stderr
        with in_background(lambda: [None for _ in stderr].clear()):
            yield _Living(it.node, it.address, it.feed, it.result)
            it.feed.sendall(frame(BYE, 0))
            it.node.process.kill()


GOOD = tensor_frame(0, 0, values(0)) + tensor_frame(1, 0, values(1))


@settings(max_examples=60, deadline=None)
@given(
    at=st.integers(0, len(GOOD) - 1),
    change=st.integers(1, 255),
    cut=st.one_of(st.none(), st.integers(0, len(GOOD) - 1)),
)
def test_damaged_frames(simple_node: Path, at: int, change: int, cut: int | None) -> None:
    """Any flipped byte or cut ends in a message and a code, and in no wrong answer."""
    data = bytearray(GOOD)
    data[at] ^= change
    with session(simple_node) as it:
        it.feed.sendall(data[:cut])
        it.feed.close()
        code, error = it.node.ended()
        assert code in (4, 5)
        assert says(error, "host"), error
        for got in _results(it.result):
            np.testing.assert_array_equal(got, 2 * values(0))


def _results(result: socket.socket) -> Iterator[np.ndarray]:
    try:
        while True:
            yield read_frame(result).values
    except (EOFError, ConnectionError):
        return
