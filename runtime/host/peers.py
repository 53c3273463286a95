"""The host's connections: inputs go to source nodes, results come from sink nodes."""

import queue
import socket
import threading
from collections.abc import Mapping
from dataclasses import dataclass

from runtime.host.requests import Requests
from runtime.host.sockets import (
    LostPeer,
    accept_from,
    connect_to,
    hang_up,
    receive_header,
    receive_into,
    send_frame,
)
from runtime.host.tensors import Array, empty, raw
from runtime.host.wire import (
    FrameError,
    Header,
    Hello,
    Kind,
    check_payload,
    encode_bye,
    encode_header,
    tensor_header,
)
from splitter.errors import SplitterError
from splitter.graph import Tensor

_STOP_S = 3.0
"""A thread that is still greeting ends by itself a little later."""


@dataclass(frozen=True, slots=True)
class _Item:
    request: int
    tensor: int
    array: Array


class Feeder:
    """Sends inputs to one source node from a thread of its own."""

    def __init__(self, address: str, hello: Hello, requests: Requests, deadline_s: float) -> None:
        """Start connecting to ``address``."""
        self.connected = False
        self._address, self._hello = address, hello
        self._requests, self._deadline_s = requests, deadline_s
        self._queue: queue.SimpleQueue[_Item | int | None] = queue.SimpleQueue()
        self._connection: socket.socket | None = None
        self._wanted = True
        self._thread = threading.Thread(target=self._run, name="feed", daemon=True)
        self._thread.start()

    def put(self, request: int, tensor: int, array: Array) -> None:
        """Send ``array``, which nobody may change from now on."""
        self._queue.put(_Item(request, tensor, array))

    def end(self, requests: int) -> None:
        """Say BYE after everything that was put."""
        self._queue.put(requests)

    def stop(self) -> None:
        """End at once."""
        self._wanted = False
        self._queue.put(None)
        hang_up(self._connection)
        self._thread.join(_STOP_S)
        hang_up(self._connection)

    def _run(self) -> None:
        peer = self._hello.peer
        try:
            self._connection = connect_to(
                self._address, self._hello, self._deadline_s, lambda: self._wanted
            )
            self.connected = True
            self._requests.announce()
            self._feed(self._connection)
            hang_up(self._connection)
        except OSError as error:
            self._requests.fail(f"lost node {peer} while sending inputs: {error}", certain=False)
        except SplitterError as error:
            self._requests.fail(str(error), certain=isinstance(error, FrameError))

    def _feed(self, connection: socket.socket) -> None:
        while (item := self._queue.get()) is not None:
            if isinstance(item, int):
                connection.sendall(encode_bye(item))
                return
            payload = raw(item.array)
            header = encode_header(tensor_header(item.request, item.tensor, payload))
            send_frame(connection, header, payload, self._requests.progress)


class Collector:
    """Receives results from one sink node in a thread of its own."""

    def __init__(
        self,
        listener: socket.socket,
        expected: Hello,
        outputs: Mapping[int, Tensor],
        requests: Requests,
        deadline_s: float,
    ) -> None:
        """Start waiting for the sink at ``listener``; ``outputs`` by wire number."""
        self.connected = False
        self.ended = False
        """Whether the sink has said BYE and left, as it should."""
        self._listener, self._expected, self._outputs = listener, expected, outputs
        self._requests, self._deadline_s = requests, deadline_s
        self._next = dict.fromkeys(outputs, 0)
        self._connection: socket.socket | None = None
        self._wanted = True
        self._thread = threading.Thread(target=self._run, name="collect", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End at once."""
        self._wanted = False
        hang_up(self._connection)
        self._thread.join(_STOP_S)
        hang_up(self._connection)
        self._listener.close()

    def _run(self) -> None:
        sink = self._expected.name
        try:
            self._connection = accept_from(
                self._listener, self._expected, self._deadline_s, lambda: self._wanted
            )
            self.connected = True
            self._requests.announce()
            self._collect(self._connection)
        except FrameError as error:
            self._requests.fail(f"from node {sink}: {error}", certain=True)
        except (LostPeer, OSError) as error:
            self._requests.fail(f"lost node {sink}: {error}", certain=False)
        except SplitterError as error:
            self._requests.fail(str(error), certain=False)

    def _collect(self, connection: socket.socket) -> None:
        progress = self._requests.progress
        while (header := receive_header(connection, progress)).kind is Kind.TENSOR:
            tensor = self._expect(header)
            array = empty(tensor)
            receive_into(connection, raw(array), progress)
            check_payload(header, raw(array))
            self._next[header.tensor] += 1
            self._requests.arrive(header.request, tensor.name, array)
        if header.kind is not Kind.BYE:
            raise FrameError("a second HELLO")
        self._say_goodbye(header.request)

    def _expect(self, header: Header) -> Tensor:
        """The output that a frame carries, once everything in its header is as it must be."""
        tensor = self._outputs.get(header.tensor)
        if tensor is None:
            raise FrameError(f"tensor {header.tensor} is none of the model's outputs")
        if header.length != tensor.bytes:
            raise FrameError(f"{tensor.name} has {header.length} bytes, expected {tensor.bytes}")
        wanted = self._next[header.tensor]
        if header.request != wanted:
            raise FrameError(f"{tensor.name} is of request {header.request}, expected {wanted}")
        if not self._requests.in_flight(wanted):
            raise FrameError(f"{tensor.name} is of request {wanted}, which was never made")
        return tensor

    def _say_goodbye(self, requests: int) -> None:
        if not self._requests.ending:
            self._requests.fail(f"the nodes were stopped after {requests} requests", certain=False)
        elif requests != self._requests.count:
            raise FrameError(f"BYE after {requests} requests, expected {self._requests.count}")
        else:
            self.ended = True
            self._requests.announce()
