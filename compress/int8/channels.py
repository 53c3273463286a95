"""Which tensors of a graph may have their channels scaled together, and by whom they are read."""

from dataclasses import dataclass, field

from torch import fx

from splitter.tracing.arguments import argument, operator_name, shape_of

ACTIVATIONS = ("relu", "relu6", "hardtanh", "clamp")
_POOLS = ("max_pool2d", "avg_pool2d", "mean", "adaptive_avg_pool2d", "_adaptive_avg_pool2d")
_VIEWS = ("flatten", "reshape", "view")
_SAME = frozenset((*ACTIVATIONS, *_POOLS, *_VIEWS, "add", "dropout", "clone", "constant_pad_nd"))
"""Operators that keep factors of channels, in the forms that `_keeps_factors` checks."""


@dataclass(frozen=True)
class Reader:
    """A layer that multiplies a tensor by its weight."""

    source: str
    """The tensor."""
    weight: str
    depthwise: bool
    taps: int


@dataclass(frozen=True)
class Group:
    """Tensors whose channels can only be scaled by the same factors."""

    tensors: tuple[str, ...]
    """Those that are kept as numbers: not what an activation alone reads."""
    makers: tuple[tuple[str, str | None], ...]
    """Weights and biases of the layers that make them."""
    readers: tuple[Reader, ...]
    bounds: tuple[tuple[str, float], ...]
    """Tensors that are clipped, and where."""


@dataclass(slots=True)
class _Open:
    """A group while it is found."""

    nodes: list[fx.Node] = field(default_factory=list)
    fixed: bool = False


def groups_of(module: fx.GraphModule) -> tuple[Group, ...]:
    """All groups of ``module`` that some layer makes and some layer reads."""
    places: dict[fx.Node, _Open] = {}
    for node in module.graph.nodes:
        if node.op in ("placeholder", "call_function"):
            places[node] = _Open([node], fixed=node.op == "placeholder")
    for node in list(places):
        _join(node, places)
    for node in module.graph.nodes:
        if node.op == "output":
            for source in node.all_input_nodes:
                if source in places:
                    places[source].fixed = True
    unique = {id(group): group for group in places.values()}.values()
    found = (_closed(group) for group in unique if not group.fixed)
    return tuple(group for group in found if group is not None)


def bounds_of(node: fx.Node) -> tuple[float, float]:
    """Between what an activation keeps its result."""
    name = operator_name(node)
    if name == "relu":
        return 0.0, float("inf")
    if name == "relu6":
        return 0.0, 6.0
    given = (-1.0, 1.0) if name == "hardtanh" else (None, None)
    names = ("min_val", "max_val") if name == "hardtanh" else ("min", "max")
    low, high = (argument(node, i + 1, names[i], given[i]) for i in (0, 1))
    return (
        float("-inf") if low is None else float(low),
        float("inf") if high is None else float(high),
    )


def _join(node: fx.Node, places: dict[fx.Node, _Open]) -> None:
    """Put ``node`` together with what it reads, or mark what may not be scaled."""
    if node.op != "call_function":
        return
    sources = [n for n in node.all_input_nodes if n in places]
    if _is_layer(node):
        if any(n is not node.args[0] for n in sources):
            _fix(places, [node, *sources])
        return
    if not _keeps_factors(node):
        _fix(places, [node, *sources])
        return
    for source in sources:
        _merge(places, node, source)


def _fix(places: dict[fx.Node, _Open], nodes: list[fx.Node]) -> None:
    for node in nodes:
        places[node].fixed = True


def _merge(places: dict[fx.Node, _Open], a: fx.Node, b: fx.Node) -> None:
    one, other = places[a], places[b]
    if one is other:
        return
    one.nodes += other.nodes
    one.fixed |= other.fixed
    for node in other.nodes:
        places[node] = one


def _is_layer(node: fx.Node) -> bool:
    """Whether it is a convolution or product of a tensor with constants of its own."""
    if operator_name(node) not in ("conv2d", "linear"):
        return False
    weight, bias = node.args[1], argument(node, 2, "bias")
    if not isinstance(weight, fx.Node) or not all(map(_is_own, (weight, bias))):
        return False
    groups = int(argument(node, 6, "groups", 1)) if operator_name(node) == "conv2d" else 1
    filters, per_group = shape_of(weight)[:2]
    flat = operator_name(node) == "conv2d" or len(shape_of(node)) == 2
    return flat and (groups == 1 or (per_group == 1 and filters == groups))


def _is_own(constant: object) -> bool:
    """Whether no other layer reads it; a missing bias is nobody's."""
    if not isinstance(constant, fx.Node):
        return constant is None
    return constant.op == "get_attr" and len(constant.users) == 1


def _keeps_factors(node: fx.Node) -> bool:
    """Whether scaled channels of the inputs give channels scaled alike."""
    name = operator_name(node)
    source = node.args[0]
    if name not in _SAME or not isinstance(source, fx.Node) or len(shape_of(source)) not in (2, 4):
        return False
    if name in ACTIVATIONS:
        low, high = bounds_of(node)
        return low in (0.0, float("-inf")) and high > 0
    if name == "add":
        other = node.args[1]
        if not isinstance(other, fx.Node) or other.op == "get_attr":
            return False
        return bool(node.kwargs.get("alpha", 1) == 1) and shape_of(other) == shape_of(source)
    if name == "mean":
        axes = argument(node, 1, "dim")
        return isinstance(axes, list | tuple) and sorted(a % 4 for a in axes) == [2, 3]
    if name == "constant_pad_nd":
        pads = node.args[1]
        flat = isinstance(pads, list | tuple) and len(pads) == 4
        return flat and float(argument(node, 2, "value", 0)) == 0
    if name in _VIEWS:
        n, channels = shape_of(source)[:2]
        return shape_of(node)[:2] == (n, channels) and all(e == 1 for e in shape_of(source)[2:])
    return True


def _closed(group: _Open) -> Group | None:
    makers = [n for n in group.nodes if _is_layer(n)]
    readers = [
        _reader(user)
        for node in group.nodes
        for user in node.users
        if _is_layer(user) and user.args[0] is node
    ]
    if not makers or not readers:
        return None
    kept = [n for n in group.nodes if not _is_absorbed(n)]
    bounded = [n for n in group.nodes if operator_name(n) in ACTIVATIONS]
    limits = [(n.name, bounds_of(n)[1]) for n in bounded if bounds_of(n)[1] < float("inf")]
    return Group(
        tuple(n.name for n in kept),
        tuple((_reader(n).weight, _bias(n)) for n in makers),
        tuple(readers),
        tuple(limits),
    )


def _bias(node: fx.Node) -> str | None:
    bias = argument(node, 2, "bias")
    return None if bias is None else str(bias.target)


def _reader(node: fx.Node) -> Reader:
    source, weight = node.args[:2]
    assert isinstance(source, fx.Node)
    assert isinstance(weight, fx.Node)
    shape = shape_of(weight)
    grouped = operator_name(node) == "conv2d" and int(argument(node, 6, "groups", 1)) > 1
    taps = 1
    for extent in shape[2:]:
        taps *= extent
    return Reader(source.name, str(weight.target), grouped, taps)


def _is_absorbed(node: fx.Node) -> bool:
    """Whether only an activation reads it, in whose kernel it is computed."""
    users = list(node.users)
    return (
        len(users) == 1
        and users[0].op == "call_function"
        and (operator_name(users[0]) in ACTIVATIONS)
    )
