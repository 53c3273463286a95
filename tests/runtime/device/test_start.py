"""Faults before a node serves: arguments, peers file, weights, processor, addresses."""

import platform
import re
from pathlib import Path

import numpy as np
import pytest
from node_harness import (
    DEVICE,
    OTHER_THAN_BUNDLE,
    SLOT,
    Builder,
    Tables,
    Tensor,
    listener,
    run,
    says,
    simple,
)

ARGUMENTS = {
    "unknown": (["--frobnicate"], "'--frobnicate'"),
    "stray": (["file"], "'file'"),
    "no value": (["--weights"], "--weights needs a value"),
    "no threads": (["--threads", "0"], "--threads", "'0'"),
    "many threads": (["--threads", "100000"], "from 1 to 1024"),
    "negative threads": (["--threads", "-1"], "'-1'"),
    "text threads": (["--threads", "2x"], "'2x'"),
    "empty threads": (["--threads", ""], "''"),
    "overflowing runs": (["--bench", "9" * 30], "--bench"),
    "no timeout": (["--timeout", "0"], "--timeout", "'0'"),
    "negative timeout": (["--timeout", "-1"], "'-1'"),
    "text timeout": (["--timeout", "soon"], "'soon'"),
    "endless timeout": (["--timeout", "inf"], "'inf'"),
    "huge timeout": (["--timeout", "9" * 40], "up to 86400"),
    "listen text": (["--peers", "-", "--listen", "here"], "'here'"),
    "listen port": (["--peers", "-", "--listen", "127.0.0.1:70000"], "127.0.0.1:70000"),
    "listen signed port": (["--peers", "-", "--listen", "127.0.0.1:+7"], "127.0.0.1:+7"),
    "listen empty port": (["--peers", "-", "--listen", "127.0.0.1:"], "'127.0.0.1:'"),
    "listen host": (["--peers", "-", "--listen", "example:70"], "'example:70'"),
    "listen v6": (["--peers", "-", "--listen", "::1:70"], "'::1:70'"),
    "listen bracket": (["--peers", "-", "--listen", "[::1:70"], "'[::1:70'"),
    "no peers file": (["--peers", "absent.toml"], "cannot read absent.toml"),
    "peers folder": (["--peers", "/"], "cannot read /"),
    "trace": (["--peers", "-", "--trace", "/absent/trace.csv"], "--trace", "/absent/trace.csv"),
    "record": (["--peers", "-", "--record", "/absent"], "--record", "/absent"),
}


@pytest.mark.parametrize("case", ARGUMENTS.values(), ids=ARGUMENTS.keys())
def test_arguments(simple_node: Path, case: tuple[list[str], *tuple[str, ...]]) -> None:
    arguments, *parts = case
    code, out, error = run(simple_node, *arguments)
    assert (code, out, says(error, *parts)) == (2, "", True), error


PEERS = {
    "syntax": ("[peers]\nhost: 1\n", "line 2", "expected '='"),
    "missing": ("[peers]\nother = '127.0.0.1:1'\n", "no address of host"),
    "empty": ("", "no address of host"),
    "address": ("[peers]\nhost = '127.0.0.1'\n", "peer host", "'127.0.0.1'"),
    "name": ("[peers]\nhost = 'example.com:80'\n", "'example.com:80'"),
    "zero byte": ("[peers]\0", "zero byte"),
    "long": ("#" * 70000, "longer than 65535 bytes"),
    "listen": ("listen = 'there'\n[peers]\nhost = '[::1]:9'\n", "'there'"),
}


@pytest.mark.parametrize("case", PEERS.values(), ids=PEERS.keys())
def test_peers_file(simple_node: Path, tmp_path: Path, case: tuple[str, ...]) -> None:
    text, *parts = case
    path = tmp_path / "peers.toml"
    path.write_text(text)
    code, _, error = run(simple_node, "--peers", str(path))
    assert (code, says(error, *parts)) == (2, True), error


def test_port_is_taken(simple_node: Path) -> None:
    with listener() as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        code, _, error = run(simple_node, "--peers", "-", "--listen", address)
    assert (code, says(error, "cannot listen at", address)) == (7, True), error


def _weighted(**changes: object) -> Tables:
    return simple(
        tensors=[Tensor(SLOT, (16,), 0), Tensor(SLOT, (16,), 64)],
        constants=np.arange(16, dtype=np.float32).tobytes(),
        **changes,
    )


def test_weights_faults(sanitized: Builder) -> None:
    folder = sanitized.node(_weighted())
    path = folder / "weights.bin"
    good = _weighted().weights
    flipped = bytearray(good)
    flipped[100] ^= 1
    cases: list[tuple[bytes, tuple[str, ...]]] = [
        (bytes(flipped), ("is damaged", "XXH64")),
        (good[:-1], (f"has {len(good) - 1} bytes, expected {len(good)}",)),
        (good + b"\0", (f"has {len(good) + 1} bytes",)),
        (good[:63], ("has 63 bytes",)),
        (b"", ("has 0 bytes",)),
        (b"x" + good[1:], ("is not a weights file",)),
        (_weighted(node="b").weights, ("weights of node b, not a",)),
        (_weighted(bundle=OTHER_THAN_BUNDLE).weights, ("bundle 07070707..., not 00010203",)),
    ]
    for data, parts in cases:
        path.write_bytes(data)
        for arguments in (["--peers", "-"], ["--bench", "1"]):
            code, out, error = run(folder, *arguments)
            assert (code, out, says(error, *parts)) == (3, "", True), error
    path.write_bytes(good)
    assert run(folder, "--bench", "1")[0] == 0


