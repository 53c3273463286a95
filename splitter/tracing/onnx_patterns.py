"""Puts operators back together that exporters spell out in elementary functions.

Layer normalisation, GELU, SiLU, hard sigmoid and hard swish have kernels of their own; a bias that
is added after a matrix product belongs to it.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import permutations
from math import isclose, pi, sqrt
from typing import Any

import torch
from torch import fx
from torch.nn import functional as F

SHAPE = "onnx_shape"
"""Key of a node's meta under which its static shape is kept."""
_SYMMETRIC = (torch.add, torch.mul)


@dataclass(frozen=True, slots=True)
class Var:
    """Matches anything, and the same thing wherever the name recurs."""

    name: str


@dataclass(frozen=True, slots=True)
class Call:
    """Matches a call of ``function``; symmetric functions match in either order."""

    function: Callable[..., Any]
    args: tuple["Pattern", ...]
    kwargs: Mapping[str, Any] = field(default_factory=dict)


Pattern = Var | Call | float
Found = dict[str, Any]
"""What the variables stand for."""


@dataclass(frozen=True, slots=True)
class Rule:
    """A pattern, and what stands in its place: function, arguments, keyword arguments."""

    pattern: Pattern
    replacement: Callable[[fx.Graph, Found], fx.Node | None]
    """Makes the new node, or gives None where the match does not mean what it seems to."""


def fuse_patterns(module: fx.GraphModule) -> None:
    """Apply every rule wherever it matches, then drop dead nodes and unused constants."""
    for rule in _RULES:
        for node in list(module.graph.nodes):
            _apply(rule, module.graph, node)
    module.graph.eliminate_dead_code()
    module.graph.lint()
    module.delete_all_unused_submodules()
    module.recompile()


def _apply(rule: Rule, graph: fx.Graph, node: fx.Node) -> None:
    for found, nodes in _matches(rule.pattern, node, {}, frozenset()):
        inner = nodes - {node}
        if any(user not in nodes for item in inner for user in item.users):
            continue
        with graph.inserting_before(node):
            new = rule.replacement(graph, found)
        if new is not None:
            new.meta[SHAPE] = node.meta[SHAPE]
            node.replace_all_uses_with(new)
            graph.erase_node(node)
            return


def _matches(
    pattern: Pattern, value: Any, found: Found, nodes: frozenset[fx.Node]
) -> Iterator[tuple[Found, frozenset[fx.Node]]]:
    """Every way in which ``pattern`` matches ``value``, with the call nodes it covers."""
    if isinstance(pattern, Var):
        if pattern.name not in found:
            yield {**found, pattern.name: value}, nodes
        elif _same(found[pattern.name], value):
            yield found, nodes
    elif isinstance(pattern, Call):
        if _is_call(value, pattern):
            yield from _argument_matches(pattern, value, found, nodes | {value})
    elif isinstance(value, int | float) and isclose(value, pattern, rel_tol=1e-5):
        yield found, nodes


def _same(a: Any, b: Any) -> bool:
    return a is b if isinstance(a, fx.Node) or isinstance(b, fx.Node) else bool(a == b)


def _is_call(value: Any, pattern: Call) -> bool:
    return (
        isinstance(value, fx.Node)
        and value.op == "call_function"
        and value.target is pattern.function
        and len(value.args) == len(pattern.args)
        and dict(pattern.kwargs).items() <= dict(value.kwargs).items()
    )


def _argument_matches(
    pattern: Call, value: fx.Node, found: Found, nodes: frozenset[fx.Node]
) -> Iterator[tuple[Found, frozenset[fx.Node]]]:
    orders = permutations(value.args) if pattern.function in _SYMMETRIC else [value.args]
    for order in orders:
        states = [(found, nodes)]
        for part, argument in zip(pattern.args, order, strict=True):
            states = [new for old in states for new in _matches(part, argument, *old)]
        yield from states


def _simple(pattern: Pattern, function: Callable[..., Any], **options: Any) -> Rule:
    def replace(graph: fx.Graph, found: Found) -> fx.Node:
        return graph.call_function(function, (found["x"],), options)

    return Rule(pattern, replace)


