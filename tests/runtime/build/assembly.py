"""Read the innermost loops out of assembly text, and count what is in them."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

_LABEL = re.compile(r"^(\.LBB\w+):")
_TARGET = re.compile(r"(\.LBB\w+)$")
_BRANCH = re.compile(r"^(b|bl|b\.?[a-z]{2}|cbz|cbnz|tbz|tbnz|j[a-z]+)$")
_FMA = {
    "aarch64": re.compile(r"^fml[as]\t(v\d+)\.4s"),
    "armv7": re.compile(r"^v(?:fma|mla)\.f32\t(q\d+)"),
    "x86_64": re.compile(r"^vfn?madd\w+ps\t.*%?([xyz]mm\d+)$"),
}
_STACK = {
    "aarch64": re.compile(r"\[sp\b"),
    "armv7": re.compile(r"\[sp\b|\bsp!?,"),
    "x86_64": re.compile(r"\(%rsp|\[rsp"),
}
_VECTOR = {
    "aarch64": re.compile(r"\b[qv]\d+"),
    "armv7": re.compile(r"\b[qd]\d+"),
    "x86_64": re.compile(r"\b[xyz]mm\d+"),
}
_STORE = {
    "aarch64": re.compile(r"^st"),
    "armv7": re.compile(r"^vst"),
    "x86_64": re.compile(r"^v?mov\w+\t%?[xyz]mm"),
}
_POINTER = re.compile(r"^add\t(r\d+|lr|x\d+), sp, ")


@dataclass(frozen=True)
class Loop:
    """The instructions of one innermost loop."""

    processor: str
    instructions: tuple[str, ...]

    @property
    def multiply_adds(self) -> int:
        """Vector instructions that multiply and add."""
        return sum(bool(_FMA[self.processor].match(i)) for i in self.instructions)

    @property
    def accumulators(self) -> frozenset[str]:
        """Registers that they add to."""
        found = (_FMA[self.processor].match(i) for i in self.instructions)
        return frozenset(match.group(1) for match in found if match)

    @property
    def stack_stores(self) -> int:
        """Instructions that put vectors on the stack."""
        return sum(bool(_STORE[self.processor].match(i)) for i in self._on_stack())

    def _on_stack(self) -> Iterator[str]:
        """What moves vectors from or to the stack, also through a register that points there."""
        pointers: set[str] = set()
        for instruction in self.instructions:
            if point := _POINTER.match(instruction):
                pointers.add(point.group(1))
                continue
            named = {name.strip("[]!") for name in re.split(r"[\s,]+", instruction)[1:]}
            direct = _STACK[self.processor].search(instruction)
            if _VECTOR[self.processor].search(instruction) and (direct or named & pointers):
                yield instruction
            written = re.split(r"[\s,]+", instruction)[1:2]
            if not instruction.startswith(("v", "st", "cmp")):
                pointers -= set(written)


def hot_loop(assembly: str, processor: str) -> Loop:
    """The innermost loop of which vector multiply-adds are the largest part.

    Transforms before and after a product have many, but among more of other kinds.
    """
    loops = innermost_loops(assembly, processor)
    return max(loops, key=lambda loop: loop.multiply_adds / len(loop.instructions))


def innermost_loops(assembly: str, processor: str) -> list[Loop]:
    """Every run of lines from a label to a branch back to it that holds no other such run."""
    lines = [line.split("//")[0].split("@ ")[0].strip() for line in assembly.splitlines()]
    labels = {m.group(1): i for i, line in enumerate(lines) if (m := _LABEL.match(line))}
    spans: list[tuple[int, int]] = []
    for i, line in enumerate(lines):
        target = _TARGET.search(line)
        if target and _BRANCH.match(line.split("\t")[0]) and labels.get(target.group(1), i) < i:
            spans.append((labels[target.group(1)], i))
    inner = [a for a in spans if not any(b != a and a[0] <= b[0] and b[1] <= a[1] for b in spans)]
    return [Loop(processor, tuple(_instructions(lines[a : b + 1]))) for a, b in inner]


def _instructions(lines: list[str]) -> Iterator[str]:
    for line in lines:
        if line and not line.endswith(":") and not line.startswith((".", "#", "@")):
            yield line
