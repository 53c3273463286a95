"""Entry point: the verbs, and what happens to errors and Ctrl-C."""

import sys

import typer
from rich.console import Console
from rich.markup import escape

from splitter import __version__
from splitter.cli.compile import compile_command
from splitter.cli.compress import compress_command
from splitter.cli.inspect import inspect_command
from splitter.cli.plan import plan_command
from splitter.cli.profile import profile_command
from splitter.cli.quantize import quantize_command
from splitter.cli.run import run_command
from splitter.cli.search import search_command
from splitter.cli.topology import topology_command
from splitter.errors import SplitterError

_INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells have it."""

app = typer.Typer(
    name="splitter",
    help="Split one neural network over several devices; compile one native program for each.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("plan")(plan_command)
app.command("compile")(compile_command)
app.command("compress")(compress_command)
app.command("search")(search_command)
app.command("quantize")(quantize_command)
app.command("run")(run_command)
app.command("profile")(profile_command)
app.command("topology")(topology_command)
app.command("inspect")(inspect_command)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"splitter {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Print the version and exit."
    ),
) -> None:
    del version


def main() -> None:
    """Run the command line; every foreseeable failure ends in one message and its exit code."""
    try:
        code = app(prog_name="splitter", standalone_mode=False)
        sys.exit(_stopped() if code == _INTERRUPTED else code)
    except SplitterError as error:
        sys.exit(_told(str(error), error.exit_code))
    except typer.TyperException as error:
        sys.exit(_told(_usage_text(error), error.exit_code))
    except OSError as error:  # a full disk under standard output or a cache, for example
        where = error.filename or "the output"
        sys.exit(_told(f"cannot read or write {where}: {error.strerror or error}", 1))
    except (KeyboardInterrupt, typer.Abort):
        sys.exit(_stopped())


def _told(text: str, code: int) -> int:
    if text:
        errors = Console(stderr=True, highlight=False, emoji=False, soft_wrap=True)
        errors.print("[bold red]error:[/]", escape(text))
    return code


def _stopped() -> int:
    sys.stderr.write("stopped\n")
    return _INTERRUPTED


def _usage_text(error: typer.TyperException) -> str:
    """One line about a wrong option or argument; empty when the help was printed instead."""
    message = error.format_message().strip().rstrip(".")
    context = getattr(error, "ctx", None)
    return f"{message}; see {context.command_path} --help" if message and context else message
