"""Plans that know how tensors are encoded on links.

Placements are searched for with tensors at the bytes that they have on a link: with encoding free,
which gives a bound, and with the time of encoding and decoding added to the links'. Beside them
stands the placement for full sizes. All are encoded, the encoded programs evaluated whole (time and
memory of their encoding and decoding layers), and the best one is taken.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch

from compress.wires import WIRE_TYPE, WireEncoding, encode_wires
from splitter.cost.roofline import roofline_seconds
from splitter.errors import InfeasibleError
from splitter.graph import DTYPE_BYTES
from splitter.plan import Plan, Proof
from splitter.program import Program
from splitter.schedule import transfers_of
from splitter.topology import Constraints, Link, Topology

_PROVED = 1e-6
"""Relative gap below which a plan counts as optimal."""
Requests = Sequence[Sequence[torch.Tensor]]


Evaluate = Callable[[Program, Topology, Mapping[str, str]], Plan]
"""The plan of a given placement."""


@dataclass(frozen=True)
class EncodedPlan:
    """A program with encoded links, and where it runs."""

    program: Program
    plan: Plan
    tensors: tuple[str, ...]
    """Of the original program, those that are encoded."""
    plain_bytes: int
    """What the same placement sends unencoded."""
    other: float | None = None
    """The objective's value of the placement for full sizes, encoded as well; None where there is
    none, or it does not fit."""


def with_encoding(
    program: Program,
    topology: Topology,
    placement: Mapping[str, str],
    encoding: WireEncoding,
    requests: Requests,
    evaluate: Evaluate,
) -> EncodedPlan:
    """A given placement with its links encoded.

    Raises:
        InfeasibleError: the encoded program does not fit.
        UsageError: int8 without a request, or with one that is not finite.
    """
    made = encode_wires(program, topology, placement, encoding, requests)
    # The placement holds already; patterns in rules would take new layers for those they follow.
    free = replace(topology, constraints=Constraints())
    plan = evaluate(made.program, free, made.placement)
    sent = sum(t.bytes for t in transfers_of(program.graph, topology, placement))
    return EncodedPlan(made.program, plan, made.tensors, sent)


def plan_encoded(
    program: Program,
    topology: Topology,
    encoding: WireEncoding,
    requests: Requests,
    evaluate: Evaluate,
    plans: Sequence[Plan],
    whole: Plan | None,
) -> EncodedPlan:
    """The best of several placements, all with their links encoded.

    Args:
        program: what is placed.
        topology: where.
        encoding: how float32 tensors are sent.
        requests: inputs that show the ranges of int8.
        evaluate: what a placement costs.
        plans: for `compress.wires.as_sent` of the graph. The first is made for ``topology`` itself,
            and its bound is taken over; others may be for `coding_topology`.
        whole: made for the graph itself; None where there is no such plan.

    Raises:
        InfeasibleError: none fits, once its tensors are encoded.
        UsageError: int8 without a request, or with one that is not finite.
    """
    objective = plans[0].objective
    fitting: list[EncodedPlan] = []
    faults: list[InfeasibleError] = []
    other: float | None = None
    for plan in (*plans, *(() if whole is None else (whole,))):
        try:
            made = with_encoding(program, topology, plan.placement, encoding, requests, evaluate)
        except InfeasibleError as error:
            faults.append(error)
            continue
        fitting.append(made)
        if plan is whole:
            other = made.plan.estimate.value(objective)
    if not fitting:
        raise faults[0]
    best = min(fitting, key=lambda one: one.plan.estimate.value(objective))
    return replace(best, plan=_proved(best.plan, plans[0]), other=other)


def coding_topology(topology: Topology, encoding: WireEncoding) -> Topology:
    """``topology`` with links that take the time of encoding and decoding besides.

    Not exact: it counts as time of the link, not of the devices, and once for every hop.
    """
    links = tuple(_with_coding(topology, link, encoding) for link in topology.links)
    return replace(topology, links=links)


def _with_coding(topology: Topology, link: Link, encoding: WireEncoding) -> Link:
    ends = [topology.by_name[name] for name in (link.source, link.target)]
    touched = 1 + DTYPE_BYTES["float32"] / DTYPE_BYTES[WIRE_TYPE[encoding]]
    start_s = sum(roofline_seconds(0, 0, end) for end in ends)
    per_byte_s = sum(touched / end.card.memory_bytes_per_s for end in ends)
    return replace(
        link,
        latency_s=link.latency_s + start_s,
        bandwidth_bytes_per_s=1 / (1 / link.bandwidth_bytes_per_s + per_byte_s),
    )


def _proved(plan: Plan, light: Plan) -> Plan:
    """With the bound of the question in which encoding is free, which holds for ``plan`` too."""
    if plan.objective == "memory":
        return plan  # counted on smaller tensors than there are in memory
    reached = plan.estimate.value(plan.objective)
    bound = min(light.proof.bound, reached)
    gap = (reached - bound) / reached if reached > 0 else 0.0
    method = f"{light.proof.method}, with tensors as they are sent and encoding free"
    status: Literal["optimal", "feasible"] = "optimal" if gap <= _PROVED else "feasible"
    return replace(plan, proof=Proof(status, bound, gap, light.proof.solve_s, method))
