"""What `splitter compile` does to a model before it is compiled: a recipe, or a joint choice."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich import box
from rich.markup import escape
from rich.table import Table

from splitter.cli.compress import split_requests
from splitter.cli.console import err, out, progress
from splitter.cli.effort import Effort
from splitter.cli.output import writing
from splitter.errors import UsageError
from splitter.files import write_whole
from splitter.plan import Plan
from splitter.program import Program
from splitter.topology import Topology
from splitter.variants import AS_IS

if TYPE_CHECKING:
    from compress.joint import JointCompression
    from compress.joint_choice import JointRequest
    from compress.recipe import Recipe
    from compress.recovery import Trial
    from compress.teach import Training

_IMAGES = 1000
"""Most requests on which single layers are tried."""

RecipeFile = Annotated[
    Path | None,
    typer.Option(
        "--recipe", help="Compress with this TOML recipe first (see `splitter compress`)."
    ),
]
Data = Annotated[
    Path | None,
    typer.Option(
        "--data",
        help="Requests to train and measure with, as in `splitter compress`: .npz, .npy, photos.",
    ),
]
MaxDrop = Annotated[
    float | None,
    typer.Option(
        "--max-accuracy-drop",
        min=0.0,
        help="Choose rank and bits of every layer together with the split, so that no more percent "
        "points of accuracy are lost, as measured after training. Takes --data.",
    ),
]
Steps = Annotated[int, typer.Option(help="Training steps of every attempt at that.", min=1)]
SaveRecipe = Annotated[
    Path | None, typer.Option(help="Write the recipe that was chosen, or followed.")
]


@dataclass(frozen=True)
class Shrinking:
    """What the user asked for."""

    model: str
    recipe: Path | None
    data: Path | None
    max_drop: float | None
    steps: int
    batch: int
    learning_rate: float
    save_recipe: Path | None

    def check(self, plan: Path | None, decode: Sequence[str] | None) -> None:
        """Raise UsageError where options contradict one another."""
        if self.recipe is not None and self.max_drop is not None:
            raise UsageError("--recipe and --max-accuracy-drop are two ways; give one of them")
        if self.max_drop is not None and self.data is None:
            raise UsageError("--max-accuracy-drop measures accuracy; give requests with --data")
        if self.recipe is None and self.max_drop is None:
            for option, value in (("--data", self.data), ("--save-recipe", self.save_recipe)):
                if value is not None:
                    raise UsageError(f"{option} belongs to --recipe or --max-accuracy-drop")
        if self.max_drop is not None and plan is not None:
            raise UsageError("--max-accuracy-drop chooses a plan; leave out --plan")
        if self.max_drop is not None and any(text.endswith("load") for text in decode or ()):
            raise UsageError(
                "--max-accuracy-drop plans with weights that kernels decode; leave out --decode"
            )


@dataclass(frozen=True)
class Shrunk:
    """The model that is compiled, and what is told about it."""

    program: Program
    plan: Plan | None = None
    """Where it was chosen together with the model."""
    facts: dict[str, Any] = field(default_factory=dict)
    tables: tuple[Table, ...] = ()


def shrunk(asked: Shrinking, program: Program, topology: Topology, effort: Effort) -> Shrunk:
    """The model as it is to be compiled.

    Raises:
        UsageError: the recipe does not fit.
        InputError: the data does not.
        PlanError: no form of the model keeps the accuracy, or fits.
    """
    if asked.recipe is not None:
        return _followed(asked, program)
    if asked.max_drop is None:
        return Shrunk(program)
    from compress.joint_choice import JointRequest

    request = JointRequest(
        topology,
        lambda graph: effort.costs(graph, topology),
        asked.max_drop,
        effort.objective,
        steps=asked.steps,
        **effort.limits,
    )
    return _chosen(asked, program, request)


def _followed(asked: Shrinking, program: Program) -> Shrunk:
    from compress.programs import compress_program
    from compress.recipe import read_recipe
    from compress.teach import trainer

    assert asked.recipe is not None
    recipe = read_recipe(asked.recipe)
    with progress("training") as report:
        train, requests = None, []
        if asked.data is not None:
            training, _ = split_requests(program, asked.model, asked.data)
            train = trainer(program, training, _training(asked, report))
            requests = training.requests()
        made, _ = compress_program(program, recipe, train, requests)
    _save(asked, recipe)
    return Shrunk(made)


def _chosen(asked: Shrinking, program: Program, request: "JointRequest") -> Shrunk:
    import torch

    from compress.joint import compress_jointly, trained_by
    from compress.recovery import after_training, try_kinds
    from compress.sensitivity import Judge, measure_forms

    assert asked.data is not None
    training, held_out = split_requests(program, asked.model, asked.data)
    some = training.take(torch.arange(min(_IMAGES, len(training))))
    with progress("measuring layers") as report:
        sensitivity = measure_forms(program, some, report)
    with progress("training") as report:
        train = trained_by(program, training, _training(asked, report))
        judge = Judge(program, held_out)
        trials = list(
            try_kinds(
                sensitivity,
                lambda recipe: judge.loss(train(recipe).module),
                request.steps,
                lambda done, total, kind: err.print(f"training a network of {kind} alone"),
            )
        )
        costs = request.costs(program.graph)
        table = after_training(sensitivity, trials).table(program.graph, request.topology, costs)
        found = compress_jointly(program, table, request, train, judge, err.print)
    _save(asked, found.best.recipe)
    facts = {"trials": trial_facts(trials), **_facts(found, request)}
    tables = (trial_table(trials), *_tables(found, request))
    return Shrunk(found.best.program, found.best.plan, {"compression": facts}, tables)


def _training(asked: Shrinking, report: Callable[[int, int, str], None]) -> "Training":
    from compress.teach import Training

    return Training(asked.batch, asked.learning_rate, progress=report)


def _save(asked: Shrinking, recipe: "Recipe") -> None:
    if asked.save_recipe is not None:
        with writing(asked.save_recipe):
            write_whole(asked.save_recipe, recipe.to_toml())


def trial_facts(trials: "Sequence[Trial]") -> list[dict[str, Any]]:
    """What training left of every kind of form, for ``--json``."""
    from compress.recovery import left_after_training

    left = left_after_training(trials)
    return [
        {
            "form": one.kind,
            "predicted_drop": one.predicted_points,
            "measured_drop": one.loss.points,
            "measured_drop_error": one.loss.error,
            "left": left[one.kind],
        }
        for one in trials
    ]


def trial_table(trials: "Sequence[Trial]") -> Table:
    """What training left of every kind of form."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title="kinds of forms, each alone")
    table.add_column("form")
    for heading in ("points lost: without training", "with it", "share taken as left"):
        table.add_column(heading, justify="right")
    for one in trial_facts(trials):
        lost = f"{one['measured_drop']:.2f} ± {one['measured_drop_error']:.2f}"
        table.add_row(one["form"], f"{one['predicted_drop']:.1f}", lost, f"{one['left']:.3f}")
    return table


