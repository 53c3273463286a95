"""Compressed tensors by name as one run of bytes, and as a part of a ``.pt2`` file."""

import io
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from compress.formats import CompressedTensor, unpack
from splitter.errors import ModelError

MAGIC = b"CTENSOR1"
EXTRA_FILE = "compressed_tensors.bin"
"""Name of the part of a ``.pt2`` file that holds them."""


def to_bytes(tensors: Mapping[str, CompressedTensor]) -> bytes:
    """Magic, length of the header, header as JSON, payloads in the header's order."""
    payloads = {name: tensor.pack() for name, tensor in tensors.items()}
    header = [
        {"name": name, "bytes": len(payloads[name]), **tensor.describe()}
        for name, tensor in tensors.items()
    ]
    text = json.dumps(header, separators=(",", ":")).encode()
    return MAGIC + len(text).to_bytes(8, "little") + text + b"".join(payloads.values())


def from_bytes(data: bytes, source: str = "the file") -> dict[str, CompressedTensor]:
    """The inverse of `to_bytes`.

    Raises:
        ModelError: ``data`` is damaged; ``source`` is named.
    """
    try:
        return _read(data)
    except (ValueError, KeyError, TypeError, IndexError, RecursionError) as error:
        raise ModelError(
            f"the compressed weights in {source} are damaged ({error}); compress the model again"
        ) from error


def read_compressed(path: Path) -> dict[str, CompressedTensor]:
    """The compressed tensors that belong to a ``.pt2`` file; none for ordinary ones.

    Raises:
        ModelError: they are damaged, or the file is no archive.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            names = [n for n in archive.namelist() if n.endswith(f"/{EXTRA_FILE}")]
            data = archive.read(names[0]) if names else None
    except (OSError, zipfile.BadZipFile, NotImplementedError) as error:
        raise ModelError(f"{path} is not a readable exported program: {error}") from error
    return {} if data is None else from_bytes(data, str(path))


def add_compressed(archive: io.BytesIO, tensors: Mapping[str, CompressedTensor]) -> None:
    """Put the tensors into a ``.pt2`` archive; torch looks only at the parts that it knows."""
    with zipfile.ZipFile(archive, "a") as file:
        root = file.namelist()[0].partition("/")[0]
        file.writestr(zipfile.ZipInfo(f"{root}/{EXTRA_FILE}"), to_bytes(tensors))  # no clock


def disk_bytes(tensor: CompressedTensor) -> int:
    """Bytes of the packed weight."""
    return len(tensor.pack())


def _read(data: bytes) -> dict[str, CompressedTensor]:
    stream = io.BytesIO(data)
    if stream.read(len(MAGIC)) != MAGIC:
        raise ValueError("they do not begin with the magic word")
    header: list[dict[str, Any]] = json.loads(stream.read(int.from_bytes(stream.read(8), "little")))
    found: dict[str, CompressedTensor] = {}
    for meta in header:
        payload = stream.read(meta["bytes"])
        if len(payload) != meta["bytes"]:
            raise ValueError("they end early")
        found[meta["name"]] = unpack(meta, payload)
    if stream.read(1):
        raise ValueError("something follows them")
    return found
