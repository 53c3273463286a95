"""Units of the node program by themselves: hash, peers file, addresses, binary interface."""

import string
import subprocess
import tomllib
from pathlib import Path

import pytest
import tvm_ffi
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st
from node_harness import DEVICE, HERE, LANGUAGE, Builder, zig


@pytest.fixture(scope="session")
def unit(sanitized: Builder) -> Path:
    sources = [
        HERE / "unit_main.c",
        *(DEVICE / name for name in ("xxh64.c", "peers.c", "net.c", "workspace.c")),
    ]
    objects = sanitized.compile(sources)
    program = sanitized.folder / "unit"
    subprocess.run(["gcc", *sanitized.flags, *map(str, objects), "-o", str(program)], check=True)
    return program


def _run(unit: Path, name: str, data: bytes) -> tuple[int, str]:
    done = subprocess.run([unit, name], input=data, capture_output=True, check=False)
    assert done.stderr == b""
    return done.returncode, done.stdout.decode()


@settings(max_examples=100, deadline=None)
@given(data=st.binary(max_size=200))
def test_xxh64(unit: Path, data: bytes) -> None:
    assert _run(unit, "xxh64", data) == (0, f"{xxhash.xxh64_intdigest(data)}\n")


@pytest.mark.parametrize("length", [0, 1, 3, 4, 7, 8, 31, 32, 33, 63, 64, 1000, 100_003])
def test_xxh64_lengths(unit: Path, length: int) -> None:
    data = bytes(i * 7 % 251 for i in range(length))
    assert _run(unit, "xxh64", data) == (0, f"{xxhash.xxh64_intdigest(data)}\n")


def _parsed(unit: Path, text: str) -> dict[str, object]:
    code, out = _run(unit, "peers", text.encode())
    assert code == 0, out
    lines = iter(out.split("\n")[:-1])
    result: dict[str, object] = {}
    peers: dict[str, str] = {}
    for line in lines:
        if line == "listen":
            result["listen"] = next(lines)
        else:
            name, address = next(lines), next(lines)
            peers[name] = address
    return result | ({"peers": peers} if peers else {})


def _toml(text: str) -> dict[str, object]:
    table = tomllib.loads(text)
    return {key: value for key, value in table.items() if value != {}}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "# nothing\n\n",
        'listen = "127.0.0.1:0"\n',
        '[peers]\nedge = "a:1" # comment\n"with space.dot" = \'b:2\'\n',
        " \tlisten='x'\t# c\r\n [ peers ] # c\r\n a-b_C9 = \"\"\r\n",
        '[peers]\n"quo\\"te" = "back\\\\slash\\ttab"\n',
        "[peers]\n'lit\\eral' = 'C:\\\\x'",
        "[peers]\n\"é\" = 'x'",
        "[peers]\n" + "".join(f"p{i} = 'x{i}'\n" for i in range(256)),
    ],
)
def test_peers_file_as_toml(unit: Path, text: str) -> None:
    assert _parsed(unit, text) == _toml(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("peers\n", "1: expected '='"),
        ("listen = 5\n", "1: expected a string"),
        ("listen = \n", "1: expected a string"),
        ('listen = "x\n', "1: the string has no closing quote"),
        ('listen = "x" y\n', "1: expected the end"),
        ('listen = "\\u0041"\n', "1: expected \\\\, "),
        ('listen = "x\\', "1: expected \\\\, "),
        ('listen = "x\x01"\n', "1: control character in a string"),
        ("# \x02\n", "1: control character in a comment"),
        ('port = "1"\n', "1: the only key before [peers]"),
        ('listen = "1"\nlisten = "2"\n', "2: 'listen' is given twice"),
        ("[other]\n", "1: the only table"),
        ("[[peers]]\n", "1: the only table"),
        ("[peers\n", "1: expected ']'"),
        ("[peers]\n[peers]\n", "2: [peers] is given twice"),
        ("[peers]\na = 'x'\n\na = 'y'\n", "4: this peer has an address already"),
        ("[peers]\na.b = 'x'\n", "2: expected '='"),
        ("[peers]\n= 'x'\n", "2: expected a key"),
        ("[peers]\n" + "".join(f"p{i} = 'x'\n" for i in range(257)), "258: more than 256"),
    ],
)
def test_peers_file_faults(unit: Path, text: str, message: str) -> None:
    code, out = _run(unit, "peers", text.encode())
    assert code == 1
    assert out.startswith(message)


_WORD = st.text(string.ascii_letters + string.digits + " .:[]-_#='", max_size=8)


@settings(max_examples=60, deadline=None)
@given(peers=st.dictionaries(_WORD, _WORD, max_size=5))
def test_peers_file_round_trip(unit: Path, peers: dict[str, str]) -> None:
    text = "[peers]\n" + "".join(f'"{name}" = "{at}"\n' for name, at in peers.items())
    assert _parsed(unit, text) == _toml(text)


