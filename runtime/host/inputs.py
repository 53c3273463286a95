"""Inputs of a request from files: arrays (.npz, .npy) and photos."""

import tokenize
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from runtime.host.tensors import Array, as_inputs, input_list
from splitter.errors import InputError
from splitter.graph import Graph

PHOTO_SUFFIXES = (".jpg", ".jpeg", ".png")
ARRAY_SUFFIXES = (".npz", ".npy")

_UNREADABLE = (
    OSError,
    ValueError,
    EOFError,
    KeyError,
    NotImplementedError,
    SyntaxError,
    TypeError,
    MemoryError,
    tokenize.TokenError,
    zipfile.BadZipFile,
    zlib.error,
)
"""What numpy and zipfile raise for damaged files."""

Preprocess = Callable[[Image.Image], Array]
"""Makes a model's input of a photo in RGB."""


def load_inputs(
    graph: Graph, path: str | Path, preprocess: Preprocess | None = None
) -> dict[str, Array]:
    """The inputs of one request, by name and in the model's order.

    Args:
        graph: The model.
        path: A photo, a ``.npy`` file for a model with one input, or a ``.npz`` file with an array
            per input, by name (a single array may have any name when there is one input).
        preprocess: What the model wants done to a photo.

    Raises:
        InputError: the file cannot be read, or does not hold what the model takes.
    """
    file = Path(path)
    suffix = file.suffix.lower()
    if suffix in PHOTO_SUFFIXES:
        arrays = {_only_input(graph, file): _photo(graph, file, preprocess)}
    elif suffix == ".npy":
        arrays = {_only_input(graph, file): _npy(file)}
    elif suffix == ".npz":
        arrays = _npz(graph, file)
    else:
        kinds = ", ".join((*ARRAY_SUFFIXES, *PHOTO_SUFFIXES))
        raise InputError(f"{file}: the ending says nothing about its kind; give one of {kinds}")
    try:
        return as_inputs(graph, (), arrays)
    except InputError as error:
        raise InputError(f"{file}: {error}") from error


def load_photo(path: Path) -> Image.Image:
    """A photo in RGB, turned upright.

    Raises:
        InputError: it cannot be read.
    """
    try:
        with Image.open(path) as image:
            return ImageOps.exif_transpose(image).convert("RGB")
    except UnidentifiedImageError as error:
        raise InputError(f"{path}: is no photo that can be read (JPEG, PNG)") from error
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise InputError(f"{path}: cannot be read: {_reason(error)}") from error


def _photo(graph: Graph, file: Path, preprocess: Preprocess | None) -> Array:
    photo = load_photo(file)
    if preprocess is None:
        raise InputError(
            f"{file}: how this model wants photos prepared is not known; give {input_list(graph)} "
            "as .npy or .npz"
        )
    return preprocess(photo)


def _only_input(graph: Graph, file: Path) -> str:
    if len(graph.inputs) != 1:
        raise InputError(
            f"{file}: the model takes {input_list(graph)}; give a .npz with an array for each"
        )
    return graph.inputs[0]


def _npy(file: Path) -> Array:
    found = _loaded(file)
    if not isinstance(found, np.ndarray):
        raise InputError(f"{file}: is a .npz file under another name; rename it to .npz")
    return found


def _npz(graph: Graph, file: Path) -> dict[str, Array]:
    found = _loaded(file)
    if isinstance(found, np.ndarray):
        raise InputError(f"{file}: is a .npy file under another name; rename it to .npy")
    unnamed = len(found) == 1 and len(graph.inputs) == 1
    return dict(zip(graph.inputs, found.values(), strict=True)) if unnamed else found


def _loaded(file: Path) -> Array | dict[str, Array]:
    """The array or arrays in a file of numpy's; never one that would run code when it is read."""
    try:
        with file.open("rb") as stream:
            found = np.load(stream, allow_pickle=False)
            if isinstance(found, np.ndarray):
                return found
            with found:
                return {name: found[name] for name in found.files}
    except _UNREADABLE as error:
        raise InputError(f"{file}: cannot be read as numpy arrays: {_reason(error)}") from error


def _reason(error: BaseException) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
