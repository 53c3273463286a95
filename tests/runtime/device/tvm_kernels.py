"""Kernels compiled by TVM for any processor."""

from pathlib import Path

import tvm
from tvm import te

NATIVE: dict[str, object] = {}
TARGETS: dict[str, dict[str, object]] = {
    "aarch64": {"mtriple": "aarch64-linux-gnu", "mcpu": "cortex-a72"},
    "arm": {"mtriple": "armv7a-linux-gnueabihf", "mfloat-abi": "hard", "mattr": ["+neon"]},
    "riscv64": {
        "mtriple": "riscv64-unknown-linux-gnu",
        "mcpu": "generic-rv64",
        "mabi": "lp64d",
        "mattr": ["+m", "+a", "+f", "+d", "+c"],
    },
}


def compile_kernel(
    name: str, factor: float, shape: tuple[int, int], path: Path, target: dict[str, object]
) -> None:
    """out = factor * in, for whole numbers: by all threads, through a workspace and int64."""
    source = te.placeholder(shape, "float32", name="source")
    staged = te.compute(shape, lambda i, j: source[i, j].astype("int64"), name="staged")
    result = te.compute(shape, lambda i, j: staged[i, j].astype("float32") * factor, name="result")
    function = te.create_prim_func([source, result]).with_attr("global_symbol", name)
    schedule = tvm.s_tir.Schedule(tvm.IRModule({name: function}))
    for block in ("staged", "result"):
        loops = schedule.get_loops(schedule.get_sblock(block, func_name=name))
        schedule.parallel(loops[0])
    full = tvm.target.Target({"kind": "llvm", "num-cores": 4, **target})
    tvm.tirx.build(schedule.mod, target=full).write_to_file(str(path), "o")
