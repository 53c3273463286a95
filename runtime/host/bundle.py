"""A compiled bundle on disk, checked before it is used. See docs/bundle.md for its layout."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from runtime.host.contents import (
    check_files,
    contradictions,
    read_graph,
    read_plan,
    read_topology,
)
from runtime.host.deployment import Deployment
from runtime.host.launch import LaunchOptions, connect, launch
from runtime.host.manifest import Manifest, read_manifest
from splitter.errors import BundleError
from splitter.graph import Graph
from splitter.plan import Plan
from splitter.schedule import NodeSchedule, node_schedules
from splitter.topology import Topology


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
        graph = read_graph(folder / "graph.json")
        plan = read_plan(folder / "plan.json")
        topology = read_topology(folder / "topology.toml")
        for fault in contradictions(manifest, graph, plan, topology):
            raise BundleError(f"{folder}: {fault}; compile the model again")
        return cls(folder, manifest, graph, plan, topology)

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
            peers: HOST:PORT by device; only those on which inputs appear are used.
            timeout_s: How long connecting, or a request without any progress, may take.
            listen: HOST:PORT at which the host takes results, as the sink node's peers file says;
                with several sinks, further ones deliver to the ports after it.

        Raises:
            DeploymentError: the source cannot be reached, or the sink does not connect.
        """
        return connect(self, peers, timeout_s, listen)

    def __str__(self) -> str:
        devices = ", ".join(self.manifest.nodes)
        return f"{self.path}: {self.manifest.model} for {self.topology.name} on {devices}"
