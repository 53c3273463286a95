"""`splitter plan`: decide which layer runs where, and show why."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from splitter.cli import options
from splitter.cli.choices import check_choices, compared, parse_pair, show_front
from splitter.cli.console import out, print_json, status
from splitter.cli.effort import Effort
from splitter.cli.output import writing
from splitter.errors import PlanError
from splitter.files import write_whole
from splitter.plan import Plan, plan_from_dict, plan_to_dict
from splitter.program import Program
from splitter.topology import Topology
from splitter.topology_file import load_topology


def plan_command(
    model: options.Model,
    topology: options.TopologyName,
    objective: options.Objective = options.Goal.LATENCY,
    input_shape: options.InputShapes = None,
    pin: options.Pins = None,
    ban: options.Bans = None,
    private_input: options.PrivateInput = False,
    max_sent_mb: options.MaxSent = None,
    rule: options.Rules = None,
    rules: options.RulesFile = None,
    slots: options.Slots = 3,
    time_limit: options.TimeLimit = 30.0,
    roofline: options.RooflineOnly = False,
    plan: options.PlanFile = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write the plan as JSON.")
    ] = None,
    dot: Annotated[
        Path | None, typer.Option(help="Write a picture of the split for graphviz.")
    ] = None,
    onnx: Annotated[
        Path | None, typer.Option(help="Write the layers as ONNX with pipeline_stage annotations.")
    ] = None,
    compare: Annotated[
        bool, typer.Option("--compare", help="Show what published methods make of it as well.")
    ] = False,
    pareto: Annotated[
        str | None,
        typer.Option(
            help="FIRST,SECOND: all plans of which none is better in both objectives "
            "(latency, period, energy, memory, sent, dollars)."
        ),
    ] = None,
    points: Annotated[int, typer.Option(help="Most plans on the front.", min=2)] = 12,
    picture: Annotated[
        Path | None, typer.Option(help="Write a picture of the front (.png).")
    ] = None,
    json: options.Json = False,
) -> None:
    """Decide which layer runs on which device, prove it, and show why.

    Example: splitter plan mobilenet_v2 --topology phone_edge_cloud --private-input
    """
    files = {"--plan": plan, "--output": output, "--dot": dot, "--onnx": onnx}
    check_choices(compare, pareto, picture, files)
    pair = None if pareto is None else parse_pair(pareto)
    constraints = options.parse_constraints(pin, ban, private_input, max_sent_mb, rule, rules)
    effort = Effort(objective.value, constraints, slots, time_limit, roofline)
    where = load_topology(topology)
    program = load_model(model, input_shape)
    if pair is not None:
        show_front(program, where, pair, effort, points=points, picture=picture, json=json)
        return
    if compare:
        made, rivals, data = compared(program, where, effort)
    else:
        made, rivals = make_plan(program, where, effort, plan), None
        data = plan_to_dict(made)
    write_plan_files(made, program, output, dot, onnx)
    if json:
        print_json(data)
        return
    from splitter.report.plan_report import plan_report

    out.print(plan_report(made, program.graph, where))
    if rivals is not None:
        out.print(rivals)


def load_model(model: str, input_shape: list[str] | None) -> Program:
    """Load and trace, with a spinner."""
    shapes = options.parse_shapes(input_shape)
    sys.path.append("")  # package.module:callable may lie where the user stands
    with status(f"loading {model}"):
        from splitter.tracing.load import load

        return load(model, shapes)


def make_plan(program: Program, topology: Topology, effort: Effort, plan_file: Path | None) -> Plan:
    """Search for a plan, or evaluate the placement of ``plan_file``."""
    placement = None if plan_file is None else read_plan(plan_file).placement
    with status(f"planning {program.graph.name} on {topology.name}"):
        return effort.plan(program, topology, placement=placement)


def read_plan(path: Path) -> Plan:
    """A plan from its JSON file.

    Raises:
        PlanError: the file is missing or malformed.
    """
    try:
        return plan_from_dict(json.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise PlanError(f"the plan {path} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise PlanError(f"the plan {path} is not valid JSON: {error}; plan again") from error
    except PlanError as error:
        raise PlanError(f"{path}: {error}") from error


def write_plan_files(
    plan: Plan, program: Program, output: Path | None, dot: Path | None, onnx: Path | None
) -> None:
    """Write the forms of the plan that were asked for."""
    if output is not None:
        with writing(output):
            write_whole(output, json.dumps(plan_to_dict(plan), indent=1) + "\n")
    if dot is not None:
        from splitter.export.dot import plan_to_dot

        with writing(dot):
            write_whole(dot, plan_to_dot(program.graph, plan))
    if onnx is not None:
        from splitter.export.onnx_plan import annotate_onnx

        with writing(onnx):
            annotate_onnx(program.graph, plan, onnx)
