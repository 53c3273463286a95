"""`splitter compile --tune`: faster kernels by measuring, and what to tell of it."""

from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from splitter.cli.console import err, progress
from splitter.errors import UsageError
from splitter.plan import Plan
from splitter.program import Program
from splitter.topology import Topology

if TYPE_CHECKING:
    from runtime.build.tune import TuningReport

Tune = Annotated[
    float | None,
    typer.Option(
        "--tune",
        metavar="SECONDS",
        help="First spend this long on measuring other kernels; what is faster is kept for good.",
    ),
]
TuneOn = Annotated[
    list[str] | None,
    typer.Option(
        "--tune-on",
        metavar="DEVICE=PLACE",
        help="Where to measure: ssh:HOST or emulator. By default here, where this machine is like "
        "the device. Repeatable.",
    ),
]
Untuned = Annotated[
    bool, typer.Option("--untuned", help="Leave aside what --tune measured, now or before.")
]


def parse_places(given: list[str] | None) -> dict[str, str]:
    """``["pi=ssh:10.0.0.7"]`` -> ``{"pi": "ssh:10.0.0.7"}``.

    Raises:
        UsageError: an entry is not DEVICE=PLACE.
    """
    places: dict[str, str] = {}
    for text in given or []:
        device, equals, place = text.partition("=")
        if not (device and equals and place):
            raise UsageError(f"--tune-on {text}: write DEVICE=ssh:HOST or DEVICE=emulator")
        places[device] = place
    return places


def check_options(seconds: float | None, places: dict[str, str], untuned: bool) -> None:
    """Raise UsageError for options that contradict each other."""
    if places and seconds is None:
        raise UsageError("--tune-on says where to measure; --tune SECONDS how long: give both")
    if untuned and seconds is not None:
        raise UsageError("--tune measures what --untuned leaves aside: give one of them")


def tune_first(
    program: Program, plan: Plan, topology: Topology, seconds: float, places: dict[str, str]
) -> tuple["TuningReport", ...]:
    """Tune with a progress bar, and say on standard error what came of it."""
    from splitter.pipeline import tune

    with progress("tuning") as report:
        found = tune(program, plan, topology, seconds, places=places, progress=report)
    for each in found:
        err.print(escape(_told(each)), soft_wrap=True)
    for name in sorted(set(plan.placement.values()) - {each.device for each in found}):
        err.print(
            f"{escape(name)}: not tuned: this machine is not like it; --tune-on "
            f"{escape(name)}=ssh:HOST measures it where it is",
            soft_wrap=True,
        )
    return found


def _told(report: "TuningReport") -> str:
    left = f", {report.untried} more wait for --tune" if report.untried else ""
    return (
        f"{report.device}: {report.ways} ways to compute its layers measured{left}; "
        f"{report.layers} layers changed, {report.before_s * 1e3:.3g} -> "
        f"{report.after_s * 1e3:.3g} ms together"
    )
