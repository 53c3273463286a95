"""How a node for some processor is run on this machine: directly, or under qemu-user."""

import platform
import shutil
from collections.abc import Iterable
from pathlib import Path

from splitter.errors import ToolchainError

QEMU = {
    "x86_64": "qemu-x86_64-static",
    "aarch64": "qemu-aarch64-static",
    "armv7": "qemu-arm-static",
    "riscv64": "qemu-riscv64-static",
}
"""The user-mode emulator of every processor."""

_PROCESSOR_OF_MACHINE = {"arm64": "aarch64", "armv7l": "armv7"}


def is_native(processor: str) -> bool:
    """Whether this machine runs code for ``processor`` itself."""
    machine = platform.machine()
    return processor == _PROCESSOR_OF_MACHINE.get(machine, machine)


def command(program: Path, processor: str) -> list[str]:
    """The start of the command line that runs ``program``.

    Raises:
        ToolchainError: ``processor`` is another machine's and its emulator is not installed.
    """
    if is_native(processor):
        return [str(program)]
    emulator = shutil.which(QEMU[processor])
    if emulator is None:
        raise ToolchainError(
            f"{program} is for {processor} and this machine is {platform.machine()}: "
            f"{QEMU[processor]} is not installed; install the Debian package qemu-user-static"
        )
    return [emulator, str(program)]


def missing_emulators(processors: Iterable[str]) -> tuple[str, ...]:
    """Emulators that are not installed and that nodes for ``processors`` would need here."""
    needed = dict.fromkeys(QEMU[p] for p in processors if not is_native(p))
    return tuple(emulator for emulator in needed if shutil.which(emulator) is None)
