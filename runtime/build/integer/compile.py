"""C kernels to object files, with the toolchain's own compiler."""

import sys
import tempfile
from pathlib import Path

from runtime.build.machine import BASE_FEATURES, Machine
from runtime.build.toolchain import DEVICE_SOURCES, ZIG_TARGETS, compiler_version, run_tool

KERNEL_SOURCES = Path(__file__).parents[2] / "kernels"
_FLAGS = (
    "-std=c11",
    "-D_GNU_SOURCE",
    "-O3",
    "-g0",
    "-Wall",
    "-Wextra",
    "-Werror",
    "-Wno-unused-function",
    # Sums and products must round as the reference does.
    "-ffp-contract=off",
    "-fno-sanitize=undefined",
    "-ffunction-sections",
    "-fdata-sections",
    "-fno-asynchronous-unwind-tables",
    "-fno-unwind-tables",
)


def compile_source(source: str, symbol: str, machine: Machine) -> bytes:
    """The object file of a layer's ``source`` with its kernel under the name ``symbol``.

    Raises:
        ToolchainError: the compiler is missing or refuses.
    """
    compiler_version()
    with tempfile.TemporaryDirectory() as scratch:
        file, target = Path(scratch) / "layer.c", Path(scratch) / "layer.o"
        file.write_text(f"#define LAYER {symbol}\n{source}")
        command = [
            *(sys.executable, "-m", "ziglang", "cc", "-c"),
            *("-target", ZIG_TARGETS[machine.processor], f"-mcpu={zig_cpu(machine)}"),
            *_FLAGS,
            f"-ffile-prefix-map={scratch}=.",
            *(f"-I{folder}" for folder in (KERNEL_SOURCES, DEVICE_SOURCES)),
            *(str(file), "-o", str(target)),
        ]
        run_tool(command, f"compiling an integer kernel for {machine.processor}")
        return target.read_bytes()


def zig_cpu(machine: Machine) -> str:
    """The processor in zig's words: x86_64_v4+avx512vnni."""
    features = [*BASE_FEATURES.get(machine.processor, ()), *machine.mattr]
    named = [machine.mcpu, *(f for f in features if f not in _ONLY_LLVM)]
    return "".join(named[:1]).replace("-", "_") + "".join(
        f[0] + f[1:].replace("-", "_") for f in named[1:]
    )


_ONLY_LLVM = ("-vmlx-hazards",)
