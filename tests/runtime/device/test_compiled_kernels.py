"""Kernels that TVM has compiled, each in an object of its own, linked into one node."""

import subprocess

import numpy as np
import pytest
from node_harness import (
    AFTER_CALL,
    SLOT,
    Builder,
    Tables,
    Tensor,
    session,
    simple,
    tensor_frame,
    values,
    vector,
)
from tvm_kernels import NATIVE, compile_kernel

SHAPE = (64, 64)
LENGTH = SHAPE[0] * SHAPE[1]


@pytest.fixture(scope="module")
def linking(plain: Builder, tmp_path_factory: pytest.TempPathFactory) -> Builder:
    folder = tmp_path_factory.mktemp("compiled")
    objects = [folder / "triple.o", folder / "quintuple.o"]
    for path, factor in zip(objects, (3.0, 5.0), strict=True):
        compile_kernel(path.stem, factor, SHAPE, path, NATIVE)
    symbols = subprocess.run(["nm", *objects], capture_output=True, text=True, check=True).stdout
    assert symbols.count("V __TVMBackendParallelLaunch") == 2
    return Builder(folder, plain.flags, link_flags=["-no-pie", *map(str, objects), "-lpthread"])


@pytest.mark.parametrize("threads", [1, 3])
def test_objects_of_several_kernels(linking: Builder, threads: int) -> None:
    """Each object defines the runtime's pointers weakly; the node's definitions win."""
    tables = Tables(
        tensors=[Tensor(SLOT, SHAPE, i * 4 * LENGTH) for i in range(3)],
        calls=[("__tvm_ffi_triple", [0, 1]), ("__tvm_ffi_quintuple", [1, 2])],
        stages=[(0, 2, [0])],
        receives=[(0, 0, 0)],
        sends=[(2, 1, 0, AFTER_CALL, 1)],
        threads=threads,
    )
    with session(linking.node(tables)) as it:
        for request in range(20):
            got = it.ask(request, values(request, LENGTH))
            np.testing.assert_array_equal(got.values, 15 * values(request, LENGTH))
        assert it.bye(20) == (0, "")


def test_kernel_reports_a_wrong_shape(linking: Builder) -> None:
    tensors = [vector(i * 4 * LENGTH, length=LENGTH) for i in range(2)]
    with session(linking.node(simple("__tvm_ffi_triple", tensors=tensors))) as it:
        it.feed.sendall(tensor_frame(0, 0, values(0, LENGTH)))
        code, error = it.node.ended()
        assert code == 6
        assert "layer0 (call 0) failed: " in error
        assert "ndim" in error
