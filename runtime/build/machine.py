"""What the code generator must know of a processor, from its device card."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import tvm

from splitter.topology import Card, Device

# How far LLVM unrolls the taps of small kernels. At its most eager (300) it unrolls all of them and
# loads so far ahead that vectors go to the stack: 19 stores among the 144 multiply-adds of a 3x3
# convolution on aarch64. Half of that is one row of taps, which 32 registers can take; 16 of them
# take one tap. On x86-64, which multiplies straight from memory, all taps are 8 % faster
# (ResNet-18, measured).
_ONE_ROW = "-unroll-threshold-aggressive:uint=150"
_ONE_TAP = "-unroll-threshold-aggressive:uint=40"
_TARGETS: Mapping[str, Mapping[str, Any]] = {
    "x86_64": {"mtriple": "x86_64-linux-gnu"},
    "aarch64": {"mtriple": "aarch64-linux-gnu", "cl-opt": [_ONE_ROW]},
    "armv7": {
        "mtriple": "armv7a-linux-gnueabihf",
        "mfloat-abi": "hard",
        "cl-opt": [_ONE_TAP],
    },
    "riscv64": {"mtriple": "riscv64-unknown-linux-gnu", "mabi": "lp64d"},
}
BASE_FEATURES: Mapping[str, tuple[str, ...]] = {
    # LLVM takes multiply-adds of the small Cortex-A cores for slow and makes a multiplication and
    # an addition of each, which needs twice the instructions.
    "armv7": ("+neon", "-slowfpvmlx", "-slowfpvfmx", "-vmlx-hazards"),
    "riscv64": ("+m", "+a", "+f", "+d", "+c"),
}
# Private second-level cache of common cores: Skylake server and Zen 2 up, Cortex-A72 to A78,
# Cortex-A7, SiFive U74.
_SECOND_CACHE_BYTES: Mapping[str, int] = {
    "x86_64": 1 << 20,
    "aarch64": 1 << 19,
    "armv7": 1 << 18,
    "riscv64": 1 << 19,
}
_REGISTERS: Mapping[str, int] = {"x86_64": 16, "aarch64": 32, "armv7": 16, "riscv64": 32}


@dataclass(frozen=True, slots=True)
class Machine:
    """A code generation target: equal machines share compiled kernels."""

    processor: str
    mcpu: str
    mattr: tuple[str, ...]
    vector_bytes: int
    threads: int

    @property
    def lanes(self) -> int:
        """float32 elements in one vector register."""
        return max(1, self.vector_bytes // 4)

    @property
    def registers(self) -> int:
        """Vector registers (scalar floating-point ones where there are no vectors)."""
        return 32 if self.vector_bytes == 64 else _REGISTERS[self.processor]

    def target(self) -> tvm.target.Target:
        """TVM's description of this machine."""
        features = [*BASE_FEATURES.get(self.processor, ()), *self.mattr]
        description: dict[str, Any] = {
            "kind": "llvm",
            "mcpu": self.mcpu,
            "num-cores": self.threads,
            **_TARGETS[self.processor],
        }
        if features:
            description["mattr"] = list(dict.fromkeys(features))
        return tvm.target.Target(description)

    @property
    def kept_bytes(self) -> int:
        """Data that can be read again and again at speed: half of a core's second cache."""
        return _SECOND_CACHE_BYTES[self.processor] // 2

    @property
    def key(self) -> str:
        """Text that is equal exactly when kernels may be shared."""
        text = repr((self.processor, self.mcpu, self.mattr, self.vector_bytes, self.threads))
        return hashlib.sha256(text.encode()).hexdigest()[:12]


def machine_of(device: Device) -> Machine:
    """The machine that kernels for ``device`` are compiled for."""
    card: Card = device.card
    return Machine(card.processor, card.mcpu, card.mattr, card.vector_bytes, device.threads)
