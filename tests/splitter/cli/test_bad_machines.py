"""Machines that lack something, and interrupts: one message, and nothing half-written."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest
from command_line import Cli, Refused

from runtime.build import toolchain
from runtime.host.processor import QEMU

BUNDLE_ERROR, TOOLCHAIN_ERROR = 6, 7
TINY = "tiny_models:tiny"


def test_no_compiler(
    two: Path, tmp_path: Path, refused: Refused, monkeypatch: pytest.MonkeyPatch
) -> None:
    def absent(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(toolchain, "version", absent)
    message = refused(TOOLCHAIN_ERROR, "compile", TINY, "-t", two, "-o", tmp_path / "bundle")
    assert message.startswith("no C compiler for the nodes: the Python package ziglang is missing")
    assert list(tmp_path.iterdir()) == [two]


def test_broken_compiler(
    two: Path, tmp_path: Path, refused: Refused, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(toolchain.sys, "executable", str(tmp_path / "no-python"))
    message = refused(TOOLCHAIN_ERROR, "compile", TINY, "-t", two, "-o", tmp_path / "bundle")
    assert message.startswith("linking the node program for x86_64 failed: cannot start ")
    assert list(tmp_path.iterdir()) == [two]


@pytest.mark.foreign
def test_no_emulator(
    two: Path, tmp_path: Path, cli: Cli, refused: Refused, monkeypatch: pytest.MonkeyPatch
) -> None:
    two.write_text(two.read_text().replace("x86_64_v3", "raspberry_pi_4", 1))
    monkeypatch.setenv("PATH", str(tmp_path))
    bundle = tmp_path / "bundle"
    found = cli("compile", TINY, "-t", two, "-o", bundle)
    assert found.code == 0
    warning = f"warning: the bundle was not compared: {QEMU['aarch64']} not installed\n"
    assert found.err == warning
    message = refused(TOOLCHAIN_ERROR, "run", bundle)
    assert f"{QEMU['aarch64']} is not installed; install the Debian package qemu-user" in message


def test_profile_of_foreign_devices(two: Path, refused: Refused) -> None:
    two.write_text(two.read_text().replace("x86_64_v3", "riscv_board"))
    message = refused(2, "profile", TINY, "-t", two)
    assert message == "this machine can run no device of two; profile on one of them"


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_place_of_something_else(kind: str, two: Path, tmp_path: Path, refused: Refused) -> None:
    place = tmp_path / "thesis"
    if kind == "file":
        place.write_text("mine")
    else:
        place.mkdir()
        (place / "chapter").write_text("mine")
    message = refused(BUNDLE_ERROR, "compile", TINY, "-t", two, "-o", place)
    assert message == f"{place} exists and is no bundle; give another -o or remove it"
    assert sorted(tmp_path.iterdir()) == [place, two]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MB."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = shutil.which("mount")
    if os.geteuid() != 0 or mount is None:
        pytest.skip("mounting a small file system needs root")
    command = [mount, "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(place)]
    if subprocess.run(command, capture_output=True, check=False).returncode != 0:
        pytest.skip("mounting is not allowed here")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_full_disk(small_disk: Path, two: Path, refused: Refused) -> None:
    bundle = small_disk / "bundle"
    message = refused(BUNDLE_ERROR, "compile", "tiny_models:heavy", "-t", two, "-o", bundle)
    assert message.startswith(f"the bundle {bundle} cannot be written: No space left on device")
    assert message.endswith("free some space or give another -o")
    assert list(small_disk.iterdir()) == []


def test_full_disk_under_the_linker(small_disk: Path, two: Path, refused: Refused) -> None:
    (small_disk / "others").write_bytes(bytes(1_930_000))
    message = refused(TOOLCHAIN_ERROR, "compile", TINY, "-t", two, "-o", small_disk / "bundle")
    assert message.startswith("linking the node program for x86_64 failed")
    assert [path.name for path in small_disk.iterdir()] == ["others"]


def test_full_disk_under_the_cache(
    small_disk: Path, two: Path, refused: Refused, monkeypatch: pytest.MonkeyPatch
) -> None:
    (small_disk / "others").write_bytes(bytes(2_090_000))
    monkeypatch.setenv("SPLITTER_CACHE", str(small_disk))
    message = refused(1, "profile", TINY, "-t", two, "--runs", 1)
    assert "No space left on device" in message


def test_full_disk_under_the_output(two: Path) -> None:
    with Path("/dev/full").open("w") as full:
        process = start("topology", two, stdout=full)
        _, error = process.communicate(timeout=60)
    assert process.returncode == 1
    assert error == "error: cannot read or write the output: No space left on device\n"


def start(*words: object, **options: object) -> "subprocess.Popen[str]":
    """The command line in a process of its own."""
    code = "import sys; from splitter.cli import main; main()"
    here = str(Path(__file__).parent)
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, words)],
        **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, **options},
        env={**os.environ, "PYTHONPATH": os.pathsep.join([here, *filter(None, sys.path)])},
    )  # type: ignore[call-overload]


def test_interrupt_while_compiling(two: Path, tmp_path: Path) -> None:
    place = tmp_path / "place"
    place.mkdir()
    process = start("compile", "tiny_models:deep", "-t", two, "-o", place / "bundle")
    deadline = time.monotonic() + 120
    while not list(place.iterdir()) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    output, error = process.communicate(timeout=60)
    assert process.returncode == 130, error
    assert (output, error) == ("", "stopped\n")
    assert list(place.iterdir()) == []
