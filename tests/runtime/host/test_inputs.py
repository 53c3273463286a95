"""Inputs from files."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from runtime.host.inputs import load_inputs, load_photo
from splitter.errors import InputError
from splitter.graph import Graph, Tensor

ONE = Graph("one", (), {"x": Tensor("x", (2, 3))}, ("x",), ("x",), {})
TWO = Graph(
    "two",
    (),
    {"ids": Tensor("ids", (1, 4), "int64"), "mask": Tensor("mask", (1, 4), "int64")},
    ("ids", "mask"),
    ("ids",),
    {},
)
X = np.arange(6, dtype=np.float32).reshape(2, 3)
IDS = np.arange(4).reshape(1, 4)


def npz(folder: Path, **arrays: Any) -> Path:
    np.savez(folder / "in.npz", **arrays)
    return folder / "in.npz"


def npy(folder: Path, array: Any) -> Path:
    np.save(folder / "in.npy", array)
    return folder / "in.npy"


@pytest.mark.parametrize("name", ["x", "arr_0", "anything"])
def test_npz_with_one_array(tmp_path: Path, name: str) -> None:
    assert np.array_equal(load_inputs(ONE, npz(tmp_path, **{name: X}))["x"], X)


def test_npz_by_name(tmp_path: Path) -> None:
    found = load_inputs(TWO, npz(tmp_path, mask=IDS + 1, ids=IDS))
    assert list(found) == ["ids", "mask"]
    assert np.array_equal(found["mask"], IDS + 1)


def test_npy(tmp_path: Path) -> None:
    assert np.array_equal(load_inputs(ONE, str(npy(tmp_path, X)))["x"], X)


@pytest.mark.parametrize("suffix", ["jpg", "JPEG", "png"])
def test_photo(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"photo.{suffix}"
    Image.new("L", (3, 2), 255).save(path)

    def preprocess(photo: Image.Image) -> np.ndarray:
        assert photo.mode == "RGB"
        return np.asarray(photo, np.float32)[:, :, 0]

    assert np.array_equal(load_inputs(ONE, path, preprocess)["x"], np.full((2, 3), 255))


def test_photo_is_turned_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (3, 2)).save(tmp_path / "p.jpg", exif=exif)
    assert load_photo(tmp_path / "p.jpg").size == (2, 3)


@pytest.mark.parametrize(
    ("graph", "arrays", "message"),
    [
        (ONE, {"x": X.T}, r"in\.npz: input 'x' is float32\[3, 2\], expected float32\[2, 3\]"),
        (ONE, {"x": X.astype(np.float64)}, r"input 'x' is float64\[2, 3\]"),
        (ONE, {"x": X, "y": X}, r"there is no input 'y'; the model takes x: float32\[2, 3\]"),
        (ONE, {}, "input 'x' is not given"),
        (TWO, {"ids": IDS}, "input 'mask' is not given"),
        (ONE, {"x": np.array([object()])}, "cannot be read as numpy arrays: Object arrays"),
    ],
)
def test_wrong_arrays(tmp_path: Path, graph: Graph, arrays: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_inputs(graph, npz(tmp_path, **arrays))


def test_wrong_files(tmp_path: Path) -> None:
    photo = tmp_path / "photo.png"
    Image.new("RGB", (3, 2)).save(photo)
    text = tmp_path / "text.jpg"
    text.write_text("this is no photo")
    cut = tmp_path / "cut.png"
    cut.write_bytes(photo.read_bytes()[:45])
    swapped = tmp_path / "swapped.npz"
    swapped.write_bytes(npy(tmp_path, X).read_bytes())
    archive = tmp_path / "archive.npy"
    archive.write_bytes(npz(tmp_path, x=X).read_bytes())
    for graph, path, message in (
        (ONE, tmp_path / "none.npy", r"none\.npy: cannot be read as numpy arrays: No such file"),
        (ONE, tmp_path / "none.jpg", r"none\.jpg: cannot be read: No such file"),
        (ONE, tmp_path, "the ending says nothing about its kind; give one of .npz, .npy, .jpg"),
        (ONE, text, "is no photo that can be read"),
        (ONE, cut, r"cut\.png: cannot be read"),
        (ONE, photo, r"how this model wants photos prepared is not known; give x: float32\[2, 3\]"),
        (TWO, photo, r"takes ids: int64\[1, 4\], mask: .* give a .npz with an array for each"),
        (TWO, npy(tmp_path, X), "give a .npz with an array for each"),
        (ONE, swapped, "rename it to .npy"),
        (ONE, archive, "rename it to .npz"),
    ):
        with pytest.raises(InputError, match=message):
            load_inputs(graph, path)


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_damaged_file_is_an_input_error(tmp_path: Path, data: st.DataObject) -> None:
    path = data.draw(st.sampled_from([npy(tmp_path, X), npz(tmp_path, x=X)]))
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    try:
        found = load_inputs(ONE, path)
    except InputError as error:
        assert path.name in str(error)  # noqa: PT017
    else:
        assert found["x"].shape == (2, 3)
