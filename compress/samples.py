"""Requests to train with, from files: arrays by name, or a folder of photos."""

import tokenize
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, UnidentifiedImageError

from compress.teach import Samples
from splitter.errors import InputError
from splitter.graph import Graph, Tensor
from splitter.program import torch_dtype

LABELS = "labels"
PHOTO_SUFFIXES = (".jpg", ".jpeg", ".png")
Preprocess = Callable[[Image.Image], torch.Tensor]
_Array = npt.NDArray[Any]
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


def load_samples(graph: Graph, path: Path, preprocess: Preprocess | None = None) -> Samples:
    """The requests in a ``.npz`` or ``.npy`` file or a folder of photos.

    A ``.npz`` has one array per input, by name, with the requests along its first axis (which may
    be the input's own batch axis), and may have ``labels``, one class for each.

    Raises:
        InputError: the file cannot be read, or does not hold requests of this model.
    """
    if path.is_dir():
        return _photos(graph, path, preprocess)
    suffix = path.suffix.lower()
    if suffix not in (".npz", ".npy"):
        raise InputError(f"{path}: give a .npz or .npy file, or a folder of photos")
    try:
        return arrays_to_samples(graph, _arrays(graph, path))
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def arrays_to_samples(graph: Graph, arrays: Mapping[str, _Array]) -> Samples:
    """Requests from one array per input, and labels if there are any.

    Raises:
        InputError: an array is missing, unknown, or has another shape or type than the input.
    """
    for name in arrays:
        if name not in (*graph.inputs, LABELS):
            raise InputError(
                f"{graph.name} has no input '{name}'; it takes {', '.join(graph.inputs)}, and "
                f"{LABELS} if there are any"
            )
    found: list[torch.Tensor] = []
    for name in graph.inputs:
        if name not in arrays:
            raise InputError(f"there is no array '{name}'; {graph.name} takes it")
        found.append(_requests(graph.tensors[name], arrays[name]))
    counts = {len(value) for value in found}
    if len(counts) != 1 or counts == {0}:
        raise InputError(f"there must be equally many requests of each input, not {counts}")
    labels = _labels(arrays[LABELS], len(found[0])) if LABELS in arrays else None
    return Samples(tuple(found), labels)


def _requests(tensor: Tensor, array: _Array) -> torch.Tensor:
    dtype = torch_dtype(tensor.dtype)
    if array.dtype.kind not in ("f" if dtype.is_floating_point else "iub"):
        raise InputError(f"input {tensor.name} must be {tensor.dtype}, not {array.dtype}")
    value = torch.from_numpy(np.ascontiguousarray(array)).to(dtype)
    if array.shape[1:] == tensor.shape:
        return value
    batch = tensor.shape[0] if tensor.shape else 0
    if batch and array.shape[1:] == tensor.shape[1:] and len(array) % batch == 0:
        return value.reshape(-1, *tensor.shape)
    raise InputError(
        f"input {tensor.name} must have requests of shape {list(tensor.shape)} along the first "
        f"axis, not shape {list(array.shape)}"
    )


def _labels(array: _Array, requests: int) -> torch.Tensor:
    if array.dtype.kind not in "iu" or array.ndim != 1 or len(array) % requests or array.min() < 0:
        raise InputError(
            f"{LABELS} must be whole numbers of 0 or more, one per request, not {array.dtype} "
            f"{list(array.shape)} for {requests} requests"
        )
    return torch.from_numpy(array.astype(np.int64)).reshape(requests, -1)


def _arrays(graph: Graph, path: Path) -> dict[str, _Array]:
    try:
        with path.open("rb") as stream:
            found = np.load(stream, allow_pickle=False)
            if not isinstance(found, np.ndarray):
                with found:
                    return {name: found[name] for name in found.files}
    except _UNREADABLE as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise InputError(f"cannot be read as numpy arrays: {reason}") from error
    if len(graph.inputs) != 1:
        raise InputError(f"the model takes {', '.join(graph.inputs)}; give a .npz with all of them")
    return {graph.inputs[0]: found}


def _photos(graph: Graph, folder: Path, preprocess: Preprocess | None) -> Samples:
    if preprocess is None or len(graph.inputs) != 1:
        raise InputError(
            f"{folder}: how {graph.name} wants photos prepared is not known; give its inputs "
            f"({', '.join(graph.inputs)}) as .npz"
        )
    files = sorted(f for f in folder.iterdir() if f.suffix.lower() in PHOTO_SUFFIXES)
    if not files:
        raise InputError(f"{folder}: there is no photo in it ({', '.join(PHOTO_SUFFIXES)})")
    samples = Samples((torch.stack([_photo(file, preprocess) for file in files]),))
    tensor = graph.tensors[graph.inputs[0]]
    if tuple(samples.inputs[0].shape[1:]) != tensor.shape:
        raise InputError(f"{folder}: photos do not fit input {tensor}; give it as .npz")
    return samples


def _photo(file: Path, preprocess: Preprocess) -> torch.Tensor:
    try:
        with Image.open(file) as image:
            return preprocess(image.convert("RGB"))
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError) as error:
        raise InputError(f"{file}: is no photo that can be read (JPEG, PNG)") from error
