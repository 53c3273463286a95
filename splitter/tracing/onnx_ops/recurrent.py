"""Recurrent operators, unrolled over the sequence: its length is known at import."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch.nn import functional as F

from splitter.tracing.onnx_ops.node import OpNode

State = tuple[torch.Tensor, ...]


@dataclass(frozen=True, slots=True)
class _Weights:
    """Weights of one direction; gates are stacked on the first axis."""

    to_gates: torch.Tensor
    recurrent: torch.Tensor
    input_bias: torch.Tensor
    recurrent_bias: torch.Tensor


_Step = Callable[[torch.Tensor, State, _Weights], State]
"""Gate inputs of one time step and the old state -> the new state, hidden part first."""


def lstm(
    node: OpNode,
    x: torch.Tensor,
    w: torch.Tensor,
    r: torch.Tensor,
    bias: torch.Tensor | None = None,
    lengths: torch.Tensor | None = None,
    hidden: torch.Tensor | None = None,
    cell: torch.Tensor | None = None,
    peepholes: torch.Tensor | None = None,
) -> Sequence[torch.Tensor]:
    """LSTM without peepholes; gates are stacked input, output, forget, cell."""
    if peepholes is not None or node.get("input_forget", 0):
        raise node.unsupported("it has peepholes or coupled gates", "plain LSTM")
    _require_default(node, lengths, ("Sigmoid", "Tanh", "Tanh"))
    return _both_directions(node, x, (w, r, bias), (hidden, cell), _lstm_step)


def gru(
    node: OpNode,
    x: torch.Tensor,
    w: torch.Tensor,
    r: torch.Tensor,
    bias: torch.Tensor | None = None,
    lengths: torch.Tensor | None = None,
    hidden: torch.Tensor | None = None,
) -> Sequence[torch.Tensor]:
    """GRU; gates are stacked update, reset, hidden."""
    _require_default(node, lengths, ("Sigmoid", "Tanh"))
    after = bool(node.get("linear_before_reset", 0))
    step = partial(_gru_step, reset_after=after)
    return _both_directions(node, x, (w, r, bias), (hidden,), step)


def rnn(
    node: OpNode,
    x: torch.Tensor,
    w: torch.Tensor,
    r: torch.Tensor,
    bias: torch.Tensor | None = None,
    lengths: torch.Tensor | None = None,
    hidden: torch.Tensor | None = None,
) -> Sequence[torch.Tensor]:
    """RNN with tanh."""
    _require_default(node, lengths, ("Tanh",))
    return _both_directions(node, x, (w, r, bias), (hidden,), _rnn_step)


def _require_default(
    node: OpNode, lengths: torch.Tensor | None, activations: Sequence[str]
) -> None:
    if lengths is not None:
        raise node.unsupported("it has sequence lengths", f"{node.op_type} over whole sequences")
    given = node.get("activations", list(activations))
    if any(name != activations[i % len(activations)] for i, name in enumerate(given)):
        wanted = ", ".join(activations)
        raise node.unsupported(f"its activations are {', '.join(given)}", f"activations {wanted}")
    if node.get("clip") is not None:
        raise node.unsupported("it clips its cells", f"{node.op_type} without clip")


def _both_directions(
    node: OpNode,
    x: torch.Tensor,
    weights: tuple[torch.Tensor, torch.Tensor, torch.Tensor | None],
    states: Sequence[torch.Tensor | None],
    step: _Step,
) -> Sequence[torch.Tensor]:
    """Outputs of all time steps, then the last states, stacked over the directions.

    Layout 1 has the batch as first axis of every tensor but the weights.
    """
    if not node.get("layout", 0):
        return _all_directions(node, x, weights, states, step)
    turned = [None if state is None else torch.transpose(state, 0, 1) for state in states]
    outputs, *lasts = _all_directions(node, torch.transpose(x, 0, 1), weights, turned, step)
    batch_first = [torch.transpose(last, 0, 1) for last in lasts]
    return [torch.permute(outputs, [2, 0, 1, 3]), *batch_first]


def _all_directions(
    node: OpNode,
    x: torch.Tensor,
    weights: tuple[torch.Tensor, torch.Tensor, torch.Tensor | None],
    states: Sequence[torch.Tensor | None],
    step: _Step,
) -> Sequence[torch.Tensor]:
    ways = {"forward": [False], "reverse": [True], "bidirectional": [False, True]}
    made: list[torch.Tensor] = []
    ends: list[State] = []
    for index, backward in enumerate(ways[node.get("direction", "forward")]):
        part = _direction_weights(weights, index, x.dtype)
        start = tuple(_start(state, index, x, part) for state in states)
        outputs, end = _unrolled(x, part, start, backward, step)
        made.append(outputs)
        ends.append(end)
    lasts = [torch.stack([end[i] for end in ends], 0) for i in range(len(states))]
    return [torch.stack(made, 1), *lasts]


def _direction_weights(
    weights: tuple[torch.Tensor, torch.Tensor, torch.Tensor | None],
    index: int,
    dtype: torch.dtype,
) -> _Weights:
    w, r, bias = weights
    rows = w.shape[1]
    both = torch.zeros(2 * rows, dtype=dtype) if bias is None else torch.select(bias, 0, index)
    return _Weights(
        torch.select(w, 0, index),
        torch.select(r, 0, index),
        torch.narrow(both, 0, 0, rows),
        torch.narrow(both, 0, rows, rows),
    )


def _start(
    state: torch.Tensor | None, index: int, x: torch.Tensor, weights: _Weights
) -> torch.Tensor:
    if state is not None:
        return torch.select(state, 0, index)
    return torch.zeros(x.shape[1], weights.recurrent.shape[1], dtype=x.dtype)


def _unrolled(
    x: torch.Tensor,
    weights: _Weights,
    state: State,
    backward: bool,
    step: _Step,
) -> tuple[torch.Tensor, State]:
    gates = F.linear(x, weights.to_gates, weights.input_bias)
    outputs: list[torch.Tensor] = []
    for time in reversed(range(x.shape[0])) if backward else range(x.shape[0]):
        state = step(torch.select(gates, 0, time), state, weights)
        outputs.append(state[0])
    return torch.stack(outputs[::-1] if backward else outputs, 0), state


def _parts(gates: torch.Tensor, count: int) -> list[torch.Tensor]:
    width = gates.shape[-1] // count
    return [torch.narrow(gates, -1, i * width, width) for i in range(count)]


def _lstm_step(gates: torch.Tensor, state: State, weights: _Weights) -> State:
    hidden, cell = state
    whole = torch.add(gates, F.linear(hidden, weights.recurrent, weights.recurrent_bias))
    enter, leave, forget, fresh = _parts(whole, 4)
    kept = torch.mul(torch.sigmoid(forget), cell)
    new_cell = torch.add(kept, torch.mul(torch.sigmoid(enter), torch.tanh(fresh)))
    return torch.mul(torch.sigmoid(leave), torch.tanh(new_cell)), new_cell


def _gru_step(gates: torch.Tensor, state: State, weights: _Weights, *, reset_after: bool) -> State:
    (hidden,) = state
    update_x, reset_x, fresh_x = _parts(gates, 3)
    recurrent = F.linear(hidden, weights.recurrent, weights.recurrent_bias)
    update_h, reset_h, fresh_h = _parts(recurrent, 3)
    update = torch.sigmoid(torch.add(update_x, update_h))
    reset = torch.sigmoid(torch.add(reset_x, reset_h))
    if reset_after:
        gated = torch.mul(reset, fresh_h)
    else:
        width = hidden.shape[-1]
        rows = torch.narrow(weights.recurrent, 0, 2 * width, width)
        bias = torch.narrow(weights.recurrent_bias, 0, 2 * width, width)
        gated = F.linear(torch.mul(reset, hidden), rows, bias)
    fresh = torch.tanh(torch.add(fresh_x, gated))
    return (torch.add(fresh, torch.mul(update, torch.sub(hidden, fresh))),)


def _rnn_step(gates: torch.Tensor, state: State, weights: _Weights) -> State:
    recurrent = F.linear(state[0], weights.recurrent, weights.recurrent_bias)
    return (torch.tanh(torch.add(gates, recurrent)),)
