"""Where a network keeps weights that can be compressed.

A network is either an ``nn.Module`` as its author wrote it, or an fx module at ATen level (the
module of a `Program`, an imported ONNX file). In both a `Site` is one weight, by the name of its
parameter, in the order of execution as far as it is known.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

import torch
from torch import fx, nn

from splitter.errors import ModelError, UsageError
from splitter.program import constant_of
from splitter.suggest import did_you_mean
from splitter.tracing.arguments import argument, listed, operator_name

_WEIGHT_ARGUMENT: Mapping[str, int] = {
    "conv1d": 1,
    "conv2d": 1,
    "conv3d": 1,
    "conv_transpose1d": 1,
    "conv_transpose2d": 1,
    "conv_transpose3d": 1,
    "linear": 1,
    "matmul": 1,
    "mm": 1,
    "addmm": 2,
    "embedding": 0,
}
_OUTPUT_AXIS: Mapping[str, int] = {"matmul": 1, "mm": 1, "addmm": 1, "embedding": 0}
_MODULE_KINDS: Mapping[type[nn.Module], str] = {
    nn.Conv1d: "conv1d",
    nn.Conv2d: "conv2d",
    nn.Conv3d: "conv3d",
    nn.ConvTranspose1d: "conv_transpose1d",
    nn.ConvTranspose2d: "conv_transpose2d",
    nn.ConvTranspose3d: "conv_transpose3d",
    nn.Linear: "linear",
    nn.Embedding: "embedding",
}


@dataclass(frozen=True, slots=True)
class Site:
    """One weight that can be compressed."""

    weight: str
    """Name of the parameter (or of the Program's constant)."""
    layer: str
    """Name of the layer: the module's path, or the name of the Program's layer."""
    kind: str
    """``conv2d``, ``linear``, ...: the ATen operator that reads it."""
    shape: tuple[int, ...]
    groups: int = 1
    stride: tuple[int, ...] = ()
    """Of a convolution, one per axis of the kernel."""
    origin: str = ""
    """The layer of which this is a factor, if it is one."""
    alone: bool = True
    """Whether exactly one layer of a known form reads it, so that two layers may replace that."""

    @property
    def is_convolution(self) -> bool:
        """Whether it is an ordinary convolution's."""
        return self.kind in ("conv1d", "conv2d", "conv3d")

    @property
    def is_spatial(self) -> bool:
        """Whether it is that of a convolution with more than one tap."""
        return self.is_convolution and max(self.shape[2:]) > 1

    @property
    def output_axis(self) -> int | None:
        """Axis of the weight that counts outputs; None where groups mix it with another."""
        if self.kind.startswith("conv_transpose"):
            return 1 if self.groups == 1 else None
        return _OUTPUT_AXIS.get(self.kind, 0)


def sites_of(model: nn.Module, layer_names: Mapping[str, str] | None = None) -> tuple[Site, ...]:
    """Every compressible weight of ``model``, once each.

    Args:
        model: a module, or an fx module at ATen level.
        layer_names: name of the layer that reads each weight, where it is not the owner's path.
    """
    found = _of_graph(model) if _is_aten(model) else _of_modules(model)
    merged: dict[str, Site] = {}
    for site in found:
        known = merged.get(site.weight)
        merged[site.weight] = site if known is None else replace(known, alone=False)
    names = layer_names or {}
    return tuple(replace(s, layer=names.get(s.weight, s.layer)) for s in merged.values())


def chosen_sites(sites: Sequence[Site], patterns: Iterable[str]) -> tuple[Site, ...]:
    """The sites whose layer or weight matches one of ``patterns``, which are those of a shell.

    Raises:
        UsageError: a pattern matches nothing.
    """
    chosen: dict[str, Site] = {}
    for pattern in patterns:
        fitting = [s for s in sites if matches(pattern, s)]
        if not fitting:
            known = [s.layer for s in sites]
            some = ", ".join(known[:3]) + (", ..." if len(known) > 3 else "")
            raise UsageError(
                f"no layer with weights matches '{pattern}'; layers are called {some or 'nothing'}"
                f"{did_you_mean(pattern, known)}"
            )
        chosen.update((s.weight, s) for s in fitting)
    return tuple(s for s in sites if s.weight in chosen)


def matches(pattern: str, site: Site) -> bool:
    """Whether ``pattern`` means the layer or the weight of ``site``, or what it is a factor of."""
    return any(fnmatchcase(n, pattern) for n in (site.layer, site.weight, site.origin) if n)


def weight_of(model: nn.Module, site: Site) -> torch.Tensor:
    """The weight itself, not a copy.

    Raises:
        ModelError: it is not of a floating-point type.
    """
    value = constant_of(model, site.weight)
    if not value.is_floating_point():
        raise ModelError(f"weight {site.weight} is {value.dtype}; only floats can be compressed")
    return value


def _is_aten(model: nn.Module) -> bool:
    return isinstance(model, fx.GraphModule) and not any(
        node.op == "call_module" for node in model.graph.nodes
    )


def _of_graph(model: nn.Module) -> Iterator[Site]:
    assert isinstance(model, fx.GraphModule)
    for node in model.graph.nodes:
        position = _WEIGHT_ARGUMENT.get(operator_name(node)) if _is_call(node) else None
        source = None if position is None else argument(node, position, "weight")
        if not isinstance(source, fx.Node) or source.op != "get_attr":
            continue
        value = constant_of(model, str(source.target))
        if not value.is_floating_point() or value.dim() < 2:
            continue
        kind = operator_name(node)
        yield Site(
            weight=str(source.target),
            layer=_owner(str(source.target)),
            kind=kind,
            shape=tuple(value.shape),
            groups=int(argument(node, 6, "groups", 1)) if kind.startswith("conv") else 1,
            stride=_stride(node, value.dim() - 2) if kind.startswith("conv") else (),
            alone=len(source.users) == 1,
        )


def _stride(node: fx.Node, rank: int) -> tuple[int, ...]:
    return tuple(listed(argument(node, 3, "stride", 1), rank))


def _is_call(node: fx.Node) -> bool:
    return node.op == "call_function"


def _of_modules(model: nn.Module) -> Iterator[Site]:
    owners: dict[int, str] = {}
    for path, module in model.named_modules():
        kind = next((k for t, k in _MODULE_KINDS.items() if isinstance(module, t)), None)
        weight = module._parameters.get("weight")
        if kind is None or weight is None or not weight.is_floating_point():
            continue
        name = f"{path}.weight".lstrip(".")
        yield Site(
            weight=owners.setdefault(id(weight), name),
            layer=path,
            kind=kind,
            shape=tuple(weight.shape),
            groups=int(getattr(module, "groups", 1)),
            stride=tuple(getattr(module, "stride", ())),
            alone=type(module) in _MODULE_KINDS and path != "",
        )


def _owner(weight: str) -> str:
    path, _, leaf = weight.rpartition(".")
    return path if path and leaf == "weight" else weight
