"""The C source of one layer: macros that specialise a kernel, and its element-wise tail."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from torch import fx

from splitter.tracing.arguments import operator_name, shape_of

Macros = Mapping[str, int | str]


def c_float(value: float) -> str:
    """``value``, rounded to float32, as a C literal."""
    return f"{float(np.float32(value)).hex()}f"


@dataclass
class Tail:
    """What happens to a kernel's numbers before they are stored: sums with other tensors."""

    arguments: Mapping[fx.Node, int]
    """Position of each operand among the kernel's arguments."""
    running: fx.Node | None
    """The node whose value the kernel has just computed."""
    extra: list[int] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)

    def add(self, node: fx.Node) -> None:
        """One more operator."""
        assert operator_name(node) == "qadd", node
        given: tuple[Any, ...] = tuple(node.args)
        a, b, a_factor, a_zero, b_factor, b_zero, *ends = given
        terms = [self._operand(a), c_float(a_factor), str(a_zero)]
        terms += [self._operand(b), c_float(b_factor), str(b_zero)]
        self.lines.append(f"  q = q8_sum({', '.join([*terms, *map(str, ends)])});")
        self.running = node

    def _operand(self, node: object) -> str:
        if node is self.running:
            return "q"
        assert isinstance(node, fx.Node)
        place = self.arguments[node]
        if place not in self.extra:
            self.extra.append(place)
        return f"extra[{self.extra.index(place)}][at]"

    def source(self) -> list[str]:
        """The C function, and the arguments that it reads."""
        listed = ", ".join(map(str, [*self.extra, 0]))
        return [
            f"#define EXTRAS {len(self.extra)}",
            f"static const int extra_arguments[EXTRAS + 1] = {{{listed}}};",
            "static inline int32_t tail(int32_t q, const uint8_t *const *extra, size_t at) {",
            "  (void)extra, (void)at, (void)extra_arguments;",
            *self.lines,
            "  return q;",
            "}",
        ]


def render(kernel: str, macros: Macros, tail: Tail) -> str:
    """The source that includes ``kernel``, a file of `runtime/kernels`."""
    return "\n".join(
        [
            *(f"#define {name} {value}" for name, value in macros.items()),
            '#include "q8.h"',
            *tail.source(),
            f'#include "{kernel}"',
            "",
        ]
    )


def planes(node: object) -> dict[str, int]:
    """Extents of a tensor of numbers, [N, H, W, C] or [N, C], as macros."""
    shape: Sequence[int] = shape_of(node)
    batch, *space, channels = shape
    height, width = [1] * (2 - len(space)) + list(space)
    return {"BATCH": batch, "HEIGHT": height, "WIDTH": width, "CHANNELS": channels}
