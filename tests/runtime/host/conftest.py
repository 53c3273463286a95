"""Small bundles without a compiler: every layer adds up all it reads, by one kernel in C."""

import hashlib
import json
import shutil
import struct
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import xxhash

from runtime.host import Bundle
from splitter.costs import CostTable, LayerCost
from splitter.graph import Graph, Layer, Tensor
from splitter.memory import plan_memory
from splitter.partitioning import partition
from splitter.plan import plan_to_dict
from splitter.schedule import NodeSchedule, node_schedules
from splitter.topology import Card, Device, Link, Topology
from splitter.topology_file import save_topology

DEVICE = Path(__file__).parents[3] / "runtime" / "device"
SLOTS = 3
CODES = {"float32": (2, 32), "int64": (0, 64), "uint8": (1, 8), "float64": (2, 64)}

KERNELS = r"""
#include <signal.h>
#include <time.h>
#include "tables.h"
void TVMFFIErrorSetRaisedFromCStrParts(const char *kind, const char **parts, int32_t count);
static double get(const KernelTensor *t, int64_t i) {
  if (t->dtype.code == 0) return (double)((const int64_t *)t->data)[i];
  return t->dtype.bits == 64 ? ((const double *)t->data)[i] : (double)((const float *)t->data)[i];
}
static int misbehave(double value) {
  if (value == 13) raise(SIGKILL);
  if (value == 99) nanosleep(&(struct timespec){.tv_sec = 600}, NULL);
  if (value == 5) nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
  if (value != 666) return 0;
  const char *parts[] = {"the number ", "of the beast"};
  TVMFFIErrorSetRaisedFromCStrParts("ValueError", parts, 2);
  return -1;
}
int kernel_sum(void *self, const KernelArg *args, int32_t count, KernelArg *result);
int kernel_sum(void *self, const KernelArg *args, int32_t count, KernelArg *result) {
  const KernelTensor *out = args[count - 1].value.v_ptr;
  int64_t size = 1;
  for (int i = 0; i < out->ndim; i++) size *= out->shape[i];
  if (size > 0 && misbehave(get(args[0].value.v_ptr, 0)) != 0) return -1;
  for (int64_t i = 0; i < size; i++) {
    double sum = 0;
    for (int j = 0; j < count - 1; j++) sum += get(args[j].value.v_ptr, i);
    ((float *)out->data)[i] = (float)sum;
  }
  (void)self, (void)result;
  return 0;
}
"""


@dataclass(frozen=True)
class Toy:
    """What `build` makes a bundle of; layers are name -> (tensors read, device)."""

    layers: Mapping[str, tuple[tuple[str, ...], str]]
    outputs: tuple[str, ...]
    inputs: Mapping[str, str] = field(default_factory=lambda: {"x": "float32"})
    shape: tuple[int, ...] = (2, 3)
    devices: tuple[str, ...] = ("a", "b", "c")
    source: str = "a"
    sink: str = "c"
    sources: tuple[tuple[str, str], ...] = ()
    sinks: tuple[tuple[str, str], ...] = ()
    bandwidth_bytes_per_s: float = 1e9
    latency_s: float = 1e-4
    processors: Mapping[str, str] = field(default_factory=dict)


CHAIN = Toy({"one": (("x",), "a"), "two": (("one",), "b"), "three": (("two",), "c")}, ("three",))


def reference(toy: Toy, inputs: Mapping[str, np.ndarray]) -> tuple[np.ndarray, ...]:
    """What a bundle made of ``toy`` has to answer; every layer's weight is all ones."""
    values = dict(inputs)
    for name, (reads, _) in toy.layers.items():
        values[name] = sum(values[read].astype(np.float32) for read in reads) + np.float32(1)
    return tuple(values[name] for name in toy.outputs)


def graph_of(toy: Toy) -> Graph:
    tensors = {n: Tensor(n, toy.shape, dtype) for n, dtype in toy.inputs.items()}
    tensors |= {n: Tensor(n, toy.shape) for n in toy.layers}
    layers = tuple(
        Layer(n, "sum", reads, (n,), (f"{n}.w",), macs=6) for n, (reads, _) in toy.layers.items()
    )
    size = 4 * int(np.prod(toy.shape))
    weights = {f"{n}.w": size for n in toy.layers}
    return Graph("toy", layers, tensors, tuple(toy.inputs), toy.outputs, weights)


