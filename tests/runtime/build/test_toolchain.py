"""Compiler runs that fail end in one message with what the compiler said last."""

import sys
from pathlib import Path

import pytest

from runtime.build import toolchain
from runtime.build.toolchain import compiler_version, link_node, run_tool
from splitter.errors import ToolchainError


def test_version() -> None:
    assert compiler_version().split(".")[0].isdigit()


def test_output_of_a_tool() -> None:
    assert run_tool([sys.executable, "-c", "print(6 * 7)"], "counting") == "42\n"


def test_failing_tool() -> None:
    code = "import sys; [print(f'line {i}', file=sys.stderr) for i in range(40)]; sys.exit(3)"
    with pytest.raises(ToolchainError) as caught:
        run_tool([sys.executable, "-c", code], "counting")
    lines = str(caught.value).splitlines()
    assert lines[0] == "counting failed (exit 3):"
    assert lines[1:] == [f"line {i}" for i in range(28, 40)]


def test_missing_tool(tmp_path: Path) -> None:
    with pytest.raises(ToolchainError, match=r"counting failed: cannot start .*no-tool"):
        run_tool([str(tmp_path / "no-tool")], "counting")


def test_code_that_does_not_compile(tmp_path: Path) -> None:
    (tmp_path / "node_tables.c").write_text("this is not C")
    with pytest.raises(ToolchainError, match=r"linking the node program for x86_64 failed \(exit"):
        link_node("x86_64", tmp_path / "node_tables.c", [], tmp_path / "node")
    assert not (tmp_path / "node").exists()


def test_missing_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> str:
        raise toolchain.PackageNotFoundError(name)

    monkeypatch.setattr(toolchain, "version", absent)
    with pytest.raises(ToolchainError, match="ziglang is missing; pip install ziglang=="):
        compiler_version()
