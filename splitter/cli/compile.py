"""`splitter compile`: one native program per device, checked against the unsplit model."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich import box
from rich.markup import escape
from rich.table import Table

from splitter.cli import options, shrink
from splitter.cli.console import err, out, print_json, progress
from splitter.cli.decoding import DecodeAt, parse_decoding
from splitter.cli.effort import Effort
from splitter.cli.plan import load_model, make_plan
from splitter.cli.tune import Tune, TuneOn, Untuned, check_options, parse_places, tune_first
from splitter.cli.wire import Encoding, Wire, WireData, WireTolerance, encoded_plan
from splitter.plan import plan_to_dict
from splitter.topology_file import load_topology


def compile_command(
    model: options.Model,
    topology: options.TopologyName,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder of the bundle; replaced if it is one.")
    ] = Path("build"),
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
    tolerance: Annotated[
        float,
        typer.Option(help="Allowed difference from the unsplit model's largest output, relative."),
    ] = 1e-4,
    tune: Tune = None,
    tune_on: TuneOn = None,
    untuned: Untuned = False,
    decode: DecodeAt = None,
    wire: Wire = None,
    wire_data: WireData = None,
    wire_tolerance: WireTolerance = 0.05,
    recipe: shrink.RecipeFile = None,
    data: shrink.Data = None,
    max_accuracy_drop: shrink.MaxDrop = None,
    steps: shrink.Steps = 500,
    batch: options.Batch = 16,
    learning_rate: options.LearningRate = 1e-4,
    save_recipe: shrink.SaveRecipe = None,
    json: options.Json = False,
) -> None:
    """Plan, compile one native program per device, and check them against the unsplit model.

    Example: splitter compile mobilenet_v2 --topology loopback3 -o build
    """
    places = parse_places(tune_on)
    check_options(tune, places, untuned)
    where = load_topology(topology)
    from splitter.stored import stored_program

    asked = shrink.Shrinking(
        *(model, recipe, data, max_accuracy_drop, steps, batch, learning_rate, save_recipe)
    )
    asked.check(plan, decode)
    # A joint plan counts on small weights in memory.
    usual = ["kernel"] if max_accuracy_drop is not None else decode
    decoding = parse_decoding(usual, where)
    constraints = options.parse_constraints(pin, ban, private_input, max_sent_mb, rule, rules)
    effort = Effort(objective.value, constraints, slots, time_limit, roofline)
    encoding = Encoding.asked(model, wire, wire_data, wire_tolerance)
    small = shrink.shrunk(asked, load_model(model, input_shape), where, effort)
    program = stored_program(small.program, decoding)
    made, wires = small.plan, ""
    if made is None and (encoding is None or plan is not None):
        made = make_plan(program, where, effort, plan)
    if encoding is not None:
        fixed = plan is not None
        program, made, wires = encoded_plan(program, made, where, encoding, effort, fixed=fixed)
    assert made is not None
    if tune is not None:
        tune_first(program, made, where, tune, places)
    from runtime.build.bundle import BuildResult, build_bundle

    with progress("compiling") as report:
        built: BuildResult = build_bundle(
            *(program, made, where, output),
            tolerance=tolerance,
            progress=report,
            tuned=not untuned,
            decoding=decoding,
        )
    if not built.gate.ran:
        err.print(f"[yellow]warning:[/] the bundle was {built.gate.reason}")
    if json:
        facts = {"plan": plan_to_dict(made), **_facts(built), **small.facts}
        print_json({"bundle": str(built.path), **facts})
        return
    from splitter.report.plan_report import plan_report

    shrink.show(small)
    out.print(plan_report(made, program.graph, where))
    out.print(_nodes_table(built))
    tuned = sum(node.tuned_layers for node in built.nodes)
    if tuned:
        out.print(f"{tuned} layers are computed in ways that --tune found faster on such devices.")
    if built.gate.ran:
        out.print(
            "The nodes together give the unsplit model's answer: largest difference "
            f"{built.gate.max_abs_diff:.2g} ({built.gate.max_rel_diff:.2g} relative, "
            f"allowed {tolerance:g})."
        )
    if wires:
        out.print(wires)
    place = escape(str(built.path))
    out.print(f"Bundle: {place}   Run it: splitter run {place} --input FILE")


def _facts(built: Any) -> dict[str, Any]:
    return {
        "nodes": {
            node.device: {
                "processor": node.processor,
                "program_bytes": node.program_bytes,
                "weights_bytes": node.weights_bytes,
                "decoded_bytes": node.decoded_bytes,
                "slot_bytes": node.slot_bytes,
                "arena_bytes": node.arena_bytes,
                "tuned_layers": node.tuned_layers,
            }
            for node in built.nodes
        },
        "equivalence": {
            "ran": built.gate.ran,
            "reason": built.gate.reason,
            "max_abs_diff": built.gate.max_abs_diff,
            "max_rel_diff": built.gate.max_rel_diff,
        },
    }


def _nodes_table(built: Any) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("node")
    table.add_column("processor")
    decodes = any(node.decoded_bytes for node in built.nodes)
    headings = ["program KB", "of it kernels KB", "weights MB", "slot KB", "arena KB"]
    for heading in [*headings, *(["decoded at start MB"] if decodes else [])]:
        table.add_column(heading, justify="right")
    for node in built.nodes:
        table.add_row(
            node.device,
            node.processor,
            f"{node.program_bytes / 1e3:.1f}",
            f"{(node.program_bytes - node.bare_program_bytes) / 1e3:.1f}",
            f"{node.weights_bytes / 1e6:.2f}",
            f"{node.slot_bytes / 1e3:.1f}",
            f"{node.arena_bytes / 1e3:.1f}",
            *([f"{node.decoded_bytes / 1e6:.2f}"] if decodes else []),
        )
    return table
