"""`--decode`: when compressed weights become floats, everywhere or device by device."""

from typing import TYPE_CHECKING, Annotated

import typer

from splitter.errors import UsageError
from splitter.suggest import did_you_mean
from splitter.topology import Topology

if TYPE_CHECKING:
    from splitter.stored import Decode, Decoding

DecodeAt = Annotated[
    list[str] | None,
    typer.Option(
        "--decode",
        help="When compressed weights become floats: 'load' at start (fast), 'kernel' piece by "
        "piece in use (small); for one device DEVICE=kernel. Repeatable.",
    ),
]


def parse_decoding(given: list[str] | None, topology: Topology) -> "Decoding":
    """``["kernel", "hub=load"]`` -> kernel everywhere but on hub.

    Raises:
        UsageError: an entry is not load, kernel, or DEVICE= one of them.
    """
    from splitter.stored import Decoding

    usual: Decode = "load"
    by_device: dict[str, Decode] = {}
    for text in given or []:
        device, equals, word = text.rpartition("=")
        mode = _mode(text, word)
        if not equals:
            usual = mode
        elif device in topology.by_name:
            by_device[device] = mode
        else:
            names = list(topology.by_name)
            raise UsageError(
                f"--decode {text}: {topology.name} has no device '{device}'; it has "
                f"{', '.join(names)}{did_you_mean(device, names)}"
            )
    return Decoding(usual, by_device)


def _mode(text: str, word: str) -> "Decode":
    if word == "load":
        return "load"
    if word == "kernel":
        return "kernel"
    raise UsageError(f"--decode {text}: write load, kernel, or DEVICE= one of them")
