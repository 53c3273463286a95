"""A topology for the eye and for JSON."""

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from splitter.topology import Constraints, Device, Link, Topology


def draw(topology: Topology) -> RenderableType:
    """Devices, links and constraints as two tables and a few lines, for a rich console."""
    parts: list[RenderableType] = [
        Text.assemble((topology.name, "bold"), f": {topology.description}"),
        Text(f"The input is born on {topology.source}, the result is wanted on {topology.sink}."),
        *(Text(line) for line in _end_lines(topology)),
        Text(),
        _tree(topology),
        _device_table(topology),
    ]
    if topology.links:
        parts.append(_link_table(topology))
    parts.extend(Text(line) for line in _constraint_lines(topology.constraints))
    return Group(*parts)


def _end_lines(topology: Topology) -> Iterator[str]:
    for tensor, device in topology.sources:
        yield f"Input {tensor} is born on {device}."
    for tensor, device in topology.sinks:
        yield f"Output {tensor} is wanted on {device}."
    if topology.replicas:
        yield "Equal devices may take turns at one part."


def to_dict(topology: Topology) -> dict[str, Any]:
    """JSON form, in SI units under the field names of `splitter.topology`."""
    document = asdict(topology)
    del document["constraints"]["origins"]  # where a rule was written is no part of it
    return document


def _tree(topology: Topology) -> Tree:
    """The network as seen from where the input is born, every link once."""
    root = Tree(_node_label(topology, topology.source), guide_style="dim")
    branches = {topology.source: root}
    waiting = [topology.source]
    drawn: set[frozenset[str]] = set()
    others = [device for _, device in topology.sources]
    while waiting or others:
        if not waiting:
            other = others.pop(0)
            if other not in branches:
                branches[other] = root.add(_node_label(topology, other))
                waiting.append(other)
            continue
        here = waiting.pop(0)
        for link in topology.links:
            pair = frozenset((link.source, link.target))
            if link.source != here or pair in drawn:
                continue
            drawn.add(pair)
            known = link.target in branches
            label = Text.assemble(
                (f"{_rate(link)} {_arrow(topology, link)} ", "dim"),
                (link.target, "dim") if known else _node_label(topology, link.target),
            )
            branch = branches[here].add(label)
            if not known:
                branches[link.target] = branch
                waiting.append(link.target)
    return root


def _node_label(topology: Topology, name: str) -> Text:
    device = topology.by_name[name]
    marks = ["in"] * topology.is_source(name) + ["out"] * topology.is_sink(name)
    ends = f" ({', '.join(marks)})" if marks else ""
    return Text.assemble(
        (name, "bold"), f"{ends}: {device.card.name}, {_bytes(device.memory_bytes)}"
    )


def _rate(link: Link) -> str:
    return f"{link.bandwidth_bytes_per_s * 8 / 1e6:g} Mbit/s, {link.latency_s * 1e3:g} ms"


def _arrow(topology: Topology, link: Link) -> str:
    return "<->" if (link.target, link.source) in topology.link_between else "-->"


def _device_table(topology: Topology) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in ("device", "card", "processor"):
        table.add_column(heading)
    for heading in ("threads", "memory", "GFLOP/s", "GB/s"):
        table.add_column(heading, justify="right")
    for device in topology.devices:
        table.add_row(
            f"[bold]{escape(device.name)}[/]",
            escape(device.card.name),
            escape(device.card.processor),
            str(device.threads),
            _bytes(device.memory_bytes),
            f"{_flops(device) / 1e9:.3g}",
            f"{device.card.memory_bytes_per_s / 1e9:.3g}",
        )
    return table


def _flops(device: Device) -> float:
    """fp32 operations per second on the device's threads; a multiply-accumulate is two."""
    return 2 * device.card.macs_per_s * device.threads / device.card.threads


def _link_table(topology: Topology) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("link")
    for heading in ("bandwidth", "latency", "1 MB takes", "energy"):
        table.add_column(heading, justify="right")
    for link, arrow in _merged(topology):
        energy = f"{link.energy_j_per_byte * 1e9:g} nJ/B" if link.energy_j_per_byte else ""
        table.add_row(
            escape(
                f"{link.source} {arrow} {link.target}" + f" ({link.shared})" * bool(link.shared)
            ),
            f"{link.bandwidth_bytes_per_s * 8 / 1e6:g} Mbit/s",
            f"{link.latency_s * 1e3:g} ms",
            f"{link.seconds(1_000_000) * 1e3:.3g} ms",
            energy,
        )
    return table


def _merged(topology: Topology) -> Iterator[tuple[Link, str]]:
    """Links with an arrow each; two that are equal but for their direction are shown as one."""
    shown: set[tuple[str, str]] = set()
    for link in topology.links:
        if (link.source, link.target) in shown:
            continue
        shown.add((link.source, link.target))
        back = topology.link_between.get((link.target, link.source))
        if back is not None and _figures(back) == _figures(link):
            shown.add((back.source, back.target))
            yield link, "<->"
        else:
            yield link, "-->"


def _figures(link: Link) -> tuple[float, float, float, str]:
    return link.bandwidth_bytes_per_s, link.latency_s, link.energy_j_per_byte, link.shared


def _constraint_lines(constraints: Constraints) -> Iterator[str]:
    if constraints.private_input:
        yield "the raw input stays where it is born"
    if constraints.max_sent_bytes is not None:
        yield f"at most {_bytes(constraints.max_sent_bytes)} sent per request"
    for pattern, device in constraints.pins:
        yield f"layers {pattern} run on {device}"
    for pattern, device in constraints.bans:
        yield f"layers {pattern} never run on {device}"
    told = ("private_input", "max_sent_bytes", "pins", "bans")
    for rule in constraints.listed():
        if rule.key[0] not in told:
            yield f"rule: {rule.words}"


def _bytes(size: int) -> str:
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= scale:
            return f"{size / scale:.4g} {unit}"
    return f"{size} B"
