"""Compressed constants: stored codes, the node's decoder in C, and kernels that decode."""

import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
import tvm
from hypothesis import given, settings
from hypothesis import strategies as st
from run_kernel import MACHINES, traced
from torch.nn import functional as F

from compress.formats import Codebook, Ternary
from compress.payload import Scale
from runtime.build.encoding import encode, encoding_of
from runtime.build.generate import generate
from runtime.build.lower import lower_layer
from runtime.build.lower.encoding import TERNARY, Encoding
from runtime.build.lower.packing import Packing
from runtime.build.schedule import schedule
from splitter.program import Program

DEVICE = Path(__file__).parents[3] / "runtime" / "device"
WIDTHS = [TERNARY, *range(1, 9)]


def tensor(bits: int, shape: tuple[int, ...], axis: int | None, seed: int) -> Codebook | Ternary:
    """A compressed weight of random codes; widths of 0 bits are ternary."""
    rng = np.random.default_rng(seed)
    factors = rng.uniform(0.5, 2, 1 if axis is None else shape[axis]).astype(np.float32)
    scale = None if axis is None else Scale(factors, axis)
    if bits == TERNARY:
        return Ternary(rng.integers(-1, 2, shape).astype(np.int8), 0.7, 1.3, scale)
    values = np.sort(rng.normal(size=1 << bits)).astype(np.float32)
    values[len(values) // 2] = 0
    return Codebook(rng.integers(0, 1 << bits, shape).astype(np.uint8), values, bits, scale)


def decoded(encoding: Encoding, codes: np.ndarray, view: tuple[int, ...]) -> np.ndarray:
    """Codes [outer, rows, lanes] again, one by one, as the format's description reads."""
    found = np.zeros(view, np.int64)
    for o, r, lane in np.ndindex(*view):
        group = [int(byte) for byte in codes[o, r // encoding.group, :, lane]]
        word = sum(byte << (8 * j) for j, byte in enumerate(group))
        place = r % encoding.group
        if encoding.bits == TERNARY:
            found[o, r, lane] = word // 3**place % 3
        else:
            found[o, r, lane] = word >> (place * encoding.bits) & ((1 << encoding.bits) - 1)
    return found


@given(
    st.sampled_from(WIDTHS),
    st.tuples(st.integers(1, 3), st.integers(1, 21), st.integers(1, 5)),
    st.integers(0, 99),
)
def test_codes_come_back(bits: int, view: tuple[int, int, int], seed: int) -> None:
    encoding = Encoding(bits, False)
    codes = np.random.default_rng(seed).integers(0, encoding.values, view).astype(np.uint8)
    packed = encoding.pack(codes)
    assert packed.shape == encoding.codes_shape(view)
    np.testing.assert_array_equal(decoded(encoding, packed, view), codes)


@pytest.mark.parametrize("bits", WIDTHS)
def test_bytes(bits: int) -> None:
    view = (4, 240, 16)
    size = np.prod(Encoding(bits, False).codes_shape(view))
    assert size * 8 == np.prod(view) * (bits or 1.6)


def test_orders_that_cannot_be_compressed() -> None:
    full = tensor(3, (4, 6, 3, 3), None, 0)
    assert isinstance(full, Codebook)
    assert encode(full, Packing(4, phases=(2, 2))) is not None
    full.values[full.values == 0] = 0.5
    assert encode(full, Packing(4, phases=(2, 2))) is None  # some taps must be zero
    assert encode(tensor(3, (4, 6, 3, 3), 1, 0), Packing(4)) is None  # factors of another axis
    assert encode(tensor(3, (4, 6, 3, 3), None, 0), Packing(4, winograd=2)) is None
    assert encoding_of(None) is None


# --- the decoder in C, compiled with sanitizers, against the packed floats

MAIN = """
#include <stdio.h>
#include <stdlib.h>
#include "decode.h"
#include "memory.h"
#include "tables.h"
extern const uint64_t weights_size;
unsigned char *memory_pages(uint64_t bytes, const char *what) {
  (void)what;
  return calloc(1, bytes);
}
int main(void) {
  static unsigned char weights[1 << 20] __attribute__((aligned(64)));
  if (fread(weights, 1, sizeof weights, stdin) != weights_size) return 1;
  unsigned char *decoded = decode_weights(weights);
  fwrite(decoded, 1, node_tables.decoded_bytes, stdout);
  free(decoded);
}
"""


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, list[np.ndarray]]:
    """What the C decoder makes of many constants, and what they are."""
    from runtime.build.emit import _decode
    from runtime.build.weights import Decode, WeightKey

    folder = tmp_path_factory.mktemp("decode")
    packings = [None, Packing(5), Packing(16), Packing(4, winograd=2), Packing(3, winograd=4)]
    packings += [Packing(4, phases=(2, 2))]
    data, rows, wanted, target = bytearray(64), [], [], 0
    for seed, (bits, packing, scaled) in enumerate(
        (b, p, s) for b in WIDTHS for p in packings for s in (False, True)
    ):
        axis = (1 if packing is not None and packing.phases else 0) if scaled else None
        value = tensor(bits, (7, 3, 3, 3), axis, seed)
        order = None if packing is not None and packing.winograd else packing
        encoded = encode(value, order)
        assert encoded is not None
        places = {}
        for part in ("codes", "values", "scale"):
            places[part] = len(data)
            piece = encoded.part(part).tobytes()
            data += piece + bytes(-len(piece) % 64)
        floats = value.dense() if packing is None else packing.apply(value.dense())
        key = WeightKey("w", packing)
        rows.append(_decode(Decode(key, encoded, places, target, value.shape)))
        padding = np.zeros(-floats.size % 16, np.float32)
        wanted.append(np.concatenate([floats.reshape(-1), padding]))
        target += 4 * wanted[-1].size
    tables = f"""#include <stddef.h>
#include "tables.h"
extern const uint64_t weights_size;
const uint64_t weights_size = {len(data)};
static const NodeDecode decodes[] = {{{", ".join(rows)}}};
const NodeTables node_tables = {{.weights_bytes = {len(data)}, .decoded_bytes = {target},
  .decodes = decodes, .decode_count = {len(rows)}}};
"""
    (folder / "tables.c").write_text(tables)
    (folder / "main.c").write_text(MAIN)
    command = ["gcc", "-std=c11", "-D_GNU_SOURCE", f"-I{DEVICE}", "-Wall", "-Wextra", "-Werror"]
    command += ["-g", "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    sources = [folder / "tables.c", folder / "main.c", DEVICE / "decode.c"]
    binary = folder / "decode"
    subprocess.run([*command, *map(str, sources), "-o", str(binary)], check=True)
    done = subprocess.run([str(binary)], input=bytes(data), capture_output=True, check=True)
    return done.stdout, wanted


def test_decoder(cases: tuple[bytes, list[np.ndarray]]) -> None:
    found, at = np.frombuffer(cases[0], np.float32), 0
    for wanted in cases[1]:
        piece = found[at : at + wanted.size]
        # What stands for no channel may be anything; the reference has zeros there.
        used = wanted != 0
        np.testing.assert_allclose(piece[used], wanted[used], rtol=1e-6, atol=1e-7)
        at += wanted.size


# --- kernels that decode, against the floats


def program(layer: torch.nn.Module, x: torch.Tensor, weight: Codebook | Ternary) -> Program:
    def run(x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        if isinstance(layer, torch.nn.Conv2d):
            return torch.relu(F.conv2d(x, w, None, layer.stride, layer.padding))
        return F.linear(x, w)

    return traced(run, (x,), (torch.from_numpy(weight.dense()),))


def check(given: Program, weight: Codebook | Ternary, machine: tvm.ir.Node | object) -> None:
    (layer,) = given.graph.layers
    (name,) = layer.weights
    encoding = encoding_of(weight)
    assert encoding is not None
    lowered = lower_layer(given, layer, machine, None, {name: encoding})
    library = generate(schedule(lowered, machine), "kernel", machine)
    expected = given.tensors(*given.example_inputs)
    arguments = []
    for operand in lowered.operands:
        if operand.part is not None:
            encoded = encode(weight, operand.packing)
            assert encoded is not None
            value = encoded.part(operand.part)
        elif operand.role == "input":
            value = expected[operand.name].numpy()
        else:
            value = np.full(operand.shape, np.nan, np.float32)
        arguments.append(tvm.runtime.tensor(np.ascontiguousarray(value).reshape(operand.shape)))
    assert {operand.part for operand in lowered.operands} >= {"codes", "values"}
    library["kernel"](*arguments)
    wanted = expected[layer.outputs[0]].numpy()
    found = arguments[-1].numpy().reshape(wanted.shape)
    np.testing.assert_allclose(found, wanted, rtol=0, atol=2e-6 * np.abs(wanted).max())


@pytest.mark.parametrize("machine", MACHINES.values(), ids=MACHINES.keys())
@pytest.mark.parametrize("bits", WIDTHS)
def test_convolution_that_decodes(bits: int, machine: object) -> None:
    layer = torch.nn.Conv2d(7, 19, 3, padding=1)
    weight = tensor(bits, (19, 7, 3, 3), 0 if bits % 2 else None, bits)
    x = torch.randn(1, 7, 9, 11, generator=torch.Generator().manual_seed(bits))
    check(program(layer, x, weight), weight, machine)


@settings(max_examples=12, deadline=None)
@given(
    st.sampled_from(WIDTHS),
    st.integers(1, 40),
    st.integers(1, 40),
    st.integers(1, 6),
    st.sampled_from(list(MACHINES)),
    st.booleans(),
)
def test_linear_that_decodes(
    bits: int, inputs: int, outputs: int, rows: int, machine: str, scaled: bool
) -> None:
    weight = tensor(bits, (outputs, inputs), 0 if scaled else None, inputs)
    x = torch.randn(rows, inputs, generator=torch.Generator().manual_seed(outputs))
    layer = torch.nn.Linear(inputs, outputs)
    check(program(layer, x, weight), weight, MACHINES[machine])


@pytest.mark.parametrize("bits", [TERNARY, 3, 4, 6])
def test_weights_larger_than_the_stack_are_decoded_in_pieces(bits: int) -> None:
    weight = tensor(bits, (40, 3000), 0, bits)
    x = torch.randn(3, 3000, generator=torch.Generator().manual_seed(0))
    check(program(torch.nn.Linear(3000, 40), x, weight), weight, MACHINES["avx2"])
    weight = tensor(bits, (48, 256, 3, 3), 0, bits)
    x = torch.randn(1, 256, 4, 5, generator=torch.Generator().manual_seed(0))
    layer = torch.nn.Conv2d(256, 48, 3, stride=2, padding=1)
    check(program(layer, x, weight), weight, MACHINES["sse, two threads"])
