"""`--wire`: tensors on links in 16 or 8 bits, planned for, with what that costs in accuracy."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from splitter.cli.console import status
from splitter.cli.effort import Effort
from splitter.cli.quantize import load_requests
from splitter.constraints import Constraints
from splitter.errors import EquivalenceError, InfeasibleError, UsageError
from splitter.objective import quantity
from splitter.plan import Plan
from splitter.program import Program
from splitter.topology import Topology

if TYPE_CHECKING:
    from compress.wire_plan import EncodedPlan


class WireForm(StrEnum):
    """How float32 tensors cross links."""

    FP16 = "fp16"
    INT8 = "int8"


Wire = Annotated[
    WireForm | None,
    typer.Option("--wire", help="Send float32 tensors over links in 16 or 8 bits."),
]
WireData = Annotated[
    Path | None,
    typer.Option(
        "--wire-data",
        help="Requests that show the ranges of --wire int8, as --data of splitter quantize; "
        "without, the model's example input does.",
    ),
]
WireTolerance = Annotated[
    float,
    typer.Option(
        "--wire-tolerance",
        help="Most that --wire may change an output, relative to its largest magnitude.",
        min=0.0,
    ),
]


@dataclass(frozen=True)
class Encoding:
    """What the user asked for."""

    model: str
    form: WireForm
    data: Path | None
    tolerance: float

    @classmethod
    def asked(
        cls, model: str, form: WireForm | None, data: Path | None, tolerance: float
    ) -> "Encoding | None":
        """None without ``--wire``; raises UsageError where options do not go together."""
        if form is None:
            if data is not None:
                raise UsageError("--wire-data belongs to --wire int8")
            return None
        return cls(model, form, data, tolerance)


def encoded_plan(
    program: Program,
    given: Plan | None,
    topology: Topology,
    encoding: Encoding,
    effort: Effort,
    *,
    fixed: bool,
) -> tuple[Program, Plan, str]:
    """Program and plan with encoded links, and what is to be said about them.

    Args:
        program: the model.
        given: a plan for tensors at their full sizes, if there is one.
        topology: where.
        encoding: how tensors are sent.
        effort: of the search.
        fixed: whether the placement of ``given`` is kept; else links are planned for at their
            encoded bytes.

    Raises:
        EquivalenceError: the encoding changes an output by more than what is allowed.
        InfeasibleError: no placement fits.
    """
    from compress.wire_plan import plan_encoded, with_encoding
    from compress.wires import relative_error

    requests = [program.example_inputs]
    if encoding.data is not None:
        requests = load_requests(program, encoding.model, encoding.data)

    def evaluate(made: Program, where: Topology, placement: Mapping[str, str]) -> Plan:
        return replace(effort, constraints=Constraints()).plan(made, where, placement=placement)

    form: Literal["fp16", "int8"] = encoding.form.value
    asked = (form, requests, evaluate)
    if fixed:
        assert given is not None
        found = with_encoding(program, topology, given.placement, *asked)
    else:
        found = plan_encoded(
            program, topology, *asked, *_plans(program, given, topology, encoding, effort)
        )
    if not found.tensors:
        return program, found.plan, "No float32 tensor crosses a link, so --wire changes nothing."
    worst = relative_error(program, found.program, requests)
    if not worst <= encoding.tolerance:
        raise EquivalenceError(
            f"--wire {encoding.form.value} changes an output by {worst:.3g} of its largest "
            f"magnitude (allowed {encoding.tolerance:g}); send fp16, give --wire-data, or raise "
            "--wire-tolerance"
        )
    return found.program, found.plan, _told(found, encoding, worst, fixed=fixed)


def _plans(
    program: Program, given: Plan | None, topology: Topology, encoding: Encoding, effort: Effort
) -> tuple[tuple[Plan, Plan], Plan | None]:
    """Plans for tensors as they are sent, and the one for full sizes where there is one."""
    from compress.wire_plan import coding_topology
    from compress.wires import as_sent

    form: Literal["fp16", "int8"] = encoding.form.value
    sent, costs = as_sent(program.graph, form), effort.costs(program.graph, topology)
    with status(
        f"planning {program.graph.name} on {topology.name} with {encoding.form.value} links"
    ):
        light = (
            effort.plan(sent, topology, costs=costs),
            effort.plan(sent, coding_topology(topology, form), costs=costs),
        )
        try:
            return light, given or effort.plan(program, topology)
        except InfeasibleError:
            return light, None  # only encoded tensors keep within the limits


def _told(found: "EncodedPlan", encoding: Encoding, error: float, *, fixed: bool) -> str:
    plan, form = found.plan, encoding.form.value
    text = (
        f"{len(found.tensors)} tensors cross links as {form}: {plan.estimate.sent_bytes / 1e3:.1f} "
        f"KB instead of {found.plain_bytes / 1e3:.1f}; outputs change by {error:.2g} of their "
        f"largest magnitude (allowed {encoding.tolerance:g})."
    )
    if fixed:
        return f"{text}\nThe placement is as given."
    if found.other is None:
        return f"{text}\nPlanned for encoded links; at full sizes no plan keeps within the limits."
    return (
        f"{text}\nPlanned for encoded links: {plan.objective} "
        f"{quantity(plan.objective, plan.estimate.value(plan.objective))}, encoding and decoding "
        f"counted; the split for full sizes has {quantity(plan.objective, found.other)} with its "
        "links encoded."
    )
