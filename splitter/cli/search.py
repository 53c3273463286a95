"""`splitter search`: choose a network and its split together, train it, compile it, run it."""

import json as json_module
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from splitter.cli import options
from splitter.cli.console import err, out, print_json, progress
from splitter.files import write_whole


def search_command(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for everything made.")],
    latency_ms: Annotated[
        float, typer.Option("--latency-ms", help="Most milliseconds that one request may take.")
    ],
    space: Annotated[
        str, typer.Option(help="Search space: mobile, shuffle, binas, proxyless or mnasnet.")
    ] = "mobile",
    topology: options.TopologyName = "phone_edge_cloud",
    data: Annotated[str, typer.Option(help="fashion_mnist, mnist or digits.")] = "fashion_mnist",
    seed: Annotated[int, typer.Option(help="Of everything that is drawn.", min=0)] = 0,
    budget_minutes: Annotated[
        float | None,
        typer.Option("--budget-minutes", help="Cut training short so that it ends about then."),
    ] = None,
    epochs: Annotated[
        float, typer.Option(help="Passes over the images that the supernet is trained.", min=0.01)
    ] = 8.0,
    tune_epochs: Annotated[
        float, typer.Option("--tune-epochs", help="Of each candidate.", min=0.01)
    ] = 1.0,
    final_epochs: Annotated[
        float, typer.Option("--final-epochs", help="Of the winner, besides.", min=0.0)
    ] = 4.0,
    passes: Annotated[int, typer.Option(help="Passes of the estimator's measurement.", min=1)] = 8,
    candidates: Annotated[int, typer.Option(help="Networks fine-tuned in each round.", min=1)] = 3,
    train_images: Annotated[
        int, typer.Option("--train-images", help="Images trained on; 0 for all.", min=0)
    ] = 0,
    roofline: options.RooflineOnly = False,
    json: options.Json = False,
) -> None:
    """Choose a network for the devices, and its split, together; train, compile and run it.

    Stopped by Ctrl-C or killed, the same command goes on where it was. The same seed gives the
    same result, unless --budget-minutes cuts it short. A GPU is used if there is one.

    Example: splitter search -t camera_chain --data fashion_mnist --latency-ms 14 -o found
    """
    from splitter.joint.outcome import run_search
    from splitter.joint.report import drawing, front_picture, search_report
    from splitter.joint.settings import Settings, Workspace
    from splitter.joint.steps import Search

    settings = Settings(
        space=space,
        topology=topology,
        data=data,
        latency_s=latency_ms / 1e3,
        seed=seed,
        supernet_epochs=epochs,
        tune_epochs=tune_epochs,
        final_epochs=final_epochs,
        passes=passes,
        candidates=candidates,
        budget_minutes=budget_minutes,
        roofline=roofline,
        train_images=train_images,
    )
    with progress("searching") as report:
        outcome = run_search(Search.begin(settings, Workspace(output), report))
    title = f"{outcome.space} on {outcome.topology}"
    picture = front_picture(outcome.front, outcome.winner, outcome.baselines, title)
    write_whole(output / "front.png", picture)
    write_whole(output / "network.txt", drawing(outcome) + "\n")
    write_whole(output / "report.json", json_module.dumps(outcome.to_dict(), indent=1) + "\n")
    if not outcome.deployed["ran"]:
        err.print("[yellow]warning:[/] the bundle was not run; install qemu-user for its nodes")
    if json:
        print_json(outcome.to_dict())
        return
    out.print(search_report(outcome))
    place = escape(str(output))
    out.print(
        f"Front: {place}/front.png   Bundle: {place}/bundle   Run it: splitter run {place}/bundle"
    )
