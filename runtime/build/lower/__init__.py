"""One layer -> one tensor expression with named operands (TVM's TE), before scheduling."""

from runtime.build.lower.layer import KernelOperand, LoweredLayer, lower_layer, supported_operators

__all__ = ["KernelOperand", "LoweredLayer", "lower_layer", "supported_operators"]
