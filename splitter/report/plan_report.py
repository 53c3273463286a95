"""A plan as tables: what runs where, what limits it, how good it is, and what else was possible."""

from collections import Counter
from collections.abc import Sequence
from io import StringIO

from rich import box
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from splitter.graph import Graph
from splitter.objective import objective_noun, quantity
from splitter.plan import Alternative, DeviceLoad, Flip, Plan
from splitter.topology import Topology

_RUNS_SHOWN = 2
TEXT_COLUMNS = 100


def plan_report(plan: Plan, graph: Graph, topology: Topology) -> RenderableType:
    """The plan for a terminal of 100 columns or more."""
    parts: list[RenderableType] = [
        _headline(plan),
        _totals(plan),
        _devices(plan, graph, topology),
    ]
    parts += [_links(plan, topology)] if plan.transfers else [Text("Nothing is sent.\n")]
    parts += [_facts(plan), _alternatives(plan)]
    return Group(*parts)


def plan_text(plan: Plan, graph: Graph, topology: Topology) -> str:
    """The same as plain text: no colours, equal for equal plans whatever the solver took."""
    out = StringIO()
    console = Console(
        file=out, width=TEXT_COLUMNS, color_system=None, force_terminal=False, legacy_windows=False
    )
    console.print(plan_report(plan, graph, topology))
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines()) + "\n"


def _headline(plan: Plan) -> Text:
    value = quantity(plan.objective, plan.estimate.value(plan.objective))
    used = sum(bool(load.layers) for load in plan.estimate.devices)
    devices = f"{used} device{'s' if used != 1 else ''}"
    return Text.assemble(
        (f"{plan.model} on {plan.topology}", "bold"),
        f": {objective_noun(plan.objective)} {value} on {devices}, {_verdict(plan)}",
    )


def _verdict(plan: Plan) -> str:
    if plan.proof.status == "optimal":
        return "proved optimal"
    if plan.proof.bound <= 0.0:
        return "nothing proved"
    return f"at most {100 * plan.proof.gap:.2g} % from optimal"


def _totals(plan: Plan) -> Text:
    estimate = plan.estimate
    per_s = f"{1 / estimate.period_s:.1f}/s" if estimate.period_s > 0 else "unlimited"
    return Text(
        f"One request {quantity('latency', estimate.latency_s)}; pipelined {per_s} "
        f"(one every {quantity('throughput', estimate.period_s)}); "
        f"{quantity('energy', estimate.energy_j)}; {_kilobytes(estimate.sent_bytes)} KB sent."
    )


