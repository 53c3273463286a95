"""Write a bundle: everything into a folder beside the wanted one, checked, then renamed."""

import hashlib
import json
import math
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import tomli_w
import torch

from runtime.build.gate import GateResult, check_equivalence
from runtime.build.kernels import NO_CHOICES, Progress, compiler_key
from runtime.build.node import BuiltNode, build_node
from runtime.build.toolchain import compiler_version
from runtime.build.tune import TuningDatabase
from runtime.host.manifest import FORMAT_VERSION
from splitter.errors import BundleError, UsageError
from splitter.graph import Graph, Tensor
from splitter.plan import Plan, plan_to_dict
from splitter.program import Program
from splitter.report.plan_report import plan_text
from splitter.schedule import NodeSchedule, host_ports, node_schedules
from splitter.stored import DECODE_AT_LOAD, Decoding
from splitter.topology import Topology
from splitter.topology_file import save_topology

TOLERANCE = 1e-4
"""Largest difference from the unsplit model, relative to the largest magnitude of each output."""
HOST_PORT = 47100
"""Where the first sink's node delivers results to a host beside it unless its peers file is
changed; further sinks use the ports after it."""


@dataclass(frozen=True)
class BuildResult:
    """What compiling made."""

    path: Path
    nodes: tuple[BuiltNode, ...]
    gate: GateResult


def build_bundle(
    program: Program,
    plan: Plan,
    topology: Topology,
    path: Path,
    *,
    tolerance: float = TOLERANCE,
    progress: Progress = lambda done, total, what: None,
    tuned: bool = True,
    decoding: Decoding = DECODE_AT_LOAD,
) -> BuildResult:
    """Compile ``program`` as ``plan`` says and put the bundle at ``path``.

    The bundle appears only after its nodes have given the unsplit model's answer. Unless ``tuned``
    is false, layers are computed in the ways that were measured fastest on devices like theirs.
    Compressed constants are stored compressed, and become floats when ``decoding`` says.

    Raises:
        UsageError: the tolerance is no number of 0 or more.
        BundleError: the place is taken by something else, or cannot be written.
        EquivalenceError: the nodes' answer differs from the unsplit model's.
        SplitterError: a tuning database is damaged.
        ToolchainError, PlanError, UnsupportedOperatorError: see `build_node`.
    """
    if not 0 <= tolerance < math.inf:
        raise UsageError(f"the tolerance is {tolerance:g}; give 0 or more")
    with _staging(path) as folder:
        nodes = _write(folder, program, plan, topology, tolerance, progress, tuned, decoding)
        gate = check_equivalence(folder, program, tolerance)
        _publish(folder, path)
    return BuildResult(path, nodes, gate)


def _write(
    folder: Path,
    program: Program,
    plan: Plan,
    topology: Topology,
    tolerance: float,
    progress: Progress,
    tuned: bool,
    decoding: Decoding,
) -> tuple[BuiltNode, ...]:
    # How long the solver took is no property of the plan; equal inputs give equal bytes.
    plan = replace(plan, proof=replace(plan.proof, solve_s=0.0))
    graph = program.graph
    save_topology(topology, folder / "topology.toml")
    (folder / "plan.txt").write_text(plan_text(plan, graph, topology))
    _write_json(folder / "plan.json", plan_to_dict(plan))
    _write_json(folder / "graph.json", graph.to_dict())
    bundle_id = _bundle_id(folder, program)
    schedules = node_schedules(graph, topology, plan.placement)
    nodes: list[BuiltNode] = []
    for schedule in schedules:
        device = topology.by_name[schedule.device]
        place = folder / "nodes" / device.name
        choices = TuningDatabase().choices(device) if tuned else NO_CHOICES
        built = build_node(
            *(program, schedule, device, place, bundle_id, plan.slots, progress, choices),
            decode=decoding.of(device.name),
        )
        nodes.append(built)
        _write_peers(place / "peers.toml", graph, topology, schedule)
    _write_golden(folder / "golden", program, plan)
    _write_manifest(folder, program, plan, tolerance, nodes, bundle_id)
    return tuple(nodes)


def _bundle_id(folder: Path, program: Program) -> bytes:
    """Equal exactly for bundles whose nodes may talk to one another."""
    digest = hashlib.sha256(compiler_key().encode())
    for name in ("topology.toml", "plan.json", "graph.json"):
        digest.update((folder / name).read_bytes())
    for name in program.graph.weight_bytes:
        digest.update(name.encode() + program.constant(name).numpy().tobytes())
        if name in program.compressed:
            digest.update(program.compressed[name].pack())
    return digest.digest()


