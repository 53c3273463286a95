"""torch.export -> one flat fx module at ATen level whose constants are get_attr nodes."""

import math
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import fx
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind, OutputKind

from splitter.errors import ModelError
from splitter.program import set_constant

# Composite operators that stay whole, because one kernel computes each of them.
_KEPT = (
    "adaptive_avg_pool1d",
    "adaptive_avg_pool2d",
    "avg_pool1d",
    "conv1d",
    "conv2d",
    "conv3d",
    "conv_transpose1d",
    "conv_transpose2d",
    "hardsigmoid",
    "hardswish",
    "layer_norm",
    "linear",
    "log_softmax",
    "matmul",
    "max_pool1d",
    "max_pool2d",
    "pixel_shuffle",
    "prelu",
    "silu",
    "softmax",
    "upsample_bilinear2d",
    "upsample_nearest2d",
    "where",
)


def export_module(
    model: torch.nn.Module | ExportedProgram, inputs: tuple[torch.Tensor, ...], name: str
) -> ExportedProgram:
    """``model`` as a decomposed, static, inference-mode exported program.

    Raises:
        ModelError: export failed or dimensions are open; the message names what to change.
    """
    if isinstance(model, ExportedProgram):
        exported = _fixed(model, inputs, name)
    else:
        with _inference_mode(model):
            exported = _export(model, inputs, name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        decomposed: ExportedProgram = exported.run_decompositions(_decompositions())
    return decomposed


@contextmanager
def _inference_mode(module: torch.nn.Module) -> Iterator[None]:
    training = [m for m in module.modules() if m.training]
    module.eval()
    try:
        yield
    finally:
        for part in training:
            part.training = True


def _export(
    module: torch.nn.Module, inputs: tuple[torch.Tensor, ...], name: str
) -> ExportedProgram:
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.export.export(module, inputs, strict=False)
    except Exception as error:
        raise ModelError(
            f"{name} cannot be traced: {_first_line(error)}. Control flow must not depend on the "
            "values of tensors, and forward must take the example inputs as positional tensors"
        ) from error


def _fixed(
    program: ExportedProgram, inputs: tuple[torch.Tensor, ...], name: str
) -> ExportedProgram:
    """``program`` with the shapes of ``inputs``; without open dimensions it is so already."""
    open_dims = open_dimensions(program)
    if open_dims and not inputs:
        options = " ".join(f"--input-shape {tensor}={dims}" for tensor, dims in open_dims.items())
        raise ModelError(f"{name} has open dimensions; fix them with, for example, {options}")
    if open_dims:
        return _export(program.module(), inputs, name)  # already in the mode it was exported in
    for node, value in zip(_user_inputs(program), inputs, strict=False):
        fixed, given = list(node.meta["val"].shape), list(value.shape)
        if fixed != given:
            raise ModelError(
                f"{name} was exported for input {node.name} of shape {fixed}, not {given}; "
                "export it with dynamic_shapes, or for that shape"
            )
    return program


def open_dimensions(program: ExportedProgram) -> dict[str, str]:
    """Inputs with symbolic extents: name -> shape text with the symbols left in."""
    found: dict[str, str] = {}
    for node in _user_inputs(program):
        shape = tuple(node.meta["val"].shape)
        if not all(isinstance(extent, int) for extent in shape):
            found[node.name] = ",".join(map(str, shape))
    return found


def input_shapes(program: ExportedProgram) -> dict[str, tuple[tuple[Any, ...], torch.dtype]]:
    """Shape (extents may be symbols) and type of every user input."""
    return {
        node.name: (tuple(node.meta["val"].shape), node.meta["val"].dtype)
        for node in _user_inputs(program)
    }


def _user_inputs(program: ExportedProgram) -> list[fx.Node]:
    wanted = set(program.graph_signature.user_inputs)
    return [n for n in program.graph.nodes if n.op == "placeholder" and n.name in wanted]


def _decompositions() -> Any:
    table: Any = torch.export.default_decompositions()
    for operator in list(table):
        if str(operator).split(".")[1:2] and str(operator).split(".")[1] in _KEPT:
            table.pop(operator)
    attention = torch.ops.aten.scaled_dot_product_attention.default
    table[attention] = _attention
    return table


def _attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attn_mask: torch.Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    *,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> torch.Tensor:
    """Scaled dot-product attention as two products and a softmax, so that a plan can cut it."""
    if enable_gqa:
        key = key.repeat_interleave(query.size(-3) // key.size(-3), -3)
        value = value.repeat_interleave(query.size(-3) // value.size(-3), -3)
    factor = 1.0 / math.sqrt(query.size(-1)) if scale is None else scale
    scores = torch.matmul(query, key.transpose(-2, -1)) * factor
    if is_causal:
        attn_mask = torch.ones(scores.shape[-2:], dtype=torch.bool).tril()
    if attn_mask is not None and attn_mask.dtype == torch.bool:
        scores = torch.where(attn_mask, scores, torch.full((), -math.inf))
    elif attn_mask is not None:
        scores = scores + attn_mask
    return torch.matmul(torch.softmax(scores, -1), value)


def flat_module(program: ExportedProgram) -> fx.GraphModule:
    """The program's graph with constants as get_attr nodes instead of lifted placeholders.

    Tied weights, which are one tensor under several names, become one constant.

    Raises:
        ModelError: the program changes its own buffers or its inputs, or returns a non-tensor.
    """
    root = torch.nn.Module()
    graph = fx.Graph()
    constants = _Constants(root, graph)
    env: dict[fx.Node, fx.Node] = {}
    specs = {spec.arg.name: spec for spec in program.graph_signature.input_specs}
    for node in program.graph.nodes:
        if node.op == "placeholder":
            spec = specs[node.name]
            if spec.kind == InputKind.USER_INPUT:
                env[node] = _copy(graph, node, env)
            elif node.users:
                env[node] = constants.get(str(spec.target), _value(program, str(spec.target)))
        elif node.op == "output":
            graph.output(tuple(env[result] for result in _results(program, node)))
        else:
            env[node] = _copy(graph, node, env)
    return fx.GraphModule(root, graph)


def _copy(graph: fx.Graph, node: fx.Node, env: dict[fx.Node, fx.Node]) -> fx.Node:
    lookup: Callable[[fx.Node], fx.Node] = env.__getitem__
    return graph.node_copy(node, lookup)


def _results(program: ExportedProgram, node: fx.Node) -> list[fx.Node]:
    results: list[fx.Node] = []
    for spec, value in zip(program.graph_signature.output_specs, node.args[0], strict=True):  # type: ignore[arg-type]
        if spec.kind != OutputKind.USER_OUTPUT:
            raise ModelError(
                f"the model changes {spec.target} while it runs; a split model must be a pure "
                "function of its inputs: return the new value instead"
            )
        if not isinstance(value, fx.Node):
            raise ModelError(f"the model returns {value!r}; every output must be a tensor")
        results.append(value)
    return results


def _value(program: ExportedProgram, target: str) -> torch.Tensor:
    value = program.state_dict.get(target, program.constants.get(target))
    assert isinstance(value, torch.Tensor), target
    return value.detach()


class _Constants:
    """Gives each distinct tensor one get_attr node, whatever the names it is known by."""

    def __init__(self, root: torch.nn.Module, graph: fx.Graph) -> None:
        self.root, self.graph = root, graph
        self.by_identity: dict[tuple[object, ...], fx.Node] = {}

    def get(self, name: str, value: torch.Tensor) -> fx.Node:
        key = (
            value.data_ptr(),
            tuple(value.shape),
            value.stride(),
            value.dtype,
            name * (not value.numel()),
        )
        if key not in self.by_identity:
            set_constant(self.root, name, value)
            node = self.graph.get_attr(name)
            node.meta["val"] = value
            self.by_identity[key] = node
        return self.by_identity[key]


def _first_line(error: Exception) -> str:
    text = str(error).strip()
    return text.splitlines()[0].rstrip(".") if text else type(error).__name__
