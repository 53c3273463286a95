"""What verbs print with: tables and progress for people, JSON for machines."""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn

Report = Callable[[int, int, str], None]

# Tables are laid out for 100 columns; a pipe or file has no width of its own.
out = Console(highlight=False, emoji=False, width=None if sys.stdout.isatty() else 100)
err = Console(stderr=True, highlight=False, emoji=False)


def print_json(data: Any) -> None:
    """One JSON document on standard output."""
    json.dump(data, sys.stdout, indent=1)
    sys.stdout.write("\n")


@contextmanager
def progress(title: str) -> Iterator[Report]:
    """A progress bar on standard error that is gone afterwards; plain silence when redirected."""
    bar = Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[what]}"),
        console=err,
        transient=True,
        disable=not err.is_terminal,
    )
    with bar:
        task = bar.add_task(title, total=None, what="")

        def report(done: int, total: int, what: str) -> None:
            bar.update(task, completed=done, total=total, what=what)

        yield report


@contextmanager
def status(text: str) -> Iterator[None]:
    """A spinner on standard error while something takes long."""
    if not err.is_terminal:
        yield
        return
    with err.status(escape(text)):
        yield