def _layer_norm(graph: fx.Graph, found: Found) -> fx.Node | None:
    shape = found["x"].meta[SHAPE]
    axes = sorted(axis % len(shape) for axis in found["axes"])
    if axes != list(range(axes[0], len(shape))) or not isinstance(found["eps"], float):
        return None
    normal = shape[axes[0] :]
    affine = [found.get("weight"), found.get("bias")]
    if any(item is not None and not _is_constant(item, normal) for item in affine):
        return None
    return graph.call_function(F.layer_norm, (found["x"], list(normal), *affine, found["eps"]))


def _biased(graph: fx.Graph, found: Found) -> fx.Node | None:
    weight, bias = found["weight"], found["bias"]
    if not _is_constant(bias, weight.meta[SHAPE][:1]):
        return None
    return graph.call_function(F.linear, (found["x"], weight, bias))


def _is_constant(value: Any, shape: tuple[int, ...]) -> bool:
    return (
        isinstance(value, fx.Node)
        and value.op == "get_attr"
        and tuple(value.meta[SHAPE]) == tuple(shape)
    )


def _add(a: Pattern, b: Pattern) -> Call:
    return Call(torch.add, (a, b))


def _mul(a: Pattern, b: Pattern) -> Call:
    return Call(torch.mul, (a, b))


def _div(a: Pattern, b: Pattern) -> Call:
    return Call(torch.div, (a, b))


def _layer_norm_rules() -> list[Rule]:
    x, axes = Var("x"), Var("axes")
    mean = Call(torch.mean, (x, axes), {"keepdim": True})
    centred = Call(torch.sub, (x, mean))
    variance = Call(torch.mean, (_mul(centred, centred), axes), {"keepdim": True})
    deviation = Call(torch.sqrt, (_add(variance, Var("eps")),))
    normal = _div(centred, deviation)
    affine = _add(_mul(normal, Var("weight")), Var("bias"))
    return [Rule(affine, _layer_norm), Rule(normal, _layer_norm)]


def _gelu_rules() -> list[Rule]:
    x = Var("x")
    scaled = (_div(x, sqrt(2)), _mul(x, sqrt(0.5)))
    bells = [_add(Call(torch.erf, (inner,)), 1.0) for inner in scaled]
    cube = _mul(_mul(x, x), x)
    inner = _mul(_add(x, _mul(cube, 0.044715)), sqrt(2 / pi))
    soft = _add(Call(torch.tanh, (inner,)), 1.0)
    exact = [form for bell in bells for form in _halved(x, bell)]
    return [
        *[_simple(form, F.gelu) for form in exact],
        *[_simple(form, F.gelu, approximate="tanh") for form in _halved(x, soft)],
    ]


def _halved(x: Pattern, bell: Pattern) -> list[Pattern]:
    """``x * bell / 2`` in every grouping."""
    return [
        _mul(_mul(x, bell), 0.5),
        _mul(_mul(x, 0.5), bell),
        _mul(x, _mul(bell, 0.5)),
        _div(_mul(x, bell), 2.0),
        _mul(_div(x, 2.0), bell),
    ]


def _gate_rules() -> list[Rule]:
    x = Var("x")
    ramp = Call(F.relu6, (_add(x, 3.0),))
    gates = [_div(ramp, 6.0), _mul(ramp, 1 / 6)]
    swishes = [_div(_mul(x, ramp), 6.0), _mul(_mul(x, ramp), 1 / 6)]
    return [
        *[_simple(swish, F.hardswish) for swish in swishes],
        *[_simple(gate, F.hardsigmoid) for gate in gates],
        _simple(_mul(x, Call(F.hardsigmoid, (x,))), F.hardswish),
        _simple(_mul(x, Call(torch.sigmoid, (x,))), F.silu),
    ]


def _bias_rules() -> list[Rule]:
    product = Call(F.linear, (Var("x"), Var("weight")))
    return [Rule(_add(product, Var("bias")), _biased)]


_RULES = [*_bias_rules(), *_layer_norm_rules(), *_gelu_rules(), *_gate_rules()]
