"""Statements made anew with other statements inside."""

from collections.abc import Callable

from tvm import tirx

Change = Callable[[tirx.Stmt], tirx.Stmt]


def with_parts(statement: tirx.Stmt, change: Change) -> tirx.Stmt:
    """``statement`` with what `change` makes of each statement directly inside it."""
    match statement:
        case tirx.SeqStmt():
            return tirx.SeqStmt([change(part) for part in statement.seq], statement.span)
        case tirx.For():
            return with_body(statement, change(statement.body))
        case tirx.IfThenElse():
            other = statement.else_case
            return tirx.IfThenElse(
                statement.condition,
                change(statement.then_case),
                None if other is None else change(other),
                statement.span,
            )
        case tirx.AttrStmt():
            return tirx.AttrStmt(
                statement.node,
                statement.attr_key,
                statement.value,
                change(statement.body),
                statement.span,
            )
    return statement


def with_body(loop: tirx.For, body: tirx.Stmt) -> tirx.For:
    """``loop`` around another body."""
    return tirx.For(
        loop.loop_var,
        loop.min,
        loop.extent,
        loop.kind,
        body,
        loop.thread_binding,
        loop.annotations,
        loop.step,
        loop.span,
    )
