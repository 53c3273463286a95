"""Compiled kernels: one object file per layer signature and machine, kept in a cache.

A kernel depends on the layer's operators, shapes and types and on the machine, never on where the
cut runs: the split program and the unsplit one run the very same code, and compiling a model for
another topology costs nothing but the link.
"""

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

import tvm
import tvm_ffi

from runtime.build.generate import generate
from runtime.build.integer import integer_layer, is_integer
from runtime.build.integer.compile import KERNEL_SOURCES, compile_source
from runtime.build.lower import KernelOperand, lower_layer
from runtime.build.lower.choice import Choice
from runtime.build.lower.encoding import Encoding
from runtime.build.lower.integer_packing import DepthwisePacking, DotPacking, IntegerPacking
from runtime.build.lower.layer import NO_ENCODINGS, Encodings
from runtime.build.lower.packing import Packing
from runtime.build.machine import Machine
from runtime.build.schedule import schedule
from splitter.cost.measured import cache_directory
from splitter.graph import Layer
from splitter.program import Program

Progress = Callable[[int, int, str], None]
"""Called with (done, total, what) as work goes on."""
Choices = Mapping[str, Choice]
"""How layers are computed, by signature; what is absent is left to the cost model."""
NO_CHOICES: Choices = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Kernel:
    """One compiled layer."""

    symbol: str
    """C name of the function in the object."""
    object_path: Path
    operands: tuple[KernelOperand, ...]
    """Inputs, weights, outputs, in argument order, under the names of the layer at hand."""


@cache
def compiler_key() -> str:
    """Changes whenever generated code may change: our lowering and schedules, and TVM's version."""
    digest = hashlib.sha256(f"{tvm.__version__} {tvm_ffi.__version__}".encode())
    here = Path(__file__).parent
    for source in sorted(
        [
            *here.glob("lower/*.py"),
            *here.glob("schedule/*.py"),
            here / "generate.py",
            here / "machine.py",
            *here.glob("integer/*.py"),
            *KERNEL_SOURCES.glob("*.h"),
        ]
    ):
        digest.update(source.read_bytes())
    return digest.hexdigest()[:12]


def compile_layers(
    program: Program,
    layers: Iterable[Layer],
    machine: Machine,
    progress: Progress = lambda done, total, what: None,
    choices: Choices = NO_CHOICES,
    encodings: Encodings = NO_ENCODINGS,
) -> Mapping[str, Kernel]:
    """The kernel of each layer by layer name; equal layers share one object.

    Constants named in ``encodings`` are decoded in the kernels that read them block by block.

    Raises:
        ModelError: a choice is not one for its layer and machine.
        UnsupportedOperatorError: an operator has no lowering.
    """
    listed = list(layers)
    found: dict[str, Kernel] = {}
    for done, layer in enumerate(listed):
        progress(done, len(listed), layer.name)
        choice = choices.get(layer.signature)
        found[layer.name] = compile_layer(program, layer, machine, choice, encodings)
    progress(len(listed), len(listed), "")
    return found


def compact_choices(program: Program, layers: Iterable[Layer], machine: Machine) -> Choices:
    """Ways that keep the weights at about their own size, for layers otherwise computed in others.

    Raises:
        UnsupportedOperatorError: an operator has no lowering.
    """
    found: dict[str, Choice] = {}
    for layer in {layer.signature: layer for layer in layers}.values():
        if is_integer(program, layer):
            continue
        offers = lower_layer(program, layer, machine).offers
        if offers and not offers[0].choice.is_compact:
            found[layer.signature] = next(o.choice for o in offers if o.choice.is_compact)
    return MappingProxyType(found)