def test_weights_elsewhere(sanitized: Builder, tmp_path: Path) -> None:
    folder = sanitized.node(_weighted())
    moved = (folder / "weights.bin").rename(tmp_path / "moved.bin")
    code, _, error = run(folder, "--bench", "1")
    assert (code, says(error, "cannot read the weights", "weights.bin")) == (3, True), error
    assert run(folder, "--bench", "1", "--weights", str(moved))[0] == 0
    code, _, error = run(folder, "--bench", "1", "--weights", str(tmp_path))
    assert (code, says(error, "not a regular file")) == (3, True), error


@pytest.mark.parametrize(
    ("features", "expected_code", "message"),
    [
        ("sse2 cx16 ", 0, ""),
        ("sse2 frobnicate", 8, "frobnicate, which is no feature known"),
        ("avx512fp16 gfni avx512vpopcntdq avxvnni avx512bf16 frobnicate", 8, ""),
    ],
)
def test_processor_features(
    sanitized: Builder, features: str, expected_code: int, message: str
) -> None:
    code, _, error = run(sanitized.node(simple(features=features)), "--bench", "1")
    assert code == expected_code
    assert message in error


CPUINFO_NAMES = {
    "pclmulqdq": "pclmul",
    "pni": "sse3",
    "sse4_1": "sse4.1",
    "sse4_2": "sse4.2",
    "bmi1": "bmi",
    "abm": "lzcnt",
    "lahf_lm": "sahf",
    "3dnowprefetch": "prfchw",
    "sha_ni": "sha",
    "avx_vnni": "avxvnni",
    "rdrand": "rdrnd",
    "lm": "64bit",
}
FEATURE_NAMES = set(re.findall(r'{"([^"]+)", ', (DEVICE / "check_processor.c").read_text()))


@pytest.mark.skipif(platform.machine() != "x86_64", reason="has no x86 features to look for")
def test_processor_has_what_the_system_says(plain: Builder) -> None:
    flags = re.search(r"^flags\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    assert flags is not None
    names = {
        CPUINFO_NAMES.get(flag, flag.replace("avx512_", "avx512")) for flag in flags[1].split()
    }
    known = sorted(names & FEATURE_NAMES)
    assert {"sse2", "64bit", "cx16"} <= set(known)
    code, _, error = run(plain.node(simple(features=" ".join(known))), "--bench", "1")
    assert (code, error) == (0, "")
    for name in sorted(FEATURE_NAMES - names - {"x87", "crc32"})[:3]:
        code, _, error = run(plain.node(simple(features=name)), "--bench", "1")
        assert (code, says(error, f"lacks {name}")) == (8, True), error


def test_processor_lacks_a_feature(plain: Builder) -> None:
    """An emulated old processor has no AVX."""
    folder = plain.node(simple(features="sse2 avx2"))
    emulator = ["qemu-x86_64-static", "-cpu", "Nehalem"]
    try:
        code, _, error = run(folder, "--bench", "1", emulator=emulator)
    except FileNotFoundError:
        pytest.skip("qemu-x86_64-static is missing")
    assert (code, says(error, "lacks avx2", "sse2 avx2")) == (8, True), error


def test_no_memory_for_slots(plain: Builder) -> None:
    tables = simple(tensors=[Tensor(SLOT, (16,), 0), Tensor(SLOT, (16,), 2**62)])
    code, _, error = run(plain.node(tables), "--bench", "1")
    assert (code, says(error, "no memory for a request slot", str(2**62 + 64))) == (7, True), error


@pytest.mark.parametrize(
    "changes",
    [
        {"tensors": [Tensor(SLOT, (16,), 0), Tensor(SLOT, (16,), 8)]},
        {"tensors": [Tensor(SLOT, (16,), 0), Tensor(3, (16,), 64)]},
        {"tensors": [Tensor(SLOT, (16,), 0), Tensor(0, (16,), 64)]},
        {"calls": [("kernel_double", [0, 2])]},
        {"stages": [(0, 2, [0])]},
        {"stages": [(0, 1, [1])]},
        {"receives": [(0, 0, 1)]},
        {"receives": [(2, 0, 0)]},
        {"sends": [(1, 1, 0, 0, 1)]},
        {"sends": [(1, 1, 0, 2, 0)]},
        {"sends": [(1, 1, 3, 0, 0)]},
        {"slots": 0},
        {"threads": 0},
        {"node": "n" * 64},
    ],
    ids=str,
)
def test_damaged_tables(plain: Builder, changes: dict[str, object]) -> None:
    code, _, error = run(plain.node(simple(**changes)), "--peers", "-")
    assert code == 2
    assert "built-in tables" in error


def test_nothing_to_receive(plain: Builder) -> None:
    """Such tables serve measurements only."""
    tables = simple(receives=[], stages=[], sends=[])
    folder = plain.node(tables)
    code, _, error = run(folder, "--peers", "-")
    assert (code, says(error, "receives nothing")) == (2, True), error
    assert run(folder, "--bench", "1")[0] == 0
