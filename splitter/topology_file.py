"""Topology files: TOML in the units people use, a sound `Topology` in SI units out, and back.

The format is described in docs/topologies.md.
"""

import os
from collections.abc import Mapping
from decimal import Decimal
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

import tomli_w

from splitter.constraints_file import constraints_document, constraints_of
from splitter.errors import TopologyError
from splitter.files import write_whole
from splitter.suggest import did_you_mean
from splitter.toml_file import GIGA, MEGA, MICRO, MILLI, NANO, read_toml, refuse, scaled
from splitter.topology import Card, Device, Link, Topology
from splitter.topology_faults import card_faults, topology_faults
from splitter.topology_schema import (
    CardTable,
    DeviceTable,
    TopologyTable,
)

_DATA = "topologies"
_BYTES_PER_MBIT = Decimal(125_000)


def shipped_topologies() -> list[str]:
    """Names of the topologies that come with the package, sorted."""
    return _names_in(resources.files(_DATA))


def shipped_cards() -> list[str]:
    """Names of the device cards that come with the package, sorted."""
    return _names_in(resources.files(_DATA) / "devices")


def load_topology(name_or_path: str | Path) -> Topology:
    """Read a topology.

    Args:
        name_or_path: Name of a shipped topology (``"loopback3"``), or a file: a `Path`, or a text
            that contains a path separator or ends in ``.toml``.

    Raises:
        TopologyError: There is no such topology or card, or the file is malformed or inconsistent.
    """
    if _is_file_name(name_or_path):
        file: Traversable = Path(name_or_path)
    else:
        file = _shipped(str(name_or_path), resources.files(_DATA), "topology")
    table = read_toml(file, TopologyTable, TopologyError)
    cards = _cards(file, table)
    topology = _topology(f"{file.name}:", table, cards)
    refuse(file, topology_faults(topology), TopologyError)
    return topology


def load_card(name_or_path: str | Path) -> Card:
    """Read one device card: a shipped one by name, or a file (told apart as in `load_topology`).

    Raises:
        TopologyError: There is no such card, or its file is malformed.
    """
    if _is_file_name(name_or_path):
        file: Traversable = Path(name_or_path)
    else:
        file = _shipped(str(name_or_path), resources.files(_DATA) / "devices", "card")
    card = _card(file.name.removesuffix(".toml"), read_toml(file, CardTable, TopologyError))
    refuse(file, list(card_faults(card)), TopologyError)
    return card


def save_topology(topology: Topology, path: Path) -> None:
    """Write ``topology`` with its cards inline; `load_topology` gives back an equal value.

    The file appears whole or not at all.

    Raises:
        TopologyError: ``topology`` is unsound, or the file cannot be written.
    """
    refuse(path, topology_faults(topology), TopologyError)
    text = tomli_w.dumps(_document(topology))
    try:
        write_whole(path, text)
    except OSError as error:
        raise TopologyError(f"{path}: cannot write the topology: {error.strerror}") from error


# --- reading


def _is_file_name(name: str | Path) -> bool:
    return isinstance(name, Path) or name.endswith(".toml") or "/" in name or os.sep in name


def _names_in(folder: Traversable) -> list[str]:
    files = (entry.name for entry in folder.iterdir())
    return sorted(name.removesuffix(".toml") for name in files if name.endswith(".toml"))


def _shipped(name: str, folder: Traversable, what: str) -> Traversable:
    known = _names_in(folder)
    if name in known:
        return folder / f"{name}.toml"
    raise TopologyError(
        f'no {what} is called "{name}"{did_you_mean(name, known)} (shipped: {", ".join(known)};'
        f" for a file of your own give its path, e.g. ./{name or what}.toml)"
    )


def _cards(file: Traversable, table: TopologyTable) -> Mapping[str, Card]:
    """The card of every device, by what the device's ``card`` says."""
    inline = {name: _card(name, card) for name, card in table.cards.items()}
    found: dict[str, Card] = {}
    for wanted in dict.fromkeys(device.card for device in table.devices):
        if wanted in inline:
            found[wanted] = inline[wanted]
        elif _is_file_name(wanted):
            found[wanted] = load_card(Path(str(file)).parent / wanted)
        else:
            found[wanted] = _known_card(file, table, wanted)
    return found


def _known_card(file: Traversable, table: TopologyTable, wanted: str) -> Card:
    known = [*table.cards, *shipped_cards()]
    if wanted in known:
        return load_card(wanted)
    users = ", ".join(device.name for device in table.devices if device.card == wanted)
    raise TopologyError(
        f'{file}: device {users}: no card is called "{wanted}"{did_you_mean(wanted, known)}'
        f" (known: {', '.join(known)}; or define [cards.{wanted}], or give the path of a card file)"
    )


