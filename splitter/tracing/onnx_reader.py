"""Reads an ONNX file, fixes its input shapes and simplifies it."""

import logging
from collections.abc import Mapping
from pathlib import Path

import onnx
import onnxslim
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

from splitter.errors import ModelError

_LOG = logging.getLogger(__name__)
_ANY_SIZE = "?"


def read_onnx(
    path: str | Path, input_shapes: Mapping[str, tuple[int, ...]] | None = None
) -> onnx.ModelProto:
    """The model of the file, with every input dimension a number, and simplified.

    Args:
        path: The .onnx file; external data is looked for beside it.
        input_shapes: Shape per input name; replaces what the file says.

    Raises:
        ModelError: The file is missing, damaged or no ONNX model, an input named does not exist, a
            shape has another rank, or a dimension is left open.
    """
    model = _checked(Path(path))
    _drop_initializer_inputs(model.graph)
    fix_input_shapes(model.graph, input_shapes or {})
    return _simplified(model)


def _checked(path: Path) -> onnx.ModelProto:
    if not path.is_file():
        raise ModelError(f"{path}: no such file; give the path of an .onnx file")
    try:
        model = onnx.load(str(path))
    except DecodeError as error:
        raise ModelError(f"{path} is not an ONNX model or is damaged: {error}") from error
    except (OSError, onnx.checker.ValidationError) as error:
        raise ModelError(f"{path}: its external data cannot be read: {error}") from error
    if not model.graph.node or not model.opset_import:
        raise ModelError(f"{path} is not an ONNX model: it holds no graph")
    try:
        onnx.checker.check_model(model)
    except onnx.checker.ValidationError as error:
        raise ModelError(f"{path} is not a valid ONNX model: {error}") from error
    return model


def _drop_initializer_inputs(graph: onnx.GraphProto) -> None:
    """Files of IR version 3 list each weight as an input too."""
    weights = {item.name for item in graph.initializer}
    kept = [item for item in graph.input if item.name not in weights]
    del graph.input[:]
    graph.input.extend(kept)


def fix_input_shapes(graph: onnx.GraphProto, input_shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Write the shapes into ``graph``, and drop what the file says about all other shapes.

    Raises:
        ModelError: An input named does not exist, the rank differs, or a dimension is left open.
    """
    names = [item.name for item in graph.input]
    for name in input_shapes:
        if name not in names:
            raise ModelError(f"the model has no input '{name}'; its inputs are {', '.join(names)}")
    for item in graph.input:
        _fix_shape(item, input_shapes.get(item.name))
    # Shapes inside the graph and of its outputs hold for the sizes baked in when it was written.
    del graph.value_info[:]
    for item in graph.output:
        item.type.tensor_type.ClearField("shape")


def _fix_shape(item: onnx.ValueInfoProto, wanted: tuple[int, ...] | None) -> None:
    if item.type.WhichOneof("value") != "tensor_type":
        raise ModelError(f"input '{item.name}' is not a tensor; only tensor inputs are supported")
    tensor = item.type.tensor_type
    found = _dimensions(item)
    if wanted is None:
        _require_fixed(item.name, found)
        return
    if found and len(wanted) != len(found):
        raise ModelError(
            f"input '{item.name}' has {len(found)} dimensions ({', '.join(found)}), "
            f"but the shape given is {_text(wanted)}"
        )
    if any(size < 1 for size in wanted):
        raise ModelError(f"input '{item.name}': every size of {_text(wanted)} must be at least 1")
    tensor.ClearField("shape")
    for size in wanted:
        tensor.shape.dim.add().dim_value = size


def _dimensions(item: onnx.ValueInfoProto) -> list[str]:
    """Sizes as text; an open one by its name in the file."""
    return [
        str(dim.dim_value) if dim.dim_value > 0 else dim.dim_param or _ANY_SIZE
        for dim in item.type.tensor_type.shape.dim
    ]


def _require_fixed(name: str, found: list[str]) -> None:
    open_places = [i for i, size in enumerate(found) if not size.isdigit()]
    if not open_places:
        return
    listed = ", ".join(f"dimension {i} ({found[i]})" for i in open_places)
    example = ",".join(size if size.isdigit() else _guess(i) for i, size in enumerate(found))
    raise ModelError(
        f"input '{name}' has open dimensions: {listed}; fix them, for example with "
        f"--input-shape {name}={example}"
    )


def _guess(place: int) -> str:
    """A size to show in the advice: one request at a time, 224 pixels or tokens."""
    return "1" if place == 0 else "224"


def _text(shape: tuple[int, ...]) -> str:
    return ",".join(map(str, shape))


def _simplified(model: onnx.ModelProto) -> onnx.ModelProto:
    """Fold constants and drop dead nodes; fusions are left out, for they rename weights."""
    try:
        return onnxslim.slim(model, skip_optimizations=["graph_fusion"])
    except Exception as error:
        # The importer folds constants by itself: an unsimplified graph imports as well, slower.
        _LOG.warning("onnxslim failed (%s); importing the graph as it is", error)
        return model
