"""Weights asked for ahead: every line before it is read, and none long before."""

from collections.abc import Callable, Iterator
from functools import cache
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.nn import functional
from tvm import tirx

from runtime.build import generate as generation
from runtime.build.lower import lower_layer
from runtime.build.lower.choice import Choice
from runtime.build.machine import Machine
from runtime.build.schedule import schedule
from runtime.build.schedule.ahead import _loads
from splitter.program import Program
from tests.runtime.build.run_kernel import relative_error, traced

MACHINE = Machine("x86_64", "x86-64-v4", ("-prefer-256-bit",), 64, 1)
LINE = 16


def convolution(inner: int, outer: int, size: int, taps: int, stride: int) -> Program:
    def function(x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        return functional.conv2d(x, w, stride=stride, padding=taps // 2)

    generator = torch.Generator().manual_seed(0)
    image = torch.randn(1, inner, size, size, generator=generator)
    weight = torch.randn(outer, inner, taps, taps, generator=generator)
    return traced(function, (image,), (weight,))


def linear(rows: int, inner: int, outer: int) -> Program:
    generator = torch.Generator().manual_seed(0)
    given = torch.randn(rows, inner, generator=generator)
    return traced(functional.linear, (given,), (torch.randn(outer, inner, generator=generator),))


def product() -> Program:
    generator = torch.Generator().manual_seed(0)
    sides = torch.randn(64, 64, generator=generator), torch.randn(64, 128, generator=generator)
    return traced(torch.matmul, sides)


def body_of(program: Program, machine: Machine, choice: Choice | None) -> Any:
    """The loops that machine code is made of."""
    (layer,) = program.graph.layers
    found: list[Any] = []
    rewritten = generation._rewritten

    def kept(statement: Any, outside: tuple[Any, ...] = ()) -> Any:
        done = rewritten(statement, outside)
        if not outside:
            found.append(done)
        return done

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(generation, "_rewritten", kept)
        generation.generate(
            schedule(lower_layer(program, layer, machine, choice), machine), "kernel", machine
        )
    return found[-1]


@cache
def compiled(text: str) -> Any:
    return compile(text, "index", "eval")


class Names(dict[str, int]):
    """Loop variables' values; what is bound to an expression is worked out when it is read."""

    def __init__(self) -> None:
        self.bound: dict[str, Any] = {}

    def __missing__(self, name: str) -> int:
        if name not in self.bound:
            raise KeyError(name)
        return value(self.bound[name], self)


def value(expression: Any, names: Names) -> int:
    return int(eval(compiled(str(expression)), {"T": SimpleNamespace(min=min, max=max)}, names))


def accesses(statement: Any, names: Names) -> Iterator[tuple[str, int]]:
    """What is done to weights, in order: ("ask" or "read", first element)."""
    match statement:
        case tirx.For():
            for i in range(int(statement.extent)):
                names[statement.loop_var.name] = i
                yield from accesses(statement.body, names)
        case tirx.SeqStmt():
            for part in statement.seq:
                yield from accesses(part, names)
        case tirx.AttrStmt():
            yield from accesses(statement.body, names)
        case tirx.Bind():
            names.bound[statement.var.name] = statement.value
        case tirx.Evaluate() if "prefetch" in str(statement.value):
            yield "ask", value(statement.value.args[0].args[0].indices[0], names)
        case tirx.BufferStore():
            for load in _loads(statement.value):
                if load.source.name.startswith("w0"):
                    (index,) = load.indices
                    at = index.base if isinstance(index, tirx.Ramp) else index
                    yield "read", value(at, names)


@pytest.mark.parametrize(
    ("made", "way"),
    [
        (lambda: convolution(32, 128, 10, 1, 1), "vector-channels"),
        (lambda: convolution(16, 48, 16, 1, 1), "vector-space"),
        (lambda: convolution(16, 160, 9, 3, 2), "vector-channels"),
        (lambda: convolution(24, 64, 8, 3, 1), "winograd"),
        (lambda: linear(50, 96, 128), "vector-channels"),
    ],
)
def test_every_line_is_asked_for_in_time(made: Callable[[], Program], way: str) -> None:
    program = made()
    (layer,) = program.graph.layers
    offers = lower_layer(program, layer, MACHINE).offers
    choice = next(offer.choice for offer in offers if way in str(offer.choice))
    asked: dict[int, int] = {}
    first: dict[int, int] = {}
    for at, (kind, element) in enumerate(accesses(body_of(program, MACHINE, choice), Names())):
        (asked if kind == "ask" else first).setdefault(element // LINE, at)
    assert asked, "nothing is asked for"
    late = sorted(line for line in first if asked.get(line, at) > first[line])
    # Nothing asks for the first panel, which is one of several.
    assert len(late) <= len(first) // 2
    assert late == list(range(len(late)))
    assert relative_error(program, layer, MACHINE, choice) < 5e-5


@pytest.mark.parametrize("made", [product, lambda: linear(1, 256, 512)])
def test_nothing_is_asked_for_in_vain(made: Callable[[], Program]) -> None:
    """What the layer has just packed is in the cache; one row reads each weight once."""
    found = [kind for kind, _ in accesses(body_of(made(), MACHINE, None), Names())]
    assert "ask" not in found
