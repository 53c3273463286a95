"""Layer names that survive a new trace: from parameter names where there are any."""

from collections.abc import Sequence

from torch import fx

from splitter.tracing.arguments import operator_name
from splitter.tracing.operators import anchor_of, is_elementwise, is_view

_LEAVES = ("weight", "bias", "folded_bias", "in_proj_weight", "in_proj_bias")


class LayerNames:
    """Names every group of nodes: after its weights, or after what it follows."""

    def __init__(self, groups: Sequence[Sequence[fx.Node]]) -> None:
        self._by_node: dict[fx.Node, str] = {}
        self._used: dict[str, int] = {}
        for group in groups:
            name = self._unique(self._base(group))
            self._by_node.update(dict.fromkeys(group, name))

    def of(self, node: fx.Node) -> str:
        """Name of the layer that ``node`` belongs to."""
        return self._by_node[node]

    def _base(self, group: Sequence[fx.Node]) -> str:
        anchor = anchor_of(group)
        owner = _owner(anchor)
        if owner:
            return owner
        members = set(group)
        sources = [s for n in group for s in n.all_input_nodes if s not in members]
        named = [self._by_node[s].partition("/")[0] for s in sources if s in self._by_node]
        named += [str(s.target) for s in sources if s.op == "placeholder"]
        root = named[0] if named else "constant"
        return f"{root}/{operator_name(anchor).strip('_')}"

    def _unique(self, base: str) -> str:
        count = self._used[base] = self._used.get(base, 0) + 1
        return base if count == 1 else f"{base}.{count}" if "/" in base else f"{base}/{count}"


def _owner(anchor: fx.Node) -> str:
    """Module path of the anchor's own weight: ``features.0.0`` for ``features.0.0.weight``."""
    if is_elementwise(anchor) or is_view(anchor):
        return ""
    for source in anchor.all_input_nodes:
        path, _, leaf = str(source.target).rpartition(".")
        if source.op == "get_attr" and path and leaf in _LEAVES:
            return path
    return ""
