"""`--wire`: tensors on links in 16 or 8 bits, with what that costs in accuracy."""

from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from splitter.cli.quantize import load_requests
from splitter.constraints import Constraints
from splitter.errors import EquivalenceError, UsageError
from splitter.plan import Plan
from splitter.program import Program
from splitter.topology import Topology


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


def with_encoded_wires(
    program: Program,
    plan: Plan,
    topology: Topology,
    model: str,
    wire: WireForm | None,
    data: Path | None,
    tolerance: float,
    roofline: bool,
) -> tuple[Program, Plan, str]:
    """Program and plan with encoded links, and a line that says what they change.

    Raises:
        EquivalenceError: the encoding changes an output by more than ``tolerance``.
        UsageError: options do not go together.
    """
    if wire is None:
        if data is not None:
            raise UsageError("--wire-data belongs to --wire int8")
        return program, plan, ""
    from compress.wires import encode_wires, relative_error
    from splitter.pipeline import cost_table, partition

    requests = [program.example_inputs]
    if data is not None:
        requests = load_requests(program, model, data)
    made = encode_wires(program, topology, plan.placement, wire.value, requests)
    if not made.tensors:
        return program, plan, "No float32 tensor crosses a link, so --wire changes nothing."
    worst = relative_error(program, made.program, requests)
    if not worst <= tolerance:
        raise EquivalenceError(
            f"--wire {wire.value} changes an output by {worst:.3g} of its largest magnitude "
            f"(allowed {tolerance:g}); send fp16, give --wire-data, or raise --wire-tolerance"
        )
    costs = cost_table(made.program.graph, topology, measured=not roofline)
    # The placement holds already; patterns in rules would take new layers for those they follow.
    again = partition(
        *(made.program, replace(topology, constraints=Constraints())),
        objective=plan.objective,
        costs=costs,
        slots=plan.slots,
        placement=made.placement,
    )
    return (
        made.program,
        again,
        f"{len(made.tensors)} tensors cross links as {wire.value}: outputs change by {worst:.2g} "
        f"of their largest magnitude (allowed {tolerance:g}).",
    )
