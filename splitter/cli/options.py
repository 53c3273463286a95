"""Options that several verbs share, and how their texts are read."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from splitter.constraints import Constraints
from splitter.constraints_file import load_constraints, parse_rule
from splitter.errors import UsageError


class Goal(StrEnum):
    """What a plan minimises."""

    LATENCY = "latency"
    THROUGHPUT = "throughput"
    ENERGY = "energy"
    MEMORY = "memory"
    SENT = "sent"
    DOLLARS = "dollars"


Model = Annotated[
    str,
    typer.Argument(
        help="An .onnx or .pt2 file, package.module:callable, or a name such as mobilenet_v2.",
        show_default=False,
    ),
]
TopologyName = Annotated[
    str,
    typer.Option(
        "--topology", "-t", help="A shipped topology (see `splitter topology`) or a .toml file."
    ),
]
InputShapes = Annotated[
    list[str] | None,
    typer.Option(
        "--input-shape",
        help="Fix the shape of an input with open dimensions: name=1,3,224,224. Repeatable.",
    ),
]
Batch = Annotated[int, typer.Option(help="Requests per training step.", min=1)]
LearningRate = Annotated[
    float, typer.Option(help="Of Adam, at the start; falls to zero along a cosine.", min=0.0)
]
Objective = Annotated[Goal, typer.Option(help="What to minimise.")]
Pins = Annotated[
    list[str] | None,
    typer.Option("--pin", help="LAYERS=DEVICE: run matching layers there. Repeatable."),
]
Bans = Annotated[
    list[str] | None,
    typer.Option("--ban", help="LAYERS=DEVICE: never run matching layers there. Repeatable."),
]
PrivateInput = Annotated[
    bool, typer.Option("--private-input", help="The raw input must not leave its device.")
]
MaxSent = Annotated[
    float | None,
    typer.Option("--max-sent-mb", help="Cap on the megabytes all links carry per request."),
]
Rules = Annotated[
    list[str] | None,
    typer.Option(
        "--rule",
        help="One line of a rules file: 'max_devices = 2', 'drained = [\"hub\"]', "
        "'at_most.latency_ms = 50' ... (docs/constraints.md). Repeatable.",
    ),
]
RulesFile = Annotated[
    Path | None, typer.Option("--rules", help="A .toml file of rules that hold besides.")
]
Slots = Annotated[int, typer.Option(help="Requests in flight for which memory is reserved.", min=1)]
TimeLimit = Annotated[
    float, typer.Option("--time-limit", help="Seconds after which the search stops.", min=0.1)
]
RooflineOnly = Annotated[
    bool, typer.Option("--roofline", help="Plan from the device cards; ignore measurements.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]
PlanFile = Annotated[
    Path | None,
    typer.Option("--plan", help="Use the placement of this plan.json instead of searching."),
]


def parse_shapes(given: list[str] | None) -> dict[str, tuple[int, ...]]:
    """``["x=1,3,8,8"]`` -> ``{"x": (1, 3, 8, 8)}``.

    Raises:
        UsageError: an entry is not NAME=N,N,... with numbers of 1 or more.
    """
    shapes: dict[str, tuple[int, ...]] = {}
    for text in given or []:
        name, equals, numbers = text.rpartition("=")
        try:
            shape = tuple(int(number) for number in numbers.split(","))
        except ValueError:
            shape = ()
        if not (name and equals and shape) or min(shape) < 1:
            raise UsageError(
                f"--input-shape {text}: write NAME=1,3,224,224 with whole numbers of 1 or more"
            )
        shapes[name] = shape
    return shapes


def parse_constraints(
    pins: list[str] | None,
    bans: list[str] | None,
    private_input: bool,
    max_sent_mb: float | None,
    rules: list[str] | None,
    rules_file: Path | None,
) -> Constraints:
    """The constraints that the options ask for.

    Raises:
        UsageError: an entry is not LAYERS=DEVICE, a rule or a rules file is malformed, or the cap
            is negative.
    """
    if max_sent_mb is not None and max_sent_mb < 0:
        raise UsageError(f"--max-sent-mb {max_sent_mb}: give 0 or more")
    found = load_constraints(rules_file) if rules_file is not None else Constraints()
    for text in rules or []:
        found += parse_rule(text, "--rule")
    found += _pairs("--pin", "pins", pins) + _pairs("--ban", "bans", bans)
    if private_input:
        found += Constraints(
            private_input=True, origins={("private_input", True): "--private-input"}
        )
    if max_sent_mb is not None:
        size = round(max_sent_mb * 1e6)
        origins = {("max_sent_bytes", size): f"--max-sent-mb {max_sent_mb:g}"}
        found += Constraints(max_sent_bytes=size, origins=origins)
    return found


def _pairs(option: str, field: str, given: list[str] | None) -> Constraints:
    pairs: dict[tuple[str, str], str] = {}
    for text in given or []:
        layers, _, device = text.rpartition("=")
        if not layers or not device:
            raise UsageError(f"{option} {text}: write LAYERS=DEVICE, such as 'features.1*=phone'")
        pairs[layers, device] = f"{option} {text}"
    origins = {(field, pair): written for pair, written in pairs.items()}
    if field == "pins":
        return Constraints(pins=tuple(pairs), origins=origins)
    return Constraints(bans=tuple(pairs), origins=origins)