def _write_json(path: Path, data: Any) -> None:
    path.write_text(json.dumps(data, indent=1) + "\n")


def _write_peers(path: Path, graph: Graph, topology: Topology, schedule: NodeSchedule) -> None:
    """Addresses as the topology gives them; a launcher on one machine supplies its own."""
    own = topology.by_name[schedule.device]
    addresses: dict[str, str] = {}
    for name in dict.fromkeys(peer for _, peer in schedule.sends):
        device = topology.by_name.get(name)
        if device is None:
            port = HOST_PORT + host_ports(graph, topology)[schedule.device]
            addresses[name] = f"127.0.0.1:{port}"
        else:
            addresses[name] = f"{device.host}:{device.port}"
    path.write_text(tomli_w.dumps({"listen": f"{own.host}:{own.port}", "peers": addresses}))


def _write_golden(folder: Path, program: Program, plan: Plan) -> None:
    folder.mkdir()
    tensors = program.tensors(*program.example_inputs)
    names = program.graph
    cut = dict.fromkeys(transfer.tensor for transfer in plan.transfers)
    for file, wanted in (("input", names.inputs), ("output", names.outputs), ("cut", cut)):
        arrays = {name: _array(tensors[name]) for name in wanted}
        np.savez(folder / f"{file}.npz", allow_pickle=False, **arrays)


def _array(value: torch.Tensor) -> "np.typing.NDArray[Any]":
    return value.detach().contiguous().numpy()


def _write_manifest(
    folder: Path,
    program: Program,
    plan: Plan,
    tolerance: float,
    nodes: Sequence[BuiltNode],
    bundle_id: bytes,
) -> None:
    graph = program.graph
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    manifest = {
        "format_version": FORMAT_VERSION,
        "bundle_id": bundle_id.hex(),
        "model": graph.name,
        "slots": plan.slots,
        "tolerance": tolerance,
        "inputs": [_tensor_dict(graph.tensors[name]) for name in graph.inputs],
        "outputs": [_tensor_dict(graph.tensors[name]) for name in graph.outputs],
        "nodes": {node.device: _node_dict(node) for node in nodes},
        "files": {str(p.relative_to(folder)): _file_dict(p) for p in files},
        "tools": {
            "edge-splitter": version("edge-splitter"),
            "apache-tvm": version("apache-tvm"),
            "torch": version("torch"),
            "ziglang": compiler_version(),
        },
    }
    _write_json(folder / "manifest.json", manifest)


def _tensor_dict(tensor: Tensor) -> dict[str, Any]:
    return {"name": tensor.name, "shape": list(tensor.shape), "dtype": tensor.dtype}


def _node_dict(node: BuiltNode) -> dict[str, Any]:
    return {
        "processor": node.processor,
        "threads": node.threads,
        "slot_bytes": node.slot_bytes,
        "arena_bytes": node.arena_bytes,
        "weights_bytes": node.weights_bytes,
        "decoded_bytes": node.decoded_bytes,
        "program_bytes": node.program_bytes,
        "kernel_bytes": max(0, node.program_bytes - node.bare_program_bytes),
    }


def _file_dict(path: Path) -> dict[str, Any]:
    data = path.read_bytes()
    return {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}


@contextmanager
def _staging(path: Path) -> Iterator[Path]:
    """A folder beside ``path`` that is gone afterwards, whatever happens."""
    if path.exists() and not _replaceable(path):
        raise BundleError(f"{path} exists and is no bundle; give another -o or remove it")
    folder: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
        yield folder
    except OSError as error:
        place = f" ({error.filename})" if error.filename else ""
        raise BundleError(
            f"the bundle {path} cannot be written: {error.strerror or error}{place}; free some "
            "space or give another -o"
        ) from error
    finally:
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)


def _replaceable(path: Path) -> bool:
    if not path.is_dir() or path.is_symlink():
        return False
    return (path / "manifest.json").is_file() or not any(path.iterdir())


def _publish(folder: Path, path: Path) -> None:
    folder.chmod(0o755)
    if path.exists():
        old = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.old."))
        path.rename(old / "bundle")
        folder.rename(path)
        shutil.rmtree(old)
    else:
        folder.rename(path)
