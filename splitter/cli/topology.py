"""`splitter topology`: draw a topology, or list the shipped ones."""

from typing import Annotated

import typer

from splitter.cli import options
from splitter.cli.console import out, print_json
from splitter.topology_file import load_topology, shipped_cards, shipped_topologies
from splitter.topology_view import draw, to_dict


def topology_command(
    name: Annotated[
        str | None, typer.Argument(help="A shipped topology or a .toml file; none lists them.")
    ] = None,
    json: options.Json = False,
) -> None:
    """Draw a topology: devices, links, where the input is born and the result is wanted.

    Example: splitter topology home
    """
    if name is None:
        _list(json)
        return
    topology = load_topology(name)
    if json:
        print_json(to_dict(topology))
        return
    out.print(draw(topology))


def _list(as_json: bool) -> None:
    known = {found: load_topology(found).description for found in shipped_topologies()}
    if as_json:
        print_json({"topologies": known, "cards": shipped_cards()})
        return
    for found, description in known.items():
        out.print(f"[bold]{found}[/]: {description}")
    out.print(f"device cards: {', '.join(shipped_cards())}")
