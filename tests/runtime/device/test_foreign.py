"""The node program on other processors: static programs under an emulator."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from node_harness import (
    SLOT,
    WEIGHTS,
    Builder,
    Tensor,
    relay,
    run,
    says,
    session,
    simple,
    tensor_frame,
    values,
    vector,
    zig,
)
from tvm_kernels import TARGETS, compile_kernel

PROCESSORS = {
    "aarch64": "aarch64-linux-musl",
    "arm": "arm-linux-musleabihf",
    "riscv64": "riscv64-linux-musl",
}
FLAGS = ["-O2", "-ffunction-sections", "-fdata-sections", "-fno-unwind-tables"]
FLAGS += ["-fno-asynchronous-unwind-tables"]
LINK_FLAGS = ["-static", "-s", "-Wl,--gc-sections"]


@pytest.mark.foreign
@pytest.mark.parametrize("processor", PROCESSORS)
def test_node_under_emulation(processor: str, tmp_path: Path) -> None:
    emulator = [f"qemu-{processor}-static"]
    if shutil.which(emulator[0]) is None:
        pytest.skip(f"{emulator[0]} is missing (Debian package qemu-user-static)")
    kernel = tmp_path / "triple.o"
    compile_kernel("triple", 3.0, (4, 4), kernel, TARGETS[processor])
    square, constant = Tensor(SLOT, (4, 4), 0), vector(64, WEIGHTS)
    tables = simple(
        tensors=[square, replace(square, offset=64), vector(128), constant],
        calls=[("__tvm_ffi_triple", [0, 1]), ("kernel_add", [1, 3, 2])],
        stages=[(0, 2, [0])],
        sends=[(2, 1, 0, 0, 1)],
        constants=np.full(16, 10, np.float32).tobytes(),
        threads=2,
    )
    builder = Builder(tmp_path, FLAGS, zig(PROCESSORS[processor]), LINK_FLAGS)
    assert (builder.node(relay()) / "node").stat().st_size < 100_000
    builder.link_flags = [*LINK_FLAGS, str(kernel)]
    folder = builder.node(tables)
    with session(folder, emulator=emulator) as it:
        for request in range(10):
            got = it.ask(request, values(request))
            np.testing.assert_array_equal(got.values, 3 * values(request) + 10)
        assert it.bye(10) == (0, "")
    with session(folder, emulator=emulator, timeout_s=1) as it:
        it.feed.sendall(tensor_frame(3, 0, values(0)))
        code, error = it.node.ended()
        assert (code, says(error, "of request 3, expected 0")) == (5, True), error
    code, out, error = run(folder, "--bench", "2", emulator=emulator)
    assert (code, len(out.splitlines()), error) == (0, 3, "")
