"""Help texts are golden: a changed option is a visible difference."""

from collections.abc import Callable

import pytest
from command_line import Cli

import splitter

VERBS = (
    *("plan", "compile", "compress", "search", "quantize", "run", "profile", "topology"),
    "inspect",
)
Golden = Callable[[str, str], None]


@pytest.mark.parametrize("verb", VERBS)
def test_help_of_a_verb(verb: str, cli: Cli, golden: Golden) -> None:
    found = cli(verb, "--help")
    assert found.code == 0
    assert f"Example: splitter {verb}" in found.out
    golden(f"{verb}.txt", found.out)


def test_help_lists_the_verbs(cli: Cli, golden: Golden) -> None:
    found = cli("--help")
    assert found.code == 0
    golden("splitter.txt", found.out)
    alone = cli()
    assert (alone.code, alone.out.strip(), alone.err) == (2, found.out.strip(), "")
    assert cli("-h").out == found.out


def test_version(cli: Cli) -> None:
    found = cli("--version")
    assert (found.code, found.out) == (0, f"splitter {splitter.__version__}\n")
