"""Every layer of random networks on 8-bit numbers: kernels in C against torch, bit by bit."""

import shutil
import struct
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from compress.int8 import quantize
from runtime.build.integer import integer_layer, is_integer
from runtime.build.integer.compile import KERNEL_SOURCES, zig_cpu
from runtime.build.machine import Machine
from runtime.build.toolchain import DEVICE_SOURCES
from splitter.graph import Layer
from splitter.program import Program
from splitter.tracing import trace

HARNESS = Path(__file__).parent / "harness.c"
VNNI = Machine("x86_64", "x86-64-v4", ("-prefer-256-bit", "+avx512vnni"), 64, 2)
SSE = Machine("x86_64", "x86-64", (), 16, 1)
DOTPROD = Machine("aarch64", "cortex-a76", (), 16, 2)
_SANITIZED = ["gcc", "-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-O1", "-g"]
_STATIC = [sys.executable, "-m", "ziglang", "cc", "-target", "aarch64-linux-musl", "-static"]
BUILDS: dict[str, tuple[Machine, list[str], list[str]]] = {
    "vnni": (VNNI, [*_SANITIZED, "-march=x86-64-v4", "-mavx512vnni"], []),
    "plain": (SSE, _SANITIZED, []),
    "dotprod": (
        DOTPROD,
        [*_STATIC, "-O2", "-Wno-overriding-option", f"-mcpu={zig_cpu(DOTPROD)}"],
        ["qemu-aarch64-static"],
    ),
}

HAS_VNNI = "avx512_vnni" in Path("/proc/cpuinfo").read_text()
RUN_HERE = [build for build in BUILDS if build != "vnni" or HAS_VNNI]
"""No emulator knows VNNI: where the processor lacks it, its kernels are compiled but not run."""


class Net(nn.Module):
    """One of each operator that has numbers, with shapes from a seed."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        rng = np.random.default_rng(seed)
        a, b, c, d = (int(n) for n in rng.integers(1, 90, 4))
        self.pads = [int(n) for n in rng.integers(0, 3, 4)]
        self.first = nn.Conv2d(3, a, 3, stride=2, padding=1)
        self.wide = nn.Conv2d(a, b, 1)
        self.depth = nn.Conv2d(b, b, 3, padding=2, dilation=2, groups=b)
        self.strided = nn.Conv2d(b, b, 5, stride=2, groups=b, bias=False)
        self.narrow = nn.Conv2d(b, c, 1, stride=(1, 2))
        self.square = nn.Conv2d(c, c, (3, 2), padding=(1, 0), dilation=(1, 2))
        self.fit = nn.Conv2d(c, c, (1, 3), bias=False)
        self.hidden = nn.Linear(c, d)
        self.head = nn.Linear(d, 7)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x = F.max_pool2d(torch.relu(self.first(x)), 3, 2, 1)
        y = F.relu6(self.wide(x + x))
        y = self.depth(y) + y
        y = self.narrow(F.hardtanh(self.strided(F.pad(y, self.pads)), -0.7, 0.9))
        z = self.square(y)
        z = torch.relu(z + self.fit(y)) + z
        h = torch.relu(self.hidden(z.mean((2, 3))))
        return self.head(h), z


def network(seed: int) -> Program:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        x = torch.randn(1 + seed % 2, 3, 65 + seed, 71)
        return quantize(trace(Net(seed).eval(), (x,)), [(x,)])


@pytest.mark.parametrize("build", RUN_HERE)
def test_layers(build: str, tmp_path: Path) -> None:
    machine, command, emulator = BUILDS[build]
    if emulator and shutil.which(emulator[0]) is None:
        pytest.skip("qemu-user is not installed")
    program = network(list(BUILDS).index(build))
    layers = _integer_layers(program)
    kinds = {layer.kind for layer in layers}
    assert {"quantize", "dequantize", "qmean", "qlinear", "qlinear_float"} <= kinds
    assert {"qmax_pool2d", "qadd", "depthwise qconv2d", "pointwise qconv2d", "qconv2d"} <= kinds
    made = [integer_layer(program, layer, machine) for layer in layers]
    binary = _built(tmp_path, [one.source for one in made], command)
    expected = program.tensors(*program.example_inputs)
    for number, (layer, kernel) in enumerate(zip(layers, made, strict=True)):
        arrays: list[np.ndarray] = []
        for operand in kernel.operands:
            if operand.role == "weight":
                value = program.constant(operand.name).numpy()
                value = operand.packing.apply(value) if operand.packing else value
            else:
                value = expected[operand.name].numpy()
            assert value.size == np.prod(operand.shape)
            arrays.append(np.ascontiguousarray(value))
        wanted = arrays[-1]
        arrays[-1] = np.full_like(wanted, 77)
        done = subprocess.run(
            [*emulator, str(binary)], input=_request(number, arrays), capture_output=True
        )
        assert done.returncode == 0, (layer, done.stderr.decode())
        found = np.frombuffer(done.stdout, wanted.dtype).reshape(wanted.shape)
        np.testing.assert_array_equal(found, wanted, str(layer))


def test_vnni_kernels_compile(tmp_path: Path) -> None:
    machine, command, _ = BUILDS["vnni"]
    program = network(0)
    made = [integer_layer(program, layer, machine) for layer in _integer_layers(program)]
    assert any("#define DOT 1" in one.source for one in made)
    _compiled(tmp_path, [one.source for one in made], [*command, "-fsyntax-only"])


def _integer_layers(program: Program) -> list[Layer]:
    return [layer for layer in program.graph.layers if is_integer(program, layer)]


def _request(number: int, arrays: Sequence[np.ndarray]) -> bytes:
    parts = [struct.pack("<QQ", number, len(arrays))]
    for array in arrays:
        parts += [struct.pack("<Q", array.nbytes), array.tobytes()]
    return b"".join(parts)


def _built(folder: Path, sources: Sequence[str], command: Sequence[str]) -> Path:
    """One executable with all kernels."""
    binary = folder / "kernels"
    _compiled(folder, sources, [*command, str(HARNESS), "-o", str(binary)])
    return binary


def _compiled(folder: Path, sources: Sequence[str], command: Sequence[str]) -> None:
    """Run the compiler on all kernels and their table; warnings are errors."""
    flags = ["-std=c11", "-D_GNU_SOURCE", "-ffp-contract=off", "-Wall", "-Wextra", "-Werror"]
    flags += ["-Wno-unknown-pragmas", "-Wno-unused-function", f"-I{KERNEL_SOURCES}"]
    files = []
    for i, source in enumerate(sources):
        file = folder / f"k{i}.c"
        file.write_text(f"#define LAYER k{i}\n{source}")
        files.append(str(file))
    names = [f"k{i}" for i in range(len(sources))]
    table = folder / "table.c"
    declared = "".join(
        f"int {n}(void *, const KernelArg *, int32_t, KernelArg *);\n" for n in names
    )
    table.write_text(
        f'#include "kernel_abi.h"\n{declared}extern const KernelFunction kernels[];\n'
        f"const KernelFunction kernels[] = {{{', '.join(names)}}};\n"
    )
    words = [*command, *flags, f"-I{DEVICE_SOURCES}", *files, str(table)]
    subprocess.run(words, check=True)
