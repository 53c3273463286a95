"""The weights file holds what its node's kernels read, each once, in their storage order."""

import struct
from pathlib import Path

import by_hand
import numpy as np
import xxhash

from runtime.build.lower.packing import Packing
from runtime.build.weights import WeightKey, weight_keys, write_weights

IDENTITY = bytes(range(32))


def test_header_and_places(tmp_path: Path) -> None:
    program = by_hand.twins()
    kernels = by_hand.kernels(program, None).values()
    path = tmp_path / "weights.bin"
    made = write_weights(path, program, kernels, IDENTITY, "camera")
    data = path.read_bytes()
    assert struct.unpack_from("<8s32s24s", data) == (
        b"SPLTWGT1",
        IDENTITY,
        b"camera".ljust(24, b"\0"),
    )
    assert len(data) == made.bytes == 64 * 4
    assert made.xxh64 == xxhash.xxh64_intdigest(data)
    shared = next(iter(made.offsets))[0]
    keys = [WeightKey(shared, None), WeightKey("left.bias", None), WeightKey("right.bias", None)]
    assert list(made.offsets) == keys
    assert list(made.offsets.values()) == [64, 128, 192]
    for (name, *_), offset in made.offsets.items():
        wanted = program.constant(name).numpy()
        found = np.frombuffer(data, wanted.dtype, wanted.size, offset)
        np.testing.assert_array_equal(found, wanted.reshape(-1))


def test_a_constant_in_two_orders_is_there_twice(tmp_path: Path) -> None:
    program = by_hand.twins()
    packing = Packing(3)
    kernels = by_hand.kernels(program, packing)
    made = write_weights(tmp_path / "w", program, kernels.values(), IDENTITY, "hub")
    shared = program.graph.layers[0].weights[0]
    assert {WeightKey(shared, None), WeightKey(shared, packing)} <= set(made.offsets)
    at = made.offsets[WeightKey(shared, packing)]
    stored = np.frombuffer((tmp_path / "w").read_bytes(), np.float32, 24, at).reshape(2, 4, 3)
    plain = program.constant(shared).numpy()
    np.testing.assert_array_equal(stored[0], plain[:3].T)
    np.testing.assert_array_equal(stored[1, :, 0], plain[3])
    assert not stored[1, :, 1:].any()


def test_only_what_the_node_reads(tmp_path: Path) -> None:
    program = by_hand.twins()
    layer = program.graph.layers[0]
    kernel = by_hand.kernels(program, None)[layer.name]
    assert [name for name, *_ in weight_keys([kernel])] == list(layer.weights)
    none = write_weights(tmp_path / "w", program, [], IDENTITY, "a-name-of-more-than-24-letters")
    assert (none.bytes, dict(none.offsets)) == (64, {})
