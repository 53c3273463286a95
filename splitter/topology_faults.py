"""What makes a Topology unusable, in words. Shares no code with the file reader or a planner."""

import ipaddress
import math
import re
from collections.abc import Iterator, Sequence
from itertools import pairwise

import networkx as nx

from splitter.constraint_faults import constraint_faults
from splitter.suggest import did_you_mean
from splitter.topology import PROCESSORS, Card, Device, Link, Topology

_NAME = re.compile(r"[a-z][a-z0-9_-]{0,30}")
_HOST = "host"


def topology_faults(topology: Topology) -> list[str]:
    """Every fault of a topology; an empty list means that it is sound.

    Checks: names of devices, cards and processors; references to devices; links to itself and
    duplicates; positive figures; addresses; every device can be reached from the input and can
    reach the output.
    """
    found = [] if topology.name.strip() else ["the topology has no name; give it one"]
    found += [
        *_device_faults(topology),
        *_link_faults(topology),
        *_reference_faults(topology),
    ]
    return list(dict.fromkeys(found)) or list(_reach_faults(topology))


def card_faults(card: Card) -> Iterator[str]:
    """Every fault of a card."""
    if not re.fullmatch(r"[a-z][a-z0-9_-]{0,62}", card.name):
        yield (
            f'card "{card.name}": use a lower-case letter, then at most 62 letters, digits, - or _'
        )
    if card.processor not in PROCESSORS:
        yield (
            f'card "{card.name}": processor "{card.processor}" is unknown'
            f"{did_you_mean(card.processor, PROCESSORS)} (known: {', '.join(PROCESSORS)})"
        )
    above = (card.macs_per_s, card.memory_bytes_per_s, card.memory_bytes, card.threads)
    if not _sound(above, (card.call_overhead_s, card.active_w)):
        yield f'card "{card.name}": rates, memory and threads must be above 0, all finite'
    if not card.mcpu.strip():
        yield f'card "{card.name}": mcpu is empty; give LLVM\'s name of the processor'


def _sound(above: Sequence[float], not_below: Sequence[float]) -> bool:
    figures = (*above, *not_below)
    return all(map(math.isfinite, figures)) and min(above) > 0 and min(not_below) >= 0


def _device_faults(topology: Topology) -> Iterator[str]:
    names = [device.name for device in topology.devices]
    for name in _repeated(names):
        yield f'device "{name}" is there twice; give each device a name of its own'
    for device in topology.devices:
        yield from _name_faults(device)
        yield from _size_faults(device)
    cards = {device.card.name: device.card for device in topology.devices}
    for card in cards.values():
        yield from card_faults(card)
    for device in topology.devices:
        if cards[device.card.name] != device.card:
            yield f'two different cards are called "{device.card.name}"; rename one'
    addresses = [f"{device.host}:{device.port}" for device in topology.devices if device.port]
    for address in _repeated(addresses):
        yield f"two devices listen on {address}; give each a port of its own, or 0"


def _name_faults(device: Device) -> Iterator[str]:
    if device.name == _HOST:
        yield f'device "{_HOST}": this name is kept for the program that feeds the nodes; rename it'
    elif not _NAME.fullmatch(device.name):
        yield (
            f'device "{device.name}": use a lower-case letter, then at most 30 lower-case letters,'
            " digits, - or _"
        )
    if not _is_address(device.host):
        yield (
            f'device "{device.name}": host "{device.host}" is not an address; write an IPv4 or IPv6'
            " address or localhost"
        )


def _size_faults(device: Device) -> Iterator[str]:
    card = device.card
    if device.role != "node":
        yield (
            f'device "{device.name}": a topology file knows nodes only, not the role {device.role};'
            " such a device comes from a placement file or from Python"
        )
    if not 0 < device.memory_bytes <= card.memory_bytes:
        yield (
            f'device "{device.name}": memory of {device.memory_bytes / 1e6:g} MB must be above'
            f" 0 and at most the {card.memory_bytes / 1e6:g} MB of its card {card.name}"
        )
    if not 1 <= device.threads <= card.threads:
        yield (
            f'device "{device.name}": {device.threads} threads; its card {card.name} has'
            f" 1 to {card.threads}"
        )


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return host == "localhost"
    return True


def _link_faults(topology: Topology) -> Iterator[str]:
    for name in _repeated([_named(link) for link in topology.links if link.source != link.target]):
        yield f"link {name} is there twice; keep one (between makes both directions)"
    for link in topology.links:
        if link.source == link.target:
            yield f'link {_named(link)} joins device "{link.source}" to itself; remove it'
        for end in dict.fromkeys((link.source, link.target)):
            yield from _unknown(topology, f"link {_named(link)}", end)
        if not _sound([link.bandwidth_bytes_per_s], [link.latency_s, link.energy_j_per_byte]):
            yield (
                f"link {_named(link)}: bandwidth must be above 0, latency and energy not below 0,"
                " and all finite"
            )


def _reference_faults(topology: Topology) -> Iterator[str]:
    yield from _unknown(topology, "input", topology.source)
    yield from _unknown(topology, "output", topology.sink)
    for what, pairs in (("source", topology.sources), ("sink", topology.sinks)):
        for tensor in _repeated([tensor for tensor, _ in pairs]):
            yield f'the {what} of "{tensor}" is given twice; keep one'
        for tensor, device in pairs:
            yield from _unknown(topology, f'{what} of "{tensor}"', device)
    yield from constraint_faults(topology.constraints, topology)


def _reach_faults(topology: Topology) -> Iterator[str]:
    """Devices that can take no part: every path starts at an input and ends at an output."""
    network = topology.network()
    sources = {topology.source, *(device for _, device in topology.sources)}
    sinks = {topology.sink, *(device for _, device in topology.sinks)}
    reached = sources.union(*(nx.descendants(network, device) for device in sources))
    reaching = sinks.union(*(nx.ancestors(network, device) for device in sinks))
    names = [device.name for device in topology.devices]
    lost = [name for name in names if name not in reached]
    stuck = [name for name in names if name not in reaching]
    if lost:
        yield (
            f'no links lead from the input "{topology.source}" to {_listed(lost)};'
            " add links or remove the devices"
        )
    if stuck:
        yield (
            f'no links lead from {_listed(stuck)} to the output "{topology.sink}";'
            " add links or remove the devices"
        )


def _unknown(topology: Topology, where: str, device: str) -> Iterator[str]:
    if device not in topology.by_name:
        known = list(topology.by_name)
        yield (
            f'{where}: no device is called "{device}"{did_you_mean(device, known)}'
            f" (devices: {', '.join(known)})"
        )


def _named(link: Link) -> str:
    return f"{link.source} -> {link.target}"


def _listed(names: Sequence[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)


def _repeated(names: Sequence[str]) -> list[str]:
    return sorted({a for a, b in pairwise(sorted(names)) if a == b})
