"""Inputs and outputs of a bundle as numpy arrays."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from splitter.errors import InputError
from splitter.graph import Graph, Tensor

Array = NDArray[Any]


def as_inputs(
    graph: Graph, arrays: tuple[object, ...], by_name: Mapping[str, object]
) -> dict[str, Array]:
    """A private dense copy of every input of ``graph``, in its order.

    Args:
        graph: Whose inputs are wanted.
        arrays: Arrays by position; anything with ``__array__`` will do.
        by_name: Arrays by input name, for those that are not given by position.

    Raises:
        InputError: one is missing, unknown, given twice, or of the wrong shape or type.
    """
    if len(arrays) > len(graph.inputs):
        raise InputError(f"{len(arrays)} inputs were given; the model takes {input_list(graph)}")
    given: dict[str, object] = dict(zip(graph.inputs, arrays, strict=False))
    for name, value in by_name.items():
        if name not in graph.inputs:
            raise InputError(f"there is no input {name!r}; the model takes {input_list(graph)}")
        if name in given:
            raise InputError(f"input {name!r} is given twice, by position and by name")
        given[name] = value
    missing = [name for name in graph.inputs if name not in given]
    if missing:
        raise InputError(f"input {missing[0]!r} is not given; the model takes {input_list(graph)}")
    return {name: as_tensor(graph.tensors[name], given[name]) for name in graph.inputs}


def request_inputs(graph: Graph, item: object) -> dict[str, Array]:
    """The inputs of one request as `map` gets them: one array, a tuple or list, or a mapping.

    Raises:
        InputError: as `as_inputs`.
    """
    if isinstance(item, Mapping):
        return as_inputs(graph, (), item)
    if isinstance(item, tuple | list):
        return as_inputs(graph, tuple(item), {})
    return as_inputs(graph, (item,), {})


def as_tensor(tensor: Tensor, value: object) -> Array:
    """A dense copy of ``value``, which must have exactly the shape and type of ``tensor``.

    Raises:
        InputError: it has not, or it is no array.
    """
    if not hasattr(value, "__array__"):
        raise InputError(f"input {tensor.name!r} is a {type(value).__name__}, not an array")
    try:
        array: Array = np.asarray(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"input {tensor.name!r} cannot be read as an array: {error}") from error
    if array.shape != tensor.shape or array.dtype != np.dtype(tensor.dtype):
        raise InputError(
            f"input {tensor.name!r} is {array.dtype}{list(array.shape)}, "
            f"expected {tensor.dtype}{list(tensor.shape)}"
        )
    return np.array(array, order="C", copy=True)


def empty(tensor: Tensor) -> Array:
    """Room for ``tensor``."""
    return np.empty(tensor.shape, tensor.dtype)


def raw(array: Array) -> memoryview:
    """The bytes of a dense array, to be read or written."""
    return array.reshape(-1).view(np.uint8).data


def input_list(graph: Graph) -> str:
    """The inputs of a model, with type and shape."""
    return ", ".join(str(graph.tensors[name]) for name in graph.inputs)
