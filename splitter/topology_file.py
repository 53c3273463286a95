"""Topology files: TOML in the units people use, a sound `Topology` in SI units out, and back.

The format is described in docs/topologies.md.
"""

import os
import tomllib
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, TypeVar

import tomli_w

from splitter.errors import TopologyError
from splitter.files import write_whole
from splitter.suggest import did_you_mean
from splitter.topology import Card, Constraints, Device, Link, Topology
from splitter.topology_faults import card_faults, topology_faults
from splitter.topology_schema import (
    CardTable,
    ConstraintTable,
    DeviceTable,
    TopologyTable,
    read_table,
)

_DATA = "topologies"
_GIGA, _MEGA = Decimal(10) ** 9, Decimal(10) ** 6
_MILLI, _MICRO, _NANO = Decimal(10) ** -3, Decimal(10) ** -6, Decimal(10) ** -9
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
    table = _parsed(file, TopologyTable)
    cards = _cards(file, table)
    topology = _topology(table, cards)
    _refuse(file, topology_faults(topology))
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
    card = _card(file.name.removesuffix(".toml"), _parsed(file, CardTable))
    _refuse(file, list(card_faults(card)))
    return card


def save_topology(topology: Topology, path: Path) -> None:
    """Write ``topology`` with its cards inline; `load_topology` gives back an equal value.

    The file appears whole or not at all.

    Raises:
        TopologyError: ``topology`` is unsound, or the file cannot be written.
    """
    _refuse(path, topology_faults(topology))
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


def _refuse(file: Traversable | Path, faults: list[str]) -> None:
    if len(faults) == 1:
        raise TopologyError(f"{file}: {faults[0]}")
    if faults:
        raise TopologyError(f"{file}: {len(faults)} faults:\n  " + "\n  ".join(faults))


def _decimal(text: str) -> Decimal:
    try:
        return Decimal(text)
    except InvalidOperation:  # an exponent beyond Decimal's range; refused later as not finite
        return Decimal("inf")


_Table = TypeVar("_Table", TopologyTable, CardTable)


def _parsed(file: Traversable, kind: type[_Table]) -> _Table:
    try:
        data = tomllib.loads(file.read_bytes().decode(), parse_float=_decimal)
    except FileNotFoundError as error:
        raise TopologyError(f"{file}: no such file") from error
    except OSError as error:
        raise TopologyError(f"{file}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise TopologyError(f"{file}: is not UTF-8 text: {error.reason}") from error
    except (ValueError, RecursionError) as error:
        raise TopologyError(f"{file}: is not valid TOML: {error}") from error
    table, faults = read_table(kind, data)
    _refuse(file, faults)
    assert table is not None
    return table


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
        macs_per_s=float(table.gmacs_per_s * _GIGA),
        memory_bytes_per_s=float(table.memory_gb_per_s * _GIGA),
        call_overhead_s=float(table.call_overhead_us * _MICRO),
        memory_bytes=round(table.memory_mb * _MEGA),
        active_w=float(table.active_w),
        mattr=tuple(table.mattr),
        threads=table.threads,
        vector_bytes=table.vector_bytes,
    )


def _topology(table: TopologyTable, cards: Mapping[str, Card]) -> Topology:
    return Topology(
        name=table.name,
        description=table.description,
        devices=tuple(_device(device, cards[device.card]) for device in table.devices),
        links=tuple(
            Link(
                source=source,
                target=target,
                bandwidth_bytes_per_s=float(link.bandwidth_mbit_s * _BYTES_PER_MBIT),
                latency_s=float(link.latency_ms * _MILLI),
                energy_j_per_byte=float(link.energy_nj_per_byte * _NANO),
                shared=link.shared or "",
            )
            for link in table.links
            for source, target in link.ends()
        ),
        source=table.input,
        sink=table.output,
        constraints=_constraints(table.constraints, table.devices),
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
        else round(table.memory_mb * _MEGA),
        threads=card.threads if table.threads is None else table.threads,
        host=table.host,
        port=table.port,
    )


def _constraints(table: ConstraintTable, devices: list[DeviceTable]) -> Constraints:
    cap = table.max_sent_mb
    return Constraints(
        pins=(
            *((rule.layers, rule.device) for rule in table.pins),
            *((pattern, device.name) for device in devices for pattern in device.pin),
        ),
        bans=(
            *((rule.layers, rule.device) for rule in table.bans),
            *((pattern, device.name) for device in devices for pattern in device.ban),
        ),
        private_input=table.private_input,
        max_sent_bytes=None if cap is None else round(cap * _MEGA),
    )


# --- writing


def _scaled(value: float, unit: Decimal) -> int | Decimal:
    """``value`` in ``unit``, with all the digits that reading it back needs."""
    number = Decimal(repr(value)) / unit
    return int(number) if number == number.to_integral_value() else number


def _document(topology: Topology) -> dict[str, Any]:
    cards = {device.card.name: device.card for device in topology.devices}
    return {
        "name": topology.name,
        "description": topology.description,
        "input": topology.source,
        "output": topology.sink,
        **_options_document(topology),
        "constraints": _constraints_document(topology.constraints),
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


def _constraints_document(constraints: Constraints) -> dict[str, Any]:
    document: dict[str, Any] = {"private_input": constraints.private_input}
    if constraints.max_sent_bytes is not None:
        document["max_sent_mb"] = _scaled(constraints.max_sent_bytes, _MEGA)
    document["pins"] = [{"layers": p, "device": d} for p, d in constraints.pins]
    document["bans"] = [{"layers": p, "device": d} for p, d in constraints.bans]
    return document


def _device_document(device: Device) -> dict[str, Any]:
    return {
        "name": device.name,
        "card": device.card.name,
        "memory_mb": _scaled(device.memory_bytes, _MEGA),
        "threads": device.threads,
        "host": device.host,
        "port": device.port,
    }


def _link_document(link: Link) -> dict[str, Any]:
    return {
        "from": link.source,
        "to": link.target,
        "bandwidth_mbit_s": _scaled(link.bandwidth_bytes_per_s, _BYTES_PER_MBIT),
        "latency_ms": _scaled(link.latency_s, _MILLI),
        "energy_nj_per_byte": _scaled(link.energy_j_per_byte, _NANO),
        **({"shared": link.shared} if link.shared else {}),
    }


def _card_document(card: Card) -> dict[str, Any]:
    return {
        "description": card.description,
        "processor": card.processor,
        "mcpu": card.mcpu,
        "mattr": list(card.mattr),
        "threads": card.threads,
        "vector_bytes": card.vector_bytes,
        "gmacs_per_s": _scaled(card.macs_per_s, _GIGA),
        "memory_gb_per_s": _scaled(card.memory_bytes_per_s, _GIGA),
        "call_overhead_us": _scaled(card.call_overhead_s, _MICRO),
        "memory_mb": _scaled(card.memory_bytes, _MEGA),
        "active_w": _scaled(card.active_w, Decimal(1)),
    }