@settings(max_examples=100, deadline=None)
@given(text=st.text("[]peers=\"'\\\n\r\t #listen.x1", max_size=60))
def test_peers_file_never_differs_from_toml(unit: Path, text: str) -> None:
    """Whatever it accepts, TOML reads alike."""
    code, _ = _run(unit, "peers", text.encode())
    if code == 0:
        assert _parsed(unit, text) == _toml(text)


def test_addresses(unit: Path) -> None:
    good = ["127.0.0.1:0", "10.0.0.255:65535", "[::1]:7000", "[fe80::1:2]:80"]
    bad = ["", "1.2.3.4", "1.2.3:5", "1.2.3.4:", "1.2.3.4:-1", "1.2.3.4:65536", "1.2.3.4:000001"]
    bad += ["::1:80", "[::1]", "[]:1", "[1.2.3.4]:5", ":80", "x" * 100 + ":1", "host:1 "]
    lines = [*good, "localhost:9", *filter(None, bad)]
    code, out = _run(unit, "addresses", "\n".join(lines).encode())
    assert code == 0
    assert out.split("\n")[:-1] == [*good, "127.0.0.1:9"] + ["no address"] * (len(bad) - 1)


ABI = r"""
#include <stddef.h>
#include <dlpack/dlpack.h>
#include <tvm/ffi/c_api.h>
#include "kernel_abi.h"
#include "pool.h"
#define SAME(ours, field, theirs, other) \
  _Static_assert(offsetof(ours, field) == offsetof(theirs, other) && \
                 sizeof(((ours *)0)->field) == sizeof(((theirs *)0)->other), #field)
_Static_assert(sizeof(KernelTensor) == sizeof(DLTensor), "size of KernelTensor");
SAME(KernelTensor, data, DLTensor, data);
SAME(KernelTensor, device.device_type, DLTensor, device.device_type);
SAME(KernelTensor, device.device_id, DLTensor, device.device_id);
SAME(KernelTensor, ndim, DLTensor, ndim);
SAME(KernelTensor, dtype.code, DLTensor, dtype.code);
SAME(KernelTensor, dtype.bits, DLTensor, dtype.bits);
SAME(KernelTensor, dtype.lanes, DLTensor, dtype.lanes);
SAME(KernelTensor, shape, DLTensor, shape);
SAME(KernelTensor, strides, DLTensor, strides);
SAME(KernelTensor, byte_offset, DLTensor, byte_offset);
_Static_assert(sizeof(KernelArg) == sizeof(TVMFFIAny), "size of KernelArg");
SAME(KernelArg, type_index, TVMFFIAny, type_index);
SAME(KernelArg, padding, TVMFFIAny, zero_padding);
SAME(KernelArg, value.v_ptr, TVMFFIAny, v_ptr);
SAME(KernelArg, value.v_int64, TVMFFIAny, v_int64);
_Static_assert(KERNEL_DEVICE_CPU == kDLCPU, "device");
_Static_assert(KERNEL_TYPE_NONE == kTVMFFINone, "none");
_Static_assert(KERNEL_TYPE_TENSOR_POINTER == kTVMFFIDLTensorPtr, "tensor pointer");
int main(void) {
  int (*ours)(void *, const KernelArg *, int32_t, KernelArg *) = 0;
  return ours != 0;
}
"""


@pytest.mark.parametrize(
    "compiler",
    [["gcc"], pytest.param(zig("arm-linux-musleabihf"), marks=pytest.mark.foreign)],
    ids=["x86_64", "armv7"],
)
def test_binary_interface(tmp_path: Path, compiler: list[str]) -> None:
    """Layouts are those of the installed TVM FFI and DLPack headers, on 32 bits as well."""
    include = Path(tvm_ffi.__file__).parent / "include"
    (tmp_path / "abi.c").write_text(ABI)
    command = [*compiler, *LANGUAGE, f"-I{include}", "-c", "abi.c", "-o", "abi.o"]
    subprocess.run(command, cwd=tmp_path, check=True)


def _offsets(unit: Path, *steps: str) -> list[int]:
    code, output = _run(unit, "workspace", "\n".join(steps).encode())
    assert code == 0
    return [int(line) for line in output.split()]


def test_workspaces_come_out_of_the_scratch(unit: Path) -> None:
    steps = ("take 0 100", "take 1 64", "take 2 1", "give 1", "take 3 64", "give 0", "take 4 120")
    assert _offsets(unit, *steps) == [0, 128, 192, 128, 0]


def test_workspace_beyond_the_scratch_is_elsewhere(unit: Path) -> None:
    steps = ("take 0 1000", "take 1 64", "give 0", "take 2 1025", "give 1", "take 3 1024")
    assert _offsets(unit, *steps) == [0, -1, -1, 0]


def test_workspace_of_another_size_is_never_shared(unit: Path) -> None:
    steps = [f"take {i} {16 * (i % 7) + 1}" for i in range(80)]
    taken = [at for at in _offsets(unit, *steps) if at >= 0]
    assert len(taken) == len(set(taken))
