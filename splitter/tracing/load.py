"""MODEL as people write it -> `Program`: a file, ``package.module:callable``, or a zoo name."""

from collections.abc import Mapping
from importlib import import_module
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
    try:
        exported = torch.export.load(path)
    except Exception as error:
        raise ModelError(
            f"{path} is not a readable exported program ({type(error).__name__}); write it again "
            "with torch.export.save of this torch version"
        ) from error
    return _from_exported(exported, path, shapes)


def _from_exported(exported: torch.export.ExportedProgram, path: Path, shapes: Shapes) -> Program:
    declared = exported_shapes(exported)
    _check_names(str(path), shapes, tuple(declared))
    if open_dimensions(exported) or shapes:
        missing = [n for n in open_dimensions(exported) if n not in shapes]
        if missing:
            raise ModelError(
                f"{path} has open dimensions; fix them with "
                + " ".join(f"--input-shape {n}={open_dimensions(exported)[n]}" for n in missing)
                + " with numbers in place of the symbols"
            )
    inputs = [
        example_input(shapes.get(name, shape), dtype, seed)
        for seed, (name, (shape, dtype)) in enumerate(declared.items())
    ]
    if not shapes and exported.example_inputs is not None:
        inputs = [v for v in exported.example_inputs[0] if isinstance(v, torch.Tensor)]
    model = exported if not shapes else exported.module()
    return trace(model, inputs, name=path.stem, input_names=tuple(declared))


def _from_callable(text: str, shapes: Shapes) -> Program:
    module_name, _, attribute = text.partition(":")
    try:
        function: Any = getattr(import_module(module_name), attribute)
    except (ImportError, AttributeError) as error:
        raise ModelError(
            f"cannot find {text}: {error}; write package.module:callable of an importable package"
        ) from error
    made = function()
    module, inputs = made if isinstance(made, tuple) else (made, None)
    if not isinstance(module, torch.nn.Module):
        raise ModelError(f"{text} gave a {type(module).__name__}, not a torch.nn.Module")
    if inputs is None:
        if not shapes:
            raise ModelError(
                f"{text} gives no example inputs; return (module, inputs) or say, for example, "
                "--input-shape x=1,3,224,224"
            )
        inputs = [
            example_input(shape, torch.float32, seed) for seed, shape in enumerate(shapes.values())
        ]
    return trace(module, tuple(inputs), name=attribute, input_names=tuple(shapes))


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
