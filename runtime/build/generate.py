"""From a scheduled function to machine code: TVM's own passes and one of ours."""

import math
from typing import Any

import tvm
from tvm import tirx
from tvm.s_tir.pipeline import default_s_tir_pipeline

from runtime.build.machine import Machine
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
    return lower, lambda: tvm.transform.Sequential([_KEEP_ON_STACK, host()]), device


def _keep_on_stack(function: tirx.PrimFunc, _module: tvm.IRModule, _context: Any) -> tirx.PrimFunc:
    return function.with_body(_marked(function.body))


# TVM takes all but the smallest buffers from a shared workspace, inside parallel loops even the
# accumulators: a call and a lock per tile, and values in memory that belong in registers. What the
# stack of a thread cannot hold is left to it.
_KEEP_ON_STACK = tirx.transform.prim_func_pass(_keep_on_stack, opt_level=0, name="KeepOnStack")


def _marked(statement: tirx.Stmt) -> tirx.Stmt:
    """``statement`` with every small "local" buffer exempt from becoming a workspace."""
    match statement:
        case tirx.SeqStmt():
            parts = turned_in_registers([_marked(s) for s in statement.seq])
            return tirx.SeqStmt(parts, statement.span)
        case tirx.For():
            return tirx.For(
                statement.loop_var,
                statement.min,
                statement.extent,
                statement.kind,
                _marked(statement.body),
                statement.thread_binding,
                statement.annotations,
                statement.step,
                statement.span,
            )
        case tirx.IfThenElse():
            other = statement.else_case
            return tirx.IfThenElse(
                statement.condition,
                _marked(statement.then_case),
                None if other is None else _marked(other),
                statement.span,
            )
        case tirx.AttrStmt():
            return tirx.AttrStmt(
                statement.node,
                statement.attr_key,
                statement.value,
                _marked(statement.body),
                statement.span,
            )
        case tirx.AllocBuffer() if _belongs_on_stack(statement.buffer):
            return tirx.AllocBuffer(statement.buffer, {"disable_lower_builtin": _TRUE})
    return statement


def _belongs_on_stack(buffer: Any) -> bool:
    kind = tvm.DataType(buffer.dtype)
    size_bytes = math.prod(int(e) for e in buffer.shape) * kind.bits * kind.lanes // 8
    return bool(buffer.scope() == "local") and size_bytes <= STACK_BYTES


tirx.register_tir_pipeline(_PIPELINE, _pipeline)
