"""Families by name."""

from collections.abc import Callable, Mapping
from difflib import get_close_matches
from functools import partial
from importlib import import_module

from splitter.errors import UsageError
from splitter.search.space.mobile import LAYOUTS, mobile
from splitter.search.space.network import Family
from splitter.search.space.shuffle import shuffle

FAMILIES: Mapping[str, Callable[[], Family]] = {
    **{name: partial(mobile, layout) for name, layout in LAYOUTS.items()},
    "shuffle": shuffle,
}


def family(name: str) -> Family:
    """The family called ``name``, or what ``package.module:callable`` gives.

    Raises:
        UsageError: there is none.
    """
    if ":" in name:
        return _called(name)
    if name not in FAMILIES:
        near = get_close_matches(name, FAMILIES, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise UsageError(
            f"no search space {name!r}; {hint}there are {', '.join(FAMILIES)}, or "
            "package.module:callable that gives a Family"
        )
    return FAMILIES[name]()


def _called(text: str) -> Family:
    module, _, attribute = text.partition(":")
    try:
        made = getattr(import_module(module), attribute)()
    except Exception as error:  # of the user's own code
        raise UsageError(
            f"space {text} cannot be made: {type(error).__name__}: {error}; write "
            "package.module:callable of an importable package"
        ) from error
    if not isinstance(made, Family):
        raise UsageError(f"space {text} gives a {type(made).__name__}, not a Family")
    return made
