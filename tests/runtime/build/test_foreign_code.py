"""Kernels for ARM, of which there is none here: their code is read, and counted under qemu."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from assembly import hot_loop, innermost_loops
from instruction_counts import per_request
from run_kernel import traced
from torch.nn import functional as F

from runtime.build.generate import generate
from runtime.build.lower import lower_layer
from runtime.build.lower.choice import Choice
from runtime.build.machine import Machine, machine_of
from runtime.build.node import build_node
from runtime.build.schedule import schedule
from runtime.host.processor import missing_emulators
from splitter.program import Program
from splitter.schedule import node_schedules
from splitter.topology import Device, Topology
from splitter.topology_file import load_card

CARDS = ("raspberry_pi_4", "armv7_board")
LANES = 4


def device(card: str) -> Device:
    return Device("board", load_card(card), 1 << 40, 1)


def random(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def convolution(
    size: int, inner: int, channels: int, kernel: int, stride: int = 1, groups: int = 1
) -> Program:
    return traced(
        lambda x, w, b: torch.relu(F.conv2d(x, w, b, stride, kernel // 2, 1, groups)),
        (random(1, inner, size, size),),
        (random(channels, inner // groups, kernel, kernel), random(channels)),
    )


LAYERS: dict[str, Callable[[], Program]] = {
    "3x3": lambda: convolution(28, 32, 64, 3),
    "3x3 of 14x14": lambda: convolution(14, 16, 48, 3),
    "3x3 stride 2": lambda: convolution(56, 3, 32, 3, stride=2),
    "5x5": lambda: convolution(14, 16, 24, 5),
    "7x7 stride 2": lambda: convolution(56, 3, 64, 7, stride=2),
    "pointwise": lambda: convolution(28, 96, 24, 1),
    "pointwise of 7x7": lambda: convolution(7, 96, 320, 1),
    "depthwise": lambda: convolution(28, 32, 32, 3, groups=32),
    "depthwise 5x5": lambda: convolution(28, 32, 32, 5, groups=32),
    "linear": lambda: traced(F.linear, (random(64, 384),), (random(384, 384), random(384))),
    "one row": lambda: traced(F.linear, (random(1, 384),), (random(384, 384), random(384))),
    "batched product": lambda: traced(torch.matmul, (random(4, 64, 32), random(4, 32, 64))),
}
ACCUMULATORS = {"depthwise": 4, "depthwise 5x5": 4, "one row": 6}
"""How many there must be; a multiply-add takes several cycles, and none may wait for another."""
DENSITY = {"depthwise": 0.25, "depthwise 5x5": 0.2, "3x3 stride 2": 0.27, "one row": 0.3}
"""Least share of multiply-adds in the instructions; vectors that start anywhere need more loads."""


def assembly(program: Program, machine: Machine, choice: Choice | None = None) -> str:
    (layer,) = program.graph.layers
    lowered = lower_layer(program, layer, machine, choice)
    return str(generate(schedule(lowered, machine), "kernel", machine).inspect_source("s"))


def by_algorithm(program: Program, machine: Machine) -> list[Choice | None]:
    """The best way of every algorithm on offer; None where there is but one way."""
    (layer,) = program.graph.layers
    offered = [offer.choice for offer in lower_layer(program, layer, machine).offers]
    return [*{choice.algorithm: choice for choice in reversed(offered)}.values()] or [None]


@pytest.mark.parametrize("card", CARDS)
@pytest.mark.parametrize("name", LAYERS)
def test_hot_loop(name: str, card: str) -> None:
    """Vector multiply-adds into registers, and nothing there leaves for the stack."""
    machine, program = machine_of(device(card)), LAYERS[name]()
    for choice in by_algorithm(program, machine):
        loop = hot_loop(assembly(program, machine, choice), machine.processor)
        shown = "\n".join([str(choice), *loop.instructions])
        assert loop.stack_stores == 0, shown
        assert len(loop.accumulators) >= ACCUMULATORS.get(name, 8), shown
        assert loop.multiply_adds >= len(loop.accumulators), shown
        assert loop.multiply_adds >= DENSITY.get(name, 0.33) * len(loop.instructions), shown


@pytest.mark.parametrize("card", CARDS)
def test_rows_that_no_vector_fits(card: str) -> None:
    """What is computed past the end of a row is dropped on the way through the stack: once."""
    machine = machine_of(device(card))
    program = convolution(28, 32, 32, 3, stride=2, groups=32)
    loop = hot_loop(assembly(program, machine), machine.processor)
    assert loop.multiply_adds == 9 * len(loop.accumulators) >= 36
    assert loop.stack_stores <= len(loop.accumulators)


MULTIPLY_ADDS = {"aarch64": ("fmla",), "armv7": ("vfma.f32", "vmla.f32")}
# Instructions for each vector of multiply-accumulates that the layer is defined by: of all kinds,
# and multiply-adds among them. Padding to whole tiles adds some, Winograd's algorithm saves some.
EXECUTED = {
    "3x3 of 14x14": (1.9, 0.0, 0.5),
    "5x5": (3.0, 1.0, 1.5),
    "pointwise of 7x7": (3.0, 1.0, 1.3),
    "one row": (3.4, 1.0, 1.01),
}


@pytest.mark.foreign
@pytest.mark.parametrize("card", CARDS)
@pytest.mark.parametrize("name", EXECUTED)
def test_executed_instructions(
    name: str, card: str, needs: Callable[[bool, str], None], tmp_path: Path
) -> None:
    board, (most, least_products, most_products) = device(card), EXECUTED[name]
    needs(not missing_emulators([board.card.processor]), "qemu-user-static")
    program = LAYERS[name]()
    counted = executed(program, board, tmp_path)
    vectors = program.graph.macs / LANES
    products = sum(counted[each] for each in MULTIPLY_ADDS[board.card.processor])
    assert least_products <= products / vectors <= most_products
    assert counted.total() / vectors <= most, counted.most_common(12)


def executed(program: Program, board: Device, folder: Path) -> Counter[str]:
    topology = Topology("one", "", (board,), (), board.name, board.name)
    placement = {layer.name: board.name for layer in program.graph.layers}
    (alone,) = node_schedules(program.graph, topology, placement)
    build_node(program, alone, board, folder, bytes(32), 1)
    return per_request(folder / "node", board.card.processor)


def test_other_processors_do_not_show() -> None:
    """Options for one processor's code must not reach the next one's."""
    machines = [machine_of(device(card)) for card in ("x86_64_v3", *CARDS)]
    before = [assembly(LAYERS["3x3"](), machine) for machine in machines]
    assert [assembly(LAYERS["3x3"](), machine) for machine in reversed(machines)] == before[::-1]


SAMPLE = """
kernel:
.LBB0_1:                                // outer
	ldr	q0, [x1]
.LBB0_2:
	fmla	v1.4s, v0.4s, v2.s[0]
	fmla	v3.4s, v0.4s, v2.s[1]
	str	q1, [sp, #16]
	ldr	q5, [sp, #32]
	str	w1, [sp, #48]
	str	q3, [x2]
	add	x4, sp, #64
	str	q6, [x4]
	mov	x4, x5
	str	q6, [x4]
	b.ne	.LBB0_2
	cbnz	x3, .LBB0_1
	b	.LBB0_3
.LBB0_3:
	ret
"""


def test_reading_of_loops() -> None:
    (loop,) = innermost_loops(SAMPLE, "aarch64")
    assert loop.multiply_adds == 2
    assert loop.accumulators == {"v1", "v3"}
    assert loop.stack_stores == 2
    assert len(loop.instructions) == 11
    assert hot_loop(SAMPLE, "aarch64") == loop