def _facts(found: "JointCompression", request: "JointRequest") -> dict[str, Any]:
    return {
        "max_accuracy_drop": request.max_drop,
        "variants": dict(found.best.chosen.variants),
        "attempts": [
            {
                "allowed_drop": one.chosen.allowed_drop,
                "predicted_drop": one.chosen.accuracy_drop,
                "measured_drop": one.loss.points,
                "measured_drop_error": one.loss.error,
                "value": one.value(request.objective),
                "weights_bytes": one.stored_bytes,
                "chosen": one is found.best,
            }
            for one in found.attempts
        ],
    }


def _tables(found: "JointCompression", request: "JointRequest") -> tuple[Table, Table]:
    from splitter.objective import quantity

    attempts = Table(box=box.SIMPLE_HEAD, pad_edge=False, title="attempts")
    for heading in ("points lost: predicted", "measured", "weights MB", request.objective, ""):
        attempts.add_column(heading, justify="right")
    for one in found.attempts:
        attempts.add_row(
            f"{one.chosen.accuracy_drop:.2f}",
            f"{one.loss.points:.2f} ± {one.loss.error:.2f}",
            f"{one.stored_bytes / 1e6:.3f}",
            quantity(request.objective, one.value(request.objective)),
            "chosen" if one is found.best else "",
        )
    layers = Table(box=box.SIMPLE_HEAD, pad_edge=False, title="layers that change")
    for heading in ("layer", "device", "form"):
        layers.add_column(heading)
    devices = found.best.devices(found.table)
    for layer, name in found.best.chosen.variants.items():
        if name != AS_IS:
            layers.add_row(escape(layer), ", ".join(devices[layer]), escape(name))
    return attempts, layers


def show(made: Shrunk) -> None:
    """Print what was chosen."""
    for table in made.tables:
        out.print(table)
