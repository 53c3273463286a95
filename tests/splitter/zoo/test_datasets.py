"""Readers of labelled images, on small files of the same formats."""

import gzip
from pathlib import Path

import numpy as np
import pytest
import torch

from splitter.errors import InputError
from splitter.zoo import datasets
from splitter.zoo.datasets import disturbed


def idx(path: Path, array: np.ndarray) -> None:
    head = bytes([0, 0, 8, array.ndim]) + b"".join(n.to_bytes(4, "big") for n in array.shape)
    path.write_bytes(gzip.compress(head + array.astype(np.uint8).tobytes()))


def test_fashion_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    for part, count in (("train", 30), ("t10k", 7)):
        idx(tmp_path / f"{part}-images-idx3-ubyte.gz", random.integers(0, 256, (count, 28, 28)))
        idx(tmp_path / f"{part}-labels-idx1-ubyte.gz", np.arange(count) % 10)
    monkeypatch.setattr(datasets, "FASHION", tmp_path)
    found = datasets.fashion()
    assert found.test.images.shape == (7, 1, 28, 28)
    assert found.test.labels.sort().values.tolist() == list(range(7))
    assert float(found.train.images.min()) >= -1
    assert len(found.train) == 30
    monkeypatch.setattr(datasets, "FASHION", tmp_path / "none")
    with pytest.raises(InputError, match="install the Debian package dataset-fashion-mnist"):
        datasets.fashion()


def test_table_files(tmp_path: Path) -> None:
    path = tmp_path / "t.csv.gz"
    rows = np.arange(10).reshape(2, 5)
    path.write_bytes(gzip.compress("\n".join(",".join(map(str, r)) for r in rows).encode()))
    images, labels = datasets._table(path, 2)
    assert images.tolist() == [[[[0, 1], [2, 3]]], [[[5, 6], [7, 8]]]]
    assert labels.tolist() == [4, 9]
    with pytest.raises(InputError, match="not 10 to a row"):
        datasets._table(path, 3)


def test_shifted_images() -> None:
    image = torch.full((40, 1, 5, 5), -1.0)
    image[:, 0, 2, 2] = 1.0
    moved = disturbed(image, 2, 0.0, torch.Generator().manual_seed(0))
    assert moved.sum((1, 2, 3)).tolist() == image.sum((1, 2, 3)).tolist()
    places = {tuple(p) for p in (moved[:, 0] == 1).nonzero()[:, 1:].tolist()}
    assert len(places) > 10
    assert torch.equal(disturbed(image, 0, 0.0, torch.Generator()), image)
