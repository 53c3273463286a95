"""Whatever the tuner may pick computes what the layer computes."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from run_kernel import MACHINES, relative_error, traced
from torch.nn import functional as F

from runtime.build.lower import lower_layer
from runtime.build.lower.choice import Choice, Offer
from runtime.build.lower.tile import Tile
from runtime.build.machine import Machine
from runtime.build.tune.candidates import shortlist
from splitter.errors import ModelError
from splitter.program import Program

TOLERANCE = 2e-5
MOST = 24


def random(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def ways(program: Program, machine: Machine) -> tuple[Choice, ...]:
    """What the tuner may pick for the only layer of ``program``."""
    (layer,) = program.graph.layers
    offers = lower_layer(program, layer, machine).offers
    return (*(offer.choice for offer in offers[:1]), *shortlist(offers, MOST))


@st.composite
def convolutions(draw: st.DrawFn) -> Program:
    """One to two axes, any stride, padding, dilation, groups, odd sizes, bias, residual, ReLU."""
    rank, groups = draw(st.sampled_from([2, 2, 2, 1])), draw(st.sampled_from([1, 1, 1, 2, 5]))
    inner = draw(st.integers(1, 9))
    channels = groups * draw(st.integers(1, 40 // groups))
    kernel = [draw(st.integers(1, 4)) for _ in range(rank)]
    stride = [draw(st.sampled_from([1, 1, 2, 3])) for _ in range(rank)]
    dilation = [draw(st.sampled_from([1, 1, 2])) for _ in range(rank)]
    padding = [draw(st.integers(0, 3)) for _ in range(rank)]
    reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True)]
    size = [
        max(1, r - 2 * p) + draw(st.integers(0, 17)) for r, p in zip(reach, padding, strict=True)
    ]
    batch, with_bias = draw(st.integers(1, 3)), draw(st.booleans())
    residual, activated = draw(st.booleans()), draw(st.booleans())
    convolve: Callable[..., Any] = F.conv1d if rank == 1 else F.conv2d
    x = random(batch, groups * inner, *size)
    weight, bias = random(channels, inner, *kernel) / 8, random(channels)

    def result(x: torch.Tensor, *rest: torch.Tensor) -> torch.Tensor:
        bias = rest[-1] if with_bias else None
        weight = rest[-2] if with_bias else rest[-1]
        y: torch.Tensor = convolve(x, weight, bias, stride, padding, dilation, groups)
        y = y + rest[0] if residual else y
        return torch.relu(y) if activated else y

    constants = (weight, bias) if with_bias else (weight,)
    shape = convolve(x, weight, None, stride, padding, dilation, groups).shape
    return traced(result, (x, random(*shape)) if residual else (x,), constants)


@st.composite
def transposed(draw: st.DrawFn) -> Program:
    inner, channels = draw(st.integers(1, 9)), draw(st.integers(1, 20))
    kernel, stride = draw(st.integers(1, 4)), draw(st.integers(1, 3))
    padding = draw(st.integers(0, min(2, kernel - 1)))
    height, width = draw(st.integers(3, 9)), draw(st.integers(3, 20))
    return traced(
        lambda x, w, b: F.conv_transpose2d(x, w, b, stride, padding),
        (random(draw(st.integers(1, 2)), inner, height, width),),
        (random(inner, channels, kernel, kernel), random(channels)),
    )


@st.composite
def products(draw: st.DrawFn) -> Program:
    """Linear layers of any leading shape, and batched products of two activations."""
    rows, depth, columns = (draw(st.integers(1, 40)) for _ in range(3))
    lead = [draw(st.integers(1, 3)) for _ in range(draw(st.integers(0, 2)))]
    if draw(st.booleans()):
        constants = (random(columns, depth), random(columns))
        return traced(
            lambda x, w, b: F.gelu(F.linear(x, w, b)), (random(*lead, rows, depth),), constants
        )
    return traced(torch.matmul, (random(*lead, rows, depth), random(*lead, depth, columns)))


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    program=st.one_of(convolutions(), convolutions(), transposed(), products()),
    machine=st.sampled_from(list(MACHINES.values())),
    data=st.data(),
)
def test_every_way_gives_the_same_answer(
    program: Program, machine: Machine, data: st.DataObject
) -> None:
    offered = ways(program, machine)
    choice = data.draw(st.sampled_from(offered)) if offered else None
    (layer,) = program.graph.layers
    assert relative_error(program, layer, machine, choice) <= TOLERANCE


@pytest.mark.parametrize(
    "program",
    [
        traced(F.conv2d, (random(1, 7, 9, 19),), (random(21, 7, 3, 3), random(21))),
        traced(F.linear, (random(13, 30),), (random(27, 30),)),
    ],
    ids=["convolution", "linear"],
)
def test_many_ways_of_one_layer(program: Program) -> None:
    """Sizes that no tile divides."""
    machine = MACHINES["avx2"]
    offered = ways(program, machine)[::3]
    assert len(offered) >= 5
    (layer,) = program.graph.layers
    for choice in offered:
        assert relative_error(program, layer, machine, choice) <= TOLERANCE, choice


def test_default_is_the_first_offer() -> None:
    program = traced(F.conv2d, (random(1, 8, 16, 16),), (random(16, 8, 3, 3),))
    (layer,) = program.graph.layers
    lowered = lower_layer(program, layer, MACHINES["avx2"])
    chosen = lower_layer(program, layer, MACHINES["avx2"], lowered.offers[0].choice)
    assert lowered.anchor == chosen.anchor
    assert lowered.operands == chosen.operands
    costs = [offer.cost for offer in lowered.offers]
    assert costs == sorted(costs)
    assert len({offer.choice for offer in lowered.offers}) == len(lowered.offers)


def test_what_is_not_on_offer_is_refused() -> None:
    program = traced(F.conv2d, (random(1, 8, 16, 16),), (random(16, 8, 3, 3),))
    (layer,) = program.graph.layers
    for choice in (Choice("magic"), Choice("tiled", Tile("vector-space", 999, 1, 16))):
        with pytest.raises(ModelError, match=rf"cannot be computed as '{choice}'"):
            lower_layer(program, layer, MACHINES["avx2"], choice)
    program = traced(torch.relu, (random(3, 4),))
    with pytest.raises(ModelError, match="cannot be computed as 'magic'"):
        lower_layer(program, program.graph.layers[0], MACHINES["avx2"], Choice("magic"))


TILES = st.builds(
    Tile,
    st.sampled_from(["vector-channels", "vector-space"]),
    *(st.integers(1, 99) for _ in range(3)),
)
CHOICES = st.builds(
    Choice,
    st.sampled_from(["tiled", "plain"]),
    st.none() | TILES,
    st.sampled_from(["", "channels-inside", "space-inside"]),
)


@given(CHOICES)
def test_text_of_a_choice(choice: Choice) -> None:
    assert Choice.parse(str(choice)) == choice


@pytest.mark.parametrize(
    "text",
    [
        "tiled tile",
        "tiled tile=",
        "tiled tile=vector-space/1x1",
        "tiled tile=vector-space/0x1x1",
        "tiled tile=vector-space/01x1x1",
        "tiled tile=wide/1x1x1",
        "tiled colour=red",
        "tiled order=",
        "tiled order=sideways",
        "tiled  order=space-inside",
        "tiled order=space-inside tile=vector-space/1x1x1",
    ],
)
def test_text_that_is_no_choice(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        Choice.parse(text)


def test_shortlist_has_every_family_first() -> None:
    a = [Choice("a", Tile("vector-space", 1, 1, n)) for n in range(1, 5)]
    b = [Choice("b", Tile("vector-space", 1, 1, n)) for n in range(1, 5)]
    offers = [Offer(float(k), choice) for k, choice in enumerate([*a, *b])]
    assert shortlist(offers, 3) == (b[0], a[1], a[2])
    assert shortlist(offers, 99) == (b[0], *a[1:], *b[1:])
    assert shortlist(offers[:1], 3) == ()
    assert shortlist([], 3) == ()
