"""Every strategy with every estimator on a toy space; each against the best there is."""

from dataclasses import replace
from math import log2

import numpy as np
import pytest
import torch
from small_space import tiny

from splitter.cost.roofline import roofline
from splitter.errors import InfeasibleError, UsageError
from splitter.joint.cotrain import Distributions, cotrain
from splitter.search.estimate.bilinear import Bilinear
from splitter.search.estimate.blocks import parts_of
from splitter.search.estimate.conditional import skips_of
from splitter.search.estimate.estimator import Estimator, MacCount, ParameterCount
from splitter.search.estimate.naswot import Naswot
from splitter.search.estimate.supernet import FewShot, OneShot
from splitter.search.estimate.training import Schedule
from splitter.search.space.shared import make_supernet
from splitter.search.strategy.build import joint_problem
from splitter.search.strategy.frank_wolfe import FrankWolfe
from splitter.search.strategy.mnasnet import HARD, SOFT, reward
from splitter.search.strategy.problem import Goal
from splitter.search.strategy.program import solve_program
from splitter.search.strategy.proxyless import two_path_step
from splitter.search.strategy.relaxed import Relaxed, softmax, through_softmax
from splitter.search.strategy.task import STRATEGIES, Task, strategy
from splitter.topology_file import load_topology
from splitter.zoo.datasets import Images, Split

FAMILY = tiny()
SPACE = FAMILY.space
WORTH = Bilinear(
    unary=((0.1, 0.4), (0.0, 0.3), (0.1, 0.25, 0.0)),
    base=0.3,
    skips=skips_of(SPACE),
    pairs={(0, 2): ((0.0, 0.1, 0.0), (0.05, 0.0, 0.0))},
)


@pytest.fixture(scope="module")
def task() -> Task:
    """The toy on three devices, with a budget that the best network does not meet."""
    parts = parts_of(FAMILY)
    table = parts.table(parts.program().graph, FAMILY.input_shape)
    topology = load_topology("camera_chain")
    costs = roofline(table.graph, topology)
    problem = joint_problem(SPACE, table, costs, topology, WORTH)
    fastest = solve_program(problem, Goal(weight=0.0, price_per_s=1.0)).time_s
    best = solve_program(problem, Goal(weight=1.0, price_per_s=1e-6)).time_s
    assert best > fastest
    return Task(SPACE, WORTH, problem, Goal(budget_s=(fastest + best) / 2), evaluations=60)


def estimators() -> dict[str, Estimator]:
    torch.manual_seed(0)
    data = Images(FAMILY.example(32), torch.arange(32) % 10)
    net = make_supernet(FAMILY)
    one = OneShot(net, data)
    return {
        "bilinear": WORTH,
        "parameters": ParameterCount(FAMILY),
        "macs": MacCount(FAMILY),
        "one-shot": one,
        "few-shot": FewShot(0, (one, OneShot(make_supernet(FAMILY), data))),
        "naswot": Naswot(FAMILY.network, FAMILY.example(16)),
    }


def best_there_is(task: Task) -> float:
    return max(a.value for a in map(task.value, SPACE.all()) if a is not None)


@pytest.mark.parametrize("name", sorted(STRATEGIES))
def test_every_strategy_takes_every_estimator(task: Task, name: str) -> None:
    for word, estimator in estimators().items():
        own = replace(task, estimator=estimator)
        answer = strategy(name).search(own)
        assert SPACE.faults(answer.joint.choices(task.problem)) == []
        assert answer.time_s <= task.goal.budget_s * (1 + 1e-9), (name, word)
        # Twelve networks: each strategy sees most of them within its sixty evaluations.
        assert answer.value <= best_there_is(own) + 1e-9
        assert len(own.scored.known) <= SPACE.size


@pytest.mark.parametrize("name", sorted(STRATEGIES))
def test_every_strategy_finds_the_best_of_the_toy(task: Task, name: str) -> None:
    answer = strategy(name).search(replace(task))
    assert answer.value == pytest.approx(best_there_is(task), abs=1e-6)
    again = strategy(name).search(replace(task))
    assert again.joint == answer.joint


