"""What the nodes of a graph compute for several requests, node by node."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import fx

from splitter.program import constant_of
from splitter.tracing.arguments import operator_name


class Values:
    """Values of nodes, worked out as far as they are asked for and dropped after their last use.

    Constants are read when a node is computed: one that was changed before counts as it is then.
    """

    def __init__(
        self,
        module: fx.GraphModule,
        requests: Sequence[Sequence[torch.Tensor]],
        wanted: Sequence[fx.Node],
        instead: Mapping[str, Callable[..., Any]] | None = None,
    ) -> None:
        """
        Args:
            module: at ATen level.
            requests: one tensor per input each.
            wanted: nodes that will be asked for, each as often as it stands here.
            instead: functions to compute operators with, by name.
        """
        self._module = module
        self._left = iter(module.graph.nodes)
        self._inputs = iter(zip(*requests, strict=True))
        self._uses = {node: len(node.users) + wanted.count(node) for node in module.graph.nodes}
        self._known: dict[fx.Node, Sequence[Any]] = {}
        self._count = len(requests)
        self._instead = instead or {}

    @torch.no_grad()
    def of(self, node: fx.Node) -> Sequence[Any]:
        """The value of ``node`` for each request."""
        while node not in self._known:
            self._advance(next(self._left))
        found = self._known[node]
        self._used(node)
        return found

    def _advance(self, node: fx.Node) -> None:
        if node.op == "placeholder":
            self._known[node] = next(self._inputs)
        elif node.op == "call_function":
            self._known[node] = [self._call(node, i) for i in range(self._count)]
            for source in node.all_input_nodes:
                self._used(source)

    def _call(self, node: fx.Node, i: int) -> Any:
        def value(n: fx.Node) -> Any:
            if n.op == "get_attr":
                return constant_of(self._module, str(n.target))
            return self._known[n][i]

        arguments, keywords = fx.node.map_arg((node.args, node.kwargs), value)
        assert callable(node.target)
        return self._instead.get(operator_name(node), node.target)(*arguments, **keywords)

    def _used(self, node: fx.Node) -> None:
        self._uses[node] -= 1
        if not self._uses[node]:
            self._known.pop(node, None)
