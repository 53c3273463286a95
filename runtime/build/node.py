"""Build one device's node: kernels, tables, weights file, executable."""

import hashlib
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from runtime.build.emit import NodeSource, emit_tables
from runtime.build.encoding import kernel_encodings
from runtime.build.kernels import (
    NO_CHOICES,
    Choices,
    Progress,
    compact_choices,
    compile_layers,
)
from runtime.build.lower.layer import NO_ENCODINGS
from runtime.build.machine import Machine, machine_of
from runtime.build.pairs import paired
from runtime.build.toolchain import COMPILER_FLAGS, DEVICE_SOURCES, compiler_version, link_node
from runtime.build.weights import WeightsFile, write_weights
from splitter.cost.measured import cache_directory
from splitter.errors import PlanError
from splitter.graph import Layer
from splitter.memory import NODE_OVERHEAD_BYTES, PACKING_BYTES, MemoryLayout, plan_memory
from splitter.program import Program
from splitter.schedule import NodeSchedule
from splitter.stored import Decode
from splitter.topology import Device


@dataclass(frozen=True, slots=True)
class BuiltNode:
    """Sizes of one built node, all in bytes."""

    device: str
    processor: str
    threads: int
    slot_bytes: int
    arena_bytes: int
    weights_bytes: int
    decoded_bytes: int
    """Constants that the node decodes at start."""
    program_bytes: int
    """The executable: node program, kernels and tables."""
    bare_program_bytes: int
    """The node program alone, without kernels."""
    tuned_layers: int = 0
    """Layers computed otherwise than the cost model would, because that was measured faster."""


def build_node(
    program: Program,
    schedule: NodeSchedule,
    device: Device,
    folder: Path,
    bundle_id: bytes,
    slots: int,
    progress: Progress = lambda done, total, what: None,
    choices: Choices = NO_CHOICES,
    decode: Decode = "load",
    join: bool = True,
) -> BuiltNode:
    """Write ``node`` and ``weights.bin`` for ``device`` into ``folder``.

    Compressed constants are stored compressed; ``decode`` says when they become floats. Without
    ``join`` every layer is a kernel of its own; see `runtime.build.pairs`.

    Raises:
        ModelError: a choice is not one for its layer and machine.
        UnsupportedOperatorError: an operator has no lowering.
        ToolchainError: the C compiler is missing or fails.
        PlanError: what was built needs more memory than the device has.
    """
    folder.mkdir(parents=True, exist_ok=True)
    machine = machine_of(device)
    encodings = kernel_encodings(program) if decode == "kernel" else NO_ENCODINGS
    if join:
        program, schedule = paired(program, schedule, machine, encodings)
    layers = [program.graph.by_name[name] for name in schedule.layers]
    layout = plan_memory(program.graph, schedule)
    for ways in _ever_smaller(program, layers, machine, choices):
        kernels = compile_layers(program, layers, machine, progress, ways, encodings)
        weights = write_weights(
            folder / "weights.bin", program, kernels.values(), bundle_id, device.name
        )
        fault = memory_fault(device, layout, weights, slots)
        if not fault:
            break
    else:
        raise PlanError(fault)
    tuned = sum(layer.signature in choices for layer in layers) if ways is choices else 0
    source = NodeSource(
        graph=program.graph,
        schedule=schedule,
        layout=layout,
        kernels=kernels,
        weights=weights,
        bundle_id=bundle_id,
        slots=slots,
        threads=device.threads,
        mcpu=device.card.mcpu,
        mattr=device.card.mattr,
    )
    objects = dict.fromkeys(kernel.object_path for kernel in kernels.values())
    _link(device.card.processor, emit_tables(source), list(objects), folder / "node")
    return BuiltNode(
        device=device.name,
        processor=device.card.processor,
        threads=device.threads,
        slot_bytes=layout.slot_bytes,
        arena_bytes=layout.arena_bytes,
        weights_bytes=weights.bytes,
        decoded_bytes=weights.decoded_bytes,
        program_bytes=(folder / "node").stat().st_size,
        bare_program_bytes=_bare_program_bytes(device.card.processor),
        tuned_layers=tuned,
    )


def _ever_smaller(
    program: Program, layers: Sequence[Layer], machine: Machine, choices: Choices
) -> Iterator[Choices]:
    """What to try while the packed weights do not fit the device."""
    yield choices
    if choices:
        yield NO_CHOICES
    yield compact_choices(program, layers, machine)


def memory_fault(device: Device, layout: MemoryLayout, weights: WeightsFile, slots: int) -> str:
    """Why the node as built does not fit its device; empty when it does."""
    activations = layout.activation_bytes(slots)
    need = weights.bytes + weights.decoded_bytes + activations + NODE_OVERHEAD_BYTES
    if need - PACKING_BYTES <= device.memory_bytes:
        return ""
    decoded, remedy = "", "raise its memory_mb or lower --slots"
    if weights.decoded_bytes:
        decoded = f"{weights.decoded_bytes / 1e6:.2f} MB of decoded ones, "
        remedy = f"raise its memory_mb, lower --slots, or try --decode {device.name}=kernel"
    return (
        f"the node for {device.name} needs {need / 1e6:.2f} MB ({weights.bytes / 1e6:.2f} MB "
        f"of packed weights, {decoded}{activations / 1e6:.2f} MB of activations) but may use "
        f"{device.memory_bytes / 1e6:.2f} MB; {remedy}"
    )


def _link(processor: str, tables: str, objects: list[Path], output: Path) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        source = Path(scratch) / "node_tables.c"
        source.write_text(tables)
        link_node(processor, source, objects, output)


_EMPTY_TABLES = """#include <stddef.h>
#include "tables.h"
const NodeTables node_tables = {.version = NODE_TABLES_VERSION, .node = "bare", .slots = 1,
                                .threads = 1, .cpu_features = ""};
"""


def _bare_program_bytes(processor: str) -> int:
    """Size of a node program without any kernel, linked once per toolchain and kept."""
    digest = hashlib.sha256(f"{compiler_version()} {processor} {COMPILER_FLAGS}".encode())
    for source in sorted(DEVICE_SOURCES.glob("*.[ch]")):
        digest.update(source.read_bytes())
    kept = cache_directory() / "bare" / digest.hexdigest()[:16]
    if not kept.is_file():
        kept.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=kept.parent) as scratch:
            _link(processor, _EMPTY_TABLES, [], Path(scratch) / "node")
            (Path(scratch) / "node").replace(kept)
    return kept.stat().st_size
