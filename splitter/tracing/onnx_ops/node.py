"""What a converter knows about the ONNX node it converts, besides the input tensors."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensor

from splitter.errors import UnsupportedOperatorError

Result = torch.Tensor | Sequence[torch.Tensor]
Converter = Callable[..., Result]
"""``converter(node, *inputs)``; an absent optional input is None; returns the outputs in order."""


def is_known(tensor: torch.Tensor) -> bool:
    """Whether the values of ``tensor`` are fixed at import (no model input flows into it)."""
    return not isinstance(tensor, FakeTensor)


@dataclass(frozen=True, slots=True)
class OpNode:
    """One ONNX node: its type, name, version and attributes."""

    op_type: str
    name: str
    """Node name, or its first output's name where the file has none."""
    opset: int
    """Version of the ONNX operator set the file imports; semantics differ between versions."""
    attributes: Mapping[str, Any]
    output_count: int

    def get(self, name: str, default: Any = None) -> Any:
        """Attribute ``name``, or ``default``."""
        return self.attributes.get(name, default)

    def unsupported(self, reason: str, nearest: str) -> UnsupportedOperatorError:
        """The error to raise when this node has a form that cannot be imported."""
        return UnsupportedOperatorError(
            f"{self.op_type} node '{self.name}': {reason}; nearest supported form: {nearest}"
        )

    def ints(self, tensor: torch.Tensor, what: str) -> list[int]:
        """Values of an integer input that must be known at import, such as a shape.

        Raises:
            UnsupportedOperatorError: The values depend on the model's input data.
        """
        return [int(value) for value in self.known(tensor, what).reshape(-1).tolist()]

    def known(self, tensor: torch.Tensor, what: str) -> torch.Tensor:
        """``tensor`` itself, once it is sure that its values are known at import.

        Raises:
            UnsupportedOperatorError: The values depend on the model's input data.
        """
        if not is_known(tensor):
            raise self.unsupported(
                f"its {what} is computed from input data", f"{self.op_type} with constant {what}"
            )
        return tensor

    def axes(self, tensor: torch.Tensor | None, what: str = "axes") -> list[int] | None:
        """Axes from the attribute (older operator sets) or from the input (newer ones)."""
        if tensor is not None:
            return self.ints(tensor, what)
        values = self.get(what)
        return None if values is None else list(values)
