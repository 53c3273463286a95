"""Costs measured with the node program itself, and the cache that keeps them.

One JSON file holds what one kind of device (card and threads) needed for the kernels of one
compiler version; a measurement is valid for nothing else.
"""

import hashlib
import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import platformdirs

from splitter.cost.roofline import layer_seconds
from splitter.costs import CostTable, LayerCost
from splitter.errors import SplitterError
from splitter.files import write_whole
from splitter.graph import Graph, Layer
from splitter.topology import Device, Topology

_FORMAT = 1


def cache_directory() -> Path:
    """Where this package keeps what it can make again: ``$SPLITTER_CACHE`` or the user's cache."""
    chosen = os.environ.get("SPLITTER_CACHE")
    return Path(chosen) if chosen else Path(platformdirs.user_cache_dir("splitter"))


@dataclass(frozen=True, slots=True)
class ProfileStore:
    """Measured seconds of kernels, by device card, threads and `Layer.signature`."""

    compiler: str
    """Version of the kernel compiler; measurements of other versions are not seen."""
    directory: Path = field(default_factory=lambda: cache_directory() / "profiles")

    def path(self, card: str, threads: int) -> Path:
        """The file for one card on ``threads`` threads."""
        digest = hashlib.sha256(self.compiler.encode()).hexdigest()[:12]
        return self.directory / f"{card}-{threads}-{digest}.json"

    def seconds(self, card: str, threads: int) -> dict[str, float]:
        """Measured seconds by layer signature; empty when nothing was measured.

        Raises:
            SplitterError: The file is damaged, of another format or cannot be read.
        """
        path = self.path(card, threads)
        try:
            text = path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return {}
        except UnicodeDecodeError as error:
            raise SplitterError(f"the file of measurements is not text{_remedy(path)}") from error
        except OSError as error:
            raise SplitterError(
                f"{path}: cannot read the measurements: {error.strerror}; mend it, or set"
                " SPLITTER_CACHE to another folder"
            ) from error
        return _decoded(path, text, self._heading(card, threads))

    def add(self, card: str, threads: int, seconds: Mapping[str, float]) -> None:
        """Keep measurements beside those there, in place of older ones of the same signature.

        The file is replaced whole, so a reader never sees half of it.

        Raises:
            SplitterError: A figure is impossible, or the file cannot be read or written.
        """
        for signature, value in seconds.items():
            if not signature or not _is_time(value):
                raise SplitterError(
                    f'cannot keep {value!r} s for layer signature "{signature}": a measurement'
                    " needs a signature and a finite time of 0 s or more; profile again"
                )
        merged = {**self.seconds(card, threads), **seconds}
        document = {**self._heading(card, threads), "seconds": dict(sorted(merged.items()))}
        _write(self.path(card, threads), json.dumps(document, indent=1) + "\n")

    def _heading(self, card: str, threads: int) -> dict[str, Any]:
        return {"format": _FORMAT, "card": card, "threads": threads, "compiler": self.compiler}


def measured_costs(graph: Graph, topology: Topology, store: ProfileStore) -> CostTable:
    """Cost of every layer on every device: measured where ``store`` has it, else the roofline.

    Raises:
        SplitterError: A file of ``store`` is damaged.
    """
    entries: dict[tuple[str, str], LayerCost] = {}
    for device in topology.devices:
        known = store.seconds(device.card.name, device.threads)
        for layer in graph.layers:
            entries[layer.name, device.name] = _cost(graph, layer, device, known)
    return CostTable(entries)


def _cost(graph: Graph, layer: Layer, device: Device, known: Mapping[str, float]) -> LayerCost:
    if layer.signature in known:
        return LayerCost(known[layer.signature], "measured")
    return LayerCost(layer_seconds(graph, layer, device), "roofline")


def _decoded(path: Path, text: str, heading: Mapping[str, Any]) -> dict[str, float]:
    remedy = _remedy(path)
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise SplitterError(f"the file of measurements is not JSON: {error}{remedy}") from error
    if not isinstance(document, dict) or not isinstance(document.get("seconds"), dict):
        raise SplitterError(f"the file of measurements has no table of seconds{remedy}")
    for key, wanted in heading.items():
        if document.get(key) != wanted:
            raise SplitterError(
                f"the file of measurements has {key} {document.get(key)!r},"
                f" expected {wanted!r}{remedy}"
            )
    table: dict[str, Any] = document["seconds"]
    for signature, value in table.items():
        if not signature or not _is_time(value):
            raise SplitterError(
                f'the file of measurements has {value!r} for layer signature "{signature}",'
                f" expected seconds{remedy}"
            )
    return {signature: float(value) for signature, value in table.items()}


def _remedy(path: Path) -> str:
    return f"; delete it and run `splitter profile` again: {path}"


def _is_time(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return math.isfinite(value) and value >= 0


def _write(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, text)
    except OSError as error:
        raise SplitterError(
            f"{path}: cannot write the measurements: {error.strerror}; set SPLITTER_CACHE to a"
            " folder that can be written"
        ) from error