def topology_of(toy: Toy) -> Topology:
    devices = tuple(Device(n, card(toy.processors.get(n, "x86_64")), 10**9, 1) for n in toy.devices)
    links = tuple(
        Link(s, t, toy.bandwidth_bytes_per_s, toy.latency_s)
        for s in toy.devices
        for t in toy.devices
        if s != t
    )
    ends = {"sources": toy.sources, "sinks": toy.sinks}
    return Topology("toys", "", devices, links, toy.source, toy.sink, **ends)


def card(processor: str) -> Card:
    return Card(
        f"toy-{processor.replace('_', '-')}", "", processor, "any", 1e9, 1e9, 0.0, 10**9, 1.0
    )


def numbers(values: object) -> str:
    return ", ".join(map(str, values)) or "0"  # type: ignore[call-overload]


def tables(toy: Toy, graph: Graph, schedule: NodeSchedule, bundle_id: bytes) -> tuple[str, bytes]:
    """node_tables.c and weights.bin of one node."""
    layout = plan_memory(graph, schedule)
    weights = struct.pack("<8s32s24s", b"SPLTWGT1", bundle_id, schedule.device.encode())
    rows: list[str] = []
    index: dict[str, int] = {}

    def add(name: str, storage: str, tensor: Tensor, offset: int) -> None:
        code, bits = CODES[tensor.dtype]
        index[name] = len(rows)
        rows.append(
            f'{{"{name}", STORAGE_{storage}, {code}, {bits}, {len(tensor.shape)}, shape, '
            f"{offset}u, {tensor.bytes}u}}"
        )

    for name, offset in layout.slot.items():
        add(name, "SLOT", graph.tensors[name], offset)
    for name, offset in layout.arena.items():
        add(name, "ARENA", graph.tensors[name], offset)
    for name in graph.weights_of(schedule.layers):
        weights += bytes(-len(weights) % 64)
        add(name, "WEIGHTS", Tensor(name, toy.shape), len(weights))
        weights += np.ones(toy.shape, np.float32).tobytes()
    if not schedule.layers:
        weights = b""

    wire = {name: i for i, name in enumerate(graph.tensors)}
    peers = list(dict.fromkeys(p for _, p in (*schedule.receives, *schedule.sends)))
    received = [t for t, _ in schedule.receives]
    calls = list(schedule.layers)
    text = [KERNELS, f"static const int64_t shape[] = {{{numbers(toy.shape)}}};"]
    text.append(f"static const NodeTensor tensors[] = {{{', '.join(rows)}}};")
    call_rows = []
    for i, name in enumerate(calls):
        layer = graph.by_name[name]
        args = [index[t] for t in (*layer.inputs, *layer.weights, *layer.outputs)]
        text.append(f"static const uint32_t args_{i}[] = {{{numbers(args)}}};")
        call_rows.append(f'{{kernel_sum, "{name}", args_{i}, {len(args)}, 0, 0}}')
    stage_rows, at = [], 0
    for i, stage in enumerate(schedule.stages):
        needs = [received.index(t) for t in stage.needs]
        text.append(f"static const uint32_t needs_{i}[] = {{{numbers(needs)}}};")
        stage_rows.append(f"{{{at}, {len(stage.layers)}, needs_{i}, {len(needs)}}}")
        at += len(stage.layers)
    receive_rows = [f"{{{index[t]}, {wire[t]}, {peers.index(p)}}}" for t, p in schedule.receives]
    send_rows = [
        f"{{{index[t]}, {wire[t]}, {peers.index(p)}, "
        + (
            f"AFTER_CALL, {calls.index(t)}}}"
            if t in calls
            else f"AFTER_RECEIVE, {received.index(t)}}}"
        )
        for t, p in schedule.sends
    ]
    for kind, name, items in (
        ("NodeCall", "calls", call_rows),
        ("NodeStage", "stages", stage_rows),
        ("NodeReceive", "receives", receive_rows),
        ("NodeSend", "sends", send_rows),
    ):
        text.append(f"static const {kind} {name}[] = {{{', '.join(items) or '{0}'}}};")
    text.append(f"static const char *const peers[] = {{{', '.join(map(json.dumps, peers))}}};")
    text.append(
        f'const NodeTables node_tables = {{NODE_TABLES_VERSION, "{schedule.device}", '
        f"{{{numbers(bundle_id)}}}, {len(weights)}u, {xxhash.xxh64_intdigest(weights)}ull, "
        f"0u, {layout.slot_bytes}u, {layout.arena_bytes}u, {SLOTS}, 1, tensors, calls, "
        "stages, receives, sends, (void *)0, peers, "
        f"{len(rows)}, {len(calls)}, {len(schedule.stages)}, "
        f'{len(received)}, {len(send_rows)}, 0, {len(peers)}, ""}};'
    )
    return "\n".join(text), weights


