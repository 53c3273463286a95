"""Compiling one model twice, in processes of their own with empty caches, gives equal bytes."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from real_models import real_model


def compiled(place: Path, hash_seed: int) -> dict[str, bytes]:
    """The files of a bundle of MobileNetV2, made from planning on."""
    place.mkdir()
    code = "import sys; from splitter.cli import main; main()"
    words = ["compile", "mobilenet_v2", "--topology", "loopback3", "--output", "bundle", "--json"]
    subprocess.run(
        [sys.executable, "-c", code, *words],
        cwd=place,
        env={
            **os.environ,
            "PYTHONHASHSEED": str(hash_seed),
            "SPLITTER_CACHE": str(place / "cache"),
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        },
        stdout=subprocess.DEVNULL,
        check=True,
    )
    bundle = place / "bundle"
    files = [path for path in bundle.rglob("*") if path.is_file()]
    return {str(path.relative_to(bundle)): path.read_bytes() for path in files}


@pytest.mark.models
def test_equal_bytes(needs: Callable[[bool, str], None], tmp_path: Path) -> None:
    real_model("mobilenet_v2", needs)
    first = compiled(tmp_path / "first", 1)
    second = compiled(tmp_path / "the-second", 2)
    assert set(first) == set(second)
    assert [name for name in first if first[name] != second[name]] == []
    assert len([name for name in first if name.endswith("/node")]) == 3
