"""The files of a bundle: compared with the manifest, read, and compared with one another."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import networkx as nx

from runtime.host.manifest import Manifest
from splitter.errors import BundleError, PlanError, TopologyError
from splitter.graph import DTYPE_BYTES, Graph
from splitter.plan import Plan, plan_from_dict
from splitter.schedule import node_schedules
from splitter.topology import Topology
from splitter.topology_file import load_topology

_REQUIRED = ("topology.toml", "plan.json", "graph.json")


def check_files(folder: Path, manifest: Manifest, *, contents: bool) -> None:
    """Compare the files of a bundle with its manifest.

    Raises:
        BundleError: a file is missing, has another size, or (``contents``) another SHA-256.
    """
    for name in _needed(manifest):
        if name not in manifest.files:
            raise BundleError(f"{folder}/manifest.json does not list {name}; compile it again")
    for name, facts in manifest.files.items():
        path = folder / name
        try:
            size = path.stat().st_size if path.is_file() else None
            found = _sha256(path) if contents and size == facts.bytes else facts.sha256
        except OSError as error:
            raise BundleError(f"{path} cannot be read: {error.strerror}") from error
        if size is None:
            raise BundleError(f"{path} is missing; compile the model again")
        if size != facts.bytes:
            raise BundleError(
                f"{path} has {size} bytes, expected {facts.bytes}; compile the model again"
            )
        if found != facts.sha256:
            raise BundleError(
                f"{path} is damaged: its SHA-256 is {found[:16]}..., expected "
                f"{facts.sha256[:16]}...; compile the model again"
            )


def _needed(manifest: Manifest) -> Iterator[str]:
    yield from _REQUIRED
    for device, node in manifest.nodes.items():
        yield f"nodes/{device}/node"
        if node.weights_bytes:
            yield f"nodes/{device}/weights.bin"


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_graph(path: Path) -> Graph:
    """The graph in ``path``.

    Raises:
        BundleError: it is malformed.
    """
    try:
        graph = Graph.from_dict(_json(path))
        faults = [
            *(
                f"{t.name} has the unknown type {t.dtype!r}"
                for t in graph.tensors.values()
                if t.dtype not in DTYPE_BYTES
            ),
            *graph.faults(),
        ]
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise BundleError(f"{path} is malformed ({error!r}); compile the model again") from error
    if not graph.inputs or not graph.outputs:
        faults.append("the model has no inputs or no outputs")
    for fault in faults:
        raise BundleError(f"{path}: {fault}; compile the model again")
    return graph


def read_plan(path: Path) -> Plan:
    """The plan in ``path``.

    Raises:
        BundleError: it is malformed.
    """
    try:
        return plan_from_dict(_json(path))
    except PlanError as error:
        raise BundleError(f"{path}: {error}; compile the model again") from error


def read_topology(path: Path) -> Topology:
    """The topology in ``path``.

    Raises:
        BundleError: it is malformed.
    """
    try:
        return load_topology(path)
    except TopologyError as error:
        raise BundleError(f"{error}; compile the model again") from error


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{path} is not valid JSON: {error}; compile the model again") from error
    except OSError as error:
        raise BundleError(f"{path} cannot be read: {error.strerror}") from error


def contradictions(
    manifest: Manifest, graph: Graph, plan: Plan, topology: Topology
) -> Iterator[str]:
    """What does not fit together; each check relies on those before it."""
    if tuple(plan.placement) != tuple(layer.name for layer in graph.layers):
        yield "plan.json does not place exactly the layers of graph.json"
    if not set(plan.placement.values()) <= set(topology.by_name):
        yield "plan.json uses a device that topology.toml lacks"
    if plan.slots != manifest.slots:
        yield f"manifest.json has {manifest.slots} slots, plan.json {plan.slots}"
    for what, tensors, names in (
        ("inputs", manifest.inputs, graph.inputs),
        ("outputs", manifest.outputs, graph.outputs),
    ):
        if tensors != tuple(graph.tensors[name] for name in names):
            yield f"the {what} in manifest.json are not those of graph.json"
    try:
        needed = {schedule.device for schedule in node_schedules(graph, topology, plan.placement)}
    except nx.NetworkXNoPath as error:
        yield f"plan.json does not hold on topology.toml: {error}"
    if needed != set(manifest.nodes):
        yield f"manifest.json has nodes {sorted(manifest.nodes)}, plan.json needs {sorted(needed)}"
    yield from _size_faults(manifest)


def _size_faults(manifest: Manifest) -> Iterator[str]:
    for device, node in manifest.nodes.items():
        for key, file, size in (
            ("program_bytes", "node", node.program_bytes),
            ("weights_bytes", "weights.bin", node.weights_bytes),
        ):
            facts = manifest.files.get(f"nodes/{device}/{file}")
            if facts is not None and facts.bytes != size:
                yield f"manifest.json: nodes.{device}.{key} is {size}, the file has {facts.bytes}"
