"""Book-keeping of requests in flight: what was sent, what has come back, what went wrong."""

import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from time import monotonic, monotonic_ns

from runtime.host.tensors import Array

_TIMES_KEPT = 100_000


@dataclass(frozen=True, slots=True)
class RequestTime:
    """When one request was handed over and when its last output was back, CLOCK_MONOTONIC."""

    request: int
    start_ns: int
    end_ns: int


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a deployment cannot go on."""

    text: str
    certain: bool
    """Whether this is the cause itself; a lost connection is only what a node's failure causes."""


class Requests:
    """Shared by the caller, the feeder, the collector and the threads that watch nodes."""

    def __init__(self, outputs: Iterable[str]) -> None:
        """``outputs``: names of the tensors that make a request complete."""
        self.changed = threading.Condition()
        self.failure: Failure | None = None
        self.progress_s = monotonic()
        """When bytes last moved between the host and a node."""
        self.ending = False
        """No request will be handed over any more."""
        self.times: deque[RequestTime] = deque(maxlen=_TIMES_KEPT)
        self._wanted = frozenset(outputs)
        self._started: dict[int, int] = {}
        self._arrived: dict[int, dict[str, Array]] = {}
        self._forgotten: set[int] = set()
        self._count = 0

    @property
    def count(self) -> int:
        """Requests handed over so far; the next one gets this number."""
        return self._count

    def start(self, hand_over: Callable[[int], None]) -> int:
        """Number a new request and ``hand_over`` its inputs, in the order of the numbers."""
        with self.changed:
            request = self._count
            self._count += 1
            self._started[request] = monotonic_ns()
            self._arrived[request] = {}
            self.progress_s = monotonic()
            hand_over(request)
        return request

    def arrive(self, request: int, output: str, array: Array) -> None:
        """An output of a request has come back."""
        with self.changed:
            arrived = self._arrived[request]
            arrived[output] = array
            if arrived.keys() == self._wanted:
                self.times.append(RequestTime(request, self._started.pop(request), monotonic_ns()))
                if request in self._forgotten:
                    self._forgotten.discard(request)
                    del self._arrived[request]
            self.changed.notify_all()

    def in_flight(self, request: int) -> bool:
        """Whether the request was handed over and is not complete."""
        with self.changed:
            return request in self._started

    def take(self, request: int) -> Mapping[str, Array] | None:
        """The outputs of a request, once; None while they are not complete."""
        with self.changed:
            if request in self._started:
                return None
            return self._arrived.pop(request)

    def forget(self, requests: Iterable[int]) -> None:
        """Nobody will `take` these."""
        with self.changed:
            for request in requests:
                if request in self._started:
                    self._forgotten.add(request)
                else:
                    self._arrived.pop(request, None)

    def fail(self, text: str, *, certain: bool) -> None:
        """Note why the deployment cannot go on; the first cause stays."""
        with self.changed:
            if self.failure is None or (certain and not self.failure.certain):
                self.failure = Failure(text, certain)
            self.changed.notify_all()

    def progress(self) -> None:
        """Bytes have moved."""
        self.progress_s = monotonic()

    def announce(self) -> None:
        """Something that a waiting caller may look at has changed."""
        with self.changed:
            self.changed.notify_all()
