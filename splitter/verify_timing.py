"""When one request of a plan ends, found by living through it moment by moment.

Shares no code with `splitter.timing`: here every tensor that comes into being is an event.
"""

from collections import defaultdict
from heapq import heappop, heappush

from splitter.costs import CostTable
from splitter.graph import Graph, Layer
from splitter.plan import Plan
from splitter.topology import Link, Topology


def request_seconds(plan: Plan, graph: Graph, topology: Topology, costs: CostTable) -> float:
    """The moment at which the last output is where it is wanted; infinite when one never is."""
    clock = _Clock(plan, graph, topology, costs)
    while clock.events:
        clock.step()
    ends = [clock.present.get((name, topology.sink_of(name))) for name in graph.outputs]
    return max((float("inf") if end is None else end for end in ends), default=0.0)


class _Clock:
    def __init__(self, plan: Plan, graph: Graph, topology: Topology, costs: CostTable):
        self.plan, self.costs = plan, costs
        self.rank = {name: i for i, name in enumerate(graph.tensors)}
        self.place = {device.name: i for i, device in enumerate(topology.devices)}
        self.links: dict[tuple[str, str], list[Link]] = defaultdict(list)
        for t in plan.transfers:
            self.links[t.tensor, t.source].append(topology.link_between[t.source, t.target])
        self.bytes = {name: tensor.bytes for name, tensor in graph.tensors.items()}
        self.waiting: dict[str, list[Layer]] = defaultdict(list)
        for layer in graph.layers:
            self.waiting[plan.placement[layer.name]].append(layer)
        self.present: dict[tuple[str, str], float] = {}
        self.idle_at: dict[str, float] = defaultdict(float)
        self.quiet_at: dict[str, float] = defaultdict(float)
        self.events: list[tuple[float, int, int, str, str]] = []
        for name in graph.inputs:
            self._will_be(0.0, name, topology.source_of(name))
        for device in list(self.waiting):
            self._compute(device, 0.0)

    def _will_be(self, when: float, tensor: str, device: str) -> None:
        event = when, self.rank[tensor], self.place[device], tensor, device
        heappush(self.events, event)

    def step(self) -> None:
        """Let the next tensor come into being, send it on, and compute what it allows."""
        now, _, _, tensor, device = heappop(self.events)
        self.present[tensor, device] = now
        for link in self.links[tensor, device]:
            gone = max(now, self.quiet_at[link.medium])
            gone += self.bytes[tensor] / link.bandwidth_bytes_per_s
            self.quiet_at[link.medium] = gone
            self._will_be(gone + link.latency_s, tensor, link.target)
        self._compute(device, now)

    def _compute(self, device: str, now: float) -> None:
        while self.waiting[device]:
            layer = self.waiting[device][0]
            if any((tensor, device) not in self.present for tensor in layer.inputs):
                return
            del self.waiting[device][0]
            start = max(now, self.idle_at[device])
            end = start + self.costs.entries[layer.name, device].seconds
            self.idle_at[device] = end
            for tensor in layer.outputs:
                self._will_be(end, tensor, device)
