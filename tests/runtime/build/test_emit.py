"""The emitted tables are golden: data that people can read, and a compiler accepts."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import by_hand
import pytest

from runtime.build.emit import NodeSource, emit_tables
from runtime.build.toolchain import DEVICE_SOURCES
from runtime.build.weights import WeightsFile, weight_keys
from splitter.memory import plan_memory

PLACEMENTS = {
    "alone": ("server", "server"),
    "split": ("camera", "server"),
    "there_and_back": ("hub", "camera"),
}


def tables(devices: tuple[str, ...]) -> dict[str, str]:
    """The tables of every node."""
    program = by_hand.twins()
    kernels = by_hand.kernels(program, None)
    found: dict[str, str] = {}
    for schedule in by_hand.schedules(program, *devices):
        own = {name: kernels[name] for name in schedule.layers}
        keys = weight_keys(own.values())
        offsets = {key: 64 * (i + 1) for i, key in enumerate(keys)}
        source = NodeSource(
            graph=program.graph,
            schedule=schedule,
            layout=plan_memory(program.graph, schedule),
            kernels=own,
            weights=WeightsFile(offsets, 64 * (1 + len(keys)), 12345),
            bundle_id=bytes(range(32)),
            slots=3,
            threads=2,
            mcpu="x86-64-v3",
        )
        found[schedule.device] = emit_tables(source)
    return found


@pytest.mark.parametrize("name", PLACEMENTS)
def test_tables_are_golden(name: str, golden: Callable[[str, str], None]) -> None:
    for device, text in tables(PLACEMENTS[name]).items():
        golden(f"{name}_{device}.c", text)


@pytest.mark.parametrize("name", PLACEMENTS)
def test_tables_compile(name: str, tmp_path: Path, needs: Callable[[bool, str], None]) -> None:
    compiler = shutil.which("cc")
    needs(compiler is not None, "a C compiler")
    assert compiler is not None
    for device, text in tables(PLACEMENTS[name]).items():
        source = tmp_path / f"{device}.c"
        source.write_text(text)
        flags = ["-std=c11", "-Wall", "-Wextra", "-Werror", "-pedantic", "-fsyntax-only"]
        subprocess.run([compiler, *flags, f"-I{DEVICE_SOURCES}", str(source)], check=True)


def test_odd_names_are_escaped() -> None:
    from runtime.build.emit import _text

    assert _text('a"b\\c') == '"a\\042b\\134c"'
    assert _text("??/ü\n") == '"\\077\\077/\\303\\274\\012"'
