"""`splitter compile --tune`: what it measures, keeps and says."""

import json
from pathlib import Path

import pytest
from command_line import Cli, Refused

TINY = "tiny_models:tiny"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SPLITTER_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_tune_then_use_then_leave_aside(cli: Cli, two: Path, tmp_path: Path, cache: Path) -> None:
    words = ("compile", TINY, "-t", two, "-o", tmp_path / "bundle")
    tuned = cli(*words, "--tune", 0.1)
    assert tuned.code == 0, tuned.err
    assert "ways to compute its layers measured, " in tuned.err
    (database,) = (cache / "tuning").iterdir()
    document = json.loads(database.read_text())
    for ways in document["seconds"].values():
        ways.update({way: ways[""] / 2 for way in list(ways) if way})
    database.write_text(json.dumps(document))
    again = cli(*words)
    assert again.code == 0
    assert "computed in ways that --tune found faster on such devices." in " ".join(
        again.out.split()
    )
    counted = json.loads(cli(*words, "--json").out)
    assert sum(node["tuned_layers"] for node in counted["nodes"].values()) >= 1
    usual = cli(*words, "--untuned")
    assert usual.code == 0
    assert "--tune found" not in usual.out


def test_device_that_is_elsewhere(cli: Cli, two: Path, tmp_path: Path, cache: Path) -> None:
    path = tmp_path / "board.toml"
    path.write_text(two.read_text().replace("x86_64_v3", "riscv_board"))
    found = cli("compile", TINY, "-t", path, "-o", tmp_path / "bundle", "--tune", 1)
    assert "not tuned: this machine is not like it; --tune-on " in found.err
    assert not (cache / "tuning").exists()


def test_damaged_database(
    refused: Refused, cli: Cli, two: Path, tmp_path: Path, cache: Path
) -> None:
    words = ("compile", TINY, "-t", two, "-o", tmp_path / "bundle")
    assert cli(*words, "--tune", 0.1).code == 0
    (database,) = (cache / "tuning").iterdir()
    database.write_text("{")
    assert str(database) in refused(1, *words)
    assert str(database) in refused(1, *words, "--tune", 1)
    assert "is not JSON" in refused(1, "profile", TINY, "-t", two)
    assert cli(*words, "--untuned").code == 0
    assert cli("profile", TINY, "-t", two, "--untuned", "--runs", 1).code == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--tune", "0"], "the time to tune is 0 s; give a number above 0"),
        (["--tune", "-3"], "the time to tune is -3 s"),
        (["--tune", "nan"], "the time to tune is nan s"),
        (["--tune", "soon"], "Invalid value for '--tune'"),
        (["--tune-on", "a=emulator"], "--tune-on says where to measure; --tune SECONDS how long"),
        (["--tune", "1", "--untuned"], "give one of them"),
        (["--tune", "1", "--tune-on", "a"], "--tune-on a: write DEVICE=ssh:HOST"),
        (["--tune", "1", "--tune-on", "z=emulator"], "has no device z"),
        (["--tune", "1", "--tune-on", "a=moon"], "a cannot be measured at 'moon'"),
    ],
)
def test_wrong_options(
    words: list[str], message: str, refused: Refused, two: Path, tmp_path: Path
) -> None:
    found = refused(2, "compile", TINY, "-t", two, "-o", tmp_path / "bundle", *words)
    assert message in found
    assert not (tmp_path / "bundle").exists()
