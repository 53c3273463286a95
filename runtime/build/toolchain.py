"""zig cc: one C compiler and static C library for every processor."""

import os
import subprocess
import sys
from collections.abc import Iterable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from splitter.errors import ToolchainError

ZIG_TARGETS: Mapping[str, str] = {
    "x86_64": "x86_64-linux-musl",
    "aarch64": "aarch64-linux-musl",
    "armv7": "arm-linux-musleabihf",
    "riscv64": "riscv64-linux-musl",
}
DEVICE_SOURCES = Path(__file__).parent.parent / "device"
COMPILER_FLAGS = (
    "-std=c11",
    "-D_GNU_SOURCE",
    "-O2",
    "-g0",
    "-Wall",
    "-Wextra",
    "-Werror",
    "-ffunction-sections",
    "-fdata-sections",
    "-fno-asynchronous-unwind-tables",
    "-fno-unwind-tables",
    "-static",
    "-s",
    "-Wl,--gc-sections",
)


def compiler_version() -> str:
    """Version of the C compiler.

    Raises:
        ToolchainError: it is not installed.
    """
    try:
        return version("ziglang")
    except PackageNotFoundError as error:
        raise ToolchainError(
            "no C compiler for the nodes: the Python package ziglang is missing; "
            "pip install ziglang==0.17.1"
        ) from error


def link_node(processor: str, tables: Path, objects: Iterable[Path], output: Path) -> None:
    """Compile the node program with ``tables`` and link it with ``objects`` into ``output``.

    Raises:
        ToolchainError: the compiler is missing or refuses.
    """
    compiler_version()
    sources = sorted(DEVICE_SOURCES.glob("*.c"))
    command = [
        *(sys.executable, "-m", "ziglang", "cc"),
        *("-target", ZIG_TARGETS[processor]),
        *COMPILER_FLAGS,
        # Where the sources happen to lie must not show in the program. (The tables hold no path;
        # an option that names their folder would differ each time and defeat the compiler's cache.)
        f"-ffile-prefix-map={DEVICE_SOURCES}=.",
        f"-I{DEVICE_SOURCES}",
        *map(str, sources),
        str(tables),
        *map(str, objects),
        *("-o", str(output)),
        "-lpthread",
        "-lm",
    ]
    run_tool(command, f"linking the node program for {processor}")


def run_tool(command: list[str], what: str) -> str:
    """Run a tool and return its standard output.

    Raises:
        ToolchainError: it cannot be started or fails; the message ends with its last lines.
    """
    environment = {**os.environ, "ZIG_PROGRESS": "0", "NO_COLOR": "1"}
    try:
        done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    except OSError as error:
        raise ToolchainError(f"{what} failed: cannot start {command[0]}: {error}") from error
    if done.returncode != 0:
        tail = "\n".join(done.stderr.strip().splitlines()[-12:])
        raise ToolchainError(f"{what} failed (exit {done.returncode}):\n{tail}")
    return done.stdout
