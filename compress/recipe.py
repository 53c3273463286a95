"""A recipe: which layers are compressed with which method, as TOML.

    version = 1

    [[rules]]
    layers = "layer1.*"
    method = "slq"
    bits = 4

    [[rules]]
    layers = "*.conv2"
    method = "trp"
    scheme = "vh"

    [[rules]]
    layers = "conv1"
    method = "keep"

A layer follows the first rule of each family that matches it: one of low rank, then one of bits for
the layer or for the factors it became. ``keep`` leaves it as it is, for both families.
"""

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import tomli_w

from compress.method import Family, Method
from compress.methods import make_method, settings_of
from compress.sites import Site, chosen_sites, matches
from splitter.errors import UsageError

VERSION = 1
KEEP = "keep"


@dataclass(frozen=True)
class Rule:
    """What happens to the layers that match a pattern."""

    layers: str
    """A pattern, as of a shell, of layer or parameter names."""
    method: Method | None
    """None leaves them as they are."""


@dataclass(frozen=True)
class Recipe:
    """Rules, the most particular first."""

    rules: tuple[Rule, ...]

    def assigned(self, sites: Sequence[Site], family: Family) -> list[tuple[Method, list[Site]]]:
        """The methods of one family, each with its sites; rules without any are left out."""
        taken: dict[str, int] = {}
        for site in sites:
            index = next((i for i, r in enumerate(self.rules) if _applies(r, site, family)), None)
            if index is not None:
                taken[site.weight] = index
        found: list[tuple[Method, list[Site]]] = []
        for i, rule in enumerate(self.rules):
            own = [s for s in sites if taken.get(s.weight) == i]
            if rule.method is not None and own:
                found.append((rule.method, own))
        return found

    def check(self, sites: Sequence[Site]) -> None:
        """Raise UsageError if a rule matches no layer or asks for what cannot be."""
        factors = [
            replace(site, weight=f"{site.layer}.{i}.weight", layer=f"{site.layer}.{i}")
            for _, own in self.assigned(sites, "low rank")
            for site in own
            for i in (0, 1)
        ]
        for rule in self.rules:
            for site in chosen_sites([*sites, *factors], [rule.layers]):
                if rule.method is None or not _applies_first(self.rules, rule, site):
                    continue
                fault = rule.method.fault_of(site)
                if fault:
                    raise UsageError(
                        f"rule '{rule.layers}': layer {site.layer} cannot be compressed with "
                        f"{rule.method.name}: {fault}; put a rule for it with method = "
                        f'"{KEEP}" before'
                    )

    def to_toml(self) -> str:
        """The text that `from_toml` reads."""
        tables = [{"layers": rule.layers, **_method_table(rule.method)} for rule in self.rules]
        rules = "".join(f"\n[[rules]]\n{tomli_w.dumps(table)}" for table in tables)
        return tomli_w.dumps({"version": VERSION}) + rules

    @classmethod
    def from_toml(cls, text: str, source: str = "the recipe") -> "Recipe":
        """The recipe in ``text``.

        Raises:
            UsageError: it is malformed; says where and what to write instead.
        """
        try:
            data = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise UsageError(f"{source} is not valid TOML: {error}") from error
        unknown = sorted(set(data) - {"version", "rules"})
        if unknown:
            raise UsageError(f"{source}: unknown key '{unknown[0]}'; a recipe has version, rules")
        if data.get("version") != VERSION:
            raise UsageError(
                f"{source}: version must be {VERSION}, not {data.get('version', 'missing')}"
            )
        rules = data.get("rules")
        if not isinstance(rules, list) or not rules:
            raise UsageError(f"{source} has no rules; write at least one [[rules]] table")
        return cls(tuple(_rule(item, f"{source}, rule {i + 1}") for i, item in enumerate(rules)))


def recipe_for(method: Method, sites: Sequence[Site]) -> Recipe:
    """One method for the layers it compresses by default, written out shortly."""
    chosen = {site.weight for site in method.default_sites(sites)}
    inside = [s for s in sites if s.weight in chosen]
    outside = [s for s in sites if s.weight not in chosen]
    if len(inside) <= len(outside) + 1:
        return Recipe(tuple(Rule(exactly(s.layer), method) for s in inside))
    kept = tuple(Rule(exactly(s.layer), None) for s in outside)
    return Recipe((*kept, Rule("*", method)))


def exactly(layer: str) -> str:
    """The pattern that only ``layer`` matches."""
    return re.sub(r"([*?[])", r"[\1]", layer)


def read_recipe(path: Path) -> Recipe:
    """The recipe in a file.

    Raises:
        UsageError: it cannot be read or is malformed.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(f"the recipe {path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"the recipe {path} is not text; write it as TOML") from error
    return Recipe.from_toml(text, str(path))


def _method_table(method: Method | None) -> dict[str, Any]:
    if method is None:
        return {"method": KEEP}
    return {"method": method.name, **settings_of(method)}


def _rule(item: Any, where: str) -> Rule:
    if not isinstance(item, Mapping):
        raise UsageError(f"{where}: write it as a [[rules]] table")
    settings = dict(item)
    layers, name = settings.pop("layers", None), settings.pop("method", None)
    for key, value in (("layers", layers), ("method", name)):
        if not isinstance(value, str) or not value:
            raise UsageError(f'{where}: write {key} = "..."')
    try:
        if name == KEEP and settings:
            raise UsageError(f"{KEEP} has no settings, but '{next(iter(settings))}' is given")
        method = None if name == KEEP else make_method(str(name), settings)
    except UsageError as error:
        raise UsageError(f"{where}: {error}") from error
    return Rule(str(layers), method)


def _applies(rule: Rule, site: Site, family: Family) -> bool:
    return matches(rule.layers, site) and (rule.method is None or rule.method.family == family)


def _applies_first(rules: Sequence[Rule], rule: Rule, site: Site) -> bool:
    assert rule.method is not None
    first = next(r for r in rules if _applies(r, site, rule.method.family))
    return first is rule
