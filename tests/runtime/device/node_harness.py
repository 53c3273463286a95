"""Builds node programs from hand-written tables and plays their peers."""

import contextlib
import re
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import xxhash

HERE = Path(__file__).parent
DEVICE = HERE.parents[2] / "runtime" / "device"
WARNINGS = ["-Wall", "-Wextra", "-Werror", "-Wconversion", "-Wsign-conversion", "-Wshadow"]
LANGUAGE = ["-std=c11", "-D_GNU_SOURCE", f"-I{DEVICE}"]
ALIGNMENT = 64
WEIGHTS, SLOT, ARENA = range(3)
AFTER_CALL, AFTER_RECEIVE = range(2)
HELLO, TENSOR, BYE = 1, 2, 3
BUNDLE = bytes(range(32))
OTHER_THAN_BUNDLE = bytes([7] * 32)
WAIT_S = 30.0

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Tensor:
    storage: int
    shape: tuple[int, ...]
    offset: int

    @property
    def size_bytes(self) -> int:
        return 4 * int(np.prod(self.shape))


@dataclass(frozen=True)
class Tables:
    """What node_tables.c says; every tensor is of float32."""

    tensors: Sequence[Tensor]
    peers: Sequence[str] = ("host",)
    calls: Sequence[tuple[str, Sequence[int]]] = ()
    """(kernel, arguments)"""
    stages: Sequence[tuple[int, int, Sequence[int]]] = ()
    """(first call, call count, needed receives)"""
    receives: Sequence[tuple[int, int, int]] = ()
    """(tensor, wire, peer)"""
    sends: Sequence[tuple[int, int, int, int, int]] = ()
    """(tensor, wire, peer, after, index)"""
    node: str = "a"
    slots: int = 2
    threads: int = 1
    constants: bytes = b""
    features: str = ""
    bundle: bytes = BUNDLE

    @property
    def weights(self) -> bytes:
        if not self.constants:
            return b""
        name = self.node.encode()[:24].ljust(24, b"\0")
        return b"SPLTWGT1" + self.bundle + name + self.constants

    def storage_bytes(self, storage: int) -> int:
        ends = [t.offset + t.size_bytes for t in self.tensors if t.storage == storage]
        return -(-max(ends, default=0) // ALIGNMENT) * ALIGNMENT


def _array(kind: str, name: str, rows: Sequence[str]) -> str:
    return f"static const {kind} {name}[] = {{{', '.join(rows) or '{0}'}}};\n"


def _numbers(kind: str, name: str, values: Sequence[int]) -> str:
    return f"static const {kind} {name}[] = {{{', '.join(map(str, values)) or '0'}}};\n"


def _row(values: Sequence[int]) -> str:
    return "{" + ", ".join(map(str, values)) + "}"


def emit(tables: Tables) -> str:
    """The C source of the tables."""
    out = ['#include <stddef.h>\n#include "tables.h"\n']
    for kernel in sorted({kernel for kernel, _ in tables.calls}):
        out.append(f"int {kernel}(void *, const KernelArg *, int32_t, KernelArg *);\n")
    tensors, calls, stages = [], [], []
    for i, tensor in enumerate(tables.tensors):
        out.append(_numbers("int64_t", f"shape{i}", tensor.shape))
        place = f"{tensor.offset}, {tensor.size_bytes}"
        tensors.append(
            f'{{"t{i}", {tensor.storage}, 2, 32, {len(tensor.shape)}, shape{i}, {place}}}'
        )
    for i, (kernel, arguments) in enumerate(tables.calls):
        out.append(_numbers("uint32_t", f"args{i}", arguments))
        calls.append(f'{{{kernel}, "layer{i}", args{i}, {len(arguments)}, 0, 0}}')
    for i, (first, count, needs) in enumerate(tables.stages):
        out.append(_numbers("uint32_t", f"needs{i}", needs))
        stages.append(f"{{{first}, {count}, needs{i}, {len(needs)}}}")
    out += [
        _array("NodeTensor", "tensors", tensors),
        _array("NodeCall", "calls", calls),
        _array("NodeStage", "stages", stages),
        _array("NodeReceive", "receives", [_row(receive) for receive in tables.receives]),
        _array("NodeSend", "sends", [_row(send) for send in tables.sends]),
        _array("char *const", "peers", [f'"{peer}"' for peer in tables.peers]),
        _emit_summary(tables),
    ]
    return "".join(out)


def _emit_summary(tables: Tables) -> str:
    hash64 = xxhash.xxh64_intdigest(tables.weights)
    counts = [tables.tensors, tables.calls, tables.stages, tables.receives, tables.sends]
    return f"""const NodeTables node_tables = {{
  NODE_TABLES_VERSION, "{tables.node}", {{{", ".join(map(str, tables.bundle))}}},
  {len(tables.weights)}u, {hash64}u, 0, {tables.storage_bytes(SLOT)}, {tables.storage_bytes(ARENA)},
  {tables.slots}, {tables.threads}, tensors, calls, stages, receives, sends, NULL, peers,
  {", ".join(str(len(part)) for part in counts)}, 0, {len(tables.peers)}, "{tables.features}"}};
"""


@dataclass
class Builder:
    """Compiles the node program once per set of flags, then links it with tables."""

    folder: Path
    flags: Sequence[str]
    compiler: Sequence[str] = ("gcc",)
    link_flags: Sequence[str] = ("-lpthread",)
    emulator: Sequence[str] = ()
    _objects: list[Path] = field(default_factory=list)
    _count: int = 0

    def compile(self, sources: Sequence[Path], *extra: str) -> list[Path]:
        """Compiles sources to objects in the builder's folder."""
        self.folder.mkdir(parents=True, exist_ok=True)
        command = [*self.compiler, *LANGUAGE, *WARNINGS, *self.flags, *extra, "-c"]
        objects = [self.folder / f"{source.stem}.o" for source in sources]
        for source, target in zip(sources, objects, strict=True):
            subprocess.run([*command, str(source), "-o", str(target)], check=True)
        return objects

    def objects(self) -> list[Path]:
        """The node program's objects and the test kernels."""
        if not self._objects:
            sources = [*sorted(DEVICE.glob("*.c")), HERE / "kernels.c"]
            self._objects = self.compile(sources)
        return self._objects

    def node(self, tables: Tables) -> Path:
        """A folder with the executable `node` and its weights."""
        self._count += 1
        objects = self.objects()
        folder = self.folder / f"{self._count}_{tables.node}"
        folder.mkdir()
        (folder / "node_tables.c").write_text(emit(tables))
        (folder / "weights.bin").write_bytes(tables.weights)
        command = [*self.compiler, *LANGUAGE, *WARNINGS, *self.flags, "node_tables.c"]
        command += [*map(str, objects), "-o", "node", *self.link_flags]
        subprocess.run(command, cwd=folder, check=True)
        return folder


class Node:
    """A running node. Leaving the context kills it when it still lives."""

    def __init__(
        self, folder: Path, *arguments: str, timeout_s: float = 10, emulator: Sequence[str] = ()
    ) -> None:
        self.folder = folder
        command = [*emulator, str(folder / "node"), "--timeout", str(timeout_s), *arguments]
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._out: list[str] = []

    def __enter__(self) -> "Node":
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            if stream is not None:
                with contextlib.suppress(OSError, ValueError):
                    stream.close()

    def line(self) -> str:
        """The next line on standard output."""
        assert self.process.stdout is not None
        return self.process.stdout.readline()

    def address(self) -> str:
        """Where it listens; reads the `listening` line."""
        line = self.line()
        assert line.startswith("listening "), (line, self.ended())
        return line.split()[1]

    def tell_peers(self, text: str) -> None:
        """Gives the peers file on standard input."""
        assert self.process.stdin is not None
        self.process.stdin.write(text)
        self.process.stdin.close()

    def ended(self, timeout_s: float = WAIT_S) -> tuple[int, str]:
        """Exit code and what it said on standard error, once it has ended."""
        assert self.process.stderr is not None
        code = self.process.wait(timeout_s)
        return code, self.process.stderr.read()


def padded(name: str) -> bytes:
    """A name as a HELLO carries it."""
    return name.encode().ljust(64, b"\0")


def header(kind: int, request: int, wire: int, payload: bytes, **changes: int | bytes) -> bytes:
    """A frame's header; `changes` replace fields to make it wrong."""
    fields: dict[str, int | bytes] = {
        "magic": b"SPLT",
        "version": 1,
        "kind": kind,
        "request": request,
        "wire": wire,
        "reserved": 0,
        "length": len(payload),
        "checksum": xxhash.xxh64_intdigest(payload),
    }
    assert changes.keys() <= fields.keys()
    return struct.pack("<4sHHQIIQQ", *(fields | changes).values())


def frame(kind: int, request: int = 0, wire: int = 0, payload: bytes = b"") -> bytes:
    """A whole frame."""
    return header(kind, request, wire, payload) + payload


def hello(source: str, target: str, bundle: bytes = BUNDLE) -> bytes:
    """A whole HELLO frame."""
    return frame(HELLO, payload=bundle + padded(source) + padded(target))


def tensor_frame(request: int, wire: int, values: Floats) -> bytes:
    """A whole TENSOR frame."""
    return frame(TENSOR, request, wire, values.astype("<f4").tobytes())


def read_exact(connection: socket.socket, length: int) -> bytes:
    """Exactly so many bytes; an end before is an error."""
    data = bytearray()
    while len(data) < length:
        part = connection.recv(length - len(data))
        if not part:
            raise EOFError(f"{len(data)} of {length} bytes")
        data += part
    return bytes(data)


@dataclass(frozen=True)
class Received:
    kind: int
    request: int
    wire: int
    values: Floats


def read_frame(connection: socket.socket) -> Received:
    """The next frame, its checksum checked."""
    head = read_exact(connection, 40)
    magic, version, kind, request, wire, reserved, length, checksum = struct.unpack(
        "<4sHHQIIQQ", head
    )
    assert (magic, version, reserved) == (b"SPLT", 1, 0)
    payload = read_exact(connection, length)
    assert checksum == xxhash.xxh64_intdigest(payload)
    values = np.frombuffer(payload, "<f4") if kind == TENSOR else np.empty(0, np.float32)
    return Received(kind, request, wire, values)


def connect(address: str) -> socket.socket:
    """A connection to a node, which says nothing yet."""
    host, port = address.rsplit(":", 1)
    connection = socket.create_connection((host.strip("[]"), int(port)), WAIT_S)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def greet(address: str, source: str, target: str) -> socket.socket:
    """A connection over which both sides have said HELLO."""
    connection = connect(address)
    connection.sendall(hello(source, target))
    assert read_exact(connection, 200) == hello(target, source)
    return connection


def listener() -> socket.socket:
    """A listening socket of a peer."""
    server = socket.create_server(("127.0.0.1", 0))
    server.settimeout(WAIT_S)
    return server


def address_of(server: socket.socket) -> str:
    """Its address in text."""
    return f"127.0.0.1:{server.getsockname()[1]}"


def welcome(server: socket.socket, own: str, source: str) -> socket.socket:
    """Accepts a node's connection and answers its HELLO."""
    connection, _ = server.accept()
    connection.settimeout(WAIT_S)
    assert read_exact(connection, 200) == hello(source, own)
    connection.sendall(hello(own, source))
    return connection


def peers_text(addresses: dict[str, str]) -> str:
    """A peers file."""
    return "[peers]\n" + "".join(f'"{name}" = "{at}"\n' for name, at in addresses.items())


@dataclass
class Session:
    """One node with the host on both sides, ready to serve."""

    node: Node
    address: str
    feed: socket.socket
    result: socket.socket

    def ask(self, request: int, values: Floats, wire: int = 0) -> Received:
        """Feeds one tensor and waits for the next frame."""
        self.feed.sendall(tensor_frame(request, wire, values))
        return read_frame(self.result)

    def bye(self, total: int) -> tuple[int, str]:
        """Says BYE, checks that it is passed on, waits for the end."""
        self.feed.sendall(frame(BYE, total))
        last = read_frame(self.result)
        assert (last.kind, last.request) == (BYE, total)
        return self.node.ended()


@contextlib.contextmanager
def session(
    folder: Path, *arguments: str, timeout_s: float = 10, emulator: Sequence[str] = ()
) -> Iterator[Session]:
    """Starts node "a" and plays its host."""
    with (
        listener() as server,
        Node(folder, "--peers", "-", *arguments, timeout_s=timeout_s, emulator=emulator) as node,
    ):
        address = node.address()
        node.tell_peers(peers_text({"host": address_of(server)}))
        with greet(address, "host", "a") as feed, welcome(server, "host", "a") as result:
            assert node.line() == "ready\n"
            yield Session(node, address, feed, result)


@contextlib.contextmanager
def in_background(work: Callable[[], None]) -> Iterator[None]:
    """Runs work in a thread beside the block, and waits for it."""
    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        thread.join(WAIT_S)
        assert not thread.is_alive()


def zig(target: str) -> list[str]:
    """The C compiler that builds static programs for a target."""
    return [sys.executable, "-m", "ziglang", "cc", "-target", target]


def run(folder: Path, *arguments: str, emulator: Sequence[str] = ()) -> tuple[int, str, str]:
    """Runs a node without peers to its end: exit code, standard output, standard error."""
    command = [*emulator, str(folder / "node"), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=WAIT_S, check=False)
    return done.returncode, done.stdout, done.stderr


def says(message: str, *parts: str) -> bool:
    """Whether a node's standard error is one line that starts right and holds every part."""
    one_line = re.fullmatch(r"node \S+: [^\n]+\n", message) is not None
    return one_line and all(part in message for part in parts)


VECTOR = 16


def vector(offset: int, storage: int = SLOT, length: int = VECTOR) -> Tensor:
    """A tensor of one dimension."""
    return Tensor(storage, (length,), offset)


def simple(kernel: str = "kernel_double", length: int = VECTOR, **changes: object) -> Tables:
    """host -> one call -> host; wire 0 comes in, wire 1 goes out."""
    step = -(-4 * length // ALIGNMENT) * ALIGNMENT
    fields: dict[str, object] = {
        "tensors": [vector(0, length=length), vector(step, length=length)],
        "calls": [(kernel, [0, 1])],
        "stages": [(0, 1, [0])],
        "receives": [(0, 0, 0)],
        "sends": [(1, 1, 0, AFTER_CALL, 0)],
    }
    return Tables(**(fields | changes))  # type: ignore[arg-type]


def relay() -> Tables:
    """host -> host: no layers, wire 0 passes through."""
    sends = [(0, 0, 0, AFTER_RECEIVE, 0)]
    return simple(calls=[], stages=[], sends=sends, tensors=[vector(0)])


def values(request: int, length: int = VECTOR) -> Floats:
    """A request's input."""
    return np.arange(request, request + length, dtype=np.float32)
