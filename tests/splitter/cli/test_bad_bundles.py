"""Damaged bundles and inputs that do not fit: one message that says what and what to do."""

import json
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import Refused

BUNDLE_ERROR, DEPLOYMENT_ERROR, INPUT_ERROR = 6, 9, 10


def edit(bundle: Path, change: Callable[[dict[str, Any]], object]) -> None:
    path = bundle / "manifest.json"
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))


FILES = [
    *("topology.toml", "plan.json", "plan.txt", "graph.json", "golden/input.npz"),
    *(f"nodes/{node}/{file}" for node in "ab" for file in ("node", "weights.bin", "peers.toml")),
]


@pytest.mark.parametrize("name", FILES)
def test_one_flipped_byte(name: str, own_bundle: Path, refused: Refused) -> None:
    path = own_bundle / name
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    for verb in ("run", "inspect"):
        message = refused(BUNDLE_ERROR, verb, own_bundle)
        assert message.startswith(f"{path} is damaged: its SHA-256 is ")
        assert message.endswith("; compile the model again")
    assert not (own_bundle / "runs").exists()


@pytest.mark.parametrize("name", FILES)
def test_missing_file(name: str, own_bundle: Path, refused: Refused) -> None:
    (own_bundle / name).unlink()
    message = refused(BUNDLE_ERROR, "run", own_bundle)
    assert message == f"{own_bundle / name} is missing; compile the model again"


def test_newer_format(own_bundle: Path, refused: Refused) -> None:
    edit(own_bundle, lambda data: data.update(format_version=3))
    message = refused(BUNDLE_ERROR, "run", own_bundle)
    assert message == (
        f"{own_bundle} has bundle format version 3, this program reads version 2; "
        "update this program"
    )


def test_flipped_bytes_of_the_manifest_never_pass_as_a_crash(
    own_bundle: Path, refused: Refused
) -> None:
    path = own_bundle / "manifest.json"
    whole = path.read_bytes()
    for place in range(0, len(whole), 997):
        path.write_bytes(whole[:place])
        assert str(own_bundle) in refused(BUNDLE_ERROR, "inspect", own_bundle)


@pytest.mark.parametrize("what", ["nowhere", "folder", "file"])
def test_no_bundle(what: str, tmp_path: Path, refused: Refused) -> None:
    path = tmp_path / what
    if what == "folder":
        path.mkdir()
    if what == "file":
        path.write_text("not a bundle")
    message = refused(BUNDLE_ERROR, "run", path)
    assert message == (
        f"{path} is no bundle: it has no manifest.json; give the folder that compile made"
    )


def test_weights_of_another_node(own_bundle: Path, refused: Refused) -> None:
    """With manifest and hashes made to fit, the node itself has to notice."""
    first, second = (own_bundle / "nodes" / node / "weights.bin" for node in "ab")
    swapped = second.read_bytes(), first.read_bytes()
    for path, data in zip((first, second), swapped, strict=True):
        path.write_bytes(data)

    def fit(manifest: dict[str, Any]) -> None:
        for path in (first, second):
            size, data = path.stat().st_size, path.read_bytes()
            manifest["nodes"][path.parent.name]["weights_bytes"] = size
            name = str(path.relative_to(own_bundle))
            manifest["files"][name] = {"sha256": sha256(data).hexdigest(), "bytes": size}

    edit(own_bundle, fit)
    message = refused(DEPLOYMENT_ERROR, "run", own_bundle)
    assert "node a" in message
    assert "weights" in message
    assert list((own_bundle / "runs").iterdir()) == []


# --- inputs


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"image": np.ones((1, 3, 9, 8), "f4")}, "is float32[1, 3, 9, 8], expected float32[1, 3, "),
        ({"image": np.ones((3, 8, 8), "f4")}, "is float32[3, 8, 8], expected float32[1, 3, 8, 8]"),
        ({"image": np.ones((1, 3, 8, 8), "f8")}, "is float64[1, 3, 8, 8], expected float32[1, 3,"),
        ({"image": np.ones((1, 3, 8, 8), "i8")}, "is int64[1, 3, 8, 8], expected float32[1, 3, 8"),
        ({"a": np.ones(1), "b": np.ones(1)}, "there is no input 'a'; the model takes image: floa"),
        ({}, "image"),
    ],
)
def test_input_that_does_not_fit(
    arrays: dict[str, Any], message: str, own_bundle: Path, tmp_path: Path, refused: Refused
) -> None:
    np.savez(tmp_path / "input.npz", **arrays)
    found = refused(INPUT_ERROR, "run", own_bundle, "-i", tmp_path / "input.npz")
    assert found.startswith(f"{tmp_path}/input.npz: ")
    assert message in found
    assert not (own_bundle / "runs").exists()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("missing.npz", None, "No such file or directory"),
        ("missing.jpg", None, "No such file or directory"),
        ("photo.jpg", b"\xff\xd8\xff\xe0junk", "photo"),
        ("photo.png", b"", "photo"),
        ("tensor.npy", b"junk", "cannot be read as numpy arrays"),
        ("tensor.npz", b"PK\x03\x04", "cannot be read as numpy arrays"),
        ("notes.txt", b"text", "the ending says nothing about its kind; give one of .npz, .npy,"),
    ],
)
def test_input_that_cannot_be_read(
    name: str,
    content: bytes | None,
    message: str,
    own_bundle: Path,
    tmp_path: Path,
    refused: Refused,
) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    found = refused(INPUT_ERROR, "run", own_bundle, "-i", path, "--photo", "unit")
    assert found.startswith(f"{path}: ")
    assert message in found


def test_photo_for_a_model_that_says_nothing_about_photos(
    own_bundle: Path, tmp_path: Path, refused: Refused
) -> None:
    message = refused(INPUT_ERROR, "run", own_bundle, "-i", tmp_path / "photo.jpg")
    assert "say --photo imagenet|unit|symmetric|raw, or give the tensor as .npz" in message


@pytest.mark.parametrize("seconds", ["-1", "0", "nan", "1e9"])
def test_impossible_timeout(seconds: str, own_bundle: Path, refused: Refused) -> None:
    message = refused(2, "run", own_bundle, "--timeout", seconds)
    assert "give seconds from 0.001 to 86400" in message
    assert not any((own_bundle / "runs").glob("*"))


def test_output_that_cannot_be_written(own_bundle: Path, tmp_path: Path, refused: Refused) -> None:
    few = ["--repeat", 1, "--pipelined", 0]
    message = refused(1, "run", own_bundle, *few, "-o", tmp_path / "none" / "y.npz")
    assert message.startswith(f"cannot write {tmp_path}/none/y.npz: No such file or directory")
    message = refused(1, "run", own_bundle, *few, "-o", "/dev/full")
    assert message == "cannot write /dev/full: it exists and is no file; give another name"
