"""The one place where networks are changed: values of weights, and one layer made two.

Factored layers are called after the layer they replace: ``layer1.0.conv1`` becomes
``layer1.0.conv1.0`` and ``layer1.0.conv1.1``, in an ``nn.Module`` and in an fx module alike.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import fx, nn

from compress.formats import CompressedTensor, Factors
from compress.rewrite_graph import factor_node
from compress.sites import Site, sites_of
from compress.windows import Window, windows
from splitter.errors import ModelError
from splitter.program import constant_of


def put_values(model: nn.Module, tensors: Mapping[str, CompressedTensor]) -> None:
    """Set the weights to what the compressed tensors stand for.

    Raises:
        ModelError: a weight does not exist or has another shape.
    """
    for name, tensor in tensors.items():
        weight = _constant(model, name)
        if tuple(weight.shape) != tensor.shape:
            raise ModelError(
                f"weight {name} has shape {list(weight.shape)}, the compressed one "
                f"{list(tensor.shape)}; compress this network again"
            )
        with torch.no_grad():
            weight.copy_(torch.from_numpy(tensor.dense()))


def factor(model: nn.Module, tensors: Mapping[str, CompressedTensor]) -> nn.Module:
    """Replace every layer that has `Factors` by two layers, in place; returns ``model``.

    Raises:
        ModelError: there is no such layer, or it cannot be replaced.
    """
    sites = {site.weight: site for site in sites_of(model)}
    for name, tensor in tensors.items():
        if not isinstance(tensor, Factors):
            continue
        site = sites.get(name)
        if site is None or not site.alone or site.shape != tensor.shape:
            raise ModelError(
                f"weight {name} belongs to no layer that two could replace; compress again"
            )
        if isinstance(model, fx.GraphModule):
            factor_node(model, site, tensor)
        else:
            _factor_module(model, site, tensor)
    if isinstance(model, fx.GraphModule):
        model.graph.eliminate_dead_code()
        model.graph.lint()
        model.recompile()
    return model


def _constant(model: nn.Module, name: str) -> torch.Tensor:
    try:
        return constant_of(model, name)
    except AttributeError as error:
        raise ModelError(f"the network has no weight {name}; compress this network") from error


def _factor_module(model: nn.Module, site: Site, factors: Factors) -> None:
    old = model.get_submodule(site.layer)
    if isinstance(old, nn.Linear):
        pair = _linear_pair(old, factors)
    else:
        assert isinstance(old, nn.Conv1d | nn.Conv2d | nn.Conv3d), type(old)
        pair = _convolution_pair(old, factors)
    pair.train(old.training)
    parent, _, leaf = site.layer.rpartition(".")
    model.get_submodule(parent).register_module(leaf, pair)


def _linear_pair(old: nn.Linear, factors: Factors) -> nn.Sequential:
    first = nn.Linear(old.in_features, factors.rank, bias=False)
    second = nn.Linear(factors.rank, old.out_features, bias=old.bias is not None)
    return _filled(old, first, second, factors)


def _convolution_pair(old: nn.Conv1d | nn.Conv2d | nn.Conv3d, factors: Factors) -> nn.Sequential:
    build: Any = type(old)
    window = Window(old.stride, old.padding, old.dilation)
    made = []
    for i, (weight, groups, at) in enumerate(
        zip(
            (factors.first, factors.second),
            (factors.first_groups, factors.second_groups),
            windows(window, factors.scheme),
            strict=True,
        )
    ):
        made.append(
            build(
                weight.shape[1] * groups,
                weight.shape[0],
                tuple(weight.shape[2:]),
                stride=tuple(at.stride),
                padding=at.padding if isinstance(at.padding, str) else tuple(at.padding),
                dilation=tuple(at.dilation),
                groups=groups,
                bias=i == 1 and old.bias is not None,
                padding_mode=old.padding_mode,
            )
        )
    return _filled(old, made[0], made[1], factors)


def _filled(old: Any, first: Any, second: Any, factors: Factors) -> nn.Sequential:
    with torch.no_grad():
        first.weight.copy_(torch.from_numpy(factors.first))
        second.weight.copy_(torch.from_numpy(factors.second))
        if old.bias is not None:
            second.bias.copy_(old.bias)
    pair = nn.Sequential(first, second).to(old.weight.device, old.weight.dtype)
    return pair.requires_grad_(old.weight.requires_grad)
