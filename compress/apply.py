"""Follow a recipe: low rank first, then the factors in place, then bits."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import fx, nn

from compress.direct import KMeans
from compress.formats import CompressedTensor, Factors
from compress.method import Family, Method
from compress.networks import frozen_copy
from compress.recipe import Recipe
from compress.reconstruction.codebooks import reconstruct_codebooks, understood
from compress.rewrite import factor
from compress.sites import Site, sites_of

Requests = Sequence[Sequence[torch.Tensor]]
"""Unlabelled inputs: one tensor per model input each."""
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
    requests: Requests = (),
) -> Applied:
    """Compress ``model``, in place.

    Args:
        model: a module, or an fx module at ATen level.
        recipe: what to do with which layer.
        train: trains the network while it is compressed; without, the weights alone decide.
        layer_names: name of the layer that reads each weight, where it is not the owner's path.
        requests: unlabelled inputs, for methods that fit layers to them after the training.

    Raises:
        UsageError: a rule matches no layer, or asks for what cannot be.
        ModelError: a weight is not finite.
    """
    names = dict(layer_names or {})
    sites = sites_of(model, names)
    recipe.check(sites)
    low_rank = _stage(model, recipe, "low rank", sites, train, ())
    factored = {name: t for name, t in low_rank.items() if isinstance(t, Factors)}
    factor(model, factored)
    layers = {site.weight: site.layer for site in sites}
    origins = {factor_weight(w, i): layers[w] for w in factored for i in (0, 1)}
    now = [replace(s, origin=origins.get(s.weight, "")) for s in sites_of(model, names)]
    return Applied(_stage(model, recipe, "bits", now, train, requests), factored)


def factor_weight(weight: str, index: int) -> str:
    """Name of the first (0) or second (1) factor of ``weight``."""
    return f"{weight.removesuffix('.weight')}.{index}.weight"


def _stage(
    model: nn.Module,
    recipe: Recipe,
    family: Family,
    sites: "tuple[Site, ...] | list[Site]",
    train: Train | None,
    requests: Requests,
) -> dict[str, CompressedTensor]:
    assigned = recipe.assigned(sites, family)
    fitted = _fitted(model, assigned) if requests else {}
    teacher = frozen_copy(model) if fitted and isinstance(model, fx.GraphModule) else None
    methods: list[Method] = []
    for method, own in assigned:
        methods.append(replace(method))
        methods[-1].attach_to(model, [site for site in own if site.weight not in fitted])
    steps = max((method.total_steps for method in methods), default=0)
    if train is not None and steps:
        train(model, steps, lambda: _step(methods))
    found: dict[str, CompressedTensor] = {}
    for method in methods:
        found.update(method.finish())
    if teacher is not None:
        assert isinstance(model, fx.GraphModule)
        found.update(reconstruct_codebooks(model, teacher, fitted, requests))
    return found


def _fitted(model: nn.Module, assigned: Sequence[tuple[Method, list[Site]]]) -> dict[str, KMeans]:
    """Weights that are fitted to requests, after all that is trained."""
    if not isinstance(model, fx.GraphModule):
        return {}
    able = understood(model)
    return {
        site.weight: method
        for method, own in assigned
        for site in own
        if isinstance(method, KMeans) and method.fits_requests and site.weight in able
    }


def _step(methods: list[Method]) -> None:
    for method in methods:
        method.step()
