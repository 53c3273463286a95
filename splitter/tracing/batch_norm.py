"""Inference batch norm is a scale and a shift: into the producer's weights, or as two operators."""

import torch
from torch import fx

from splitter.program import constant_of, set_constant

aten = torch.ops.aten

_OUTPUT_AXIS = {
    aten.conv1d.default: 0,
    aten.conv2d.default: 0,
    aten.conv3d.default: 0,
    aten.linear.default: 0,
    aten.conv_transpose2d.input: 1,
}


def fold_batch_norms(module: fx.GraphModule) -> None:
    """Remove every batch norm from ``module``."""
    for node in list(module.graph.nodes):
        if node.target is aten._native_batch_norm_legit_no_training.default:
            (result,) = node.users  # getitem 0; the saved statistics are empty at inference
            scale, shift = _scale_and_shift(module, node)
            producer = node.args[0]
            assert isinstance(producer, fx.Node)
            if _can_absorb(producer):
                _absorb(module, producer, scale, shift)
                result.replace_all_uses_with(producer)
            else:
                result.replace_all_uses_with(_as_operators(module, node, scale, shift))
            module.graph.erase_node(result)
            module.graph.erase_node(node)


def _scale_and_shift(module: fx.GraphModule, node: fx.Node) -> tuple[torch.Tensor, torch.Tensor]:
    values = [
        constant_of(module, str(a.target)) if isinstance(a, fx.Node) else a for a in node.args[1:]
    ]
    weight, bias, mean, variance = values[:4]
    eps = values[5]
    assert isinstance(mean, torch.Tensor)
    assert isinstance(variance, torch.Tensor)
    assert isinstance(eps, float)
    # Folding in double keeps the folded model within a rounding error of the original.
    scale = torch.rsqrt(variance.double() + eps)
    if isinstance(weight, torch.Tensor):
        scale = scale * weight.double()
    shift = -mean.double() * scale
    if isinstance(bias, torch.Tensor):
        shift = shift + bias.double()
    return scale, shift


def _can_absorb(producer: fx.Node) -> bool:
    if producer.target not in _OUTPUT_AXIS or len(producer.users) != 1:
        return False
    if producer.target is aten.linear.default and producer.meta["val"].dim() != 2:
        return False  # batch norm scales axis 1, a linear layer makes the last axis
    if producer.target is aten.conv_transpose2d.input and _argument(producer, 6, 1) != 1:
        return False  # grouped: output channels are spread over both weight axes
    weight = producer.args[1]
    return isinstance(weight, fx.Node) and weight.op == "get_attr" and len(weight.users) == 1


def _argument(node: fx.Node, position: int, default: object) -> object:
    return node.args[position] if len(node.args) > position else default


def _absorb(
    module: fx.GraphModule, producer: fx.Node, scale: torch.Tensor, shift: torch.Tensor
) -> None:
    weight_node = producer.args[1]
    assert isinstance(weight_node, fx.Node)
    name = str(weight_node.target)
    weight = constant_of(module, name)
    axis = _OUTPUT_AXIS[producer.target]  # type: ignore[index]
    shape = [-1 if i == axis else 1 for i in range(weight.dim())]
    bias_node = _argument(producer, 2, None)
    if isinstance(bias_node, fx.Node):
        shift = shift + constant_of(module, str(bias_node.target)).double() * scale
    set_constant_value(module, weight_node, (weight.double() * scale.view(shape)).to(weight.dtype))
    owner, _, leaf = name.rpartition(".")
    bias_name = f"{owner}.folded_bias" if leaf == "weight" else f"{name}_folded_bias"
    set_constant(module, bias_name, shift.to(weight.dtype))
    with module.graph.inserting_before(producer):
        bias = module.graph.get_attr(bias_name)
    bias.meta["val"] = shift.to(weight.dtype)
    args = [*producer.args, *[None] * (3 - len(producer.args))]
    args[2] = bias
    producer.args = tuple(args)


def set_constant_value(module: fx.GraphModule, node: fx.Node, value: torch.Tensor) -> None:
    """Replace the value of a get_attr node's constant."""
    path, _, leaf = str(node.target).rpartition(".")
    owner = module.get_submodule(path)
    delattr(owner, leaf)
    owner.register_buffer(leaf, value)
    node.meta["val"] = value


def _as_operators(
    module: fx.GraphModule, node: fx.Node, scale: torch.Tensor, shift: torch.Tensor
) -> fx.Node:
    source = node.args[0]
    assert isinstance(source, fx.Node)
    shape = [1, -1] + [1] * (source.meta["val"].dim() - 2)
    dtype = source.meta["val"].dtype
    mean = node.args[3]
    assert isinstance(mean, fx.Node)
    owner = str(mean.target).rpartition(".")[0] or node.name
    parts: list[fx.Node] = []
    with module.graph.inserting_before(node):
        for label, value in (("folded_scale", scale), ("folded_shift", shift)):
            set_constant(module, f"{owner}.{label}", value.view(shape).to(dtype))
            parts.append(module.graph.get_attr(f"{owner}.{label}"))
            parts[-1].meta["val"] = value.view(shape).to(dtype)
        scaled = module.graph.call_function(aten.mul.Tensor, (source, parts[0]))
        shifted = module.graph.call_function(aten.add.Tensor, (scaled, parts[1]))
    scaled.meta["val"] = shifted.meta["val"] = source.meta["val"]
    return shifted
