"""`splitter compress`: smaller weights, by one method or by a recipe."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich import box
from rich.markup import escape
from rich.table import Table

from splitter.cli import options
from splitter.cli.console import out, print_json, progress
from splitter.cli.output import writing
from splitter.cli.plan import load_model
from splitter.errors import UsageError
from splitter.files import write_whole
from splitter.program import Program

if TYPE_CHECKING:
    from compress.apply import Applied
    from compress.compare import Comparison
    from compress.recipe import Recipe
    from compress.teach import Samples

_HELD_OUT = 5
"""One request in this many is kept from training, to compare answers on."""


def compress_command(
    model: options.Model,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="The compressed model, a .pt2 file.")
    ],
    method: Annotated[
        str | None,
        typer.Option(
            "--method",
            "-m",
            help="trp, svd, slq, gptq, mlq, dnq, inq, kmeans or ternary; with settings: slq:bits=4",
        ),
    ] = None,
    layers: Annotated[
        list[str] | None,
        typer.Option(help="Layers that --method is for, such as 'features.1*'. Repeatable."),
    ] = None,
    recipe: Annotated[
        Path | None, typer.Option(help="A TOML file that gives layers their methods.")
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            help="Requests to train with: .npz of inputs by name (and labels), .npy, or a folder "
            "of photos. The model itself is the teacher; without data the weights alone decide."
        ),
    ] = None,
    batch: options.Batch = 16,
    learning_rate: options.LearningRate = 1e-4,
    label_weight: Annotated[
        float,
        typer.Option(help="Of the labels' cross-entropy, beside the teacher's answers.", min=0.0),
    ] = 0.1,
    seed: Annotated[int, typer.Option(help="Of the order of requests.")] = 0,
    save_recipe: Annotated[
        Path | None, typer.Option(help="Write the recipe that was followed.")
    ] = None,
    input_shape: options.InputShapes = None,
    json: options.Json = False,
) -> None:
    """Compress the weights of a model, with training where there is data.

    Example: splitter compress mobilenet_v2 --method kmeans:bits=8 -o small.pt2
    """
    if output.suffix != ".pt2":
        raise UsageError(f"--output {output}: give a name that ends in .pt2")
    program = load_model(model, input_shape)
    followed = _recipe(program, method, layers, recipe)
    from compress.programs import compress_program, save_program

    training, held_out = (None, None) if data is None else split_requests(program, model, data)
    with progress("training") as report:
        train, requests = None, []
        if training is not None:
            from compress.teach import Training, trainer

            settings = Training(batch, learning_rate, seed, label_weight, progress=report)
            train = trainer(program, training, settings)
            requests = training.requests()
        compressed, applied = compress_program(program, followed, train, requests)
    with writing(output):
        save_program(compressed, output)
    if save_recipe is not None:
        with writing(save_recipe):
            write_whole(save_recipe, followed.to_toml())
    facts = _facts(program, compressed, applied, held_out)
    if json:
        print_json({"model": str(output), **facts})
        return
    out.print(_table(program, compressed, applied))
    out.print(_summary(facts))
    place = escape(str(output))
    out.print(f"Model: {place}   Look inside: splitter inspect {place}")


def _recipe(
    program: Program, method: str | None, layers: list[str] | None, recipe: Path | None
) -> "Recipe":
    from compress.methods import parse_method
    from compress.programs import program_sites
    from compress.recipe import Recipe, Rule, read_recipe, recipe_for

    if (method is None) == (recipe is None):
        raise UsageError("give either --method or --recipe; see splitter compress --help")
    if method is None:
        if layers:
            raise UsageError("--layers belongs to --method; a recipe names its layers itself")
        assert recipe is not None
        return read_recipe(recipe)
    made = parse_method(method)
    if layers:
        return Recipe(tuple(Rule(pattern, made) for pattern in layers))
    return recipe_for(made, program_sites(program))


def split_requests(program: Program, model: str, data: Path) -> "tuple[Samples, Samples]":
    """Requests to train with, and some that are kept apart where there are enough.

    Raises:
        InputError: the file does not hold requests of the model.
    """
    import torch

    from compress.samples import load_samples
    from splitter import zoo

    preprocess = zoo.load(model).preprocess if model in zoo.names() and data.is_dir() else None
    samples = load_samples(program.graph, data, preprocess)
    if len(samples) < _HELD_OUT:
        return samples, samples
    rows = torch.arange(len(samples))
    kept = rows % _HELD_OUT == 0
    return samples.take(rows[~kept]), samples.take(rows[kept])


def _facts(
    program: Program, compressed: Program, applied: "Applied", held_out: "Samples | None"
) -> dict[str, Any]:
    from compress.compare import compare, stored_bytes
    from compress.storage import disk_bytes

    found: Comparison | None = None
    if held_out is not None:
        found = compare(program, compressed, held_out)
    return {
        "weights_bytes": {
            "before": program.graph.total_weight_bytes,
            "after": stored_bytes(compressed),
        },
        "macs": {"before": program.graph.macs, "after": compressed.graph.macs},
        "compressed": {
            name: {"format": t.describe()["format"], "bytes": disk_bytes(t)}
            for name, t in compressed.compressed.items()
        },
        "factored": {
            name: {"scheme": t.scheme, "rank": t.rank} for name, t in applied.factored.items()
        },
        "answers": None
        if found is None
        else {
            "requests": found.requests,
            "relative_error": found.relative_error,
            "agreement": found.agreement,
            "accuracy": found.accuracy,
            "original_accuracy": found.original_accuracy,
        },
    }


def _summary(facts: dict[str, Any]) -> str:
    size, macs = facts["weights_bytes"], facts["macs"]
    text = (
        f"Weights {size['before'] / 1e6:.3f} MB -> {size['after'] / 1e6:.3f} MB, "
        f"{macs['before'] / 1e6:.1f} -> {macs['after'] / 1e6:.1f} M MACs."
    )
    answers = facts["answers"]
    if answers is None:
        return text + "\nAnswers were not compared: that takes --data."
    text += (
        f"\nOn {answers['requests']} requests: {answers['agreement']:.1%} of the answers as before,"
        f" relative error {answers['relative_error']:.2g}"
    )
    if answers["accuracy"] is not None:
        text += f", accuracy {answers['original_accuracy']:.1%} -> {answers['accuracy']:.1%}"
    return text + "."


def _table(program: Program, compressed: Program, applied: "Applied") -> Table:
    from compress.storage import disk_bytes

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("weight")
    table.add_column("now")
    for heading in ("bytes before", "after", "bits per weight"):
        table.add_column(heading, justify="right")
    for name, factors in applied.factored.items():
        before, after = program.graph.weight_bytes[name], len(factors.pack())
        what = f"two layers, {factors.scheme} of rank {factors.rank}"
        table.add_row(escape(name), what, str(before), str(after), f"{after * 32 / before:.2f}")
    for name, tensor in compressed.compressed.items():
        before, after = compressed.graph.weight_bytes[name], disk_bytes(tensor)
        what = tensor.describe()["format"]
        table.add_row(escape(name), what, str(before), str(after), f"{after * 32 / before:.2f}")
    return table
