"""Layers on 8-bit numbers: C kernels of `runtime/kernels`, specialised and compiled per layer."""

from runtime.build.integer.layer import IntegerLayer, integer_layer, is_integer

__all__ = ["IntegerLayer", "integer_layer", "is_integer"]
