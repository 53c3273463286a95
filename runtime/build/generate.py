"""From a scheduled function to machine code: TVM's own passes and one of ours."""

import math
from typing import Any

import tvm
from tvm import tirx
from tvm.s_tir.pipeline import default_s_tir_pipeline

from runtime.build.machine import Machine
from runtime.build.schedule.ahead import asking_ahead
from runtime.build.schedule.statements import with_parts
from runtime.build.schedule.transposed import turned_in_registers
from splitter.tracing.work import STACK_BYTES

_PIPELINE = "splitter"
_TRUE = tirx.const(True, "bool")


def generate(function: tirx.PrimFunc, symbol: str, machine: Machine) -> tvm.runtime.Module:
    """The compiled module that holds ``function`` under the name ``symbol``."""
    named = tvm.IRModule({symbol: function.with_attr("global_symbol", symbol)})
    return tirx.build(named, target=machine.target(), pipeline=_PIPELINE)


def _pipeline() -> tuple[Any, Any, Any]:
    lower, host, device = default_s_tir_pipeline()
    return lower, lambda: tvm.transform.Sequential([_FINISH, host()]), device


def _finished(function: tirx.PrimFunc, _module: tvm.IRModule, _context: Any) -> tirx.PrimFunc:
    return function.with_body(_rewritten(function.body))


_FINISH = tirx.transform.prim_func_pass(_finished, opt_level=0, name="Finish")


def _rewritten(statement: tirx.Stmt, outside: tuple[tirx.For, ...] = ()) -> tirx.Stmt:
    """``statement`` with what TVM has no words for: squares turned in registers, weights asked for
    ahead, and small "local" buffers on the stack.

    TVM takes all but the smallest buffers from a shared workspace, inside parallel loops even the
    accumulators: a call and a lock per tile, and values in memory that belong in registers. What
    the stack of a thread cannot hold is left to it.
    """
    within = (*outside, statement) if isinstance(statement, tirx.For) else outside
    done = with_parts(statement, lambda part: _rewritten(part, within))
    match done:
        case tirx.SeqStmt():
            return tirx.SeqStmt(turned_in_registers(list(done.seq)), done.span)
        case tirx.For():
            return asking_ahead(done, outside)
        case tirx.AllocBuffer() if _belongs_on_stack(done.buffer):
            return tirx.AllocBuffer(done.buffer, {"disable_lower_builtin": _TRUE})
    return done


def _belongs_on_stack(buffer: Any) -> bool:
    kind = tvm.DataType(buffer.dtype)
    size_bytes = math.prod(int(e) for e in buffer.shape) * kind.bits * kind.lanes // 8
    return bool(buffer.scope() == "local") and size_bytes <= STACK_BYTES


tirx.register_tir_pipeline(_PIPELINE, _pipeline)
