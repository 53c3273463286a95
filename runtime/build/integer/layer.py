"""From a layer on 8-bit numbers to the C source of its kernel and the operands it takes."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

from torch import fx

from runtime.build.integer.source import Macros, Tail, c_float, planes, render
from runtime.build.integer.tile import dot_of, integer_tile
from runtime.build.lower.integer_packing import DepthwisePacking, DotPacking, IntegerPacking
from runtime.build.lower.layer import KernelOperand
from runtime.build.machine import Machine
from splitter.errors import UnsupportedOperatorError
from splitter.graph import Layer
from splitter.program import Program, dtype_name
from splitter.quantized_ops import QUANTIZED
from splitter.tracing.arguments import operator_name, shape_of
from splitter.tracing.operators import is_view

_QUANTIZE, _DEQUANTIZE, _ELEMENTWISE, _MEAN, _MAXIMUM = range(1, 6)


@dataclass(frozen=True)
class IntegerLayer:
    """A layer as C."""

    source: str
    """Includes a kernel; the macro LAYER, its symbol, is left to the compiler."""
    operands: tuple[KernelOperand, ...]


@dataclass(frozen=True)
class _Kernel:
    """What one operator becomes."""

    file: str
    macros: Macros
    packing: IntegerPacking | None = None
    """Of its weight."""


def is_integer(program: Program, layer: Layer) -> bool:
    """Whether the layer computes on 8-bit numbers."""
    names = set(program.layer_nodes[layer.name])
    nodes = (n for n in program.module.graph.nodes if n.name in names)
    return any(operator_name(n) in QUANTIZED for n in nodes)


def integer_layer(program: Program, layer: Layer, machine: Machine) -> IntegerLayer:
    """The kernel of a layer on 8-bit numbers.

    Raises:
        UnsupportedOperatorError: its operators do not go together.
    """
    module = program.layer_module(layer)
    operands = [n for n in module.graph.nodes if n.op == "placeholder"]
    places = {node: i for i, node in enumerate(operands)}
    calls = [n for n in module.graph.nodes if n.op == "call_function" and not is_view(n)]
    first, *rest = calls
    if operator_name(first) not in _KERNELS or any(operator_name(n) != "qadd" for n in rest):
        raise UnsupportedOperatorError(
            f"layer {layer.name}: {', '.join(operator_name(n) for n in calls)} have no common "
            "kernel; quantize the model again"
        )
    tail = Tail(places, first)
    if operator_name(first) == "qadd":
        tail.running = None
        tail.add(first)
    for node in rest:
        tail.add(node)
    kernel = _KERNELS[operator_name(first)](first, machine)
    macros = {"THREADS": machine.threads, "OUTPUT": len(operands), **kernel.macros}
    if operator_name(first).startswith(("qconv", "qlinear")):
        constants = zip(("WEIGHT", "BIAS", "FACTOR"), _args(first)[1:4], strict=True)
        macros |= {name: places[node] for name, node in constants}
        _check_first(layer, first, places)
    weight = _args(first)[1] if kernel.packing is not None else None
    described = [
        _operand(program, layer, node, i, kernel.packing if node is weight else None)
        for node, i in places.items()
    ]
    made = program.graph.tensors[layer.outputs[0]]
    output = KernelOperand("output", made.name, made.shape, made.dtype)
    source = render(kernel.file, macros, tail)
    return IntegerLayer(source, (*described, output))


def _check_first(layer: Layer, node: fx.Node, places: Mapping[fx.Node, int]) -> None:
    """Kernels read their input as argument 0."""
    source = _args(node)[0]
    assert isinstance(source, fx.Node)
    assert places[source] == 0, layer.name


def _args(node: fx.Node) -> tuple[Any, ...]:
    return tuple(node.args)


def _operand(
    program: Program, layer: Layer, node: fx.Node, place: int, packing: IntegerPacking | None
) -> KernelOperand:
    dtype = dtype_name(node.meta["val"].dtype)
    if place < len(layer.inputs):
        return KernelOperand("input", layer.inputs[place], shape_of(node), dtype)
    name = layer.weights[place - len(layer.inputs)]
    shape = packing.shape(shape_of(node)) if packing is not None else shape_of(node)
    return KernelOperand("weight", name, shape, dtype, packing)


def _convolution(node: fx.Node, machine: Machine) -> _Kernel:
    stride, padding, dilation, groups, zero, out_zero, low, high = _args(node)[4:12]
    _, rows, columns, filters = shape_of(node)
    taps = shape_of(_args(node)[1])[1:3]
    x = planes(_args(node)[0])
    top, left, bottom, right = padding
    macros: dict[str, int | str] = {
        **x,
        **{"TOP": top, "LEFT": left, "X_ZERO": zero, "OUT_ZERO": out_zero},
        **{"LOW": low, "HIGH": high, "OUT_FLOAT": 0},
        **{"PADDED_HEIGHT": x["HEIGHT"] + top + bottom, "PADDED_WIDTH": x["WIDTH"] + left + right},
        **{"ROWS_OUT": rows, "COLUMNS_OUT": columns, "FILTERS": filters},
        **{"TAPS_DOWN": taps[0], "TAPS_ACROSS": taps[1]},
        **{"STEP_DOWN": stride[0], "STEP_ACROSS": stride[1]},
        **{"GAP_DOWN": dilation[0], "GAP_ACROSS": dilation[1]},
    }
    if groups != 1:
        return _depthwise(macros, machine)
    plain = (list(stride), list(padding), taps) == ([1, 1], [0] * 4, (1, 1))
    return _product(macros, machine, one_row=plain)


def _product(macros: dict[str, int | str], machine: Machine, one_row: bool) -> _Kernel:
    """A convolution of one group, or, as a row of positions, a matrix product."""
    if one_row:
        positions = prod(int(macros[name]) for name in ("BATCH", "ROWS_OUT", "COLUMNS_OUT"))
        macros |= {"BATCH": 1, "HEIGHT": 1, "ROWS_OUT": 1, "PADDED_HEIGHT": 1}
        macros |= dict.fromkeys(("WIDTH", "PADDED_WIDTH", "COLUMNS_OUT"), positions)
    numbers = {name: int(value) for name, value in macros.items()}
    tile = integer_tile(machine, numbers["FILTERS"], numbers["COLUMNS_OUT"])
    depth = -(-numbers["CHANNELS"] // tile.group) * tile.group
    padded = any(numbers[f"PADDED_{side}"] != numbers[side] for side in ("HEIGHT", "WIDTH"))
    weight_bytes = numbers["TAPS_DOWN"] * numbers["TAPS_ACROSS"] * depth * numbers["FILTERS"]
    macros |= {
        "DEPTH": depth,
        "COPY": int(padded or depth != numbers["CHANNELS"]),
        "SPACE": tile.space,
        "BLOCKS": tile.blocks,
        "GROUP": tile.group,
        # Inside runs what is read again: the positions, unless all weights stay in the cache.
        "CHANNELS_INSIDE": int(weight_bytes <= machine.kept_bytes),
    }
    return _Kernel("q8_convolution.h", macros, DotPacking(tile.blocks, tile.group))


def _depthwise(macros: dict[str, int | str], machine: Machine) -> _Kernel:
    numbers = {name: int(value) for name, value in macros.items()}
    across = [
        (i * numbers["GAP_DOWN"] * numbers["PADDED_WIDTH"] + j * numbers["GAP_ACROSS"])
        * numbers["CHANNELS"]
        for i in range(numbers["TAPS_DOWN"])
        for j in range(numbers["TAPS_ACROSS"])
    ]
    across += [0] * (-len(across) % 4)
    dot = dot_of(machine) == "vnni"
    macros |= {
        "DEPTH": numbers["CHANNELS"],
        "DOT": int(dot),
        "TAP_OFFSETS": ", ".join(map(str, across)),
    }
    return _Kernel("q8_depthwise.h", macros, DepthwisePacking(dot))


def _linear(node: fx.Node, machine: Machine) -> _Kernel:
    to_float = operator_name(node) == "qlinear_float"
    out_zero, low, high = (0, 0, 255) if to_float else _args(node)[4:7]
    rows, filters = shape_of(node)
    inner = shape_of(_args(node)[0])[-1]
    macros: dict[str, int | str] = {
        **{"BATCH": 1, "HEIGHT": 1, "WIDTH": rows, "CHANNELS": inner},
        **{"TOP": 0, "LEFT": 0, "X_ZERO": 0, "OUT_ZERO": out_zero},
        **{"LOW": low, "HIGH": high, "OUT_FLOAT": int(to_float)},
        **{"PADDED_HEIGHT": 1, "PADDED_WIDTH": rows},
        **{"ROWS_OUT": 1, "COLUMNS_OUT": rows, "FILTERS": filters},
        **dict.fromkeys(("TAPS_DOWN", "TAPS_ACROSS", "STEP_DOWN", "STEP_ACROSS"), 1),
        **dict.fromkeys(("GAP_DOWN", "GAP_ACROSS"), 1),
    }
    return _product(macros, machine, one_row=True)


def _rows(node: object) -> dict[str, int]:
    """Macros of a tensor of numbers, and its rows as pieces of work."""
    found = planes(node)
    return {**found, "UNITS": found["BATCH"] * found["HEIGHT"]}


def _quantize(node: fx.Node, machine: Machine) -> _Kernel:
    _, factor, zero = _args(node)
    own = {"KIND": _QUANTIZE, "SCALE": c_float(factor), "ZERO": zero}
    return _Kernel("q8_simple.h", {**_space(node), **own})


def _dequantize(node: fx.Node, machine: Machine) -> _Kernel:
    source, scale, zero = _args(node)
    own = {"KIND": _DEQUANTIZE, "SCALE": c_float(scale), "ZERO": zero}
    return _Kernel("q8_simple.h", {**_space(source), **own})


def _space(node: object) -> dict[str, int]:
    """As `_rows`, for numbers of any rank: all positions of an image in one row if need be."""
    batch, *space, channels = shape_of(node)
    rows = space[0] if len(space) > 1 else 1
    width = prod(space) // rows
    return {
        **{"BATCH": batch, "HEIGHT": rows, "WIDTH": width, "CHANNELS": channels},
        "UNITS": batch * rows,
    }


def _sum(node: fx.Node, machine: Machine) -> _Kernel:
    return _Kernel("q8_simple.h", {**_space(node), "KIND": _ELEMENTWISE})


def _mean(node: fx.Node, machine: Machine) -> _Kernel:
    source, factor, zero, out_zero = _args(node)
    x = planes(source)
    own: Macros = {"KIND": _MEAN, "UNITS": x["BATCH"], "SCALE": c_float(factor)}
    return _Kernel("q8_simple.h", {**x, **own, "X_ZERO": zero, "ZERO": out_zero})


def _maximum(node: fx.Node, machine: Machine) -> _Kernel:
    source, kernel, stride, padding = _args(node)
    batch, rows, columns, _ = shape_of(node)
    macros: dict[str, int | str] = {
        **planes(source),
        **{"KIND": _MAXIMUM, "UNITS": batch * rows, "ROWS_OUT": rows, "COLUMNS_OUT": columns},
        **{"TAPS_DOWN": kernel[0], "TAPS_ACROSS": kernel[1]},
        **{"STEP_DOWN": stride[0], "STEP_ACROSS": stride[1]},
        **{"TOP": padding[0], "LEFT": padding[1]},
    }
    return _Kernel("q8_simple.h", macros)


_KERNELS: Mapping[str, Callable[[fx.Node, Machine], _Kernel]] = {
    "qconv2d": _convolution,
    "qlinear": _linear,
    "qlinear_float": _linear,
    "quantize": _quantize,
    "dequantize": _dequantize,
    "qadd": _sum,
    "qmean": _mean,
    "qmax_pool2d": _maximum,
}
