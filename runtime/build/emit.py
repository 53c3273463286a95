"""Write node_tables.c, the tables that `runtime/device/tables.h` describes: data, not logic."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from runtime.build.kernels import Kernel
from runtime.build.lower import KernelOperand
from runtime.build.lower.packing import WINOGRAD, Packing
from runtime.build.weights import Decode, WeightKey, WeightsFile
from splitter.graph import Graph
from splitter.memory import MemoryLayout, scratch_name
from splitter.schedule import NodeSchedule

_DTYPE = {
    "float32": (2, 32),
    "float64": (2, 64),
    "float16": (2, 16),
    "int64": (0, 64),
    "int32": (0, 32),
    "int16": (0, 16),
    "int8": (0, 8),
    "uint8": (1, 8),
    "bool": (6, 8),
}
_CPU_FEATURES = {
    "x86-64-v2": "sse4.2 popcnt",
    "x86-64-v3": "avx2 fma bmi2",
    "x86-64-v4": "avx512f avx512bw avx512dq avx512vl",
}


@dataclass(frozen=True)
class NodeSource:
    """Everything the tables of one node are made from."""

    graph: Graph
    schedule: NodeSchedule
    layout: MemoryLayout
    kernels: Mapping[str, Kernel]
    """By layer name."""
    weights: WeightsFile
    bundle_id: bytes
    slots: int
    threads: int
    mcpu: str
    mattr: tuple[str, ...] = ()


@dataclass
class _Tensors:
    """Numbers the tensor views that calls and frames refer to."""

    source: NodeSource
    rows: dict[tuple[str, str, tuple[int, ...]], str] = field(default_factory=dict)

    def of_tensor(self, name: str, shape: tuple[int, ...] | None = None) -> int:
        tensor = self.source.graph.tensors[name]
        layout = self.source.layout
        in_slot = name in layout.slot
        storage = "STORAGE_SLOT" if in_slot else "STORAGE_ARENA"
        offset = layout.slot[name] if in_slot else layout.arena[name]
        return self._add(storage, name, shape or tensor.shape, tensor.dtype, offset, tensor.bytes)

    def of_operand(self, operand: KernelOperand) -> int:
        if operand.role != "weight":
            return self.of_tensor(operand.name, operand.shape)
        key = WeightKey(operand.name, operand.packing, operand.part)
        storage, offset = self._place_of(key)
        size = _DTYPE[operand.dtype][1] // 8
        for extent in operand.shape:
            size *= extent
        label = f"{operand.name}@{offset}"
        return self._add(storage, label, operand.shape, operand.dtype, offset, size)

    def _place_of(self, key: WeightKey) -> tuple[str, int]:
        if key in self.source.weights.offsets:
            return "STORAGE_WEIGHTS", self.source.weights.offsets[key]
        targets = {decode.key: decode.target for decode in self.source.weights.decodes}
        return "STORAGE_DECODED", targets[key]

    def _add(
        self, storage: str, name: str, shape: tuple[int, ...], dtype: str, offset: int, size: int
    ) -> int:
        key = (storage, name, shape)
        if key not in self.rows:
            code, bits = _DTYPE[dtype]
            extents = f"(const int64_t[]){{{', '.join(map(str, shape))}}}" if shape else "NULL"
            self.rows[key] = (
                f"{{{_text(name)}, {storage}, {code}, {bits}, {len(shape)}, {extents}, "
                f"{offset}u, {size}u}}"
            )
        return list(self.rows).index(key)


def emit_tables(source: NodeSource) -> str:
    """The C source of the tables."""
    tensors = _Tensors(source)
    calls = [_call(tensors, source.kernels[layer], layer) for layer in source.schedule.layers]
    receives = [_receive(source, tensors, t, p) for t, p in source.schedule.receives]
    sends = [_send(source, tensors, t, p) for t, p in source.schedule.sends]
    stages = _stages(source)
    symbols = sorted({kernel.symbol for kernel in source.kernels.values()})
    peers = [_text(peer) for peer in _peers(source)]
    arrays = {
        "tensors": ("NodeTensor", list(tensors.rows.values())),
        "calls": ("NodeCall", calls),
        "stages": ("NodeStage", stages),
        "receives": ("NodeReceive", receives),
        "sends": ("NodeSend", sends),
        "decodes": ("NodeDecode", [_decode(decode) for decode in source.weights.decodes]),
        "peers": ("char *const", peers),
    }
    filled = {name: (kind, rows) for name, (kind, rows) in arrays.items() if rows}
    return "\n".join(
        [
            "/* Tables of one node, written by the compiler: data for the node program. */",
            "#include <stddef.h>",
            "",
            '#include "tables.h"',
            "",
            *(_prototype(symbol) for symbol in symbols),
            "",
            *(line for name, (kind, rows) in filled.items() for line in _array(kind, name, rows)),
            *_node_tables(source, {name: len(rows) for name, (_, rows) in arrays.items()}),
        ]
    )


def _prototype(symbol: str) -> str:
    return f"int {symbol}(void *, const KernelArg *, int32_t, KernelArg *);"


def _array(kind: str, name: str, rows: Sequence[str]) -> list[str]:
    return [f"static const {kind} {name}[] = {{", *(f"    {row}," for row in rows), "};", ""]


def _peers(source: NodeSource) -> list[str]:
    pairs = (*source.schedule.receives, *source.schedule.sends)
    return list(dict.fromkeys(peer for _, peer in pairs))


def _call(tensors: _Tensors, kernel: Kernel, layer: str) -> str:
    arguments = [tensors.of_operand(operand) for operand in kernel.operands]
    source = tensors.source
    offset = source.layout.arena.get(scratch_name(layer), 0)
    scratch = source.graph.by_name[layer].scratch_bytes
    return (
        f"{{{kernel.symbol}, {_text(layer)}, {_indices(arguments)}, {len(arguments)}, "
        f"{offset}u, {scratch}u}}"
    )


def _wire(source: NodeSource, tensor: str) -> int:
    return list(source.graph.tensors).index(tensor)


def _receive(source: NodeSource, tensors: _Tensors, tensor: str, peer: str) -> str:
    peer_index = _peers(source).index(peer)
    return f"{{{tensors.of_tensor(tensor)}, {_wire(source, tensor)}, {peer_index}}}"


def _send(source: NodeSource, tensors: _Tensors, tensor: str, peer: str) -> str:
    made = [i for i, name in enumerate(source.schedule.layers) if _makes(source, name, tensor)]
    if made:
        after, index = "AFTER_CALL", made[0]
    else:
        arrivals = [name for name, _ in source.schedule.receives]
        after, index = "AFTER_RECEIVE", arrivals.index(tensor)
    return (
        f"{{{tensors.of_tensor(tensor)}, {_wire(source, tensor)}, "
        f"{_peers(source).index(peer)}, {after}, {index}}}"
    )


def _makes(source: NodeSource, layer: str, tensor: str) -> bool:
    return tensor in source.graph.by_name[layer].outputs


def _stages(source: NodeSource) -> list[str]:
    arrivals = [name for name, _ in source.schedule.receives]
    rows: list[str] = []
    first = 0
    for stage in source.schedule.stages:
        needs = [arrivals.index(tensor) for tensor in stage.needs]
        rows.append(f"{{{first}, {len(stage.layers)}, {_indices(needs)}, {len(needs)}}}")
        first += len(stage.layers)
    return rows


def _decode(decode: Decode) -> str:
    encoded, packing = decode.encoded, decode.key.packing
    places = ", ".join(f"{decode.offsets.get(p, 0)}u" for p in ("codes", "values", "scale"))
    view = ", ".join(map(str, encoded.view))
    factors = f"{encoded.place.run}, {encoded.place.count if encoded.scale.size else 0}"
    transform = "NULL, 0, 0, 0"
    if isinstance(packing, Packing) and packing.winograd:
        taps = packing.winograd + 2
        numbers = ", ".join(repr(float(x)) for row in WINOGRAD[packing.winograd] for x in row)
        matrix = f"(const double[]){{{numbers}}}"
        transform = f"{matrix}, {taps}, {decode.shape[1]}, {packing.block}"
    return (
        f"{{{places}, {decode.target}u, {encoded.encoding.bits}, {view}, {factors}, {transform}}}"
    )


def _indices(values: Iterable[int]) -> str:
    listed = ", ".join(map(str, values))
    return f"(const uint32_t[]){{{listed}}}" if listed else "NULL"


def _node_tables(source: NodeSource, counts: Mapping[str, int]) -> list[str]:
    schedule, layout, weights = source.schedule, source.layout, source.weights
    identity = ", ".join(str(byte) for byte in source.bundle_id)
    return [
        "const NodeTables node_tables = {",
        "    .version = NODE_TABLES_VERSION,",
        f"    .node = {_text(schedule.device)},",
        f"    .bundle_id = {{{identity}}},",
        f"    .weights_bytes = {weights.bytes}u,",
        f"    .weights_xxh64 = {weights.xxh64}u,",
        f"    .decoded_bytes = {weights.decoded_bytes}u,",
        f"    .slot_bytes = {layout.slot_bytes}u,",
        f"    .arena_bytes = {layout.arena_bytes}u,",
        f"    .slots = {source.slots},",
        f"    .threads = {source.threads},",
        *(f"    .{name} = {name if count else 'NULL'}," for name, count in counts.items()),
        *(f"    .{name.removesuffix('s')}_count = {n}," for name, n in counts.items()),
        f"    .cpu_features = {_text(_cpu_features(source))},",
        "};",
        "",
    ]


def _cpu_features(source: NodeSource) -> str:
    """What the kernels need besides the processor's baseline; only x86 nodes check it."""
    if source.mcpu not in _CPU_FEATURES:
        return ""
    asked = (feature[1:] for feature in source.mattr if feature.startswith("+"))
    return " ".join([_CPU_FEATURES[source.mcpu], *asked])


def _text(value: str) -> str:
    """A C string literal; anything unusual as octal escapes."""
    safe = "".join(
        c if 32 <= ord(c) < 127 and c not in '"\\?' else "".join(f"\\{b:03o}" for b in c.encode())
        for c in value
    )
    return f'"{safe}"'
