"""A Program as one on 8-bit numbers: `splitter.quantized_ops` in place of ATen where they fit.

Weights are symmetric, with a scale for each output channel; activations have a scale and a zero
point for the whole tensor (Jacob et al., 2018). What has no operator on numbers stays in float32,
between `dequantize` and `quantize`.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import fx, nn

from compress.int8.channels import ACTIVATIONS, bounds_of
from compress.int8.choose import Steps, best_steps
from compress.int8.equalise import equalised
from compress.int8.ranges import Calibration, Numbers, calibrate
from compress.int8.refine import Origin, refine
from compress.int8.weights import integer_weight
from splitter.errors import UsageError
from splitter.program import Program, constant_of, set_constant
from splitter.quantized_ops import QUANTIZED
from splitter.tracing.arguments import argument, listed, operator_name, shape_of
from splitter.tracing.layers import group_layers

ops = torch.ops.splitter


def quantize(
    program: Program,
    requests: Iterable[Sequence[torch.Tensor]],
    calibration: Calibration = "mse",
    steps: Steps | None = None,
) -> Program:
    """``program`` with convolutions, linear layers and what lies between on 8-bit numbers.

    Args:
        program: a float32 program.
        requests: unlabelled inputs, each one tensor per model input.
        calibration: how ranges are chosen.
        steps: what is done besides; by default what is measured to help (`best_steps`).

    Raises:
        UsageError: there is no request, an activation is not finite, or the program is on numbers
            already.
    """
    nodes = program.module.graph.nodes
    if any(n.op == "call_function" and operator_name(n) in QUANTIZED for n in nodes):
        raise UsageError(f"{program.graph.name} is on 8-bit numbers already")
    every = list(requests)

    def made(how: Steps, some: Sequence[Sequence[torch.Tensor]]) -> Program:
        return _quantized(program, some, calibration, how)

    return made(best_steps(program, every, made) if steps is None else steps, every)


def _quantized(
    program: Program,
    requests: Sequence[Sequence[torch.Tensor]],
    calibration: Calibration,
    steps: Steps,
) -> Program:
    even = equalised(program, requests) if steps.equalise else program
    rewriter = _Rewriter(even, calibrate(even, requests, calibration))
    module = rewriter.rewritten()
    if steps.reconstruct:
        refine(module, even.module, rewriter.origins, requests)
    made = group_layers(module, program.graph.name, program.graph.inputs, program.graph.outputs)
    return replace(made, example_inputs=program.example_inputs)


@dataclass(frozen=True, slots=True)
class _Value:
    """A tensor of numbers in the new graph."""

    node: fx.Node
    numbers: Numbers


class _Rewriter:
    def __init__(self, program: Program, numbers: Mapping[str, Numbers]) -> None:
        self.program = program
        self.numbers = numbers
        self.root = nn.Module()
        self.graph = fx.Graph()
        self.floats: dict[fx.Node, fx.Node] = {}
        self.values: dict[fx.Node, _Value] = {}
        self.absorbed: set[fx.Node] = set()
        self.constants: dict[str, fx.Node] = {}
        self.origins: dict[fx.Node, Origin] = {}
        """Of the layers with weights."""

    def rewritten(self) -> fx.GraphModule:
        for node in self.program.module.graph.nodes:
            if node.op == "placeholder":
                self.floats[node] = self.graph.node_copy(node)
            elif node.op == "call_function" and node not in self.absorbed:
                rule = _RULES.get(operator_name(node))
                if rule is None or not rule(self, node):
                    self.floats[node] = self.graph.node_copy(node, self.float_of)
            elif node.op == "output":
                self.graph.node_copy(node, self.float_of)
        self.graph.eliminate_dead_code()
        self.graph.lint()
        return fx.GraphModule(self.root, self.graph)

    # --- values, in either form

    def float_of(self, node: fx.Node) -> fx.Node:
        """``node`` as floats."""
        if node.op == "get_attr":
            return self.constant(
                str(node.target), constant_of(self.program.module, str(node.target))
            )
        if node not in self.floats:
            value = self.values[node]
            self.floats[node] = self.call(
                "dequantize", value.node, value.numbers.scale, value.numbers.zero
            )
            if self.floats[node].meta["val"].shape != node.meta["val"].shape:
                self.floats[node] = self.view(self.floats[node], shape_of(node))
        return self.floats[node]

    def numbers_of(self, node: fx.Node) -> _Value:
        """``node`` as numbers."""
        if node not in self.values:
            numbers = self.numbers[node.name]
            factor = 1.0 / numbers.scale
            made = self.call("quantize", self.floats[node], factor, numbers.zero)
            self.values[node] = _Value(made, numbers)
        return self.values[node]

    def can_be_numbers(self, node: object) -> bool:
        return isinstance(node, fx.Node) and node.name in self.numbers

    def constant(self, name: str, value: torch.Tensor) -> fx.Node:
        if name not in self.constants:
            set_constant(self.root, name, value.detach())
            self.constants[name] = self.graph.get_attr(name)
            self.constants[name].meta["val"] = value
        return self.constants[name]

    def call(self, name: str, *arguments: Any) -> fx.Node:
        target = getattr(ops, name).default
        node = self.graph.call_function(target, arguments)
        metas = fx.node.map_arg(arguments, lambda n: n.meta["val"])
        on_meta = [v.to("meta") if isinstance(v, torch.Tensor) else v for v in metas]
        node.meta["val"] = target(*on_meta)
        return node

    def view(self, node: fx.Node, shape: Sequence[int]) -> fx.Node:
        made = self.graph.call_function(torch.ops.aten.reshape.default, (node, list(shape)))
        made.meta["val"] = torch.empty(tuple(shape), dtype=node.meta["val"].dtype, device="meta")
        return made

    # --- operators

    def activation(self, node: fx.Node) -> tuple[fx.Node, float, float]:
        """The node whose value the kernel of ``node`` shall store, and the bounds it has."""
        users = list(node.users)
        if len(users) != 1 or users[0].op != "call_function":
            return node, float("-inf"), float("inf")
        user = users[0]
        if operator_name(user) not in ACTIVATIONS or user.args[0] is not node:
            return node, float("-inf"), float("inf")
        self.absorbed.add(user)
        return user, *bounds_of(user)

    def bounds(self, numbers: Numbers, low: float, high: float) -> tuple[int, int]:
        """The numbers between which an activation keeps its result."""
        return (
            0 if low == float("-inf") else numbers.number(low),
            255 if high == float("inf") else numbers.number(high),
        )

    def weighted(
        self, node: fx.Node, source: _Value, out_scale: float, channels_last: bool
    ) -> tuple[fx.Node, fx.Node, fx.Node]:
        """Weight, bias and factor of a layer, as constants of the new graph."""
        weight = node.args[1]
        assert isinstance(weight, fx.Node)
        bias = argument(node, 2, "bias")
        made = integer_weight(
            constant_of(self.program.module, str(weight.target)),
            None if bias is None else constant_of(self.program.module, str(bias.target)),
            source.numbers,
            out_scale,
        )
        path, _, leaf = str(weight.target).rpartition(".")
        path = path if leaf == "weight" and path else str(weight.target)
        # A weight of several layers has other factors in each.
        path = path if len(weight.users) == 1 else f"{path}.{node.name}"
        value = made.weight.movedim(1, -1).contiguous() if channels_last else made.weight
        return (
            self.constant(f"{path}.weight", value),
            self.constant(f"{path}.bias", made.bias),
            self.constant(f"{path}.factor", made.factor),
        )

    def origin(self, node: fx.Node, source: fx.Node, x: _Value, out_scale: float) -> Origin:
        """What the weights of ``node`` are fitted with."""
        bias = argument(node, 2, "bias")
        return Origin(
            source,
            self._constant(node.args[1]),
            None if bias is None else self._constant(bias),
            x.numbers,
            out_scale,
        )

    def _constant(self, node: object) -> torch.Tensor:
        assert isinstance(node, fx.Node)
        return constant_of(self.program.module, str(node.target))

    def convolution(self, node: fx.Node) -> bool:
        source, weight = node.args[0], node.args[1]
        if not self._is_float_product(node) or len(shape_of(node)) != 4:
            return False
        groups = int(argument(node, 6, "groups", 1))
        filters, per_group = shape_of(weight)[:2]
        if groups > 1 and not (per_group == 1 and filters == groups):
            return False
        down, across = listed(argument(node, 4, "padding", 0), 2)
        padding = [down, across, down, across]
        assert isinstance(source, fx.Node)
        if source in self.floats and _is_zero_padding(source):
            left, right, top, bottom = listed(source.args[1], 4)
            padding = [down + top, across + left, down + bottom, across + right]
            source = source.args[0]
        if not self.can_be_numbers(source):
            return False
        assert isinstance(source, fx.Node)
        x = self.numbers_of(source)
        result, low, high = self.activation(node)
        numbers = self.numbers[result.name]
        constants = self.weighted(node, x, numbers.scale, channels_last=True)
        stride = listed(argument(node, 3, "stride", 1), 2)
        dilation = listed(argument(node, 5, "dilation", 1), 2)
        places = (stride, padding, dilation, groups)
        ends = (x.numbers.zero, numbers.zero, *self.bounds(numbers, low, high))
        made = self.call("qconv2d", x.node, *constants, *places, *ends)
        self.origins[made] = self.origin(node, source, x, numbers.scale)
        self.values[result] = _Value(made, numbers)
        return True

    def linear(self, node: fx.Node) -> bool:
        source = node.args[0]
        if not self._is_float_product(node) or not self.can_be_numbers(source):
            return False
        assert isinstance(source, fx.Node)
        if len(shape_of(source)) != 2:
            return False
        x = self.numbers_of(source)
        if not all(operator_name(user) == "linear" for user in _after_activation(node)):
            constants = self.weighted(node, x, 1.0, channels_last=False)
            made = self.floats[node] = self.call("qlinear_float", x.node, *constants)
            self.origins[made] = self.origin(node, source, x, 1.0)
            return True
        result, low, high = self.activation(node)
        numbers = self.numbers[result.name]
        constants = self.weighted(node, x, numbers.scale, channels_last=False)
        ends = (numbers.zero, *self.bounds(numbers, low, high))
        made = self.call("qlinear", x.node, *constants, *ends)
        self.origins[made] = self.origin(node, source, x, numbers.scale)
        self.values[result] = _Value(made, numbers)
        return True

    def _is_float_product(self, node: fx.Node) -> bool:
        weight, bias = node.args[1], argument(node, 2, "bias")
        constants = [c for c in (weight, bias) if c is not None]
        return all(
            isinstance(c, fx.Node) and c.op == "get_attr" and c.meta["val"].dtype == torch.float32
            for c in constants
        )

    def add(self, node: fx.Node) -> bool:
        a, b = node.args[:2]
        if not (isinstance(a, fx.Node) and isinstance(b, fx.Node)):
            return False
        if a not in self.values or b not in self.values:
            return False
        if shape_of(a) != shape_of(b) or node.kwargs.get("alpha", 1) != 1:
            return False
        x, y = self.values[a], self.values[b]
        if x.node.meta["val"].shape != y.node.meta["val"].shape:
            return False
        result, low, high = self.activation(node)
        numbers = self.numbers[result.name]
        terms = [(v.numbers.scale / numbers.scale, v.numbers.zero) for v in (x, y)]
        ends = (numbers.zero, *self.bounds(numbers, low, high))
        made = self.call("qadd", x.node, y.node, *terms[0], *terms[1], *ends)
        self.values[result] = _Value(made, numbers)
        return True

    def max_pool(self, node: fx.Node) -> bool:
        source = node.args[0]
        if not isinstance(source, fx.Node) or source not in self.values:
            return False
        kernel = listed(argument(node, 1, "kernel_size"), 2)
        stride = argument(node, 2, "stride") or kernel
        padding = listed(argument(node, 3, "padding", 0), 2)
        dilation = listed(argument(node, 4, "dilation", 1), 2)
        x = self.values[source]
        flat = len(shape_of(x.node)) != 4
        if flat or dilation != [1, 1] or argument(node, 5, "ceil_mode", False):
            return False
        made = self.call("qmax_pool2d", x.node, kernel, listed(stride, 2), padding)
        self.values[node] = _Value(made, x.numbers)
        return True

    def mean(self, node: fx.Node) -> bool:
        source = node.args[0]
        if not isinstance(source, fx.Node) or source not in self.values:
            return False
        x = self.values[source]
        if len(shape_of(x.node)) != 4 or not _is_over_all_positions(node):
            return False
        numbers = self.numbers[node.name]
        positions = shape_of(x.node)[1] * shape_of(x.node)[2]
        factor = x.numbers.scale / (numbers.scale * positions)
        made = self.call("qmean", x.node, factor, x.numbers.zero, numbers.zero)
        self.values[node] = _Value(made, numbers)
        return True

    def flatten(self, node: fx.Node) -> bool:
        """A view that drops extents of one is a view of the numbers as well."""
        source = node.args[0]
        if not isinstance(source, fx.Node) or source not in self.values:
            return False
        x = self.values[source]
        shape = shape_of(node)
        positions = [extent for extent in shape_of(x.node)[1:-1] if extent != 1]
        if positions or shape != (shape_of(x.node)[0], shape_of(x.node)[-1]):
            return False
        plain = len(shape_of(x.node)) == 2
        self.values[node] = _Value(x.node if plain else self.view(x.node, shape), x.numbers)
        return True


def _after_activation(node: fx.Node) -> list[fx.Node]:
    """Who reads the value, past one activation."""
    users = list(node.users)
    if len(users) == 1 and operator_name(users[0]) in ACTIVATIONS:
        return list(users[0].users)
    return users


def _is_zero_padding(node: fx.Node) -> bool:
    """Whether the node puts zeros around the last two axes, for one reader."""
    if node.op != "call_function" or operator_name(node) != "constant_pad_nd":
        return False
    pads = node.args[1]
    value = argument(node, 2, "value", 0)
    fits = isinstance(pads, Sequence) and len(pads) == 4 and min(listed(pads, 4)) >= 0
    return fits and value == 0 and len(node.users) == 1 and isinstance(node.args[0], fx.Node)


def _is_over_all_positions(node: fx.Node) -> bool:
    if operator_name(node) == "mean":
        axes = argument(node, 1, "dim")
        return isinstance(axes, Sequence) and sorted(int(a) % 4 for a in axes) == [2, 3]
    return tuple(shape_of(node)[2:]) == (1, 1)


_RULES: Mapping[str, Callable[[_Rewriter, fx.Node], bool]] = {
    "conv2d": _Rewriter.convolution,
    "linear": _Rewriter.linear,
    "add": _Rewriter.add,
    "max_pool2d": _Rewriter.max_pool,
    "mean": _Rewriter.mean,
    "adaptive_avg_pool2d": _Rewriter.mean,
    "_adaptive_avg_pool2d": _Rewriter.mean,
    "reshape": _Rewriter.flatten,
    "view": _Rewriter.flatten,
    "flatten": _Rewriter.flatten,
}
