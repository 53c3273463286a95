"""ONNX element types, tensors and attributes as torch and Python values."""

from typing import Any

import numpy as np
import onnx
import torch
from onnx import numpy_helper

from splitter.errors import ModelError

_TYPES = onnx.TensorProto
DTYPES: dict[int, torch.dtype] = {
    _TYPES.FLOAT: torch.float32,
    _TYPES.DOUBLE: torch.float64,
    _TYPES.FLOAT16: torch.float16,
    _TYPES.BFLOAT16: torch.bfloat16,
    _TYPES.INT64: torch.int64,
    _TYPES.INT32: torch.int32,
    _TYPES.INT16: torch.int16,
    _TYPES.INT8: torch.int8,
    _TYPES.UINT8: torch.uint8,
    _TYPES.BOOL: torch.bool,
}


def torch_dtype(element_type: int, owner: str) -> torch.dtype:
    """The torch type of an ONNX element type; ``owner`` is named in the error.

    Raises:
        ModelError: The type has no torch counterpart that kernels can be built for.
    """
    if element_type in DTYPES:
        return DTYPES[element_type]
    known = {value: name for name, value in _TYPES.DataType.items()}
    supported = ", ".join(known[value].lower() for value in DTYPES)
    raise ModelError(
        f"{owner} has element type {known.get(element_type, str(element_type)).lower()}, "
        f"which is not supported; supported are {supported}"
    )


def torch_tensor(proto: onnx.TensorProto, owner: str) -> torch.Tensor:
    """A torch copy of an ONNX tensor.

    Raises:
        ModelError: The element type is not supported.
    """
    dtype = torch_dtype(proto.data_type, owner)
    values = numpy_helper.to_array(proto)
    if dtype == torch.bfloat16:
        return torch.from_numpy(values.astype(np.float32)).to(dtype)
    return torch.from_numpy(np.array(values, order="C"))


def attribute_values(node: onnx.NodeProto) -> dict[str, Any]:
    """Attributes of ``node``: numbers, text, lists of these, and torch tensors."""
    return {item.name: _attribute_value(item, node) for item in node.attribute}


def _attribute_value(item: onnx.AttributeProto, node: onnx.NodeProto) -> Any:
    value = onnx.helper.get_attribute_value(item)
    if isinstance(value, onnx.TensorProto):
        return torch_tensor(value, f"attribute {item.name} of {node.op_type} node '{node.name}'")
    if isinstance(value, bytes):
        return value.decode()
    if item.type == onnx.AttributeProto.STRINGS:
        return [text.decode() for text in value]
    return list(value) if hasattr(value, "extend") else value
