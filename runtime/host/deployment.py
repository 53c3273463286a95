"""A running bundle: call it, map it over many inputs, close it."""

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from time import monotonic
from types import TracebackType
from typing import Self

from runtime.host.nodes import NodeProcess, await_culprit, culprit
from runtime.host.peers import Collector, Feeder
from runtime.host.requests import Requests, RequestTime
from runtime.host.tensors import Array, as_inputs, request_inputs
from splitter.errors import DeploymentError, UsageError
from splitter.graph import Graph

Outputs = Array | tuple[Array, ...]


@dataclass(frozen=True, slots=True)
class Parts:
    """What a deployment runs on."""

    requests: Requests
    nodes: Sequence[NodeProcess]
    """Those started on this machine."""
    feeders: Mapping[str, Feeder]
    """By device on which inputs appear."""
    collectors: Mapping[str, Collector]
    """By device on which outputs are wanted."""
    source_of: Mapping[str, str]
    """Device on which each input appears."""
    stop: ExitStack
    """Closing it ends everything at once."""


class Deployment:
    """The running nodes of one bundle, made by `Bundle.launch` or `Bundle.connect`.

    Use it as a context manager. Several threads may call it at the same time.
    """

    def __init__(self, graph: Graph, parts: Parts, *, in_flight: int, timeout_s: float) -> None:
        """``in_flight``: how many requests keep all nodes busy."""
        self._graph, self._parts = graph, parts
        self._in_flight, self._timeout_s = in_flight, timeout_s
        self._wire = {name: number for number, name in enumerate(graph.tensors)}
        self._closed = False
        self._failing = threading.Lock()
        self._error: str | None = None

    # --- use

    def __call__(self, *arrays: object, **by_name: object) -> Outputs:
        """One request: inputs in the model's order or by name, outputs in the model's order.

        One output comes alone, several as a tuple. No type is converted.

        Raises:
            InputError: an input is missing, unknown, or of the wrong shape or type.
            DeploymentError: a node or a link failed, or nothing moved for ``timeout_s``.
        """
        request = self._submit(as_inputs(self._graph, arrays, by_name))
        try:
            return self._result(request)
        finally:
            self._parts.requests.forget([request])

    def map(self, items: Iterable[object], in_flight: int | None = None) -> Iterator[Outputs]:
        """Many requests, pipelined: the results in the order of ``items``, as they are asked for.

        Args:
            items: Per request one array, a tuple or list of arrays, or a mapping by input name.
                It may be endless: it is read only ``in_flight`` items ahead.
            in_flight: Requests that are on their way at the same time; the default keeps all
                nodes busy.

        Raises:
            UsageError: ``in_flight`` is below 1.
            InputError: an item does not fit, when its turn has come.
            DeploymentError: a node or a link failed, or nothing moved for ``timeout_s``.
        """
        ahead = self._in_flight if in_flight is None else in_flight
        if ahead < 1:
            raise UsageError(f"in_flight is {ahead}; at least one request must be in flight")
        return self._pipeline(items, ahead)

    def _pipeline(self, items: Iterable[object], ahead: int) -> Iterator[Outputs]:
        pending: deque[int] = deque()
        try:
            for item in items:
                pending.append(self._submit(request_inputs(self._graph, item)))
                if len(pending) == ahead:
                    yield self._next(pending)
            while pending:
                yield self._next(pending)
        finally:
            self._parts.requests.forget(pending)

    def _next(self, pending: deque[int]) -> Outputs:
        result = self._result(pending[0])
        pending.popleft()
        return result

    # --- what happened

    @property
    def times(self) -> tuple[RequestTime, ...]:
        """When each request started and ended, in the order in which they ended."""
        with self._parts.requests.changed:
            return tuple(self._parts.requests.times)

    @property
    def messages(self) -> tuple[str, ...]:
        """What the nodes have printed besides the protocol, the last lines of each."""
        return tuple(line for node in self._parts.nodes for line in node.messages)

    # --- end

    def __str__(self) -> str:
        nodes = ", ".join(node.device for node in self._parts.nodes) or "nodes on other machines"
        state = "failed" if self._error else "closed" if self._closed else "running"
        return f"{self._graph.name} on {nodes}: {state}, {self._parts.requests.count} requests"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.abort()

    def close(self) -> None:
        """Let the nodes finish what is in flight, and end them. A second call does nothing.

        Raises:
            DeploymentError: a node failed, or did not end in ``timeout_s``; it is killed then.
        """
        if self._closed:
            return
        self._closed = True
        try:
            if self._error is None:
                self._finish()
        finally:
            self.abort()

    def abort(self) -> None:
        """Stop all nodes at once."""
        self._closed = True
        self._parts.stop.close()

    # --- how

    def wait_until_ready(self, deadline_s: float) -> None:
        """Wait until all nodes serve and the host is connected at both ends.

        Raises:
            DeploymentError: a node failed, or the time is up.
        """
        parts = self._parts
        self._wait(
            lambda: (
                all(feeder.connected for feeder in parts.feeders.values())
                and all(collector.connected for collector in parts.collectors.values())
                and all(node.ready for node in parts.nodes)
            ),
            lambda: deadline_s,
            lambda: "not all nodes are ready in time: " + self._unready(),
        )

    def _unready(self) -> str:
        parts = self._parts
        waiting = [f"node {node.device} is not" for node in parts.nodes if not node.ready]
        waiting += [
            f"the source {device} does not answer the host"
            for device, feeder in parts.feeders.items()
            if not feeder.connected
        ]
        waiting += [
            f"the sink {device} has not connected to the host"
            for device, collector in parts.collectors.items()
            if not collector.connected
        ]
        return ", ".join(waiting)

    def _submit(self, inputs: Mapping[str, Array]) -> int:
        if self._error is not None:
            raise self._failed()
        if self._closed:
            raise DeploymentError("the deployment is closed; launch the bundle again")

        def hand_over(request: int) -> None:
            for name, array in inputs.items():
                feeder = self._parts.feeders[self._parts.source_of[name]]
                feeder.put(request, self._wire[name], array)

        return self._parts.requests.start(hand_over)

    def _result(self, request: int) -> Outputs:
        requests = self._parts.requests
        self._wait(
            lambda: not requests.in_flight(request),
            lambda: requests.progress_s + self._timeout_s,
            lambda: (
                f"request {request} made no progress for {self._timeout_s:g} s;"
                f" still running: {self._running()}"
            ),
        )
        found = requests.take(request)
        assert found is not None
        outputs = tuple(found[name] for name in self._graph.outputs)
        return outputs[0] if len(outputs) == 1 else outputs

    def _running(self) -> str:
        alive = [node.device for node in self._parts.nodes if node.exit_code is None]
        return ", ".join(alive) or "nodes on other machines"

    def _wait(
        self, done: Callable[[], bool], deadline_s: Callable[[], float], late: Callable[[], str]
    ) -> None:
        requests = self._parts.requests
        with requests.changed:
            while not done():
                if requests.failure is not None or self._culprit() is not None:
                    break
                left_s = deadline_s() - monotonic()
                if left_s <= 0:
                    requests.fail(late(), certain=True)
                    break
                requests.changed.wait(left_s)
            else:
                return
        raise self._failed()

    def _failed(self) -> DeploymentError:
        """The one error of this deployment, which ends it; every caller gets it."""
        with self._failing:
            if self._error is None:
                self._error = self._explain()
                self.abort()
        return DeploymentError(self._error)

    def _culprit(self) -> NodeProcess | None:
        return culprit(self._parts.nodes, ending=self._parts.requests.ending)

    def _explain(self) -> str:
        """What went wrong, as the one who knows best tells it."""
        requests, nodes = self._parts.requests, self._parts.nodes
        failure = requests.failure
        if failure is not None and failure.certain:
            return failure.text
        guilty = await_culprit(nodes, requests.changed, ending=requests.ending)
        if guilty is not None:
            return guilty.story()
        assert failure is not None
        return failure.text

    def _finish(self) -> None:
        """Say BYE, see it come out at the other end, and all nodes end well."""
        parts = self._parts
        with parts.requests.changed:
            parts.requests.ending = True
            parts.requests.progress()
            for feeder in parts.feeders.values():
                feeder.end(parts.requests.count)
        self._wait(
            lambda: (
                all(collector.ended for collector in parts.collectors.values())
                and all(n.exit_code is not None for n in parts.nodes)
            ),
            lambda: parts.requests.progress_s + self._timeout_s,
            lambda: f"no end after BYE in {self._timeout_s:g} s; still running: {self._running()}",
        )
        guilty = self._culprit()
        if guilty is not None:
            raise DeploymentError(guilty.story())