class Compiler:
    """Compiles the node program once, and links it with the tables of each node."""

    def __init__(self, folder: Path, command: tuple[str, ...] = ("gcc",)) -> None:
        self.folder, self.command = (
            folder,
            (*command, "-std=c11", "-D_GNU_SOURCE", "-O1", "-pthread"),
        )
        sources = sorted(DEVICE.glob("*.c"))
        subprocess.run([*self.command, "-c", *map(str, sources)], cwd=folder, check=True)

    def node(self, tables: str, program: Path) -> None:
        source = program.with_suffix(".c")
        source.write_text(tables)
        objects = sorted(map(str, self.folder.glob("*.o")))
        words = [*self.command, f"-I{DEVICE}", str(source), *objects, "-o", str(program)]
        subprocess.run(words, check=True)
        source.unlink()


@pytest.fixture(scope="session")
def compiler(tmp_path_factory: pytest.TempPathFactory) -> Compiler:
    return Compiler(tmp_path_factory.mktemp("objects"))


def write_bundle(toy: Toy, folder: Path, compiler: Compiler) -> Path:
    graph, topology = graph_of(toy), topology_of(toy)
    placement = {name: device for name, (_, device) in toy.layers.items()}
    entries = {
        (name, device): LayerCost(1e-5, "roofline") for name in toy.layers for device in toy.devices
    }
    plan = partition(graph, topology, CostTable(entries), slots=SLOTS, placement=placement)
    bundle_id = hashlib.sha256(repr(toy).encode()).digest()
    nodes = {}
    for schedule in node_schedules(graph, topology, placement):
        home = folder / "nodes" / schedule.device
        home.mkdir(parents=True)
        text, weights = tables(toy, graph, schedule, bundle_id)
        compiler.node(text, home / "node")
        (home / "weights.bin").write_bytes(weights)
        (home / "peers.toml").write_text("[peers]\n")
        layout = plan_memory(graph, schedule)
        nodes[schedule.device] = {
            "processor": topology.by_name[schedule.device].card.processor,
            "threads": 1,
            "slot_bytes": layout.slot_bytes,
            "arena_bytes": layout.arena_bytes,
            "weights_bytes": len(weights),
            "decoded_bytes": 0,
            "program_bytes": (home / "node").stat().st_size,
            "kernel_bytes": 0,
        }
    save_topology(topology, folder / "topology.toml")
    (folder / "graph.json").write_text(json.dumps(graph.to_dict()))
    (folder / "plan.json").write_text(json.dumps(plan_to_dict(plan)))
    described = graph.to_dict()["tensors"]
    of = {tensor["name"]: tensor for tensor in described}
    manifest = {
        "format_version": 2,
        "bundle_id": bundle_id.hex(),
        "model": "toy",
        "slots": SLOTS,
        "tolerance": 1e-4,
        "inputs": [of[name] for name in graph.inputs],
        "outputs": [of[name] for name in graph.outputs],
        "nodes": nodes,
        "files": {
            str(path.relative_to(folder)): {
                "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
                "bytes": path.stat().st_size,
            }
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        },
        "tools": {"toy": "1"},
    }
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=1))
    return folder


@pytest.fixture(scope="session")
def build(compiler: Compiler, tmp_path_factory: pytest.TempPathFactory) -> Callable[[Toy], Bundle]:
    """A bundle of a `Toy`; made once."""
    made: dict[str, Bundle] = {}

    def build_once(toy: Toy) -> Bundle:
        if repr(toy) not in made:
            folder = write_bundle(toy, tmp_path_factory.mktemp("bundle"), compiler)
            made[repr(toy)] = Bundle.open(folder)
        return made[repr(toy)]

    return build_once


@pytest.fixture(scope="session")
def chain(build: Callable[[Toy], Bundle]) -> Bundle:
    """Three nodes in a row."""
    return build(CHAIN)


@pytest.fixture
def own_chain(chain: Bundle, tmp_path: Path) -> Path:
    """A copy of `chain` that a test may damage."""
    return Path(shutil.copytree(chain.path, tmp_path / "bundle"))


@pytest.fixture(scope="session")
def toys() -> type[Toy]:
    return Toy


@pytest.fixture(scope="session")
def answer() -> Callable[[Toy, Mapping[str, np.ndarray]], tuple[np.ndarray, ...]]:
    return reference
