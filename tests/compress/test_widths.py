"""Searches of bit widths on problems whose best answer is known by enumeration."""

import itertools

import pytest
import torch
from compress_nets import Residual
from hypothesis import given, settings
from hypothesis import strategies as st

from compress.sites import Site, sites_of
from compress.widths.controller import Controller, features
from compress.widths.problem import (
    Bits,
    Score,
    WidthProblem,
    budget_reward,
    network_problem,
    product_reward,
    width_recipe,
)
from compress.widths.search import greedy_search, ilp_bits, ilp_search, random_search, sensitivity
from splitter.errors import UsageError

WIDTHS = (2, 4, 8)


def sites(sizes: list[int]) -> tuple[Site, ...]:
    return tuple(Site(f"l{i}.weight", f"l{i}", "linear", (n, 1)) for i, n in enumerate(sizes))


def additive(sizes: list[int], hurts: list[float], reward: float = 0.03) -> WidthProblem:
    """Each layer loses ``hurt / bits`` of accuracy, whatever the others do."""

    def measure(bits: Bits) -> Score:
        lost = sum(h / b for h, b in zip(hurts, bits, strict=True))
        return Score(1 - lost, lost)

    return WidthProblem(sites(sizes), measure, Score(1.0, 0.0), product_reward(reward), WIDTHS)


cases = st.integers(1, 4).flatmap(
    lambda n: st.tuples(
        st.lists(st.integers(1, 50), min_size=n, max_size=n),
        st.lists(st.floats(0, 0.2), min_size=n, max_size=n),
    )
)


@given(cases, st.floats(2, 8))
@settings(max_examples=40, deadline=None)
def test_ilp_is_exact_on_additive_problems(
    case: tuple[list[int], list[float]], budget: float
) -> None:
    problem = additive(*case)
    table = sensitivity(problem)
    bits = ilp_bits(problem, table, budget)
    assert problem.mean_bits(bits) <= budget * (1 + 1e-6)
    every = itertools.product(WIDTHS, repeat=len(case[0]))
    best = min(problem.measure(found).loss for found in every if problem.mean_bits(found) <= budget)
    assert problem.measure(bits).loss <= best + 1e-4


@given(cases)
@settings(max_examples=25, deadline=None)
def test_every_search_reports_what_it_did(case: tuple[list[int], list[float]]) -> None:
    whole = additive(*case)
    best = max(whole.reward_of(b) for b in itertools.product(WIDTHS, repeat=len(case[0])))
    for search in (
        lambda p: random_search(p, 10, seed=1),
        greedy_search,
        lambda p: ilp_search(p, 5),
        lambda p: Controller(updates=3, batch=4, seed=1).search(p),
    ):
        problem = whole.fresh()
        found = search(problem)
        assert found.evaluations == len(problem.scores) <= len(WIDTHS) ** len(case[0])
        assert found.reward == problem.reward_of(found.bits)
        assert found.reward <= found.best_seen <= best + 1e-12
        assert len(found.bits) == len(case[0])
        if found.search != "controller":
            assert found.reward == found.best_seen


def test_random_search_stops_when_everything_is_seen() -> None:
    problem = additive([1, 1], [0.1, 0.1])
    assert random_search(problem, 1000).evaluations == 9


def test_controller_learns_and_is_seeded() -> None:
    """Narrow layers are free but for one: the policy must find that one."""
    problem = additive([10] * 4, [0.0, 0.0, 2.0, 0.0], reward=0.05)
    found = Controller(updates=80, batch=8, learning_rate=2e-2, seed=0).search(problem)
    best = problem.reward_of((2, 2, 8, 2))
    assert found.bits[2] == 8
    assert found.reward >= 0.9 * best
    assert found.best_seen >= 0.95 * best
    again = Controller(updates=80, batch=8, learning_rate=2e-2, seed=0).search(problem.fresh())
    assert again == found
    state = torch.random.get_rng_state()
    Controller(updates=1, seed=3).search(problem.fresh())
    assert torch.equal(torch.random.get_rng_state(), state)


def test_controller_stops_at_its_evaluations() -> None:
    problem = additive([3] * 6, [0.1] * 6)
    found = Controller(updates=1000, batch=8, evaluations=40).search(problem)
    assert 40 <= found.evaluations <= 48


def test_rewards() -> None:
    assert product_reward(0.1)(0.5, 4) == pytest.approx(0.3)
    assert budget_reward(3)(0.9, 2.5) == 0.9
    assert budget_reward(3, 0.5)(0.9, 4) == pytest.approx(0.4)


def test_impossible_problems() -> None:
    with pytest.raises(UsageError, match="no layer is left to choose a bit width for"):
        additive([], [])
    with pytest.raises(UsageError, match=r"bit widths must rise, without repeats, not \[4, 2\]"):
        WidthProblem(sites([1]), lambda b: Score(1, 0), Score(1, 0), product_reward(), (4, 2))


def test_widths_of_a_network(net: Residual) -> None:
    """Scores are of the quantized network, which is put back; the recipe names the bits."""
    before = {name: value.clone() for name, value in net.state_dict().items()}
    chosen = sites_of(net)[:3]
    x = torch.randn(16, 2, 8, 8)
    net.eval()
    wanted = net(x).detach()

    def measure(model: torch.nn.Module) -> Score:
        with torch.no_grad():
            error = float((model(x) - wanted).square().mean())
        return Score(1 / (1 + error), error)

    problem = network_problem(net, chosen, measure, product_reward(), (2, 8))
    low, high = problem.score((2, 2, 2)), problem.score((8, 8, 8))
    assert problem.float_score == Score(1.0, 0.0)
    assert low.loss > high.loss > 0
    after = net.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    assert features(chosen).shape == (3, 6)
    rules = width_recipe(chosen, (2, 8, 3)).rules
    assert [(r.layers, r.method.bits) for r in rules] == [("stem", 2), ("conv1", 8), ("conv2", 3)]  # type: ignore[union-attr]
