"""Compress a traced Program, and say which of its constants are stored compressed.

Works for every Program, whatever it was traced from.
"""

import io
import warnings
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from compress.apply import Applied, Requests, Train, apply_recipe
from compress.formats import CompressedTensor, Factors
from compress.networks import frozen_copy, trainable_copy
from compress.payload import Scale
from compress.recipe import Recipe
from compress.sites import Site, sites_of
from compress.storage import add_compressed
from splitter.errors import ModelError
from splitter.files import write_whole
from splitter.program import Program
from splitter.tracing.trace import trace

_RELATIVE_ERROR = 1e-5
"""Folding a batch norm into a weight rounds once per element; that is far below this."""


def compress_program(
    program: Program, recipe: Recipe, train: Train | None = None, requests: Requests = ()
) -> tuple[Program, Applied]:
    """``program`` with the recipe applied to a copy of its weights.

    Args:
        program: any traced model.
        recipe: what to do with which layer.
        train: see `compress.teach`; without, the weights alone decide.
        requests: unlabelled inputs, for methods that fit layers to them.

    Returns:
        The new program, its `Program.compressed` filled, and what became of the weights.

    Raises:
        UsageError: the recipe does not fit.
        ModelError: a weight is not finite.
    """
    module = trainable_copy(program)
    applied = apply_recipe(module, recipe, train, layer_names(program), requests)
    frozen = frozen_copy(module)
    if not applied.factored:
        return replace(program, module=frozen, compressed=applied.tensors), applied
    traced = trace(
        frozen,
        program.example_inputs,
        name=program.graph.name,
        input_names=program.graph.inputs,
        output_names=program.graph.outputs,
    )
    return attach(traced, applied.tensors), applied


def layer_names(program: Program) -> dict[str, str]:
    """The first layer that reads each constant, by the constant's name."""
    found: dict[str, str] = {}
    for layer in program.graph.layers:
        for weight in layer.weights:
            found.setdefault(weight, layer.name)
    return found


def program_sites(program: Program) -> tuple[Site, ...]:
    """The weights of ``program`` that can be compressed, called after its layers."""
    return sites_of(program.module, layer_names(program))


def attach(program: Program, tensors: Mapping[str, CompressedTensor]) -> Program:
    """``program`` with the knowledge how its constants are stored.

    A trained module is compressed before it is traced, and tracing folds batch norms into weights:
    then a constant is its compressed tensor times one factor per output, which becomes its scale.

    Raises:
        ModelError: a constant is missing, or is not what its compressed tensor stands for.
    """
    sites = {site.weight: site for site in sites_of(program.module)}
    found: dict[str, CompressedTensor] = {}
    for name, tensor in tensors.items():
        if name not in program.graph.weight_bytes:
            raise ModelError(f"{program.graph.name} has no weight {name}; compress it again")
        value = program.constant(name).float().numpy()
        axis = sites[name].output_axis if name in sites else 0
        found[name] = _fitted(name, tensor, value, axis)
    return replace(program, compressed=found)


def save_program(program: Program, path: Path) -> None:
    """Write ``program`` as a ``.pt2`` file, which `splitter.load` reads, compressed tensors too.

    Raises:
        OSError: it cannot be written; nothing is left then.
    """
    buffer = io.BytesIO()
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        exported = torch.export.export(program.module, program.example_inputs, strict=False)
        torch.export.save(exported, buffer)
    if program.compressed:
        add_compressed(buffer, program.compressed)
    write_whole(path, buffer.getvalue())


def _fitted(
    name: str,
    tensor: CompressedTensor,
    value: np.ndarray[tuple[int, ...], np.dtype[np.float32]],
    axis: int | None,
) -> CompressedTensor:
    dense = tensor.dense()
    if dense.shape == value.shape:
        if np.array_equal(dense, value):
            return tensor
        if axis is not None and not isinstance(tensor, Factors):
            scaled = tensor.scaled(Scale(_ratios(dense, value, axis), axis))
            limit = _RELATIVE_ERROR * float(np.abs(value).max(initial=0.0))
            if float(np.abs(scaled.dense() - value).max(initial=0.0)) <= limit:
                return scaled
    raise ModelError(
        f"weight {name} is not what its compressed form stands for; it changed after it was "
        "compressed, so compress again"
    )


def _ratios(
    dense: np.ndarray[tuple[int, ...], np.dtype[np.float32]],
    value: np.ndarray[tuple[int, ...], np.dtype[np.float32]],
    axis: int,
) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """For each index of ``axis`` the factor by which ``dense`` comes nearest to ``value``."""
    others = tuple(i for i in range(dense.ndim) if i != axis)
    wide, target = dense.astype(np.float64), value.astype(np.float64)
    squares = (wide * wide).sum(others)
    ratios = (wide * target).sum(others) / np.where(squares > 0, squares, 1.0)
    return np.where(squares > 0, ratios, 1.0).astype(np.float32)
