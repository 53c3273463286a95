"""Pick the rule for a lowered layer and apply it."""

import tvm
from tvm import s_tir

from runtime.build.lower import LoweredLayer
from runtime.build.machine import Machine
from runtime.build.schedule.contraction import schedule_plain_convolution, schedule_tiled_product
from runtime.build.schedule.decoded import schedule_decoded_product
from runtime.build.schedule.depthwise import schedule_depthwise
from runtime.build.schedule.expanded import schedule_expanded
from runtime.build.schedule.loops import inline_elementwise, schedule_remaining
from runtime.build.schedule.turned import schedule_turned_product
from runtime.build.schedule.winograd import schedule_winograd


def schedule(lowered: LoweredLayer, machine: Machine) -> tvm.tirx.PrimFunc:
    """The layer's function with loops tiled, vectorised and parallelised for ``machine``."""
    sch = s_tir.Schedule(tvm.IRModule({"main": lowered.function}))
    anchor = lowered.anchor
    inline_elementwise(sch, keep=frozenset([anchor.block, anchor.turned] if anchor else []))
    done: set[str] = set()
    if anchor is not None and anchor.winograd:
        done = schedule_winograd(sch, anchor, machine)
    elif anchor is not None and anchor.tile is not None and anchor.decoded is not None:
        done = schedule_decoded_product(sch, anchor, anchor.tile, anchor.decoded, machine)
    elif anchor is not None and anchor.tile is not None and anchor.turned:
        done = schedule_turned_product(sch, anchor, anchor.tile, machine)
    elif anchor is not None and anchor.tile is not None:
        done = schedule_tiled_product(sch, anchor, anchor.tile, machine)
    elif anchor is not None and anchor.source is not None:
        done = schedule_expanded(sch, anchor, machine)
    elif anchor is not None and anchor.lanes:
        done = schedule_depthwise(sch, anchor, machine)
    elif anchor is not None:
        done = schedule_plain_convolution(sch, anchor, machine)
    schedule_remaining(sch, done, machine)
    return sch.mod["main"]