def _table(*columns: str, numbers: int) -> Table:
    """A table whose first column is a name and whose last ``numbers`` columns are figures."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for i, column in enumerate(columns):
        right = i >= len(columns) - numbers
        table.add_column(
            column,
            justify="right" if right else "left",
            no_wrap=right or i == 0,
            overflow="fold",
        )
    return table


def _devices(plan: Plan, graph: Graph, topology: Topology) -> Table:
    table = _table(
        "device", "layers", "", "compute ms", "in KB", "out KB", "memory MB", "of", numbers=5
    )
    for load in plan.estimate.devices:
        idle = not load.memory_bytes
        table.add_row(
            load.device + _role(load.device, topology),
            str(len(load.layers)),
            _runs(load, graph),
            "-" if idle else f"{load.compute_s * 1e3:.3f}",
            "-" if idle else _kilobytes(load.received_bytes),
            "-" if idle else _kilobytes(load.sent_bytes),
            "-" if idle else _megabytes(load.memory_bytes),
            _megabytes(load.memory_limit_bytes),
        )
    return table


def _role(device: str, topology: Topology) -> str:
    roles = ["in"] * topology.is_source(device) + ["out"] * topology.is_sink(device)
    return f" ({', '.join(roles)})" if roles else ""


def _runs(load: DeviceLoad, graph: Graph) -> str:
    """The layers as runs of neighbours: ``first .. last``."""
    if not load.layers:
        return "idle" if not load.memory_bytes else "passes tensors on"
    runs: list[list[str]] = []
    for name in load.layers:
        if runs and graph.index[runs[-1][-1]] + 1 == graph.index[name]:
            runs[-1].append(name)
        else:
            runs.append([name])
    shown = [run[0] if len(run) == 1 else f"{run[0]} .. {run[-1]}" for run in runs[:_RUNS_SHOWN]]
    more = len(runs) - _RUNS_SHOWN
    return ", ".join(shown) + (f" and {more} more run{'s' * (more > 1)}" if more > 0 else "")


def _links(plan: Plan, topology: Topology) -> Table:
    table = _table("link", "tensors", "KB", "ms", "Mbit/s", "latency ms", numbers=5)
    count = Counter((t.source, t.target) for t in plan.transfers)
    for load in plan.estimate.links:
        link = topology.link_between[load.source, load.target]
        table.add_row(
            f"{load.source} -> {load.target}",
            str(count[load.source, load.target]),
            _kilobytes(load.bytes),
            f"{load.seconds * 1e3:.3f}",
            f"{link.bandwidth_bytes_per_s * 8 / 1e6:g}",
            f"{link.latency_s * 1e3:g}",
        )
    return table


def _facts(plan: Plan) -> Table:
    facts = Table.grid(padding=(0, 2))
    facts.add_column(style="bold", no_wrap=True)
    facts.add_column(overflow="fold")
    facts.add_row("bottleneck", plan.bottleneck)
    facts.add_row("proof", _proof(plan))
    facts.add_row("memory", f"for {plan.slots} request{'s' * (plan.slots != 1)} in flight")
    facts.add_row("costs", _sources(plan))
    for group in plan.replicas:
        facts.add_row("replicas", f"{', '.join(group)} take turns")
    for rule in plan.rules:
        facts.add_row("rule", Text(rule))
    for left in plan.fallbacks:
        facts.add_row("fallback", f"without {left.without}: {quantity(plan.objective, left.value)}")
    for flip in plan.flips:
        facts.add_row("flips", _flip(flip))
    if not plan.flips:
        facts.add_row("flips", _no_flip(plan))
    return facts


def _proof(plan: Plan) -> str:
    if plan.proof.bound <= 0.0:
        return "none: the placement was given or the solver had no time"
    bound = quantity(plan.objective, plan.proof.bound)
    return f"no plan is below {bound}; gap {100 * plan.proof.gap:.3g} %"


def _sources(plan: Plan) -> str:
    count = Counter(plan.cost_sources.values())
    return f"{count['measured']} layers measured, {count['roofline']} from the roofline model"


def _no_flip(plan: Plan) -> str:
    if all(single.value is None for single in plan.alternatives):
        return "no single device can run the model"
    if plan.objective not in ("latency", "throughput"):
        return f"the {objective_noun(plan.objective)} does not depend on the bandwidth"
    if plan.replicas or plan.proof.method != "integer program":
        return "not looked for in a plan of this kind"
    return "no change of bandwidth makes another single device as good"


def _flip(flip: Flip) -> str:
    return (
        f"at {flip.bandwidth_factor:.3g} x today's bandwidth ({flip.link} at "
        f"{flip.bandwidth_mbit_s:.3g} Mbit/s) {flip.device} alone is as good"
    )


def _alternatives(plan: Plan) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    table.add_column("all on", no_wrap=True)
    table.add_column(objective_noun(plan.objective), justify="right", no_wrap=True)
    table.add_column("compared with this plan", overflow="fold")
    for single in _ordered(plan.alternatives):
        value = "impossible" if single.value is None else quantity(plan.objective, single.value)
        table.add_row(single.device, value, single.reason)
    return table


def _ordered(singles: Sequence[Alternative]) -> list[Alternative]:
    """Possible ones first, best first; impossible ones in the topology's order."""
    possible = [(single.value, single) for single in singles if single.value is not None]
    ranked = [single for _, single in sorted(possible, key=lambda pair: pair[0])]
    return ranked + [single for single in singles if single.value is None]


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.{0 if size >= 1e9 else 2}f}"


def _kilobytes(size: int) -> str:
    return f"{size / 1e3:.1f}"
