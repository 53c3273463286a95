"""Which devices each layer may run on, from pins, bans and privacy."""

from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from fnmatch import fnmatchcase

from splitter.errors import InfeasibleError, PlanError
from splitter.graph import Graph
from splitter.topology import Constraints, Topology

_WILD = frozenset("*?[")


def matching(graph: Graph, pattern: str) -> tuple[str, ...]:
    """Names of the layers that a shell-style pattern matches, in graph order.

    Raises:
        PlanError: none does; the message names the nearest layers.
    """
    if pattern in graph.by_name and not _WILD.intersection(pattern):
        return (pattern,)  # Rules that name thousands of layers one by one stay quick.
    names = [layer.name for layer in graph.layers]
    found = tuple(name for name in names if fnmatchcase(name, pattern))
    if found:
        return found
    near = get_close_matches(pattern, names, n=3, cutoff=0.0)
    raise PlanError(
        f"the pattern {pattern!r} matches no layer of {graph.name}; "
        f"the nearest names are {', '.join(near)}"
    )


def allowed_devices(
    graph: Graph, topology: Topology, constraints: Constraints
) -> tuple[tuple[int, ...], ...]:
    """Device numbers on which each layer may run, in graph order.

    Raises:
        PlanError: a pattern matches no layer, or a device does not exist.
        InfeasibleError: pins contradict one another, bans or privacy.
    """
    pinned: dict[str, dict[str, str]] = {}
    banned: dict[str, dict[str, str]] = {}
    for rules, kind in ((constraints.pins, pinned), (constraints.bans, banned)):
        for pattern, device in rules:
            _check_device(topology, pattern, device)
            for name in matching(graph, pattern):
                kind.setdefault(name, {}).setdefault(device, pattern)
    if constraints.private_input:
        for layer in graph.layers:
            for tensor in set(layer.inputs) & set(graph.inputs):
                pinned.setdefault(layer.name, {}).setdefault(topology.source_of(tensor), "")
    devices = [device.name for device in topology.devices]
    return tuple(
        _allowed(layer.name, devices, pinned.get(layer.name, {}), banned.get(layer.name, {}))
        for layer in graph.layers
    )


@dataclass(frozen=True, slots=True)
class Rules:
    """The rules of one problem besides `allowed_devices`, by layer number."""

    together: tuple[tuple[int, ...], ...]
    """Layers that run on one device, at least two in each entry."""


def resolve(graph: Graph, constraints: Constraints) -> Rules:
    """The rules with their patterns resolved.

    Raises:
        PlanError: a pattern matches no layer.
    """
    together = (_numbers(graph, patterns) for patterns in constraints.together)
    return Rules(tuple(group for group in together if len(group) > 1))


def _numbers(graph: Graph, patterns: Iterable[str]) -> tuple[int, ...]:
    names = {name for pattern in patterns for name in matching(graph, pattern)}
    return tuple(sorted(graph.index[name] for name in names))


def _check_device(topology: Topology, pattern: str, device: str) -> None:
    if device in topology.by_name:
        return
    near = get_close_matches(device, topology.by_name, n=1, cutoff=0.0)
    raise PlanError(
        f"the rule {pattern!r} -> {device!r} names a device that {topology.name} does not have; "
        f"did you mean {near[0]!r}? Its devices are {', '.join(topology.by_name)}"
    )


def _allowed(
    layer: str, devices: list[str], pinned: dict[str, str], banned: dict[str, str]
) -> tuple[int, ...]:
    if len(pinned) > 1:
        rules = _listed(_rule(layer, pattern, device) for device, pattern in pinned.items())
        raise InfeasibleError(
            f"layer {layer} cannot run on two devices at once: {rules}; drop one of them"
        )
    if pinned:
        device, pattern = next(iter(pinned.items()))
        if device in banned:
            raise InfeasibleError(
                f"layer {layer} has nowhere to run: {_rule(layer, pattern, device)}, "
                f"but the ban {banned[device]!r} keeps it off {device}; drop one of them"
            )
        return (devices.index(device),)
    left = tuple(i for i, device in enumerate(devices) if device not in banned)
    if not left:
        rules = _listed(f"{pattern!r} off {device}" for device, pattern in banned.items())
        raise InfeasibleError(f"layer {layer} is banned from every device: {rules}; drop one ban")
    return left


def _rule(layer: str, pattern: str, device: str) -> str:
    if not pattern:
        return f"privacy keeps {layer}, which reads the raw input, on {device}"
    return f"the pin {pattern!r} puts it on {device}"


def _listed(parts: Iterable[str]) -> str:
    return " and ".join(parts)
