"""Forms of layers, their sensitivities, and the loop of solving, training and measuring."""

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import cast

import pytest
import torch
from compress_nets import residual

from compress import joint_choice
from compress.apply import apply_recipe
from compress.candidates import changeable, forms, recipe_of
from compress.decoding import decode_operations, with_decoding
from compress.joint import Retrain, compress_jointly, trained_by
from compress.joint_choice import JointRequest, choose, in_kernel_graph, plan_of
from compress.networks import trainable_copy
from compress.programs import compress_program, layer_names
from compress.sensitivity import Judge, Loss, Sensitivity, measure_forms
from compress.storage import disk_bytes
from compress.teach import Samples, Training
from splitter.cost.roofline import roofline, scalar_seconds
from splitter.cost.variants import Candidate
from splitter.errors import InfeasibleError, PlanError
from splitter.memory import NODE_OVERHEAD_BYTES
from splitter.partitioning import partition
from splitter.partitioning.joint.start import first_choices
from splitter.program import Program
from splitter.topology import Device, Link, Topology
from splitter.topology_file import load_card
from splitter.tracing.trace import trace
from splitter.variants import AS_IS, Choice, accuracy_drop


@pytest.fixture(scope="module")
def program() -> Program:
    model, inputs = residual()
    return trace(model, inputs)


@pytest.fixture(scope="module")
def samples() -> Samples:
    return Samples((torch.randn(24, 1, 2, 8, 8, generator=torch.Generator().manual_seed(0)),))


@pytest.fixture(scope="module")
def sensitivity(program: Program, samples: Samples) -> Sensitivity:
    return measure_forms(program, samples)


def topology(room_bytes: int) -> Topology:
    """A board with so much room, and a hub behind a slow link."""
    board, hub = load_card("armv7_board"), load_card("raspberry_pi_5")
    devices = (
        Device("board", board, NODE_OVERHEAD_BYTES + room_bytes, 1),
        Device("hub", hub, hub.memory_bytes, 1),
    )
    links = (Link("board", "hub", 1e4, 1e-2), Link("hub", "board", 1e4, 1e-2))
    return Topology("two", "", devices, links, "board", "board")


def request_for(where: Topology, max_drop: float, rounds: int = 3) -> JointRequest:
    return JointRequest(
        where, lambda graph: roofline(graph, where), max_drop, slots=1, steps=8, rounds=rounds
    )


def test_layers_that_may_change(program: Program) -> None:
    assert set(changeable(program)) == {"stem", "conv1", "head"}, "conv2 has two groups"


def test_forms_say_what_they_will_be(program: Program) -> None:
    site = changeable(program)["conv1"]
    found = list(forms(program.graph.by_name["conv1"], site))
    assert found[0].name == AS_IS
    assert len({form.name for form in found}) == len(found)
    for form in (found[1], found[-1], found[-4]):
        module = trainable_copy(program)
        apply_recipe(module, recipe_of({"conv1": form.name}, 1), None, layer_names(program))
        again = trace(module, program.example_inputs)
        parts = [layer for layer in again.graph.layers if layer.name.startswith("conv1")]
        assert len(parts) == form.kernels
        assert sum(layer.macs for layer in parts) == form.macs
        if form.kernels == 2:
            inner = again.graph.tensors[parts[0].outputs[0]].bytes
            assert inner <= form.inner_bytes < inner + 64


def test_sensitivities(program: Program, sensitivity: Sensitivity) -> None:
    for own in sensitivity.candidates.values():
        assert own[0].variant.name == AS_IS
        assert own[0].variant.accuracy_drop == 0
        assert all(0 <= one.variant.accuracy_drop <= 100 for one in own)
        assert min(one.variant.weight_bytes for one in own) < own[0].variant.weight_bytes / 4


def test_accuracy_buys_memory(program: Program, sensitivity: Sensitivity, samples: Samples) -> None:
    roomy = topology(10**6)
    costs = roofline(program.graph, roomy)
    whole = partition(program.graph, roomy, costs, slots=1)
    assert set(whole.placement.values()) == {"board"}
    need = whole.estimate.devices[0].memory_bytes - NODE_OVERHEAD_BYTES
    where = topology(need - 2_000)
    as_it_is = partition(program.graph, where, costs, slots=1)
    assert "hub" in as_it_is.placement.values()
    request = request_for(where, 60.0)
    table = sensitivity.table(program.graph, where, costs)
    train = trained_by(program, samples, Training(batch=8))
    found = compress_jointly(program, table, request, train, Judge(program, samples))
    best = found.best
    assert best.loss.at_most(1.0) <= 60.0
    assert best in found.attempts
    assert best.plan.estimate.latency_s < as_it_is.estimate.latency_s
    assert set(best.plan.placement.values()) == {"board"}
    made = best.program
    packed = {name: disk_bytes(tensor) for name, tensor in made.compressed.items()}
    assert in_kernel_graph(made).weight_bytes == {**made.graph.weight_bytes, **packed}
    for layer, name in best.chosen.variants.items():
        text = best.recipe.to_toml()
        assert (f'layers = "{layer}"' in text) == (name != AS_IS)
    assert set(best.devices(found.table)) == set(table.variants)
    assert set(best.devices(found.table).values()) == {("board",)}