def compile_layer(
    program: Program,
    layer: Layer,
    machine: Machine,
    choice: Choice | None = None,
    encodings: Encodings = NO_ENCODINGS,
) -> Kernel:
    """The kernel of one layer, computed as ``choice`` says or as the cost model does."""
    folder = cache_directory() / "kernels" / f"{compiler_key()}-{machine.key}"
    forms = [encodings.get(weight) for weight in layer.weights]
    if any(forms):
        choice = None  # it was measured for a kernel that reads floats
    name = "_".join([layer.signature, *(_short(x) for x in (choice, *_named(forms)) if x)])
    code, description = folder / f"{name}.o", folder / f"{name}.json"
    operands = _kept_operands(layer, code, description)
    if operands is None:
        folder.mkdir(parents=True, exist_ok=True)
        if is_integer(program, layer):
            made = integer_layer(program, layer, machine)
            compiled = compile_source(made.source, f"__tvm_ffi_k_{name}", machine)
            _keep(compiled, made.operands, layer, code, description)
        else:
            lowered = lower_layer(program, layer, machine, choice, encodings)
            built = generate(schedule(lowered, machine), f"k_{name}", machine)
            _keep(_object_code(built), lowered.operands, layer, code, description)
        operands = _read_operands(layer, json.loads(description.read_text()))
    return Kernel(f"__tvm_ffi_k_{name}", code, operands)


def _named(forms: Sequence[Encoding | None]) -> tuple[str, ...]:
    """How a layer's constants are stored, as part of a name; nothing where all are floats."""
    return (str(forms),) if any(forms) else ()


def _short(value: object) -> str:
    return hashlib.sha256(str(value).encode()).hexdigest()[:8]


def _kept_operands(layer: Layer, code: Path, description: Path) -> tuple[KernelOperand, ...] | None:
    """The operands of a kernel in the cache; None where there is none or its file is damaged."""
    if not (code.is_file() and description.is_file()):
        return None
    try:
        found = _read_operands(layer, json.loads(description.read_text()))
    except (ValueError, KeyError, TypeError):
        return None
    made = {operand.name for operand in found if operand.role == "output"}
    return found if made == set(layer.outputs) else None


def _keep(
    compiled: bytes,
    operands: Sequence[KernelOperand],
    layer: Layer,
    code: Path,
    description: Path,
) -> None:
    names = _operand_names(layer)
    described = json.dumps([_operand_dict(o, names.index(o.name)) for o in operands])
    with tempfile.TemporaryDirectory(dir=code.parent) as scratch:
        at = Path(scratch)
        (at / "kernel.o").write_bytes(compiled)
        (at / "kernel.json").write_text(described)
        # The description goes last: where it exists, the object is whole.
        (at / "kernel.o").replace(code)
        (at / "kernel.json").replace(description)


def _object_code(built: Any) -> bytes:
    """The object file, by way of memory: LLVM ends the whole process when a disk is full."""
    file = os.memfd_create("kernel.o")
    try:
        built.write_to_file(f"/proc/self/fd/{file}", "o")
        return Path(f"/proc/self/fd/{file}").read_bytes()
    finally:
        os.close(file)


def _operand_names(layer: Layer) -> tuple[str, ...]:
    return (*layer.inputs, *layer.weights, *layer.outputs)


def _operand_dict(operand: KernelOperand, place: int) -> dict[str, Any]:
    return {
        "role": operand.role,
        "place": place,
        "part": operand.part,
        "shape": list(operand.shape),
        "dtype": operand.dtype,
        "packing": _packing_dict(operand.packing) if operand.packing else None,
    }


def _read_operands(layer: Layer, described: list[dict[str, Any]]) -> tuple[KernelOperand, ...]:
    names = _operand_names(layer)
    return tuple(
        KernelOperand(
            role=item["role"],
            name=names[item["place"]],
            part=item["part"],
            shape=tuple(item["shape"]),
            dtype=item["dtype"],
            packing=_packing(item["packing"]),
        )
        for item in described
    )


_PACKINGS: Mapping[str, Any] = {
    kind.__name__: kind for kind in (Packing, DotPacking, DepthwisePacking)
}


def _packing_dict(packing: Packing | IntegerPacking) -> dict[str, Any]:
    return {"kind": type(packing).__name__, **asdict(packing)}


def _packing(item: dict[str, Any] | None) -> Packing | IntegerPacking | None:
    if item is None:
        return None
    fields = {k: tuple(v) if isinstance(v, list) else v for k, v in item.items() if k != "kind"}
    made: Packing | IntegerPacking = _PACKINGS[item["kind"]](**fields)
    return made
