"""The pipeline of this stage: export, decompose, canonical form, layers, numbers."""

from collections.abc import Sequence
from dataclasses import replace

import torch

from splitter.errors import ModelError
from splitter.program import Program
from splitter.tracing.canonical import canonicalize
from splitter.tracing.export import export_module, flat_module
from splitter.tracing.layers import group_layers


def trace(
    model: torch.nn.Module | torch.export.ExportedProgram,
    example_inputs: Sequence[torch.Tensor] = (),
    *,
    name: str = "model",
    input_names: Sequence[str] = (),
    output_names: Sequence[str] = (),
) -> Program:
    """Trace ``model`` into a `Program` whose layers are what the compiler makes kernels of.

    Args:
        model: a module (its inference behaviour is traced; it is not changed), or an exported
            program.
        example_inputs: one tensor per positional input; they fix all shapes. For an exported
            program with static shapes they may be left out.
        name: what plans and bundles call the model.
        input_names: names of the inputs; by default those of ``forward``'s arguments.
        output_names: names of the outputs; by default those of the layers that make them.

    Raises:
        ModelError: the model cannot be exported, or has open dimensions, or its control flow
            depends on data.
        UnsupportedOperatorError: an operator has no lowering.
    """
    exported = export_module(model, tuple(example_inputs), name)
    module = canonicalize(flat_module(exported))
    program = group_layers(module, name, tuple(input_names), tuple(output_names))
    faults = program.graph.faults()
    if faults:
        raise ModelError(f"tracing {name} gave an inconsistent graph: {'; '.join(faults)}")
    inputs = tuple(example_inputs) or tuple(_example_inputs_of(exported))
    return replace(program, example_inputs=inputs)


def _example_inputs_of(exported: torch.export.ExportedProgram) -> list[torch.Tensor]:
    given = exported.example_inputs[0] if exported.example_inputs else ()
    return [value for value in given if isinstance(value, torch.Tensor)]