def test_decoding_takes_time(program: Program) -> None:
    where = topology(10**6)
    recipe = recipe_of({"conv1": "slq:bits=4,per_channel=true", "head": "mlq"}, 1)
    made, _ = compress_program(program, recipe)
    costs = roofline(made.graph, where)
    slower = with_decoding(made, where, costs)
    device = where.devices[0]
    for layer in ("conv1", "head"):
        work = decode_operations(made.compressed[f"{layer}.weight"])
        assert work > math.prod(made.compressed[f"{layer}.weight"].shape)
        more = slower.seconds(layer, "board") - costs.seconds(layer, "board")
        assert more == pytest.approx(scalar_seconds(work, device))
    assert slower.entries["stem", "board"] == costs.entries["stem", "board"]


def judged(drops: Iterator[float]) -> Judge:
    """A judge who finds what it is told."""

    class Fixed:
        def loss(self, module: torch.nn.Module) -> Loss:
            return Loss(next(drops))

    return cast(Judge, Fixed())


def unchanged(program: Program) -> Retrain:
    return lambda recipe: program


def priced(sensitivity: Sensitivity, drop: float) -> Sensitivity:
    """Every form of fewer bytes costs more accuracy, by the step; decoding is free."""
    candidates = {
        layer: tuple(
            replace(
                one,
                variant=replace(one.variant, accuracy_drop=drop * place),
                scalar_operations=0.0,
            )
            for place, one in enumerate((own[0], *sorted(own[1:], key=_most_bytes)))
        )
        for layer, own in sensitivity.candidates.items()
    }
    return replace(sensitivity, candidates=candidates)


def _most_bytes(one: Candidate) -> int:
    return -one.variant.weight_bytes


@pytest.fixture
def free_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(joint_choice, "with_decoding", lambda program, topology, costs: costs)


def test_no_start_has_a_better_network(program: Program, sensitivity: Sensitivity) -> None:
    where = topology(8_000)
    request = replace(request_for(where, 60.0), time_limit_s=4.0)
    table = sensitivity.table(program.graph, where, request.costs(program.graph))
    for allowance in (5.0, 20.0):
        found = choose(program, table, request, allowance)
        assert found.accuracy_drop == pytest.approx(accuracy_drop(table, found.variants))
        assert found.accuracy_drop <= allowance + 1e-6
        reached = latency_s(program, found.variants, request)
        for start in first_choices(table, where, allowance):
            assert reached <= latency_s(program, start, request) * (1 + 1e-9)


def latency_s(program: Program, choice: Choice, request: JointRequest) -> float:
    recipe = recipe_of(choice, 1)
    made = compress_program(program, recipe)[0] if recipe.rules else program
    try:
        return plan_of(made, request).estimate.latency_s
    except InfeasibleError:
        return math.inf


@pytest.mark.usefixtures("free_decoding")
def test_solved_again_with_less_where_the_sum_was_too_kind(
    program: Program, sensitivity: Sensitivity
) -> None:
    where = topology(60_000)
    request = request_for(where, 1.0)
    table = priced(sensitivity, 0.05).table(program.graph, where, request.costs(program.graph))
    drops = iter([5.0, 3.0, 0.5])
    found = compress_jointly(program, table, request, unchanged(program), judged(drops))
    allowed = [one.chosen.allowed_drop for one in found.attempts]
    assert allowed == sorted(allowed, reverse=True)
    assert found.best is found.attempts[-1]
    with pytest.raises(PlanError, match="was found to lose at most 1 points: the best of"):
        compress_jointly(program, table, request, unchanged(program), judged(iter([9.0] * 3)))


@pytest.mark.usefixtures("free_decoding")
def test_more_is_allowed_where_training_makes_up_for_it(
    program: Program, sensitivity: Sensitivity
) -> None:
    where = topology(60_000)
    request = request_for(where, 0.2)
    table = priced(sensitivity, 0.1).table(program.graph, where, request.costs(program.graph))
    found = compress_jointly(program, table, request, unchanged(program), judged(iter([0.0] * 3)))
    allowed = [one.chosen.allowed_drop for one in found.attempts]
    assert allowed == sorted(allowed)
    assert len(allowed) > 1


def test_nothing_fits(program: Program, sensitivity: Sensitivity) -> None:
    where = replace(topology(100), links=())
    request = request_for(where, 1.0)
    table = sensitivity.table(program.graph, where, request.costs(program.graph))
    with pytest.raises(InfeasibleError, match=r"with its layers as small as they get, .* memory"):
        compress_jointly(program, table, request, unchanged(program), judged(iter([])))
