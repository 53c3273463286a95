"""Kernels that TVM has compiled, each in an object of its own, linked into one node."""

import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tvm
from node_harness import AFTER_CALL, Builder, Tables, session, tensor_frame, values, vector
from tvm import te

LENGTH = 4096


def _compile(name: str, factor: float, path: Path) -> None:
    """out = factor * in, by all threads, through a workspace."""
    source = te.placeholder((64, LENGTH // 64), "float32", name="source")
    staged = te.compute(source.shape, lambda i, j: source[i, j] + 1.0, name="staged")
    result = te.compute(source.shape, lambda i, j: (staged[i, j] - 1.0) * factor, name="result")
    function = te.create_prim_func([source, result]).with_attr("global_symbol", name)
    schedule = tvm.s_tir.Schedule(tvm.IRModule({name: function}))
    for block in ("staged", "result"):
        loops = schedule.get_loops(schedule.get_sblock(block, func_name=name))
        schedule.parallel(loops[0])
    target = tvm.target.Target({"kind": "llvm", "num-cores": 4})
    tvm.tirx.build(schedule.mod, target=target).write_to_file(str(path), "o")


@pytest.fixture(scope="module")
def objects(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("objects")
    for name, factor in (("triple", 3.0), ("quintuple", 5.0)):
        _compile(name, factor, folder / f"{name}.o")
    return [folder / "triple.o", folder / "quintuple.o"]


def test_objects_of_several_kernels(plain: Builder, objects: list[Path]) -> None:
    """Each object defines the runtime's pointers weakly; the node's definitions win."""
    symbols = subprocess.run(["nm", *objects], capture_output=True, text=True, check=True).stdout
    assert symbols.count("V __TVMBackendParallelLaunch") == 2
    tables = Tables(
        tensors=[vector(i * 4 * LENGTH, length=LENGTH) for i in range(3)],
        calls=[("__tvm_ffi_triple", [0, 1]), ("__tvm_ffi_quintuple", [1, 2])],
        stages=[(0, 2, [0])],
        receives=[(0, 0, 0)],
        sends=[(2, 1, 0, AFTER_CALL, 1)],
        threads=3,
    )
    shaped = [replace(t, shape=(64, LENGTH // 64)) for t in tables.tensors]
    builder = Builder(plain.folder / "compiled", plain.flags)
    builder.link_flags = ["-no-pie", *map(str, objects), "-lpthread"]
    folder = builder.node(replace(tables, tensors=shaped))
    with session(folder) as it:
        for request in range(20):
            got = it.ask(request, values(request, LENGTH))
            np.testing.assert_allclose(got.values, 15 * values(request, LENGTH), rtol=1e-6)
        assert it.bye(20) == (0, "")


def test_kernel_reports_a_wrong_shape(plain: Builder, objects: list[Path]) -> None:
    tables = Tables(
        tensors=[vector(i * 4 * LENGTH, length=LENGTH) for i in range(2)],
        calls=[("__tvm_ffi_triple", [0, 1])],
        stages=[(0, 1, [0])],
        receives=[(0, 0, 0)],
        sends=[(1, 1, 0, AFTER_CALL, 0)],
    )
    builder = Builder(plain.folder / "wrong", plain.flags)
    builder.link_flags = ["-no-pie", *map(str, objects), "-lpthread"]
    with session(builder.node(tables)) as it:
        it.feed.sendall(tensor_frame(0, 0, values(0, LENGTH)))
        code, error = it.node.ended()
        assert code == 6
        assert "layer0 (call 0) failed: " in error
        assert "ndim" in error
