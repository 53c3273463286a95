"""`splitter quantize`, and what `splitter compile` does with low-bit models and links."""

import json
from pathlib import Path

import numpy as np
import pytest
from command_line import Cli, Refused

MODEL = "tiny_models:tiny"
USAGE, EQUIVALENCE, INPUT = 2, 8, 10


@pytest.fixture
def requests(tmp_path: Path) -> Path:
    path = tmp_path / "data.npz"
    images = np.random.default_rng(0).normal(size=(6, 3, 8, 8)).astype(np.float32)
    np.savez(path, image=images)
    return path


@pytest.fixture
def split_plan(cli: Cli, two: Path) -> tuple[str, ...]:
    """Options that put the first layer on another device than the rest."""
    return ("-t", str(two), "--pin", "first*=a", "--pin", "second*=b", "--pin", "head*=b")


def test_quantized_model(cli: Cli, tmp_path: Path, requests: Path, split_plan: list[str]) -> None:
    path = tmp_path / "q.pt2"
    found = cli("quantize", MODEL, "--data", requests, "-o", path, "--json")
    assert found.code == 0, found.err
    facts = json.loads(found.out)
    assert facts["integer_layers"] == facts["layers"]
    assert facts["weight_bytes"]["after"] < facts["weight_bytes"]["before"]
    assert facts["relative_error"] < 0.1
    said = cli("quantize", MODEL, "--data", requests, "-o", path, "--ranges", "minmax")
    assert "layers are on 8-bit numbers" in said.out
    made = cli("compile", path, *split_plan, "-o", tmp_path / "build", "--json")
    assert made.code == 0, made.err
    facts = json.loads(made.out)
    assert facts["equivalence"]["ran"]
    # Numbers cross the link: one byte for each of 4 x 8 x 8 values.
    assert {t["bytes"] for t in facts["plan"]["transfers"]} == {256}


def test_quantize_refuses(refused: Refused, cli: Cli, tmp_path: Path, requests: Path) -> None:
    path = tmp_path / "q.pt2"
    message = refused(USAGE, "quantize", MODEL, "--data", requests, "-o", tmp_path / "q.bin")
    assert "give a name that ends in .pt2" in message
    assert "nothing.npz" in refused(
        INPUT, "quantize", MODEL, "--data", tmp_path / "nothing.npz", "-o", path
    )
    assert cli("quantize", MODEL, "--data", requests, "-o", path).code == 0
    again = refused(USAGE, "quantize", path, "--data", requests, "-o", tmp_path / "again.pt2")
    assert "on 8-bit numbers already" in again
    assert not (tmp_path / "again.pt2").exists()


@pytest.mark.parametrize(("wire", "size"), [("fp16", 512), ("int8", 256)])
def test_wire(
    wire: str, size: int, cli: Cli, tmp_path: Path, requests: Path, split_plan: list[str]
) -> None:
    data = ("--wire-data", requests) if wire == "int8" else ()
    words = ("compile", MODEL, *split_plan, "--wire", wire, *data, "-o", tmp_path / "build")
    found = cli(*words)
    assert found.code == 0, found.err
    assert f"1 tensors cross links as {wire}" in found.out
    plan = json.loads((tmp_path / "build" / "plan.json").read_text())
    assert [t["bytes"] for t in plan["transfers"]] == [size]


def test_wire_refuses(
    refused: Refused, tmp_path: Path, requests: Path, split_plan: list[str]
) -> None:
    place = tmp_path / "build"
    words = ("compile", MODEL, *split_plan, "-o", place)
    message = refused(EQUIVALENCE, *words, "--wire", "int8", "--wire-tolerance", "1e-6")
    assert message.startswith("--wire int8 changes an output by ")
    assert "allowed 1e-06" in message
    assert not place.exists()
    assert "belongs to --wire int8" in refused(USAGE, *words, "--wire-data", requests)


def test_decode(cli: Cli, refused: Refused, tmp_path: Path, split_plan: list[str]) -> None:
    path, place = tmp_path / "small.pt2", tmp_path / "build"
    assert cli("compress", MODEL, "-m", "kmeans:bits=4", "-o", path).code == 0
    words = ("compile", path, *split_plan, "-o", place)
    assert "write load, kernel" in refused(USAGE, *words, "--decode", "never")
    assert "has no device 'c'" in refused(USAGE, *words, "--decode", "c=load")
    found = cli(*words, "--decode", "kernel", "--decode", "b=load", "--json")
    assert found.code == 0, found.err
    nodes = json.loads(found.out)["nodes"]
    assert (nodes["a"]["decoded_bytes"], nodes["b"]["decoded_bytes"] > 0) == (0, True)
    inspected = cli("inspect", place)
    assert "decoded" in inspected.out
    assert "stored KB" in cli("inspect", path).out
