"""Biases that undo what rounding shifts, channel by channel.

Rounded weights move the mean of a layer's result, and what is moved adds up from layer to layer
(Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction", 2019,
section 4.2; here with means measured on the calibration requests, layer after layer).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx

from splitter.program import Program, constant_of, set_constant
from splitter.quantized_ops import convolved, multiplied
from splitter.tracing.arguments import operator_name

_LIMIT = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Origin:
    """What a layer on numbers stands for."""

    node: str
    """The float program's convolution or product."""
    out_scale: float
    """Of the result's numbers; 1 for a float result."""


def correct_biases(
    program: Program,
    module: fx.GraphModule,
    origins: Mapping[str, Origin],
    requests: Sequence[Sequence[torch.Tensor]],
) -> None:
    """Shift the biases in ``module`` so that channels have the means that ``program`` gives them.

    Args:
        program: in float32.
        module: the same on numbers; its bias constants are replaced.
        origins: by name of the node in ``module``.
        requests: what means are taken over.
    """
    means = _Means(program.module, {origin.node for origin in origins.values()})
    for request in requests:
        means.run(*request)
    _Corrector(module, origins, means).run(requests)


class _Means(fx.Interpreter):
    """Sums of each channel of some nodes over positions and requests."""

    def __init__(self, module: fx.GraphModule, wanted: set[str]) -> None:
        super().__init__(module)
        self.wanted = wanted
        self.found: dict[str, list[torch.Tensor]] = {}

    def run(self, *args: Any, **kwargs: Any) -> Any:
        with torch.no_grad():
            return super().run(*args, **kwargs)

    def run_node(self, n: fx.Node) -> Any:
        value = super().run_node(n)
        if n.name in self.wanted:
            mean = value.double().movedim(1, -1).flatten(0, -2).mean(0)
            self.found.setdefault(n.name, []).append(mean)
        return value


class _Corrector:
    """Goes through the nodes once, with all requests side by side."""

    def __init__(
        self, module: fx.GraphModule, origins: Mapping[str, Origin], means: _Means
    ) -> None:
        self.module, self.origins, self.means = module, origins, means

    @torch.no_grad()
    def run(self, requests: Sequence[Sequence[torch.Tensor]]) -> None:
        values: dict[fx.Node, list[Any]] = {}
        given = list(zip(*requests, strict=True))
        last = {s: node for node in self.module.graph.nodes for s in node.all_input_nodes}
        for node in self.module.graph.nodes:
            if node.op == "output":
                return
            if node.op == "placeholder":
                values[node] = list(given.pop(0))
                continue
            if node.op == "get_attr":
                continue
            if node.name in self.origins:
                self._correct(
                    node, [self._arguments(node, values, i) for i in range(len(requests))]
                )
            rows = (self._arguments(node, values, i) for i in range(len(requests)))
            values[node] = [node.target(*row) for row in rows]
            for source in node.all_input_nodes:
                if last[source] is node:
                    values.pop(source, None)

    def _arguments(self, node: fx.Node, values: Mapping[fx.Node, list[Any]], i: int) -> Any:
        def value(source: fx.Node) -> Any:
            if source.op == "get_attr":
                return constant_of(self.module, str(source.target))
            return values[source][i]

        return fx.node.map_arg(node.args, value)

    def _correct(self, node: fx.Node, rows: Sequence[Any]) -> None:
        origin = self.origins[node.name]
        is_convolution = operator_name(node) == "qconv2d"
        found = [convolved(*row[:9]) if is_convolution else multiplied(*row[:4]) for row in rows]
        mean = torch.stack([f.double().flatten(0, -2).mean(0) for f in found]).mean(0)
        wanted = torch.stack(self.means.found[origin.node]).mean(0)
        bias, factor = rows[0][2], rows[0][3].double()
        shift = (wanted / origin.out_scale - mean) / factor
        moved = (bias.double() + shift.round()).clamp(-_LIMIT, _LIMIT).to(torch.int32)
        source = node.args[2]
        assert isinstance(source, fx.Node)
        set_constant(self.module, str(source.target), moved)
        source.meta["val"] = moved
