"""Where node programs can be measured: on this machine, under an emulator, over ssh."""

import csv
import shlex
import subprocess
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from os import cpu_count
from pathlib import Path
from typing import Protocol

from runtime.host.processor import command, is_native
from splitter.errors import ToolchainError, UsageError
from splitter.program import JOIN
from splitter.topology import Device

_TIMEOUT_S = 600.0
"""Longer than any one measurement takes; a machine that hangs must not hang the tuner."""


@dataclass(frozen=True, slots=True)
class CallTime:
    """What ``node --bench`` says of one call."""

    median_s: float
    min_s: float


class Place(Protocol):
    """A machine, or an emulator of one, on which node programs can be measured."""

    @property
    def emulated(self) -> bool:
        """Whether times there say nothing of the device."""

    @contextmanager
    def put(self, folder: Path, processor: str) -> Iterator[Sequence[str]]:
        """Bring the node in ``folder`` there, for a while; gives the command that starts it.

        Raises:
            ToolchainError: it cannot be brought or started there.
        """


@dataclass(frozen=True, slots=True)
class Here:
    """This machine; programs for another processor run under its emulator."""

    emulated: bool = False

    @contextmanager
    def put(self, folder: Path, processor: str) -> Iterator[Sequence[str]]:
        """See `Place.put`."""
        yield command(folder / "node", processor)


@dataclass(frozen=True, slots=True)
class Ssh:
    """A machine that ``ssh HOST`` reaches without asking for anything; it needs sh and tar."""

    host: str
    emulated: bool = False

    @contextmanager
    def put(self, folder: Path, processor: str) -> Iterator[Sequence[str]]:
        """See `Place.put`."""
        del processor
        place = self._send(folder)
        try:
            yield self._words(f"{shlex.quote(place)}/node")
        finally:
            _run(self._words(f"rm -rf {shlex.quote(place)}"), f"cleaning up on {self.host}")

    def _send(self, folder: Path) -> str:
        script = 'd=$(mktemp -d /tmp/splitter.XXXXXX) && tar -xf - -C "$d" && echo "$d"'
        with subprocess.Popen(
            self._words(script),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as sender:
            assert sender.stdin is not None
            try:
                with tarfile.open(fileobj=sender.stdin, mode="w|") as archive:
                    archive.add(folder / "node", "node")
                    archive.add(folder / "weights.bin", "weights.bin")
            except BrokenPipeError:
                pass  # the other side says why
            out, told = sender.communicate()
        if sender.returncode != 0:
            raise ToolchainError(f"{self.host} took no node program: {_last(told.decode())}")
        return out.decode().strip()

    def _words(self, script: str) -> list[str]:
        return ["ssh", "-o", "BatchMode=yes", "-o", "ConnectTimeout=10", self.host, script]


def place_of(device: Device, given: Mapping[str, str]) -> Place | None:
    """Where ``device``'s programs are measured: as given, else here if this machine is like it.

    Raises:
        UsageError: what is given is no place.
    """
    text = given.get(device.name)
    if text is not None:
        return _parsed(device, text)
    like_this = is_native(device.card.processor) and device.threads <= (cpu_count() or 1)
    return Here() if like_this else None


def _parsed(device: Device, text: str) -> Place:
    if text == "emulator":
        return Here(emulated=not is_native(device.card.processor))
    scheme, _, host = text.partition(":")
    if scheme != "ssh" or not host or host.startswith("-") or any(c.isspace() for c in host):
        raise UsageError(
            f"{device.name} cannot be measured at '{text}': write emulator, or ssh:HOST with a "
            "host that ssh reaches without a password"
        )
    return Ssh(host)


def bench(words: Sequence[str], runs: int) -> dict[str, CallTime]:
    """Times of every layer of the node that ``words`` start; of layers that are one kernel, equal
    parts of its time.

    Raises:
        ToolchainError: the node failed.
    """
    table = _run([*words, "--bench", str(runs)], "measuring")
    rows = csv.DictReader(table.splitlines())
    found: dict[str, CallTime] = {}
    for row in rows:
        layers = row["layer"].split(JOIN)
        median_s, min_s = (float(row[key]) / len(layers) for key in ("median_s", "min_s"))
        found.update(dict.fromkeys(layers, CallTime(median_s, min_s)))
    return found


def _run(words: Sequence[str], what: str) -> str:
    try:
        done = subprocess.run(
            words, capture_output=True, text=True, check=False, timeout=_TIMEOUT_S
        )
    except OSError as error:
        raise ToolchainError(f"{what} failed: cannot start {words[0]}: {error.strerror}") from error
    except subprocess.TimeoutExpired as error:
        raise ToolchainError(f"{what} took more than {_TIMEOUT_S:.0f} s: given up") from error
    if done.returncode != 0:
        raise ToolchainError(f"{what} failed (exit {done.returncode}): {_last(done.stderr)}")
    return done.stdout


def _last(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1] if lines else "it gave no reason"
