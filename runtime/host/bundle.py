"""A compiled bundle on disk, checked before it is used. See docs/bundle.md for its layout."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from runtime.host.deployment import Deployment
from runtime.host.launch import LaunchOptions, connect, launch
from runtime.host.manifest import Manifest, read_manifest
from splitter.errors import BundleError, SplitterError
from splitter.graph import DTYPE_BYTES, Graph
from splitter.plan import Plan, plan_from_dict
from splitter.schedule import NodeSchedule, node_schedules
from splitter.topology import Topology
from splitter.topology_file import load_topology

_REQUIRED = ("topology.toml", "plan.json", "graph.json")


@dataclass(frozen=True)
class Bundle:
    """One model compiled for one topology: a native program and its weights per device."""

    path: Path
    manifest: Manifest
    graph: Graph
    plan: Plan
    topology: Topology

    @classmethod
    def open(cls, path: str | Path, *, verify: bool = True) -> "Bundle":
        """Read the bundle in the folder ``path``.

        Args:
            path: The folder that compiling made.
            verify: Compare the contents of every file with the hash in the manifest; without it,
                only that all files are there and have the right size.

        Raises:
            BundleError: it is damaged, incomplete, inconsistent or of another format version.
        """
        folder = Path(path)
        manifest = read_manifest(folder)
        check_files(folder, manifest, contents=verify)
        try:
            graph = Graph.from_dict(_json(folder / "graph.json"))
            plan = plan_from_dict(_json(folder / "plan.json"))
            topology = load_topology(folder / "topology.toml")
        except BundleError:
            raise
        except SplitterError as error:
            raise BundleError(f"{folder}: {error}; compile the model again") from error
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise BundleError(
                f"{folder / 'graph.json'} is malformed ({error!r}); compile the model again"
            ) from error
        bundle = cls(folder, manifest, graph, plan, topology)
        for fault in _faults(bundle):
            raise BundleError(f"{folder}: {fault}; compile the model again")
        return bundle

    @cached_property
    def node_schedules(self) -> tuple[NodeSchedule, ...]:
        """What every node does, in the topology's device order."""
        return node_schedules(self.graph, self.topology, self.plan.placement)

    @cached_property
    def wire(self) -> Mapping[str, int]:
        """Number of every tensor on the wire."""
        return {name: number for number, name in enumerate(self.graph.tensors)}

    def launch(
        self,
        *,
        timeout_s: float = 30.0,
        trace_dir: Path | None = None,
        record_dir: Path | None = None,
        threads: int | None = None,
        listen: str = "127.0.0.1:0",
        shape_links: bool = False,
    ) -> Deployment:
        """Start every node on this machine; nodes for another processor run under qemu-user.

        Use it as a context manager: leaving the block stops all nodes.

        Args:
            timeout_s: How long start-up, or a request without any progress, may take.
            trace_dir: Folder that gets ``trace-<device>.csv`` of every node.
            record_dir: Folder that gets, per device, every tensor that crosses its links for the
                first request.
            threads: Compute threads of every node, instead of what it was compiled for.
            listen: HOST:PORT at which the host takes results; port 0 means any.
            shape_links: Send what goes from node to node through a relay that keeps to the
                bandwidth and latency of the topology's links.

        Raises:
            ToolchainError: a node is for another processor and its emulator is missing.
            DeploymentError: a node does not start; the message is the node's own.
        """
        options = LaunchOptions(timeout_s, trace_dir, record_dir, threads, listen, shape_links)
        return launch(self, options)

    def connect(
        self,
        peers: Mapping[str, str],
        *,
        timeout_s: float = 30.0,
        listen: str = "127.0.0.1:0",
    ) -> Deployment:
        """Use nodes that run already, started by someone else.

        Args:
            peers: HOST:PORT by device; only the source device's is used.
            timeout_s: How long connecting, or a request without any progress, may take.
            listen: HOST:PORT at which the host takes results, as the sink node's peers file says.

        Raises:
            DeploymentError: the source cannot be reached, or the sink does not connect.
        """
        return connect(self, peers, timeout_s, listen)

    def __str__(self) -> str:
        devices = ", ".join(self.manifest.nodes)
        return f"{self.path}: {self.manifest.model} for {self.topology.name} on {devices}"


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


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{path} is not valid JSON: {error}; compile the model again") from error
    except OSError as error:
        raise BundleError(f"{path} cannot be read: {error.strerror}") from error


def _faults(bundle: Bundle) -> Iterator[str]:
    """What does not fit together; each check relies on those before it."""
    manifest, graph, plan = bundle.manifest, bundle.graph, bundle.plan
    unknown = [t for t in graph.tensors.values() if t.dtype not in DTYPE_BYTES]
    if unknown:
        yield f"graph.json: tensor {unknown[0].name} has the unknown type {unknown[0].dtype!r}"
    yield from (f"graph.json: {fault}" for fault in graph.faults())
    if not graph.inputs or not graph.outputs:
        yield "graph.json: the model has no inputs or no outputs"
    if tuple(plan.placement) != tuple(layer.name for layer in graph.layers):
        yield "plan.json does not place exactly the layers of graph.json"
    if not set(plan.placement.values()) <= set(bundle.topology.by_name):
        yield "plan.json uses a device that topology.toml lacks"
    if plan.slots != manifest.slots:
        yield f"manifest.json has {manifest.slots} slots, plan.json {plan.slots}"
    for what, tensors, names in (
        ("inputs", manifest.inputs, graph.inputs),
        ("outputs", manifest.outputs, graph.outputs),
    ):
        if tensors != tuple(graph.tensors[name] for name in names):
            yield f"the {what} in manifest.json are not those of graph.json"
    devices = {schedule.device for schedule in bundle.node_schedules}
    if devices != set(manifest.nodes):
        yield f"manifest.json has nodes {sorted(manifest.nodes)}, plan.json needs {sorted(devices)}"
