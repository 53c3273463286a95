"""The host against nodes that this test plays, on sockets of its own."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runtime.host import Bundle, Deployment
from runtime.host.wire import (
    HEADER_BYTES,
    HELLO_BYTES,
    Header,
    Hello,
    Kind,
    decode_hello,
    encode_bye,
    encode_header,
    encode_hello,
    tensor_header,
)
from splitter.errors import DeploymentError

GREETING_BYTES = HEADER_BYTES + HELLO_BYTES
X = np.ones((2, 3), np.float32)


def frame(request: int, tensor: int, payload: bytes = X.tobytes()) -> bytes:
    return encode_header(tensor_header(request, tensor, memoryview(payload))) + payload


GOOD = frame(0, 3)
Answer = Callable[[socket.socket], None]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def read(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size and (piece := connection.recv(size - len(data))):
        data += piece
    return data


class Fakes:
    """Plays source and sink of ``bundle``: ``sent`` answers a request, ``end`` the BYE."""

    def __init__(
        self, bundle: Bundle, sent: bytes, end: bytes = b"", greet: bytes | None = None
    ) -> None:
        self.bundle, self.sent, self.end, self.greet = bundle, sent, end, greet
        self.identity = bytes.fromhex(bundle.manifest.bundle_id)
        self.source = socket.create_server(("127.0.0.1", 0))
        self.source_address = f"127.0.0.1:{self.source.getsockname()[1]}"
        self.host_port = free_port()
        self.got = b""
        self.threads = [threading.Thread(target=self.play)]

    def play(self) -> None:
        with suppress(OSError), self.source, self.source.accept()[0] as feed:
            heard = decode_hello(read(feed, GREETING_BYTES))
            assert heard == Hello(self.identity, "host", "a")
            feed.sendall(self.greet or encode_hello(heard.answer()))
            if self.greet is not None:
                read(feed, 1)
                return
            with self.connect() as sink:
                sink.sendall(encode_hello(Hello(self.identity, "c", "host")))
                assert decode_hello(read(sink, GREETING_BYTES)).name == "host"
                self.got = read(feed, HEADER_BYTES + X.nbytes)
                sink.sendall(self.sent)
                if self.end and len(read(feed, HEADER_BYTES)) == HEADER_BYTES:
                    sink.sendall(self.end)

    def connect(self) -> socket.socket:
        for _ in range(500):
            with suppress(ConnectionRefusedError):
                return socket.create_connection(("127.0.0.1", self.host_port))
        raise TimeoutError

    @contextmanager
    def deployment(self, timeout_s: float = 5.0) -> Iterator[Deployment]:
        for thread in self.threads:
            thread.start()
        try:
            with self.bundle.connect(
                {"a": self.source_address},
                timeout_s=timeout_s,
                listen=f"127.0.0.1:{self.host_port}",
            ) as deployment:
                yield deployment
        finally:
            with suppress(OSError):
                self.source.shutdown(socket.SHUT_RDWR)
            for thread in self.threads:
                thread.join()


def answers(bundle: Bundle, sent: bytes, end: bytes = b"") -> np.ndarray:
    with Fakes(bundle, sent, end).deployment() as deployment:
        found = deployment(X)
        assert isinstance(found, np.ndarray)
        return found


def test_right_answer(chain: Bundle) -> None:
    fakes = Fakes(chain, GOOD, encode_bye(1))
    with fakes.deployment() as deployment:
        assert np.array_equal(deployment(X), X)  # type: ignore[arg-type]
        deployment.close()
    assert fakes.got == frame(0, 0)


@pytest.mark.parametrize(
    ("sent", "message"),
    [
        (b"", "lost node c: it closed the connection after 0 of 40 bytes"),
        (GOOD[:39], "lost node c: it closed the connection after 39 of 40 bytes"),
        (GOOD[:-1], "lost node c: it closed the connection after 23 of 24 bytes"),
        (b"HTTP/1.1 400 Bad Request" * 3, "from node c: frame magic is 48545450"),
        (frame(0, 2), "from node c: tensor 2 is none of the model's outputs"),
        (frame(0, 9), "from node c: tensor 9 is none of the model's outputs"),
        (frame(1, 3), "from node c: three is of request 1, expected 0"),
        (frame(0, 3, b"1234"), "from node c: three has 4 bytes, expected 24"),
        (
            encode_header(Header(Kind.TENSOR, 0, 3, 2**63, 0)),
            "from node c: three has 9223372036854775808 bytes, expected 24",
        ),
        (GOOD[:-1] + b"!", "from node c: frame payload checksum is"),
        (encode_bye(0), "the nodes were stopped after 0 requests"),
        (encode_hello(Hello(bytes(32), "c", "host")), "from node c: a second HELLO"),
    ],
)
def test_wrong_answer(chain: Bundle, sent: bytes, message: str) -> None:
    with pytest.raises(DeploymentError, match=message):
        answers(chain, sent)


@pytest.mark.parametrize("sent", [GOOD + GOOD, GOOD + frame(1, 3)])
def test_answer_to_what_was_not_asked(chain: Bundle, sent: bytes) -> None:
    with pytest.raises(DeploymentError, match="three is of request"):
        answers(chain, sent, encode_bye(1))


def test_wrong_end(chain: Bundle) -> None:
    with pytest.raises(DeploymentError, match="BYE after 7 requests, expected 1"):
        answers(chain, GOOD, encode_bye(7))


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_noise(chain: Bundle, data: st.DataObject) -> None:
    """Whatever the sink says, it is the right answer or a DeploymentError, soon."""
    sent = bytearray(GOOD + encode_bye(1))
    for _ in range(data.draw(st.integers(1, 4))):
        sent[data.draw(st.integers(0, len(sent) - 1))] ^= data.draw(st.integers(1, 255))
    whole = bytes(sent[: data.draw(st.integers(0, len(sent)))])
    with suppress(DeploymentError):
        assert np.array_equal(answers(chain, whole[: len(GOOD)], whole[len(GOOD) :]), X)


def test_source_of_another_bundle(chain: Bundle) -> None:
    greet = encode_hello(Hello(b"?" * 32, "a", "host"))
    fakes = Fakes(chain, GOOD, greet=greet)
    with pytest.raises(DeploymentError, match="the address of a is 'a' of bundle 3f3f3f3f"):
        fakes.deployment(2.0).__enter__()


@pytest.mark.parametrize("greet", [b"SSH-2.0-OpenSSH_9.9\r\n" * 20, b"x"])
def test_source_that_is_no_node(chain: Bundle, greet: bytes) -> None:
    fakes = Fakes(chain, GOOD, greet=greet)
    with pytest.raises(DeploymentError, match=r"node a .*HELLO|source a does not answer"):
        fakes.deployment(1.0).__enter__()


def test_strangers_are_turned_away(chain: Bundle) -> None:
    """One keeps silent, one talks nonsense, one is of another deployment; the sink comes last."""
    fakes = Fakes(chain, GOOD, encode_bye(1))
    strangers: list[socket.socket] = []
    connect = fakes.connect

    def after_strangers() -> socket.socket:
        for said in (b"", b"GET / HTTP/1.1\r\n" * 4, encode_hello(Hello(b"?" * 32, "q", "host"))):
            strangers.append(connect())
            strangers[-1].sendall(said)
        strangers.extend(connect() for _ in range(40))
        return connect()

    fakes.connect = after_strangers  # type: ignore[method-assign]
    with fakes.deployment() as deployment:
        assert np.array_equal(deployment(X), X)  # type: ignore[arg-type]
        deployment.close()
    for stranger in strangers:
        stranger.close()


def test_sink_of_another_bundle(chain: Bundle) -> None:
    fakes = Fakes(chain, GOOD)
    fakes.identity = b"?" * 32
    real = bytes.fromhex(chain.manifest.bundle_id)

    def play() -> None:
        with suppress(OSError), fakes.source, fakes.source.accept()[0] as feed:
            feed.sendall(encode_hello(decode_hello(read(feed, GREETING_BYTES)).answer()))
            with fakes.connect() as sink:
                sink.sendall(encode_hello(Hello(fakes.identity, "c", "host")))
                read(sink, 1)

    fakes.threads = [threading.Thread(target=play)]
    with pytest.raises(
        DeploymentError, match=f"from node c: HELLO of 'c' of bundle 3f3f.*{real.hex()[:8]}"
    ):
        fakes.deployment(5.0).__enter__()


def test_sink_that_never_comes(chain: Bundle) -> None:
    fakes = Fakes(chain, GOOD)

    def never() -> socket.socket:
        raise ConnectionAbortedError

    fakes.connect = never  # type: ignore[method-assign]
    with pytest.raises(DeploymentError, match=r"c did not connect|sink c has not connected"):
        fakes.deployment(0.5).__enter__()
