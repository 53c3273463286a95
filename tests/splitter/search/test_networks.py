"""Families: shared weights are the networks', blocks' costs are the networks'."""

from random import Random

import pytest
import torch
from small_space import tiny

from splitter.cost.roofline import roofline
from splitter.errors import UsageError
from splitter.estimate import estimate
from splitter.search.estimate.bilinear import Bilinear
from splitter.search.estimate.blocks import BlockTable, parts_of
from splitter.search.estimate.estimator import MacCount, ParameterCount
from splitter.search.space.families import FAMILIES, family
from splitter.search.space.mobile import SMALL, MobileLayout, MobileStage, mobile
from splitter.search.space.shared import make_supernet
from splitter.search.space.shuffle import shuffle
from splitter.search.strategy.build import joint_problem
from splitter.search.strategy.judge import latency_s
from splitter.search.strategy.problem import Goal
from splitter.search.strategy.program import solve_program
from splitter.topology_file import load_topology
from splitter.tracing.trace import trace


@pytest.mark.parametrize("make", [mobile, shuffle, tiny])
def test_a_path_is_the_network_that_is_taken_from_it(make: object) -> None:
    torch.manual_seed(0)
    made = make()  # type: ignore[operator]
    net, rng = make_supernet(made), Random(0)
    images = made.example(8)
    for _ in range(4):
        architecture = made.space.random(rng)
        network = net.extract(architecture).train()
        with torch.no_grad():
            torch.testing.assert_close(network(images), net.train()(images, architecture))


def test_layouts_have_the_papers_spaces() -> None:
    assert {"binas", "proxyless", "mnasnet"} <= set(FAMILIES)
    binas = family("binas").space
    assert [len(s.choices) for s in binas.slots] == [12] * 20
    assert [list(s.depths) for s in binas.stages] == [[2, 3, 4]] * 5
    assert len(family("proxyless").space.slots) == 21
    assert all(stage.shared for stage in family("mnasnet").space.stages)


def test_unknown_families_are_named() -> None:
    with pytest.raises(UsageError, match="did you mean 'mobile'"):
        family("mobil")
    with pytest.raises(UsageError, match="cannot be made"):
        family("no.such.module:thing")
    with pytest.raises(UsageError, match="not a Family"):
        family("collections:OrderedDict")


def small_mobile() -> MobileLayout:
    stages = (MobileStage((16,), 2, 1, 1), MobileStage((24, 32), 2, 1, 2))
    return MobileLayout("small", (1, 28, 28), 10, 16, stages, 32, kernels=(3,), expansions=(2,))


def test_the_problem_costs_what_the_plan_of_the_traced_network_costs() -> None:
    """Blocks' seconds, bytes and MACs add up to those of whole networks, wherever they run."""
    made = mobile(small_mobile())
    parts = parts_of(made)
    table = parts.table(parts.program().graph, made.input_shape)
    assert BlockTable.from_dict(table.to_dict()) == table
    topology = load_topology("camera_chain")
    nothing = Bilinear(tuple((0.0,) * width for width in made.space.widths))
    problem = joint_problem(made.space, table, roofline(table.graph, topology), topology, nothing)
    rng = Random(1)
    for _ in range(3):
        architecture = made.space.random(rng)
        goal = Goal(weight=0.0, price_per_s=1.0)
        from splitter.search.strategy.task import best_split

        answer = best_split(problem, architecture, goal)
        program = trace(made.network(architecture).eval(), (made.example(),))
        graph = program.graph
        assert graph.macs / 1e6 == pytest.approx(MacCount(made).score(architecture))
        parameters = ParameterCount(made).score(architecture) * 1e6
        assert graph.total_weight_bytes / 4 == pytest.approx(parameters, rel=0.05)
        device = problem.devices[answer.joint.devices[1]]
        if len(set(answer.joint.devices)) > 1:
            continue
        placement = {layer.name: device for layer in graph.layers}
        planned = estimate(graph, topology, roofline(graph, topology), placement, 3)
        assert latency_s(problem, answer.joint) == pytest.approx(planned.latency_s, rel=1e-9)


def test_the_mobile_space_is_solved_on_every_topology() -> None:
    made = mobile(small_mobile())
    parts = parts_of(made)
    table = parts.table(parts.program().graph, made.input_shape)
    macs = Bilinear(
        tuple(
            tuple(float(c) for c in range(len(s.choices))) + (0.0,) * optional
            for s, optional in zip(made.space.slots, made.space.optional, strict=True)
        )
    )
    for name in ("phone_edge_cloud", "camera_chain", "home", "loopback3"):
        topology = load_topology(name)
        problem = joint_problem(made.space, table, roofline(table.graph, topology), topology, macs)
        best = solve_program(problem, Goal())
        assert best.proved
        assert best.accuracy == sum(max(terms) for terms in macs.unary)
    assert SMALL.name == "mobile"
