"""Links with a topology's bandwidth and latency between nodes on one machine.

A relay per directed link takes the sender's connection and passes on what comes at the link's pace:
a piece of n bytes occupies the link for n / bandwidth, and arrives latency later. The way back
carries only the answer to the HELLO and is not slowed.
"""

import contextlib
import queue
import socket
import threading
from collections.abc import Callable, Mapping
from time import monotonic, sleep
from types import TracebackType
from typing import TYPE_CHECKING, Self

from runtime.host.sockets import format_address, hang_up, listen_at, parse_address
from splitter.schedule import HOST
from splitter.topology import Link

if TYPE_CHECKING:
    from runtime.host.bundle import Bundle

_BUFFER_BYTES = 1 << 16
"""What the operating system may hold at each end: small, or it would hide the link's pace."""
_PIECE_BYTES = 1 << 18
_GAP_S = 0.0005
"""A sender that is silent for longer has left the link idle."""
_STEP_S = 0.001
"""Time that one piece occupies the link, about."""
_CONNECT_S = 10.0


class LinkRelays:
    """One relay per link of a bundle that is used, for the nodes at ``addresses``."""

    def __init__(self, bundle: "Bundle", addresses: Mapping[str, str]) -> None:
        """Listen for every link whose target has an address."""
        used = {(s.device, peer) for s in bundle.node_schedules for _, peer in s.sends}
        self._relays = {
            (source, target): _Relay(
                bundle.topology.link_between[source, target], addresses[target]
            )
            for source, target in sorted(used)
            if target != HOST and target in addresses
        }

    def seen_from(self, device: str) -> dict[str, str]:
        """The addresses at which ``device`` reaches the others."""
        return {
            target: relay.address
            for (source, target), relay in self._relays.items()
            if source == device
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for relay in self._relays.values():
            relay.close()


class _Relay:
    """Takes one connection, for one link."""

    def __init__(self, link: Link, target: str) -> None:
        self._link, self._target = link, target
        self._listener = listen_at("127.0.0.1:0")
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER_BYTES)
        self.address = format_address(self._listener)
        self._lock = threading.Lock()
        self._closed = False
        self._sockets: list[socket.socket] = [self._listener]
        self._threads: list[threading.Thread] = []
        self._pieces: queue.SimpleQueue[tuple[float, bytes] | None] = queue.SimpleQueue()
        self._start(self._serve)

    def close(self) -> None:
        """Cut the connection."""
        with self._lock:
            self._closed = True
        self._pieces.put(None)
        for end in self._sockets:
            hang_up(end)
        for thread in self._threads:
            thread.join()

    def _start(self, work: Callable[..., None], *ends: socket.socket) -> None:
        name = f"{self._link.source}-{self._link.target}"
        thread = threading.Thread(target=work, args=ends, name=name, daemon=True)
        with self._lock:
            if not self._closed:
                self._threads.append(thread)
                thread.start()

    def _keep(self, end: socket.socket) -> socket.socket:
        """Have ``end`` closed with all others."""
        with self._lock:
            self._sockets.append(end)
            if self._closed:
                hang_up(end)
        return end

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            sender = self._keep(self._listener.accept()[0])
            try:
                where = parse_address(self._target)
                receiver = self._keep(socket.create_connection(where, _CONNECT_S))
                receiver.settimeout(None)
                receiver.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                receiver.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER_BYTES)
                self._start(self._deliver, receiver)
                self._start(self._return, sender, receiver)
                self._pace(sender)
            finally:
                self._pieces.put(None)

    def _pace(self, sender: socket.socket) -> None:
        """Let each piece occupy the link, and note when it arrives."""
        pace = self._link.bandwidth_bytes_per_s
        piece_bytes = max(1, min(_PIECE_BYTES, int(pace * _STEP_S)))
        free_s = awake_s = monotonic()
        while piece := sender.recv(piece_bytes):
            # What was waiting while this thread overslept follows its predecessor without a gap.
            if monotonic() - awake_s > _GAP_S:
                free_s = monotonic()
            free_s += len(piece) / pace
            self._pieces.put((free_s + self._link.latency_s, piece))
            sleep(max(0.0, free_s - monotonic()))
            awake_s = monotonic()

    def _deliver(self, receiver: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while (item := self._pieces.get()) is not None:
                arrival_s, piece = item
                sleep(max(0.0, arrival_s - monotonic()))
                receiver.sendall(piece)
            receiver.shutdown(socket.SHUT_WR)

    def _return(self, sender: socket.socket, receiver: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while piece := receiver.recv(_BUFFER_BYTES):
                sender.sendall(piece)
        with contextlib.suppress(OSError):
            sender.shutdown(socket.SHUT_RDWR)
