"""Rounding that keeps outputs: against the plain formulas, and on a network."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

import splitter
from compress.gptq import GPTQ
from compress.methods import parse_method
from compress.programs import compress_program, program_sites
from compress.recipe import Recipe, Rule, recipe_for
from compress.reconstruction.moments import Moments, Window, measured, patches
from compress.reconstruction.solve import (
    corrected,
    excess,
    reconstructed,
    round_with_feedback,
)

EVEN = 0.25


def nearest(part: torch.Tensor) -> torch.Tensor:
    return (part / EVEN).round() * EVEN


def correlated(seed: int, groups: int, k: int, count: int) -> torch.Tensor:
    """[groups, k, count] float64."""
    generator = torch.Generator().manual_seed(seed)
    mix = torch.randn(groups, k, k, generator=generator, dtype=torch.float64)
    return mix @ torch.randn(groups, k, count, generator=generator, dtype=torch.float64)


@settings(deadline=None, max_examples=40)
@given(
    st.sampled_from([1, 2, 4]),
    st.tuples(st.integers(1, 3), st.integers(1, 3)),
    st.tuples(st.integers(1, 2), st.integers(1, 3)),
    st.tuples(*[st.integers(0, 2)] * 4),
    st.tuples(st.integers(1, 2), st.integers(1, 2)),
)
def test_patches_times_weight_is_the_convolution(
    groups: int,
    kernel: tuple[int, int],
    stride: tuple[int, int],
    padding: tuple[int, int, int, int],
    dilation: tuple[int, int],
) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 4, 9, 8, generator=generator)
    weight = torch.randn(8, 4 // groups, *kernel, generator=generator)
    top, left, bottom, right = padding
    wanted = F.conv2d(
        F.pad(x, (left, right, top, bottom)), weight, None, stride, 0, dilation, groups
    )
    columns = patches(x, Window(kernel, stride, padding, dilation, groups))
    found = weight.reshape(groups, 8 // groups, -1) @ columns
    flat = wanted.flatten(2).movedim(0, 1).reshape(groups, 8 // groups, -1)
    torch.testing.assert_close(found, flat, rtol=1e-4, atol=1e-4)


def test_moments_are_means_and_covariances() -> None:
    generator = torch.Generator().manual_seed(1)
    pairs = [
        (torch.randn(3, 5, generator=generator), i + torch.rand(3, 5, generator=generator))
        for i in range(4)
    ]
    x, y = (torch.cat([pair[i] for pair in pairs]).double().numpy() for i in (0, 1))
    both = np.cov(np.hstack([y - x, x]).T, bias=True)
    parts = Moments.of(pairs[:1], None), Moments.of(pairs[1:], None)
    for made in (Moments.of(pairs, None), Moments.both(*parts), measured(pairs, None)[0]):
        assert made.count == 12
        np.testing.assert_allclose(made.mean[0], x.mean(0), rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(made.original_mean[0], y.mean(0), rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(made.cross[0], both[:5, 5:], rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(made.covariance[0], both[5:, 5:], rtol=1e-4, atol=1e-5)
    assert measured(pairs[:1], None)[1] is None


def one_by_one(weight: torch.Tensor, covariance: torch.Tensor) -> torch.Tensor:
    """The same rounding as it is usually derived: one column, then a smaller problem."""
    left, inverse = weight.clone(), torch.linalg.inv(covariance)
    found = torch.empty_like(left)
    todo = torch.diagonal(covariance).argsort(descending=True).tolist()
    while todo:
        i = todo.pop(0)
        found[:, i] = nearest(left[:, i])
        gap = (left[:, i] - found[:, i]) / inverse[i, i]
        left -= gap[:, None] * inverse[i]
        inverse = inverse - torch.outer(inverse[:, i], inverse[i]) / inverse[i, i]
    return found


@pytest.mark.parametrize("k", [1, 7, 70, 130])
def test_feedback_is_that_of_one_column_after_the_other(k: int) -> None:
    x = correlated(k, 2, k, 4 * k)
    covariance = x @ x.mT / x.shape[-1]
    generator = torch.Generator().manual_seed(k)
    weight = torch.randn(2, 5, k, generator=generator, dtype=torch.float64)
    # Both groups take the order of their common diagonal; that of one alone is its own.
    found = round_with_feedback(weight[:1], covariance[:1], 0.01, nearest)
    damped = covariance[0] + 0.01 * covariance[0].diagonal().mean() * torch.eye(k)
    assert float((found[0] - one_by_one(weight[0], damped)).abs().max()) < 1e-9
    both = round_with_feedback(weight, covariance, 0.01, nearest)
    assert torch.equal(both, nearest(both))


def test_correction_is_least_squares() -> None:
    x = correlated(3, 1, 6, 400)
    y = x + 0.3 * correlated(4, 1, 6, 400)
    pairs = [(x[0].T, y[0].T)]
    moments = Moments.of(pairs, None)
    weight = torch.randn(1, 3, 6, generator=torch.Generator().manual_seed(0)).double()
    found = corrected(weight, moments, 1e-9)
    centred = [v[0] - v[0].mean(1, keepdim=True) for v in (x, y)]
    wanted = torch.linalg.lstsq(centred[0].T, (weight[0] @ centred[1]).T).solution.T
    torch.testing.assert_close(found[0], wanted, rtol=1e-4, atol=1e-5)
    errors = [
        ((w @ centred[0] - weight[0] @ centred[1]).square().sum()) for w in (found[0], weight[0])
    ]
    predicted = excess(found, weight, moments) * 400
    assert predicted == pytest.approx(float(errors[0] - errors[1]), rel=1e-3)


def test_inputs_that_never_change() -> None:
    weight = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(0)).double()
    still = Moments.of(
        [(torch.ones(1, 8, 1, 1),) * 2] * 2, Window((1, 1), (1, 1), (0,) * 4, (1, 1), 2)
    )
    found = reconstructed(weight, still, (still, still), nearest)
    assert torch.isfinite(found).all()
    assert torch.equal(reconstructed(weight, still, None, nearest), nearest(weight))


def test_inputs_that_hardly_change() -> None:
    generator = torch.Generator().manual_seed(0)
    steady = [1000 + 1e-3 * torch.randn(9, 6, generator=generator) for _ in range(4)]
    moments = Moments.of([(x, x) for x in steady], None)
    every = torch.cat(steady).double().numpy()
    np.testing.assert_allclose(moments.covariance[0], np.cov(every.T, bias=True), atol=1e-8)
    weight = torch.randn(1, 3, 6, generator=generator).double()
    assert torch.isfinite(reconstructed(weight, moments, (moments, moments), nearest)).all()


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.depth = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.point = nn.Conv2d(8, 12, 1, bias=False)
        self.transposed = nn.ConvTranspose2d(12, 4, 2)
        self.head = nn.Linear(4, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.relu(self.depth(torch.relu(self.first(x))))
        return self.head(torch.relu(self.transposed(self.point(y))).mean((2, 3)))


def test_network() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = Net().eval()
        for weight in (w for w in net.parameters() if w.dim() > 1):
            weight.data *= 3  # else the outputs hardly depend on the inputs
        program = splitter.trace(net, (torch.randn(1, 3, 12, 12),))
        smooth = torch.nn.functional.interpolate(torch.randn(24, 3, 4, 4), size=12, mode="bilinear")
    requests = [(x[None],) for x in smooth]
    fitted = recipe_for(GPTQ(bits=3), program_sites(program))
    recipe = Recipe((Rule("transposed", parse_method("kmeans:bits=8")), *fitted.rules))
    made, applied = compress_program(program, recipe, requests=requests[:16])
    plain, _ = compress_program(program, recipe)
    assert set(applied.tensors) == {s.weight for s in program_sites(program)[:-1]}
    for name, tensor in applied.tensors.items():
        assert np.array_equal(tensor.dense(), made.constant(name).numpy())
        assert tensor.bits == (8 if name == "transposed.weight" else 3)  # type: ignore[union-attr]

    def error(other: splitter.Program) -> float:
        gaps = [(other(*r)[0] - program(*r)[0]).square().mean() for r in requests[16:]]
        return float(sum(gaps))

    assert error(made) < 0.9 * error(plain)
    again, _ = compress_program(program, recipe, requests=requests[:16])
    assert all(torch.equal(again.constant(n), made.constant(n)) for n in program.graph.weight_bytes)
    assert torch.equal(net.first.weight, program.constant("first.weight")), "the original stays"


def test_rules_of_their_own() -> None:
    program = splitter.trace(Net().eval(), (torch.randn(1, 3, 12, 12),))
    rules = (
        Rule("depth", parse_method("gptq:bits=2,per_channel=false")),
        Rule("first", parse_method("gptq:bits=5")),
        Rule("point", parse_method("kmeans:bits=3")),
    )
    requests = [(torch.randn(1, 3, 12, 12),) for _ in range(4)]
    _, applied = compress_program(program, Recipe(rules), requests=requests)
    found = {n: (t.bits, t.scale is None) for n, t in applied.tensors.items()}  # type: ignore[union-attr]
    assert found == {
        "depth.weight": (2, True),
        "first.weight": (5, False),
        "point.weight": (3, True),
    }
