"""ONNX file to a trainable torch.fx module; every operator goes through the table of onnx_ops."""

import difflib
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import onnx
import torch
from torch import fx

from splitter.errors import ModelError, SplitterError, UnsupportedOperatorError
from splitter.tracing.onnx_ops import OPS, converter
from splitter.tracing.onnx_ops.node import Converter, OpNode
from splitter.tracing.onnx_patterns import fuse_patterns
from splitter.tracing.onnx_reader import read_onnx
from splitter.tracing.onnx_recorder import Recorder
from splitter.tracing.onnx_types import attribute_values, torch_dtype, torch_tensor

_DEFAULT_DOMAINS = ("", "ai.onnx")


@dataclass(frozen=True)
class OnnxModel:
    """An imported ONNX file."""

    module: fx.GraphModule
    """Takes the inputs in the file's order and returns a tuple of outputs. Floating-point weights
    are parameters named after the file's initializers, integer ones and statistics buffers."""
    example_inputs: tuple[torch.Tensor, ...]
    """Seeded inputs of the right shapes and types: normal numbers, ones for integers."""
    input_names: tuple[str, ...]
    """Names in the file."""
    output_names: tuple[str, ...]
    """Names in the file."""


def load_onnx(
    path: str | Path, input_shapes: Mapping[str, tuple[int, ...]] | None = None
) -> OnnxModel:
    """Import an ONNX file.

    Args:
        path: The .onnx file; external data is looked for beside it.
        input_shapes: Shape per input name, needed for inputs with open dimensions.

    Raises:
        ModelError: The file or a shape is unusable; see `read_onnx`.
        UnsupportedOperatorError: A node has no torch counterpart; names it and the nearest form.
    """
    return import_onnx(read_onnx(path, input_shapes))


def import_onnx(model: onnx.ModelProto) -> OnnxModel:
    """Import a model whose input shapes are numbers; raises as `load_onnx`."""
    opset = _opset(model)
    recorder = Recorder()
    inputs = {item.name: _placeholder(recorder, item) for item in model.graph.input}
    values: dict[str, torch.Tensor | None] = {"": None, **inputs}
    for proto in model.graph.initializer:
        tensor = torch_tensor(proto, f"initializer '{proto.name}'")
        values[proto.name] = recorder.constant(proto.name, tensor)
    outputs = tuple(item.name for item in model.graph.output)
    read = {*outputs, *(name for proto in model.graph.node for name in proto.input)}
    with _quiet():
        for proto in model.graph.node:
            values.update(_run(recorder, proto, opset, values, read))
    recorder.output(_present(values, name) for name in outputs)
    module = recorder.module()
    fuse_patterns(module)
    return OnnxModel(module.eval(), _examples(inputs.values()), tuple(inputs), outputs)


def _opset(model: onnx.ModelProto) -> int:
    return next((x.version for x in model.opset_import if x.domain in _DEFAULT_DOMAINS), 1)


def _placeholder(recorder: Recorder, item: onnx.ValueInfoProto) -> torch.Tensor:
    tensor = item.type.tensor_type
    dtype = torch_dtype(tensor.elem_type, f"input '{item.name}'")
    return recorder.placeholder(item.name, [dim.dim_value for dim in tensor.shape.dim], dtype)


def _run(
    recorder: Recorder,
    proto: onnx.NodeProto,
    opset: int,
    values: Mapping[str, torch.Tensor | None],
    read: Set[str],
) -> dict[str, torch.Tensor]:
    """Convert one node; returns its outputs by name."""
    name = proto.name or proto.output[0]
    convert = _find(proto, name)
    count = max((i + 1 for i, out in enumerate(proto.output) if out in read), default=1)
    node = OpNode(proto.op_type, name, opset, attribute_values(proto), count)
    recorder.enter_node(name, proto.op_type)
    inputs = [None if not x else _present(values, x) for x in proto.input]
    try:
        with recorder:
            result = convert(node, *inputs)
    except SplitterError:
        raise
    except Exception as error:
        shapes = ", ".join("none" if x is None else str(list(x.shape)) for x in inputs)
        raise ModelError(
            f"{proto.op_type} node '{name}' cannot be imported with inputs of shapes {shapes}: "
            f"{_first_line(error)}"
        ) from error
    results: Sequence[torch.Tensor] = [result] if isinstance(result, torch.Tensor) else result
    made = {out: x for out, x in zip(proto.output, results, strict=False) if out}
    for out, value in made.items():
        recorder.name_constant(out, value, trainable=proto.op_type == "Constant")
    return made


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep torch from printing the traceback of an error that becomes a message of ours."""
    log = logging.getLogger("torch._subclasses.fake_tensor")
    before, log.disabled = log.disabled, True
    try:
        yield
    finally:
        log.disabled = before


def _find(proto: onnx.NodeProto, name: str) -> Converter:
    if proto.domain in _DEFAULT_DOMAINS and proto.op_type in OPS:
        return converter(proto.op_type)
    near = difflib.get_close_matches(proto.op_type, OPS, n=1, cutoff=0.0)[0]
    domain = f" of domain {proto.domain}" if proto.domain else ""
    raise UnsupportedOperatorError(
        f"{proto.op_type} node '{name}': the operator{domain} is not supported; "
        f"nearest supported operator: {near}"
    )


def _present(values: Mapping[str, torch.Tensor | None], name: str) -> torch.Tensor:
    value = values.get(name)
    if value is None:
        raise ModelError(f"the ONNX graph reads '{name}', which no node or input gives")
    return value


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0] or type(error).__name__


def _examples(inputs: Iterable[torch.Tensor]) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(0)
    return tuple(_example(x, generator) for x in inputs)


def _example(like: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    if like.is_floating_point():
        return torch.randn(like.shape, generator=generator).to(like.dtype)
    return torch.ones(like.shape, dtype=like.dtype)
