"""Which rules an assignment breaks: exactly, one by one, in words."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property

import networkx as nx

from splitter.constraints import Key
from splitter.partitioning.problem import Problem

CONNECTION = "connection"
"""Field of the key that stands for the lack of a way from one device to another."""
ENERGY_TOLERANCE = 1e-9


@dataclass(frozen=True)
class Checked:
    """One assignment under scrutiny."""

    problem: Problem
    assignment: Sequence[int]

    @cached_property
    def ways(self) -> Mapping[tuple[int, int], tuple[int, ...] | None]:
        """Links along which each (wire, destination) travels; None where there is no way."""
        found: dict[tuple[int, int], tuple[int, ...] | None] = {}
        for w, wire in enumerate(self.problem.wires):
            home = self.problem.home(wire, self.assignment)
            targets = {self.assignment[reader] for reader in wire.readers}
            targets |= {wire.sink} if wire.is_output else set()
            for target in targets - {home}:
                route = self.problem.routes[w].get((home, target))
                found[w, target] = None if route is None else route.links
        return found

    @cached_property
    def carried(self) -> Mapping[int, int]:
        """Bytes on each link that carries something."""
        crossed = {(w, link) for (w, _), links in self.ways.items() for link in links or ()}
        total: dict[int, int] = defaultdict(int)
        for w, link in crossed:
            total[link] += self.problem.wires[w].bytes
        return total

    @cached_property
    def used(self) -> frozenset[int]:
        """Devices that run layers."""
        return frozenset(self.assignment)

    def name(self, device: int) -> str:
        """Name of a device."""
        return self.problem.topology.devices[device].name

    def layer(self, number: int) -> str:
        """Name of a layer."""
        return self.problem.graph.layers[number].name


def broken(problem: Problem, assignment: Sequence[int]) -> Iterator[tuple[Key, str]]:
    """(rule, what breaks it) for everything but memory and caps on objectives.

    Faults come one by one, so that the first settles a yes or no.
    """
    one = Checked(problem, assignment)
    for check in (_misplaced, _scattered, _crowded, _counts, _pipeline, _ways, _bytes, _energy):
        yield from check(one)


def keeps_rules(problem: Problem, assignment: Sequence[int]) -> bool:
    """Whether `broken` finds nothing."""
    return next(broken(problem, assignment), None) is None


def _misplaced(one: Checked) -> Iterator[tuple[Key, str]]:
    problem = one.problem
    placed = zip(problem.allowed, one.assignment, strict=True)
    if all(device in allowed for allowed, device in placed):
        return
    for layer, device in enumerate(one.assignment):
        for key, words in _keeping_off(one, layer, one.name(device)):
            yield key, f"{one.layer(layer)} may not run on {one.name(device)} because of {words}"


def _keeping_off(one: Checked, layer: int, device: str) -> Iterator[tuple[Key, str]]:
    """Rules that keep one layer off a device."""
    rules, name = one.problem.constraints, one.layer(layer)
    for rule in rules.listed():
        field, entry = rule.key
        match field:
            case "pins":
                hit = fnmatchcase(name, entry[0]) and device != entry[1]
            case "bans":
                hit = fnmatchcase(name, entry[0]) and device == entry[1]
            case "drained" | "without":
                hit = entry == device
            case "private_input":
                reads = (one.problem.wires[w] for w in one.problem.reads[layer])
                hit = any(w.is_input and one.name(w.source) != device for w in reads)
            case _:
                hit = False
        if hit:
            yield rule.key, str(rule)


def _scattered(one: Checked) -> Iterator[tuple[Key, str]]:
    rules = one.problem.constraints.together
    for entry, group in zip(rules, one.problem.rules.together, strict=True):
        first = group[0]
        for layer in group[1:]:
            if one.assignment[layer] != one.assignment[first]:
                words = f"{one.layer(first)} and {one.layer(layer)} must run on one device"
                yield ("together", entry), words
                break


def _crowded(one: Checked) -> Iterator[tuple[Key, str]]:
    rules = one.problem.constraints.apart
    for entry, parts in zip(rules, one.problem.rules.apart, strict=True):
        taken: dict[int, int] = {}
        for number, part in enumerate(parts):
            for layer in part:
                device = one.assignment[layer]
                if taken.setdefault(device, number) != number:
                    words = f"{one.layer(layer)} must not share {one.name(device)}"
                    yield ("apart", entry), words
                    break


def _counts(one: Checked) -> Iterator[tuple[Key, str]]:
    rules = one.problem.constraints
    if rules.max_devices is not None and len(one.used) > rules.max_devices:
        yield ("max_devices", rules.max_devices), f"{len(one.used)} devices run layers"
    if rules.max_cuts is None:
        return
    cuts = sum(
        any(one.assignment[reader] != one.assignment[wire.producer] for reader in wire.readers)
        for wire in one.problem.wires
        if not wire.is_input
    )
    if cuts > rules.max_cuts:
        yield ("max_cuts", rules.max_cuts), f"{cuts} tensors are cut"


def _pipeline(one: Checked) -> Iterator[tuple[Key, str]]:
    if not one.problem.constraints.contiguous:
        return
    edges = ((one.assignment[u], one.assignment[v]) for u, v in one.problem.forward_edges)
    steps: nx.DiGraph[int] = nx.DiGraph((here, there) for here, there in edges if here != there)
    if not nx.is_directed_acyclic_graph(steps):
        yield ("contiguous", True), "tensors go back to a device that was left"


def _ways(one: Checked) -> Iterator[tuple[Key, str]]:
    """Ways that are missing, or lead through devices that pass nothing on."""
    problem, rules = one.problem, one.problem.constraints
    for name in rules.without:
        if problem.device_number[name] in problem.ends:
            yield ("without", name), f"an input appears or an output is wanted on {name}"
    for (w, target), links in one.ways.items():
        wire = problem.wires[w]
        home = problem.home(wire, one.assignment)
        if links is None:
            ends = one.name(home), one.name(target)
            yield (CONNECTION, ends), f"{ends[0]} is not connected with {ends[1]}"
            continue
        if wire.is_input and rules.private_input:
            yield ("private_input", True), f"raw input would leave {one.name(home)}"
        for device in {problem.link_ends[link][1] for link in links} - {target}:
            name = one.name(device)
            for field in ("no_relay", "without"):
                if name in getattr(rules, field):
                    yield (field, name), f"{wire.name} would pass through {name}"


def _bytes(one: Checked) -> Iterator[tuple[Key, str]]:
    rules = one.problem.constraints
    sent, cap = sum(one.carried.values()), rules.max_sent_bytes
    if cap is not None and sent > cap:
        yield ("max_sent_bytes", cap), f"it sends {sent} bytes, more than the cap of {cap}"
    for entry, (link, most) in zip(rules.link_caps, one.problem.rules.link_caps, strict=True):
        size = one.carried.get(link, 0)
        if size > most:
            words = f"{entry[0]} -> {entry[1]} carries {size} bytes, more than {most}"
            yield ("link_caps", entry), words


def _energy(one: Checked) -> Iterator[tuple[Key, str]]:
    problem = one.problem
    caps = zip(problem.constraints.energy_caps, problem.rules.energy_caps, strict=True)
    for entry, (device, cap) in caps:
        layers = (v for v, where in enumerate(one.assignment) if where == device)
        spent = sum(problem.compute[v][device] for v in layers) * problem.active_w[device]
        if spent > cap * (1 + ENERGY_TOLERANCE):
            yield ("energy_caps", entry), f"computing on {entry[0]} takes {spent * 1e3:.4g} mJ"
