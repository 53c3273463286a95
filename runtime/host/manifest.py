"""manifest.json: what a bundle contains. The format is described in docs/bundle.md."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Annotated, ClassVar

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from splitter.errors import BundleError
from splitter.graph import DTYPE_BYTES, Tensor
from splitter.topology import PROCESSORS

FORMAT_VERSION = 2
"""The bundle format that this program reads."""
MANIFEST = "manifest.json"

_Size = Annotated[int, Field(ge=0)]
_Count = Annotated[int, Field(ge=1)]
_Hex = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
_STRICT = ConfigDict(extra="forbid", strict=True)


@dataclass(frozen=True, slots=True)
class FileFacts:
    """One file of a bundle."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    sha256: _Hex
    bytes: _Size


@dataclass(frozen=True, slots=True)
class NodeFacts:
    """One node of a bundle, as it was built."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    processor: str
    threads: _Count
    slot_bytes: _Size
    """Of one request slot."""
    arena_bytes: _Size
    weights_bytes: _Size
    """Size of the whole weights file."""
    decoded_bytes: _Size
    """Compressed constants as floats, which the node makes of them at start."""
    program_bytes: _Size
    """Size of the executable."""
    kernel_bytes: _Size
    """What the compiled kernels add to it."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a bundle contains."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    format_version: int
    bundle_id: _Hex
    model: str
    slots: _Count
    """Requests in flight on every node."""
    tolerance: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    """Largest difference from the unsplit model, relative to its largest output."""
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    nodes: Mapping[str, NodeFacts]
    """By device, every device that computes or relays."""
    files: Mapping[str, FileFacts]
    """By path relative to the bundle; every file but the manifest itself and runs/."""
    tools: Mapping[str, str]
    """Versions of what the bundle was built with."""


_ADAPTER = TypeAdapter(Manifest)


def read_manifest(bundle: Path) -> Manifest:
    """The manifest of the bundle in the folder ``bundle``.

    Raises:
        BundleError: it is missing, malformed, or of another format version.
    """
    path = bundle / MANIFEST
    text = _read(path)
    _check_version(path, text)
    try:
        manifest = _ADAPTER.validate_json(text)
    except ValidationError as error:
        raise BundleError(f"{path}: {_first_fault(error)}; compile the model again") from error
    for fault in _faults(manifest):
        raise BundleError(f"{path}: {fault}; compile the model again")
    return manifest


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise BundleError(
            f"{path.parent} is no bundle: it has no {path.name}; give the folder that compile made"
        ) from error
    except OSError as error:
        raise BundleError(f"{path} cannot be read: {error.strerror}") from error


def _check_version(path: Path, text: bytes) -> None:
    """Before anything else: another version may have other keys."""
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{path} is not valid JSON: {error}; compile the model again") from error
    version = data.get("format_version") if isinstance(data, dict) else None
    if not isinstance(version, int) or version == FORMAT_VERSION:
        return
    remedy = "update this program" if version > FORMAT_VERSION else "compile the model again"
    raise BundleError(
        f"{path.parent} has bundle format version {version}, this program reads version "
        f"{FORMAT_VERSION}; {remedy}"
    )


def _first_fault(error: ValidationError) -> str:
    fault = error.errors(include_url=False, include_context=False)[0]
    where = ".".join(map(str, fault["loc"])) or "it"
    return f"{where}: {fault['msg']}"


def _faults(manifest: Manifest) -> Iterator[str]:
    for name in manifest.files:
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or "\0" in name or name != str(path):
            yield f"files: {name!r} is no path inside the bundle"
    for tensor in (*manifest.inputs, *manifest.outputs):
        if tensor.dtype not in DTYPE_BYTES:
            yield f"{tensor.name}: unknown type {tensor.dtype!r}"
    for device, node in manifest.nodes.items():
        if node.processor not in PROCESSORS:
            yield f"nodes.{device}: unknown processor {node.processor!r}"
