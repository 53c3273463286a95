"""The integer program of placement and variants.

Binary y[layer, variant, device] beside the placement's x[layer, device] = sum over variants of y.
Seconds, weights and scratch become sums over y; everything else of the placement program
(transport, timing, memory, rules) speaks of x and stays as it is. One row caps the sum of accuracy
changes.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import inf

from splitter.memory import NODE_OVERHEAD_BYTES, aligned
from splitter.partitioning.limits import MIB, Refuted, changes
from splitter.partitioning.milp import ONE, Terms, combine
from splitter.partitioning.model import PlacementModel
from splitter.partitioning.problem import Assignment
from splitter.variants import AS_IS, Variant, VariantTable

_CHANGE = 1e-3
"""Percent points that a change is worth avoiding for."""
Picks = tuple[int, ...]
"""Number of the variant of each layer, in graph order; 0 where there is no choice."""


@dataclass(frozen=True, slots=True)
class State:
    """A placement and a variant of every layer."""

    assignment: Assignment
    picks: Picks


@dataclass(frozen=True, slots=True)
class Crowded:
    """Placed like this, layers need at least so many bytes of activations on ``device``."""

    assignment: Assignment
    device: int
    activation_bytes: int
    because: tuple[tuple[int, int], ...] = ()
    """(layer, variant) pairs whose scratch it takes to need that much."""


@dataclass
class VariantModel(PlacementModel):
    """`PlacementModel` with variants; its problem has the largest costs of every layer."""

    table: VariantTable = field(default_factory=lambda: VariantTable({}, {}, {}))
    allowed_drop: float = inf

    def __post_init__(self) -> None:
        super().__post_init__()
        drops = [
            ({column: one.accuracy_drop for (k, _), column in own.items() if k == number}, 1.0)
            for layer, own in enumerate(self.y)
            for number, one in enumerate(self.variants[layer])
        ]
        if drops and self.allowed_drop < inf:
            self.milp.at_least({ONE: self.allowed_drop}, combine(*drops))

    @cached_property
    def variants(self) -> tuple[tuple[Variant, ...], ...]:
        """Per layer: its variants; none where there is no choice."""
        return tuple(self.table.variants.get(one.name, ()) for one in self.problem.graph.layers)

    @cached_property
    def y(self) -> tuple[dict[tuple[int, int], int], ...]:
        """Per layer with variants: the column of each (variant, device)."""
        return tuple(
            {
                (k, d): self.milp.column(0.0, 1.0, integer=True)
                for k in range(len(own))
                for d in allowed
            }
            for own, allowed in zip(self.variants, self.problem.allowed, strict=True)
        )

    @cached_property
    def x(self) -> tuple[dict[int, int], ...]:
        """Per layer: the column of each device; the sum over the layer's variants."""
        placed = super().x
        for own, by_device in zip(self.y, placed, strict=True):
            for d, column in by_device.items() if own else ():
                self.milp.equal({column: 1.0}, {c: 1.0 for (_, at), c in own.items() if at == d})
        return placed

    def seconds_on(self, layer: int, device: int) -> Terms:
        """Seconds of the chosen variant."""
        if not self.variants[layer]:
            return super().seconds_on(layer, device)
        name = self.problem.graph.layers[layer].name
        where = self.problem.topology.devices[device].name
        return {
            column: self.table.entries[name, self.variants[layer][k].name, where].seconds
            for (k, d), column in self.y[layer].items()
            if d == device
        }

    def weight_bytes_on(self, device: int) -> Iterator[tuple[Terms, float]]:
        """Constants that no variant changes, then those that variants change."""
        changed = set(self.table.weight.values())
        graph = self.problem.graph
        readers: dict[str, list[Terms]] = {}
        for i, layer in enumerate(graph.layers):
            for weight in dict.fromkeys(layer.weights):
                if weight not in changed and self.on(i, device):
                    readers.setdefault(weight, []).append(self.on(i, device))
        for weight, terms in readers.items():
            yield self.any_of(terms), float(graph.weight_bytes[weight])
        for i in range(self.problem.n):
            yield self._of_variants(i, device, lambda one: one.weight_bytes), 1.0

    def scratch_bytes_on(self, layer: int, device: int) -> Terms:
        """Scratch of the chosen variant."""
        if not self.variants[layer]:
            return super().scratch_bytes_on(layer, device)
        return self._of_variants(layer, device, lambda one: aligned(one.scratch_bytes))

    def _of_variants(self, layer: int, device: int, size: Callable[[Variant], int]) -> Terms:
        return {
            column: float(size(self.variants[layer][k]))
            for (k, d), column in self.y[layer].items()
            if d == device
        }

    def loss(self) -> Terms:
        """Accuracy that is lost, and a little for every layer that changes."""
        parts: list[tuple[Terms, float]] = []
        for own, variants in zip(self.y, self.variants, strict=True):
            price = [one.accuracy_drop + _CHANGE * (one.name != AS_IS) for one in variants]
            parts.append(({column: price[k] for (k, _), column in own.items()}, 1.0))
        return combine(*parts)

    def differs(self, state: State) -> Terms:
        """How many layers are placed or formed otherwise than in ``state``."""
        parts: list[tuple[Terms, float]] = [({ONE: 1.0}, float(self.problem.n))]
        for layer, (device, pick) in enumerate(zip(state.assignment, state.picks, strict=True)):
            own = self.y[layer]
            column = own[pick, device] if own else self.x[layer][device]
            parts.append(({column: 1.0}, -1.0))
        return combine(*parts)

    def add_crowded(self, crowded: Crowded) -> None:
        """Weights must fit beside the activations, where the placement is the one known."""
        device, placed = crowded.device, Refuted(crowded.assignment, None)
        parts = [(terms, size / MIB) for terms, size in self.weight_bytes_on(device)]
        same = combine(({ONE: 1.0}, 1.0), (changes(self, placed), -1.0))
        for layer, pick in crowded.because:
            kept = {column: 1.0 for (k, _), column in self.y[layer].items() if k == pick}
            same = combine((same, 1.0), (kept, 1.0), ({ONE: 1.0}, -1.0))
        fixed = ({ONE: 1.0}, NODE_OVERHEAD_BYTES / MIB)
        need = combine(*parts, (same, crowded.activation_bytes / MIB), fixed)
        self.milp.at_least({ONE: (self.problem.limits[device] + 0.5) / MIB}, need)

    def state(self, values: Sequence[float]) -> State:
        """What a solution encodes."""
        assignment = self.assignment(values)
        picks = tuple(
            max(range(len(own)), key=lambda k, i=i: values[self.y[i][k, assignment[i]]])  # type: ignore[misc]
            if own
            else 0
            for i, own in enumerate(self.variants)
        )
        return State(assignment, picks)

    def begin(self, state: State) -> dict[int, float]:
        """Values of the binary columns for a known state."""
        start = self.start(state.assignment)
        for layer, own in enumerate(self.y):
            at = state.picks[layer], state.assignment[layer]
            start |= {column: float(key == at) for key, column in own.items()}
        return start
