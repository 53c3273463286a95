"""`splitter compress`: what it writes, what it says, what it refuses."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import Cli, Refused

MODEL = "tiny_models:tiny"
USAGE, MODEL_ERROR, INPUT = 2, 3, 10


@pytest.fixture
def requests(tmp_path: Path) -> Path:
    random = np.random.default_rng(0)
    path = tmp_path / "data.npz"
    images = random.normal(size=(20, 3, 8, 8)).astype(np.float32)
    np.savez(path, image=images, labels=random.integers(0, 5, 20))
    return path


def test_from_the_weights_alone(cli: Cli, tmp_path: Path) -> None:
    path, recipe = tmp_path / "small.pt2", tmp_path / "r.toml"
    found = cli("compress", MODEL, "-m", "kmeans:bits=4", "-o", path, "--save-recipe", recipe)
    assert found.code == 0, found.err
    assert "codebook" in found.out
    assert "Answers were not compared: that takes --data." in found.out
    assert 'method = "kmeans"' in recipe.read_text()
    assert cli("inspect", path).code == 0
    again = tmp_path / "again.pt2"
    assert cli("compress", MODEL, "--recipe", recipe, "-o", again).code == 0
    assert sorted(p.name for p in tmp_path.iterdir()) == ["again.pt2", "r.toml", "small.pt2"]


@pytest.mark.parametrize("method", ["slq:bits=3,steps_per_round=2", "trp:steps=4", "mlq", "svd"])
def test_with_data(method: str, cli: Cli, tmp_path: Path, requests: Path) -> None:
    text = method if method != "mlq" else "mlq:steps_per_round=1"
    path = tmp_path / "small.pt2"
    found = cli("compress", MODEL, "-m", text, "--data", requests, "-o", path, "--json")
    assert found.code == 0, found.err
    facts: dict[str, Any] = json.loads(found.out)
    assert facts["model"] == str(path)
    assert facts["answers"]["requests"] == 4
    assert 0 <= facts["answers"]["accuracy"] <= 1
    size = facts["weights_bytes"]
    assert size["after"] <= size["before"]
    assert path.is_file()


def test_layers_are_chosen_by_pattern(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "small.pt2"
    words = ("compress", MODEL, "-m", "kmeans", "--layers", "head", "--layers", "f*")
    found = cli(*words, "-o", path, "--json")
    assert set(json.loads(found.out)["compressed"]) == {"first.weight", "head.weight"}


def test_refused(refused: Refused, tmp_path: Path, requests: Path) -> None:
    out = ("-o", tmp_path / "x.pt2")
    assert refused(USAGE, "compress", MODEL, *out) == (
        "give either --method or --recipe; see splitter compress --help"
    )
    both = ("-m", "slq", "--recipe", "r.toml")
    assert "give either --method or --recipe" in refused(USAGE, "compress", MODEL, *both, *out)
    message = refused(USAGE, "compress", MODEL, "-m", "slq", "-o", tmp_path / "x.onnx")
    assert message.endswith("x.onnx: give a name that ends in .pt2")
    assert refused(USAGE, "compress", MODEL, "-m", "sql", *out).startswith("no compression method")
    message = refused(USAGE, "compress", MODEL, "-m", "slq", "--layers", "tail", *out)
    assert message.startswith("no layer with weights matches 'tail'; layers are called first, sec")
    message = refused(USAGE, "compress", MODEL, "--recipe", tmp_path / "none.toml", *out)
    assert message.endswith("none.toml cannot be read: No such file or directory")
    assert list(tmp_path.iterdir()) == [requests]


def test_data_that_does_not_fit(refused: Refused, tmp_path: Path) -> None:
    data = tmp_path / "data.npz"

    def told(**arrays: Any) -> str:
        np.savez(data, **arrays)
        words = ("compress", MODEL, "-m", "slq", "--data", data, "-o", tmp_path / "x.pt2")
        return refused(INPUT, *words).removeprefix(f"{data}: ")

    images = np.zeros((4, 3, 8, 8), np.float32)
    assert told(image=images[:, :2]).startswith("input image must have requests of shape [1, 3, 8,")
    assert told(image=images.astype(np.int64)) == "input image must be float32, not int64"
    assert told(picture=images).startswith("tiny has no input 'picture'; it takes image, and lab")
    assert told(labels=np.zeros(4, np.int64)).startswith("there is no array 'image'; tiny takes it")
    assert told(image=images[:0]).startswith("there must be equally many requests")
    message = told(image=images, labels=np.zeros(3, np.int64))
    assert message.startswith("labels must be whole numbers of 0 or more, one per request, not int")
    assert told(image=images, labels=np.full(4, -1)).startswith("labels must be whole numbers of 0")
    data.write_bytes(b"PK\x03\x04junk")
    words = ("compress", MODEL, "-m", "slq", "-o", tmp_path / "x.pt2", "--data")
    assert "cannot be read as numpy arrays" in refused(INPUT, *words, data)
    assert "give a .npz or .npy file, or a fol" in refused(INPUT, *words, tmp_path / "data.csv")
    (tmp_path / "photos").mkdir()
    message = refused(INPUT, *words, tmp_path / "photos")
    assert "how tiny wants photos prepared is not known; give its inputs (image) as .npz" in message


def test_an_output_that_cannot_be_written(refused: Refused, tmp_path: Path) -> None:
    words = ("compress", MODEL, "-m", "kmeans", "-o")
    message = refused(1, *words, tmp_path / "none" / "x.pt2")
    assert message.startswith(f"cannot write {tmp_path}/none/x.pt2: No such file or directory")
    (tmp_path / "x.pt2").mkdir()
    assert "it exists and is no file; give another" in refused(1, *words, tmp_path / "x.pt2")