def test_an_impossible_budget_is_said(task: Task) -> None:
    for name in STRATEGIES:
        with pytest.raises(InfeasibleError):
            strategy(name).search(replace(task, goal=Goal(budget_s=1e-9)))
    with pytest.raises(UsageError, match="no strategy"):
        strategy("oracle")


def test_frank_wolfe_keeps_the_budget_at_every_step(task: Task) -> None:
    search = FrankWolfe()
    search.search(task)
    assert len(search.violations) == search.steps
    assert max(search.violations) <= 1e-6


def test_expected_latency_has_the_gradient_that_differences_give(task: Task) -> None:
    relaxed = Relaxed.of(task)
    rng = np.random.default_rng(0)
    logits = [rng.normal(size=len(states)) for states in relaxed.states]

    def both(of: list[np.ndarray]) -> np.ndarray:
        p = [softmax(one) for one in of]
        return np.array([relaxed.latency(p)[0], relaxed.accuracy(WORTH, p)[0]])

    p = [softmax(one) for one in logits]
    analytic = relaxed.latency(p)[1], relaxed.accuracy(WORTH, p)[1]
    for v, own in enumerate(logits):
        for i in range(len(own)):
            up = [
                one + 1e-5 * ((k == v) * (np.arange(len(one)) == i)) for k, one in enumerate(logits)
            ]
            down = [
                one - 1e-5 * ((k == v) * (np.arange(len(one)) == i)) for k, one in enumerate(logits)
            ]
            numeric = (both(up) - both(down)) / 2e-5
            for value, gradient in zip(numeric, analytic, strict=True):
                assert through_softmax(p[v], gradient[v])[i] == pytest.approx(value, abs=1e-8)


def test_weights_choices_and_devices_train_together(task: Task) -> None:
    """Gradients reach weights and distributions; the answer keeps the budget."""
    labels = torch.arange(128) % 10
    bars = torch.nn.functional.one_hot(labels + 3, 16)[:, None, None, :].float()
    images = Images(2.0 * bars.expand(-1, 1, 16, 16).contiguous(), labels)
    data = Split(images, images, images, 0, 0.0)
    torch.manual_seed(0)
    net = make_supernet(FAMILY)
    answer = cotrain(net, data, replace(task), Schedule(60.0, batch=32))
    assert answer.time_s <= task.goal.budget_s * (1 + 1e-9)
    assert answer.accuracy > 0.3

    distributions = Distributions.of(task)
    p = distributions.drawn(1.0, torch.Generator().manual_seed(0))
    architecture, gates = distributions.path(task, p)
    assert all(float(gate.detach()) == 1.0 for gate in gates)
    net(images.images[:8], architecture, gates).logsumexp(1).sum().backward()
    vertex_of = task.problem.vertex_of
    moved = [distributions.logits[v].grad for v in vertex_of.values()]
    assert all(g is not None and bool(g.any()) for g in moved)
    numbers = [one.detach().numpy() for one in p]
    expected = distributions.relaxed.latency(numbers)[0]
    assert float(distributions.latency(p).detach()) == pytest.approx(expected)


def test_two_paths_keep_the_mass_of_their_pair() -> None:
    logits = np.array([0.3, -1.0, 2.0, 0.1])
    moved = two_path_step(logits, np.array([1, 2]), np.array([0.9, 0.1]), rate=0.5)
    before, after = softmax(logits), softmax(moved)
    assert after[1] > before[1]
    assert after[[0, 3]] == pytest.approx(before[[0, 3]])


def test_mnasnets_reward() -> None:
    """A doubled latency is worth 5 % of accuracy; the hard form counts only what is late."""
    assert reward(1.05, 2.0, 1.0, SOFT) == pytest.approx(reward(1.0, 1.0, 1.0, SOFT), rel=2e-3)
    assert -log2(1.05) == pytest.approx(SOFT[0], abs=1e-3)
    assert reward(0.9, 0.5, 1.0, HARD) == 0.9
    assert reward(0.9, 2.0, 1.0, HARD) == pytest.approx(0.45)
