"""Entry point: the verbs, and what happens to errors and Ctrl-C."""

import sys

import typer
from click.exceptions import ClickException, Exit
from rich.console import Console

from splitter import __version__
from splitter.cli.compile import compile_command
from splitter.cli.inspect import inspect_command
from splitter.cli.plan import plan_command
from splitter.cli.profile import profile_command
from splitter.cli.run import run_command
from splitter.cli.topology import topology_command
from splitter.errors import SplitterError

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
    errors = Console(stderr=True, highlight=False, soft_wrap=True)
    try:
        code = app(standalone_mode=False)
        sys.exit(code if isinstance(code, int) else 0)
    except SplitterError as error:
        errors.print(f"[bold red]error:[/] {_escaped(str(error))}")
        sys.exit(error.exit_code)
    except Exit as done:
        sys.exit(done.exit_code)
    except ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        errors.print("stopped")
        sys.exit(130)
    except BrokenPipeError:
        sys.stderr.close()  # the reader went away; there is nobody to tell
        sys.exit(141)


def _escaped(text: str) -> str:
    return text.replace("[", r"\[")
