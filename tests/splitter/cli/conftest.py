"""The command line called in this process, and a small bundle for it."""

import shutil
import sys
from pathlib import Path

import pytest

from splitter.cli import main

sys.path.insert(0, str(Path(__file__).parent))

from command_line import Cli, Outcome, Refused

TWO = """
name = "two"
input = "a"
output = "b"
[[devices]]
name = "a"
card = "x86_64_v3"
threads = 1
[[devices]]
name = "b"
card = "x86_64_v3"
threads = 1
[[links]]
between = ["a", "b"]
bandwidth_mbit_s = 800
latency_ms = 1
"""


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Cli:
    """The command line, as on a terminal of 100 columns without colours."""
    monkeypatch.setenv("COLUMNS", "100")
    for name in ("FORCE_COLOR", "GITHUB_ACTIONS", "PY_COLORS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, "path", list(sys.path))

    def call(*words: object) -> Outcome:
        capfd.readouterr()
        monkeypatch.setattr(sys, "argv", ["splitter", *map(str, words)])
        with pytest.raises(SystemExit) as caught:
            main()
        found = capfd.readouterr()
        code = caught.value.code
        return Outcome(code if isinstance(code, int) else 0, found.out, found.err)

    return call


@pytest.fixture
def refused(cli: Cli) -> Refused:
    """Calls a command that must fail, with one message of one line, which it returns."""

    def call(code: int, *words: object) -> str:
        found = cli(*words)
        assert found.code == code, found
        assert found.out == ""
        assert found.err.startswith("error: ")
        assert "Traceback" not in found.err
        assert found.err.count("error: ") == 1
        assert found.err.endswith("\n")
        return found.err.removeprefix("error: ").removesuffix("\n")

    return call


@pytest.fixture
def two(tmp_path: Path) -> Path:
    """A topology file with two equal devices."""
    path = tmp_path / "two.toml"
    path.write_text(TWO)
    return path


@pytest.fixture(scope="session")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``tiny_models:tiny`` split over two nodes."""
    import tiny_models

    import splitter

    folder = tmp_path_factory.mktemp("compiled")
    (folder / "two.toml").write_text(TWO)
    program = splitter.trace(*tiny_models.tiny(), name="tiny")
    placement = {layer.name: "b" for layer in program.graph.layers} | {"first": "a"}
    plan = splitter.partition(program, folder / "two.toml", placement=placement)
    return splitter.compile(program, plan, folder / "two.toml", folder / "bundle").path


@pytest.fixture
def own_bundle(compiled: Path, tmp_path: Path) -> Path:
    """A copy of ``compiled`` that a test may damage."""
    return Path(shutil.copytree(compiled, tmp_path / "bundle"))
