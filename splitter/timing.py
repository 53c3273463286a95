"""When everything happens in one request: the one place that says how devices and links wait.

A device runs its layers one at a time in the given order, each as soon as the device is free and
all its inputs are there. A tensor that other devices need is queued for its links the moment it is
there, made or received. A link, or a medium that several links share, carries one tensor at a time,
in the order of queueing: it is busy for bytes / bandwidth, and the tensor is there the link's
latency after its last byte has left, while the next one is already on its way (a node has one queue
and one thread per link, runtime/device/send.c). Tensors queued at one moment go in graph order.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush
from math import inf

Place = tuple[int, int]
"""(tensor, device)."""


@dataclass(frozen=True, slots=True)
class Hop:
    """One tensor's way over one link."""

    target: int
    """Device at the other end."""
    medium: int
    """What carries it; equal numbers take turns."""
    busy_s: float
    """How long it keeps the medium busy."""
    delay_s: float
    """From then until it is there."""


@dataclass(frozen=True, slots=True)
class Run:
    """One request, second by second from the moment the inputs are there."""

    start_s: tuple[float, ...]
    """Per layer; infinite when an input never comes."""
    finish_s: tuple[float, ...]
    there_s: Mapping[Place, float]
    """When each tensor is on each device that it gets to."""
    waits: tuple[tuple[Place, Place], ...]
    """Pairs of queued tensors of which the second waited for the first to leave the medium."""


def run_request(
    devices: Sequence[int],
    seconds: Sequence[float],
    reads: Sequence[Sequence[int]],
    makes: Sequence[Sequence[int]],
    born: Sequence[Place],
    hops: Mapping[Place, Sequence[Hop]],
) -> Run:
    """Run every layer.

    Args:
        devices: Device of each layer, in the order in which a device runs them.
        seconds: Compute time of each layer there.
        reads: Tensors that each layer reads.
        makes: Tensors that each layer makes.
        born: Where the model's inputs are at the start.
        hops: The links over which each tensor leaves each device.
    """
    return _Request(devices, seconds, reads, makes, hops).run(born)


class _Request:
    def __init__(
        self,
        devices: Sequence[int],
        seconds: Sequence[float],
        reads: Sequence[Sequence[int]],
        makes: Sequence[Sequence[int]],
        hops: Mapping[Place, Sequence[Hop]],
    ) -> None:
        self.seconds, self.reads, self.makes, self.hops = seconds, reads, makes, hops
        self.todo: dict[int, list[int]] = {}
        for layer in reversed(range(len(devices))):
            self.todo.setdefault(devices[layer], []).append(layer)
        self.free: dict[int, float] = {}
        self.start = [inf] * len(devices)
        self.finish = [inf] * len(devices)
        self.there: dict[Place, float] = {}
        self.queue: list[tuple[float, int, int]] = []
        self.carried: dict[int, tuple[float, Place]] = {}
        """Per medium: when it is free again, and what it carried last."""
        self.waits: list[tuple[Place, Place]] = []

    def run(self, born: Sequence[Place]) -> Run:
        for tensor, device in born:
            self._arrive(tensor, device, 0.0)
        for device in self.todo:
            self._advance(device)
        # All that is still to be queued follows from something queued now, so it comes later.
        while self.queue:
            now, tensor, device = heappop(self.queue)
            for hop in self.hops[tensor, device]:
                self._send(now, (tensor, device), hop)
        return Run(tuple(self.start), tuple(self.finish), self.there, tuple(self.waits))

    def _send(self, now: float, place: Place, hop: Hop) -> None:
        free, last = self.carried.get(hop.medium, (0.0, place))
        if free > now:
            self.waits.append((last, place))
            now = free
        sent = now + hop.busy_s
        self.carried[hop.medium] = sent, place
        self._arrive(place[0], hop.target, sent + hop.delay_s)
        self._advance(hop.target)

    def _arrive(self, tensor: int, device: int, when: float) -> None:
        self.there[tensor, device] = when
        if (tensor, device) in self.hops:
            heappush(self.queue, (when, tensor, device))

    def _advance(self, device: int) -> None:
        """Run the device's layers up to the first whose inputs are not all on their way."""
        todo = self.todo.get(device, [])
        while todo:
            layer = todo[-1]
            ready = self.free.get(device, 0.0)
            for tensor in self.reads[layer]:
                ready = max(ready, self.there.get((tensor, device), inf))
            if ready == inf:
                return
            todo.pop()
            self.start[layer] = ready
            done = self.finish[layer] = self.free[device] = ready + self.seconds[layer]
            for tensor in self.makes[layer]:
                self._arrive(tensor, device, done)
