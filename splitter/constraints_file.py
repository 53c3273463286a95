"""Rules in files: the ``[constraints]`` table of a topology, or a file of rules alone.

docs/constraints.md describes the keys; a file of rules has them at its top level.
"""

from collections.abc import Iterator, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from splitter.constraints import Constraints, Key
from splitter.errors import UsageError
from splitter.toml_file import MEGA, MILLI, read_text, read_toml, scaled
from splitter.topology_schema import ConstraintTable, DeviceTable, LinkTable, shown

_OBJECTIVE_KEYS = (
    ("latency_ms", "latency", MILLI),
    ("period_ms", "throughput", MILLI),
    ("energy_mj", "energy", MILLI),
    ("memory_mb", "memory", MEGA),
    ("dollars", "dollars", Decimal(1)),
)
"""Keys under ``at_most``: key, objective, unit."""
_LISTS = ("drained", "no_relay", "without", "optional")
_FLAGS = ("private_input", "contiguous")
_Found = Iterator[tuple[str, Any, str]]
"""(field of `Constraints`, entry, what the user wrote)."""


def load_constraints(path: str | Path) -> Constraints:
    """Read a file of rules.

    Raises:
        UsageError: there is no such file, or it is malformed.
    """
    table = read_toml(Path(path), ConstraintTable, UsageError)
    return constraints_of(f"{Path(path).name}:", table)


def parse_rule(text: str, where: str) -> Constraints:
    """One line of a rules file, such as ``max_devices = 2``; ``where`` says where it stands.

    Raises:
        UsageError: it is no such line.
    """
    return constraints_of(where, read_text(f"{where} {text}", text, ConstraintTable, UsageError))


def constraints_of(
    file: str,
    table: ConstraintTable,
    devices: Sequence[DeviceTable] = (),
    links: Sequence[LinkTable] = (),
) -> Constraints:
    """The rules of a file's tables, each with what the user wrote for it."""
    found = Constraints()
    for entries in (_of_table(table), _of_devices(devices), _of_links(links)):
        for field, entry, written in entries:
            found += _one(field, entry, f"{file} {written}")
    return found


def _one(field: str, entry: Any, origin: str) -> Constraints:
    key: Key = (field, entry)
    single = field in _FLAGS or field.startswith("max_")
    fields: dict[str, Any] = {field: entry if single else (entry,)}
    return Constraints(**fields, origins={key: origin})


def _of_table(table: ConstraintTable) -> _Found:
    for flag in _FLAGS:
        if getattr(table, flag):
            yield flag, True, f"{flag} = true"
    if table.max_sent_mb is not None:
        yield (
            "max_sent_bytes",
            round(table.max_sent_mb * MEGA),
            f"max_sent_mb = {table.max_sent_mb}",
        )
    for field in ("max_devices", "max_cuts"):
        if getattr(table, field) is not None:
            yield field, getattr(table, field), f"{field} = {getattr(table, field)}"
    for field in ("pins", "bans"):
        for rule in getattr(table, field):
            yield field, (rule.layers, rule.device), f"{field}: {_written(rule)}"
    for field in ("together", "apart"):
        for patterns in getattr(table, field):
            yield field, tuple(patterns), f"{field}: [{', '.join(map(shown, patterns))}]"
    for field in _LISTS:
        for name in getattr(table, field):
            yield field, name, f'{field}: "{name}"'
    yield from _caps(table)


def _caps(table: ConstraintTable) -> _Found:
    for link in table.link_caps:
        entry = (link.source, link.target, round(link.max_mb * MEGA))
        yield "link_caps", entry, f"link_caps: {_written(link)}"
    for cap in table.energy_caps:
        spent = (cap.device, float(cap.max_mj * MILLI))
        yield "energy_caps", spent, f"energy_caps: {_written(cap)}"
    for reserve in table.reserves:
        kept = (reserve.device, round(reserve.memory_mb * MEGA))
        yield "reserves", kept, f"reserves: {_written(reserve)}"
    for key, objective, unit in _OBJECTIVE_KEYS:
        value = getattr(table.at_most, key)
        if value is not None:
            yield "at_most", (objective, float(value * unit)), f"at_most: {key} = {value}"


def _of_devices(devices: Sequence[DeviceTable]) -> _Found:
    for device in devices:
        name, where = device.name, f'device "{device.name}"'
        for pattern in device.pin:
            yield "pins", (pattern, name), f'{where}: pin "{pattern}"'
        for pattern in device.ban:
            yield "bans", (pattern, name), f'{where}: ban "{pattern}"'
        if device.reserve_mb is not None:
            entry = (name, round(device.reserve_mb * MEGA))
            yield "reserves", entry, f"{where}: reserve_mb = {device.reserve_mb}"
        if device.max_energy_mj is not None:
            cap = (name, float(device.max_energy_mj * MILLI))
            yield "energy_caps", cap, f"{where}: max_energy_mj = {device.max_energy_mj}"
        for field, asked in (("drained", device.drained), ("optional", device.optional)):
            if asked:
                yield field, name, f"{where}: {field} = true"
        if not device.relay:
            yield "no_relay", name, f"{where}: relay = false"


def _of_links(links: Sequence[LinkTable]) -> _Found:
    for link in links:
        if link.max_mb is not None:
            for source, target in link.ends():
                entry = (source, target, round(link.max_mb * MEGA))
                yield "link_caps", entry, f"link {source} -> {target}: max_mb = {link.max_mb}"


def _written(table: BaseModel) -> str:
    return shown(table.model_dump(by_alias=True, exclude_defaults=True))


def constraints_document(rules: Constraints) -> dict[str, Any]:
    """The ``[constraints]`` table that gives back ``rules``."""
    document: dict[str, Any] = {"private_input": rules.private_input}
    if rules.max_sent_bytes is not None:
        document["max_sent_mb"] = scaled(rules.max_sent_bytes, MEGA)
    document["pins"] = [{"layers": p, "device": d} for p, d in rules.pins]
    document["bans"] = [{"layers": p, "device": d} for p, d in rules.bans]
    rest = {
        "contiguous": rules.contiguous,
        "max_devices": rules.max_devices,
        "max_cuts": rules.max_cuts,
        "together": [list(entry) for entry in rules.together],
        "apart": [list(entry) for entry in rules.apart],
        **{field: list(getattr(rules, field)) for field in _LISTS},
        "link_caps": [
            {"from": a, "to": b, "max_mb": scaled(cap, MEGA)} for a, b, cap in rules.link_caps
        ],
        "energy_caps": [
            {"device": d, "max_mj": scaled(cap, MILLI)} for d, cap in rules.energy_caps
        ],
        "reserves": [{"device": d, "memory_mb": scaled(b, MEGA)} for d, b in rules.reserves],
        "at_most": {
            key: scaled(min(caps), unit)
            for key, objective, unit in _OBJECTIVE_KEYS
            if (caps := [cap for name, cap in rules.at_most if name == objective])
        },
    }
    return document | {
        key: value for key, value in rest.items() if value not in (False, None, [], {})
    }
