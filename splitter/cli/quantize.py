"""`splitter quantize`: a model on 8-bit numbers, calibrated on unlabelled inputs."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from splitter.cli import options
from splitter.cli.console import out, print_json
from splitter.cli.output import writing
from splitter.cli.plan import load_model
from splitter.errors import UsageError
from splitter.program import Program


class Ranges(StrEnum):
    """How the range of an activation is chosen."""

    MSE = "mse"
    MINMAX = "minmax"


def quantize_command(
    model: options.Model,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="The quantized model, a .pt2 file.")
    ],
    data: Annotated[
        Path,
        typer.Option(
            help="Unlabelled requests to calibrate on: .npz of inputs by name, .npy, or a folder "
            "of photos (models of the zoo)."
        ),
    ],
    ranges: Annotated[
        Ranges, typer.Option(help="Least squared error, or everything that was seen.")
    ] = Ranges.MSE,
    input_shape: options.InputShapes = None,
    json: options.Json = False,
) -> None:
    """Put a model on 8-bit numbers, calibrated on unlabelled requests; any verb takes the result.

    Example: splitter quantize mobilenet_v2 --data photos/ -o small.pt2
    """
    if output.suffix != ".pt2":
        raise UsageError(f"--output {output}: give a name that ends in .pt2")
    program = load_model(model, input_shape)
    from compress.int8 import quantize
    from compress.programs import save_program

    requests = load_requests(program, model, data)
    made = quantize(program, requests, ranges.value)
    with writing(output):
        save_program(made, output)
    facts = _facts(program, made, requests)
    if json:
        print_json({"model": str(output), **facts})
        return
    out.print(
        f"{facts['integer_layers']} of {facts['layers']} layers are on 8-bit numbers; weights "
        f"{facts['weight_bytes']['before'] / 1e6:.2f} MB before, "
        f"{facts['weight_bytes']['after'] / 1e6:.2f} MB after."
    )
    out.print(
        f"On {facts['requests']} of the requests the outputs differ by "
        f"{facts['relative_error']:.3f} of their magnitude (root mean square)."
    )
    out.print(f"Model: {escape(str(output))}   Look inside: splitter inspect {output}")


def load_requests(program: Program, model: str, data: Path) -> list[tuple[Any, ...]]:
    """The requests in ``data``, one tensor per input each; photos for models of the zoo.

    Raises:
        InputError: they cannot be read, or are not requests of this model.
    """
    from compress.samples import load_samples
    from splitter import zoo

    preprocess = zoo.load(model).preprocess if model in zoo.names() and data.is_dir() else None
    samples = load_samples(program.graph, data, preprocess)
    return [tuple(v[i] for v in samples.inputs) for i in range(len(samples))]


_COMPARED = 8
"""Requests on which answers are compared: the reference on numbers is slow."""


def _facts(program: Program, made: Program, requests: list[tuple[Any, ...]]) -> dict[str, Any]:
    from splitter.tracing.operators import is_quantized

    names = {n.name for n in made.module.graph.nodes if n.op == "call_function" and is_quantized(n)}
    errors: list[float] = []
    for request in requests[:_COMPARED]:
        for wanted, found in zip(program(*request), made(*request), strict=True):
            gap = (found.double() - wanted.double()).square().mean().sqrt()
            scale = wanted.double().square().mean().sqrt()
            errors.append(float(gap / scale) if scale > 0 else float(gap))
    return {
        "layers": len(made.graph.layers),
        "integer_layers": sum(not names.isdisjoint(n) for n in made.layer_nodes.values()),
        "weight_bytes": {
            "before": program.graph.total_weight_bytes,
            "after": made.graph.total_weight_bytes,
        },
        "requests": min(len(requests), _COMPARED),
        "relative_error": sum(errors) / len(errors) if errors else 0.0,
    }
