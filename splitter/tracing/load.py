"""MODEL as people write it -> `Program`: a file, ``package.module:callable``, or a zoo name."""

import logging
from collections.abc import Mapping
from importlib import import_module
from inspect import Parameter, signature
from itertools import zip_longest
from pathlib import Path
from typing import Any

import torch

from splitter import zoo
from splitter.errors import ModelError
from splitter.program import Program
from splitter.suggest import did_you_mean
from splitter.tracing.export import input_shapes as exported_shapes
from splitter.tracing.export import open_dimensions
from splitter.tracing.onnx_import import load_onnx
from splitter.tracing.trace import trace

Shapes = Mapping[str, tuple[int, ...]]


def load(model: str | Path, input_shapes: Shapes | None = None) -> Program:
    """Load and trace a model.

    Args:
        model: path of an ``.onnx`` or ``.pt2`` file; ``package.module:callable``, where calling
            gives an ``nn.Module`` or a pair of one and its example inputs; or a zoo name.
        input_shapes: shape per input name, for inputs with open dimensions.

    Raises:
        ModelError: the model does not exist, is corrupt, or cannot be traced.
        UnsupportedOperatorError: an operator has no lowering.
    """
    shapes = dict(input_shapes or {})
    text = str(model)
    if text in zoo.names():
        return _from_zoo(text, shapes)
    if Path(text).suffix in (".onnx", ".pt2"):
        return _from_file(Path(text), shapes)
    if ":" in text:
        return _from_callable(text, shapes)
    raise ModelError(
        f"no model '{text}': give an .onnx or .pt2 file, package.module:callable, or one of "
        f"{', '.join(zoo.names())}{did_you_mean(text, zoo.names())}"
    )


def _from_zoo(name: str, shapes: Shapes) -> Program:
    entry = zoo.load(name)
    _check_names(name, shapes, entry.input_names)
    inputs = [
        _shaped(value, shapes.get(label))
        for label, value in zip(entry.input_names, entry.example_inputs, strict=True)
    ]
    return trace(
        entry.module,
        inputs,
        name=name,
        input_names=entry.input_names,
        output_names=entry.output_names,
    )


def _from_file(path: Path, shapes: Shapes) -> Program:
    if not path.is_file():
        raise ModelError(f"no model file {path}; check the path")
    if path.suffix == ".onnx":
        model = load_onnx(path, shapes)
        return trace(
            model.module,
            model.example_inputs,
            name=path.stem,
            input_names=model.input_names,
            output_names=model.output_names,
        )
    from compress.programs import attach
    from compress.storage import read_compressed

    compressed = read_compressed(path)
    return attach(_from_exported(_exported(path), path, shapes), compressed)


def _exported(path: Path) -> torch.export.ExportedProgram:
    log = logging.getLogger("torch.export")  # which prints a traceback besides raising
    silent = log.disabled
    try:
        log.disabled = True
        return torch.export.load(path)
    except Exception as error:
        raise ModelError(
            f"{path} is not a readable exported program ({type(error).__name__}); write it again "
            "with torch.export.save of this torch version"
        ) from error
    finally:
        log.disabled = silent


def _from_exported(exported: torch.export.ExportedProgram, path: Path, shapes: Shapes) -> Program:
    declared = exported_shapes(exported)
    _check_names(str(path), shapes, tuple(declared))
    missing = {n: dims for n, dims in open_dimensions(exported).items() if n not in shapes}
    if missing:
        raise ModelError(
            f"{path} has open dimensions; fix them with "
            + " ".join(f"--input-shape {name}={dims}" for name, dims in missing.items())
            + " with numbers in place of the symbols"
        )
    inputs = [
        example_input(shapes.get(name, shape), dtype, seed)
        for seed, (name, (shape, dtype)) in enumerate(declared.items())
    ]
    if not shapes and exported.example_inputs is not None:
        inputs = [v for v in exported.example_inputs[0] if isinstance(v, torch.Tensor)]
    return trace(exported, inputs, name=path.stem, input_names=tuple(declared))


def _from_callable(text: str, shapes: Shapes) -> Program:
    module, given = _called(text)
    names = _argument_names(module)
    if names:
        _check_names(text, shapes, names)
    if given is None and not shapes:
        raise ModelError(
            f"{text} gives no example inputs; return (module, inputs) or say, for example, "
            f"--input-shape {names[0] if names else 'x'}=1,3,224,224"
        )
    wanted = sorted(shapes, key=names.index) if names else list(shapes)
    if given is None:
        inputs = [example_input(shapes[n], torch.float32, seed) for seed, n in enumerate(wanted)]
    else:
        inputs = [_shaped(v, shapes.get(n)) for v, n in zip_longest(given, names[: len(given)])]
    return trace(module, inputs, name=text.rpartition(":")[2])


def _called(text: str) -> tuple[torch.nn.Module, tuple[torch.Tensor, ...] | None]:
    """The module that the callable ``text`` makes, and its example inputs if it gives some."""
    module_name, _, attribute = text.partition(":")
    try:
        function: Any = getattr(import_module(module_name), attribute)
    except Exception as error:  # of the module's own code
        raise ModelError(
            f"cannot find {text}: {_reason(error)}; write package.module:callable of an importable "
            "package"
        ) from error
    try:
        made = function()
    except Exception as error:
        raise ModelError(f"calling {text} failed: {_reason(error)}") from error
    module, inputs = made if isinstance(made, tuple) and len(made) == 2 else (made, None)
    inputs = (inputs,) if isinstance(inputs, torch.Tensor) else inputs
    if not isinstance(module, torch.nn.Module):
        raise ModelError(f"{text} gave {type(module).__name__}, not a torch.nn.Module")
    if inputs is not None and not all(isinstance(value, torch.Tensor) for value in inputs):
        raise ModelError(f"{text} gave example inputs that are not all tensors")
    return module, None if inputs is None else tuple(inputs)


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def _argument_names(module: torch.nn.Module) -> tuple[str, ...]:
    """Names of forward's positional arguments; none when it takes any number of them."""
    parameters = signature(module.forward).parameters.values()
    if any(p.kind is Parameter.VAR_POSITIONAL for p in parameters):
        return ()
    return tuple(p.name for p in parameters if p.kind is not Parameter.KEYWORD_ONLY)


def example_input(shape: tuple[int, ...], dtype: torch.dtype, seed: int) -> torch.Tensor:
    """Reproducible numbers: normal for floating point, ones for anything else."""
    if not dtype.is_floating_point:
        return torch.ones(shape, dtype=dtype)
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator).to(dtype)


def _shaped(value: torch.Tensor, shape: tuple[int, ...] | None) -> torch.Tensor:
    if shape is None or tuple(value.shape) == shape:
        return value
    return example_input(shape, value.dtype, 0)


def _check_names(model: str, shapes: Shapes, names: tuple[str, ...]) -> None:
    for name in shapes:
        if name not in names:
            raise ModelError(
                f"{model} has no input '{name}' to give a shape to; its inputs are "
                f"{', '.join(names)}"
            )
