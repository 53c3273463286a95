"""From a family, its blocks' costs and a topology to the joint problem."""

from splitter.constraints import Constraints
from splitter.costs import CostTable
from splitter.errors import InfeasibleError, UsageError
from splitter.memory import NODE_OVERHEAD_BYTES, REQUEST_SLOTS
from splitter.partitioning.routes import RouteTable
from splitter.search.estimate.bilinear import Bilinear
from splitter.search.estimate.blocks import HEAD, STEM, BlockTable, Key, Shape
from splitter.search.space.space import Space
from splitter.search.strategy.problem import (
    FIXED,
    INPUT,
    JointProblem,
    Move,
    Moves,
    Option,
    Vertex,
    sizes_of,
)
from splitter.timing import Hop
from splitter.topology import Topology


def joint_problem(
    space: Space,
    table: BlockTable,
    costs: CostTable,
    topology: Topology,
    accuracy: Bilinear,
    *,
    in_flight: int = REQUEST_SLOTS,
) -> JointProblem:
    """The joint choice of an architecture of ``space`` and its split over ``topology``.

    Of the topology's rules, private inputs and devices that are drained or left out are kept;
    rules that name layers belong to a fixed network and are refused.

    Raises:
        UsageError: the topology has rules or roles that the joint search does not know.
        InfeasibleError: a device that is needed has no memory for any node.
    """
    _check(topology)
    labels = _Labels()
    vertices = [_fixed(table, costs, topology, STEM, "stem", (INPUT,), labels)]
    for i in range(len(space.slots)):
        vertices.append(_vertex(space, table, costs, topology, i, labels))
    last = len(vertices) - 1
    vertices.append(_fixed(table, costs, topology, HEAD, "head", (last,), labels))
    sizes = sizes_of(vertices, table.input_bytes)
    number = {device.name: d for d, device in enumerate(topology.devices)}
    return JointProblem(
        vertices=tuple(_placed(vertices, topology)),
        devices=tuple(number),
        moves={size: _moves(topology, size) for size in sizes},
        accuracy=accuracy,
        input_bytes=table.input_bytes,
        source=number[topology.source],
        sink=number[topology.sink],
        limits=tuple(float(d.memory_bytes - NODE_OVERHEAD_BYTES) for d in topology.devices),
        in_flight=in_flight,
        stages=tuple(tuple(i + 1 for i in span) for span in space.spans),
        shared=tuple(stage.shared for stage in space.stages),
    )


def _check(topology: Topology) -> None:
    if topology.is_one_computer:
        raise UsageError(
            f"{topology.name} is one computer with accelerators; the joint search needs nodes"
        )
    if topology.sources or topology.sinks:
        raise UsageError(f"{topology.name} has several inputs or outputs; spaces have one of each")
    known = Constraints(
        private_input=topology.constraints.private_input,
        drained=topology.constraints.drained,
        without=topology.constraints.without,
        origins=topology.constraints.origins,
    )
    odd = [str(rule) for rule in topology.constraints.listed() if rule not in known.listed()]
    if odd:
        raise UsageError(
            f"the joint search does not know the rule of {topology.name}: {odd[0]}; take it out"
        )


class _Labels:
    """A number for each shape that crosses from block to block."""

    def __init__(self) -> None:
        self._known: dict[Shape, int] = {}

    def of(self, shape: Shape) -> int:
        return self._known.setdefault(shape, len(self._known))


def _option(
    table: BlockTable, costs: CostTable, topology: Topology, key: Key, labels: _Labels
) -> Option:
    block = table[key]
    return Option(
        choice=key[1],
        seconds=tuple(table.seconds(key, costs, d.name) for d in topology.devices),
        output_bytes=block.output_bytes,
        weight_bytes=block.weight_bytes,
        working_bytes=block.working_bytes,
        takes=labels.of(key[2]),
        gives=labels.of(block.shape),
        macs=block.macs,
    )


def _fixed(
    table: BlockTable,
    costs: CostTable,
    topology: Topology,
    slot: int,
    name: str,
    inputs: tuple[int, ...],
    labels: _Labels,
) -> Vertex:
    keys = table.by_slot[slot]
    options = tuple(_option(table, costs, topology, key, labels) for key in keys)
    return Vertex(name, options, inputs, slot=FIXED)


def _vertex(
    space: Space,
    table: BlockTable,
    costs: CostTable,
    topology: Topology,
    slot: int,
    labels: _Labels,
) -> Vertex:
    keys = table.by_slot[slot]
    options = [_option(table, costs, topology, key, labels) for key in keys]
    if space.optional[slot]:
        shapes = sorted({key[2] for key in keys})
        options += [
            _skip(len(space.slots[slot].choices), shape, topology, labels) for shape in shapes
        ]
    return Vertex(space.slots[slot].name, tuple(options), (slot,), slot=slot)


def _skip(choice: int, shape: Shape, topology: Topology, labels: _Labels) -> Option:
    size = 4
    for n in shape:
        size *= n
    label = labels.of(shape)
    free = (0.0,) * len(topology.devices)
    return Option(choice, free, size, takes=label, gives=label, skip=True)


def _placed(vertices: list[Vertex], topology: Topology) -> list[Vertex]:
    """Vertices with the devices that rules leave them."""
    rules = topology.constraints
    closed = set(rules.drained) | set(rules.without)
    open_devices = [
        d
        for d, device in enumerate(topology.devices)
        if device.name not in closed and device.memory_bytes > NODE_OVERHEAD_BYTES
    ]
    if not open_devices:
        raise InfeasibleError(f"no device of {topology.name} may compute anything")
    placed = []
    for v, vertex in enumerate(vertices):
        allowed = open_devices
        if v == 0 and rules.private_input:
            allowed = [d for d in open_devices if topology.devices[d].name == topology.source]
        placed.append(
            Vertex(vertex.name, vertex.options, vertex.inputs, vertex.slot, tuple(allowed))
        )
    return placed


def _moves(topology: Topology, size: int) -> Moves:
    media = {name: i for i, name in enumerate(dict.fromkeys(k.medium for k in topology.links))}
    number = {device.name: d for d, device in enumerate(topology.devices)}
    closed = set(topology.constraints.without)
    found: dict[tuple[int, int], Move] = {}
    for (start, end), route in RouteTable(topology, size).items():
        links = [topology.links[i] for i in route.links]
        if closed & {topology.devices[start].name, *(link.target for link in links)}:
            continue
        found[start, end] = Move(
            tuple(
                Hop(number[link.target], media[link.medium], link.busy_s(size), link.latency_s)
                for link in links
            )
        )
    return found
