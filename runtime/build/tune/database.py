"""What was measured of each way to compute each layer, in files beside the profiles.

One JSON file holds the figures of one kind of device (card and threads) for one version of the
kernel compiler; measurements under an emulator have a file of their own and count only for layers
of which the device itself is not known. Equal files give equal kernels.
"""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from runtime.build.kernels import compiler_key
from runtime.build.lower.choice import Choice
from runtime.build.machine import machine_of
from splitter.cost.measured import cache_directory
from splitter.errors import SplitterError
from splitter.files import write_whole
from splitter.topology import Device

_FORMAT = 1
_WORTH = 0.98
"""Another way than the cost model's must be this much faster: less is within the noise."""

BY_COST_MODEL = ""
"""Stands for the cost model's own choice in the tables of seconds."""

Seconds = Mapping[str, Mapping[str, float]]
"""Seconds by layer signature and text of the choice."""


@dataclass(frozen=True, slots=True)
class TuningDatabase:
    """The files of measurements."""

    compiler: str = field(default_factory=compiler_key)
    """Version of the kernel compiler; measurements of other versions are not seen."""
    directory: Path = field(default_factory=lambda: cache_directory() / "tuning")

    def path(self, device: Device, emulated: bool = False) -> Path:
        """The file for devices like this one."""
        code = f"{self.compiler} {machine_of(device).key}"
        digest = hashlib.sha256(code.encode()).hexdigest()[:12]
        place = "-emulated" if emulated else ""
        return self.directory / f"{device.card.name}-{device.threads}-{digest}{place}.json"

    def seconds(self, device: Device, emulated: bool = False) -> Seconds:
        """What was measured; empty where nothing was.

        Raises:
            SplitterError: the file is damaged, another device's or compiler's, or unreadable.
        """
        path = self.path(device, emulated)
        try:
            text = path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return {}
        except UnicodeDecodeError as error:
            raise SplitterError(f"the tuning database is not text{_remedy(path)}") from error
        except OSError as error:
            raise SplitterError(
                f"the tuning database cannot be read: {error.strerror}{_remedy(path)}"
            ) from error
        return _decoded(path, text, self._heading(device, emulated))

    def choices(self, device: Device) -> Mapping[str, Choice]:
        """The fastest way of each layer, by signature, where it is not the cost model's.

        Raises:
            SplitterError: see `seconds`.
        """
        known = {**self.seconds(device, emulated=True), **self.seconds(device)}
        best = {signature: fastest(ways) for signature, ways in known.items()}
        return {signature: Choice.parse(way) for signature, way in best.items() if way}

    def add(self, device: Device, emulated: bool, seconds: Seconds) -> None:
        """Keep measurements beside those there; the file is replaced whole.

        Raises:
            SplitterError: the file cannot be read or written.
        """
        path = self.path(device, emulated)
        merged = {name: dict(ways) for name, ways in self.seconds(device, emulated).items()}
        for signature, ways in seconds.items():
            merged.setdefault(signature, {}).update(ways)
        ordered = {name: dict(sorted(merged[name].items())) for name in sorted(merged)}
        document = {**self._heading(device, emulated), "seconds": ordered}
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(path, json.dumps(document, indent=1) + "\n")
        except OSError as error:
            raise SplitterError(
                f"the tuning database {path} cannot be written: {error.strerror}; set "
                "SPLITTER_CACHE to a folder that can be written"
            ) from error

    def _heading(self, device: Device, emulated: bool) -> dict[str, Any]:
        return {
            "format": _FORMAT,
            "card": device.card.name,
            "threads": device.threads,
            "machine": machine_of(device).key,
            "compiler": self.compiler,
            "emulated": emulated,
        }


def fastest(ways: Mapping[str, float]) -> str:
    """The way to take; the cost model's unless another one is clearly faster."""
    best = min(ways, key=lambda way: (ways[way], way), default=BY_COST_MODEL)
    usual = ways.get(BY_COST_MODEL, math.inf)
    return best if ways and ways[best] < _WORTH * usual else BY_COST_MODEL


def _decoded(path: Path, text: str, heading: Mapping[str, Any]) -> Seconds:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise SplitterError(f"the tuning database is not JSON: {error}{_remedy(path)}") from error
    if not isinstance(document, dict) or not isinstance(document.get("seconds"), dict):
        raise SplitterError(f"the tuning database has no table of seconds{_remedy(path)}")
    for key, wanted in heading.items():
        if document.get(key) != wanted:
            raise SplitterError(
                f"the tuning database has {key} {document.get(key)!r}, expected {wanted!r}"
                f"{_remedy(path)}"
            )
    table: dict[str, Any] = document["seconds"]
    for signature, ways in table.items():
        _check_ways(path, signature, ways)
    return table


def _check_ways(path: Path, signature: str, ways: object) -> None:
    if not isinstance(ways, dict):
        raise SplitterError(
            f"the tuning database has {ways!r} for layer signature {signature!r}, expected a "
            f"table{_remedy(path)}"
        )
    for way, value in ways.items():
        if not _is_time(value) or not _is_way(way):
            raise SplitterError(
                f"the tuning database has {way!r}: {value!r} for layer signature {signature!r}, "
                f"expected a way to compute it and seconds{_remedy(path)}"
            )


def _is_time(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return math.isfinite(value) and value > 0


def _is_way(text: str) -> bool:
    if text == BY_COST_MODEL:
        return True
    try:
        Choice.parse(text)
    except (ValueError, TypeError):
        return False
    return True


def _remedy(path: Path) -> str:
    return f"; delete it and compile with --tune again, or compile with --untuned: {path}"
