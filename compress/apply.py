"""Follow a recipe: low rank first, then the factors in place, then bits."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from torch import nn

from compress.formats import CompressedTensor, Factors
from compress.method import Family, Method
from compress.recipe import Recipe
from compress.rewrite import factor
from compress.sites import Site, sites_of

Train = Callable[[nn.Module, int, Callable[[], None]], None]
"""``train(model, steps, after_step)``: that many updates, with a call after each."""


@dataclass(frozen=True)
class Applied:
    """What became of the weights."""

    tensors: Mapping[str, CompressedTensor]
    """What each weight of the network as it is now consists of, for the compressed ones."""
    factored: Mapping[str, Factors]
    """Factors of the layers that are two layers now, by the name of the weight they had."""


def apply_recipe(
    model: nn.Module,
    recipe: Recipe,
    train: Train | None = None,
    layer_names: Mapping[str, str] | None = None,
) -> Applied:
    """Compress ``model``, in place.

    Args:
        model: a module, or an fx module at ATen level.
        recipe: what to do with which layer.
        train: trains the network while it is compressed; without, the weights alone decide.
        layer_names: name of the layer that reads each weight, where it is not the owner's path.

    Raises:
        UsageError: a rule matches no layer, or asks for what cannot be.
        ModelError: a weight is not finite.
    """
    names = dict(layer_names or {})
    sites = sites_of(model, names)
    recipe.check(sites)
    low_rank = _stage(model, recipe, "low rank", sites, train)
    factored = {name: t for name, t in low_rank.items() if isinstance(t, Factors)}
    factor(model, factored)
    layers = {site.weight: site.layer for site in sites}
    origins = {factor_weight(w, i): layers[w] for w in factored for i in (0, 1)}
    now = [replace(s, origin=origins.get(s.weight, "")) for s in sites_of(model, names)]
    return Applied(_stage(model, recipe, "bits", now, train), factored)


def factor_weight(weight: str, index: int) -> str:
    """Name of the first (0) or second (1) factor of ``weight``."""
    return f"{weight.removesuffix('.weight')}.{index}.weight"


def _stage(
    model: nn.Module,
    recipe: Recipe,
    family: Family,
    sites: "tuple[Site, ...] | list[Site]",
    train: Train | None,
) -> dict[str, CompressedTensor]:
    methods: list[Method] = []
    for method, own in recipe.assigned(sites, family):
        methods.append(replace(method))
        methods[-1].attach_to(model, own)
    steps = max((method.total_steps for method in methods), default=0)
    if train is not None and steps:
        train(model, steps, lambda: _step(methods))
    found: dict[str, CompressedTensor] = {}
    for method in methods:
        found.update(method.finish())
    return found


def _step(methods: list[Method]) -> None:
    for method in methods:
        method.step()