def _card(name: str, table: CardTable) -> Card:
    return Card(
        name=name,
        description=table.description,
        processor=table.processor,
        mcpu=table.mcpu,
        macs_per_s=float(table.gmacs_per_s * GIGA),
        memory_bytes_per_s=float(table.memory_gb_per_s * GIGA),
        call_overhead_s=float(table.call_overhead_us * MICRO),
        memory_bytes=round(table.memory_mb * MEGA),
        active_w=float(table.active_w),
        mattr=tuple(table.mattr),
        threads=table.threads,
        vector_bytes=table.vector_bytes,
    )


def _topology(where: str, table: TopologyTable, cards: Mapping[str, Card]) -> Topology:
    return Topology(
        name=table.name,
        description=table.description,
        devices=tuple(_device(device, cards[device.card]) for device in table.devices),
        links=tuple(
            Link(
                source=source,
                target=target,
                bandwidth_bytes_per_s=float(link.bandwidth_mbit_s * _BYTES_PER_MBIT),
                latency_s=float(link.latency_ms * MILLI),
                energy_j_per_byte=float(link.energy_nj_per_byte * NANO),
                shared=link.shared or "",
                dollars_per_byte=float(link.dollars_per_gb / GIGA),
            )
            for link in table.links
            for source, target in link.ends()
        ),
        source=table.input,
        sink=table.output,
        constraints=constraints_of(where, table.constraints, table.devices, table.links),
        sources=tuple(table.sources.items()),
        sinks=tuple(table.sinks.items()),
        replicas=table.replicas,
    )


def _device(table: DeviceTable, card: Card) -> Device:
    return Device(
        name=table.name,
        card=card,
        memory_bytes=card.memory_bytes
        if table.memory_mb is None
        else round(table.memory_mb * MEGA),
        threads=card.threads if table.threads is None else table.threads,
        host=table.host,
        port=table.port,
        dollars_per_hour=float(table.dollars_per_hour),
    )


# --- writing


def _document(topology: Topology) -> dict[str, Any]:
    cards = {device.card.name: device.card for device in topology.devices}
    return {
        "name": topology.name,
        "description": topology.description,
        "input": topology.source,
        "output": topology.sink,
        **_options_document(topology),
        "constraints": constraints_document(topology.constraints),
        "devices": [_device_document(device) for device in topology.devices],
        "links": [_link_document(link) for link in topology.links],
        "cards": {name: _card_document(card) for name, card in cards.items()},
    }


def _options_document(topology: Topology) -> dict[str, Any]:
    """Keys that most topologies do not have."""
    document: dict[str, Any] = {"replicas": True} if topology.replicas else {}
    document |= {"sources": dict(topology.sources)} if topology.sources else {}
    document |= {"sinks": dict(topology.sinks)} if topology.sinks else {}
    return document


def _device_document(device: Device) -> dict[str, Any]:
    return {
        "name": device.name,
        "card": device.card.name,
        "memory_mb": scaled(device.memory_bytes, MEGA),
        "threads": device.threads,
        "host": device.host,
        "port": device.port,
        **_price("dollars_per_hour", device.dollars_per_hour, Decimal(1)),
    }


def _price(key: str, dollars: float, unit: Decimal) -> dict[str, Any]:
    return {key: scaled(dollars, unit)} if dollars else {}


def _link_document(link: Link) -> dict[str, Any]:
    return {
        "from": link.source,
        "to": link.target,
        "bandwidth_mbit_s": scaled(link.bandwidth_bytes_per_s, _BYTES_PER_MBIT),
        "latency_ms": scaled(link.latency_s, MILLI),
        "energy_nj_per_byte": scaled(link.energy_j_per_byte, NANO),
        **({"shared": link.shared} if link.shared else {}),
        **_price("dollars_per_gb", link.dollars_per_byte, 1 / GIGA),
    }


def _card_document(card: Card) -> dict[str, Any]:
    return {
        "description": card.description,
        "processor": card.processor,
        "mcpu": card.mcpu,
        "mattr": list(card.mattr),
        "threads": card.threads,
        "vector_bytes": card.vector_bytes,
        "gmacs_per_s": scaled(card.macs_per_s, GIGA),
        "memory_gb_per_s": scaled(card.memory_bytes_per_s, GIGA),
        "call_overhead_us": scaled(card.call_overhead_s, MICRO),
        "memory_mb": scaled(card.memory_bytes, MEGA),
        "active_w": scaled(card.active_w, Decimal(1)),
    }
