"""`splitter run`: start a bundle's nodes on this machine, feed them, collect, report."""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import numpy.typing as npt
import typer
from PIL import Image
from rich import box
from rich.markup import escape
from rich.table import Table

from splitter.cli import options
from splitter.cli.console import out, print_json, progress
from splitter.cli.output import writing
from splitter.errors import InputError
from splitter.graph import Graph

if TYPE_CHECKING:
    from runtime.host.bundle import Bundle
    from runtime.host.report import RunReport

Array = npt.NDArray[Any]
_MOST_VALUES_IN_JSON = 4096


class Photo(StrEnum):
    """What is done to the pixels of a photo, after it is resized to the model's input."""

    IMAGENET = "imagenet"
    UNIT = "unit"
    SYMMETRIC = "symmetric"
    RAW = "raw"


_PIXELS: Mapping[Photo, tuple[Sequence[float], Sequence[float]]] = {
    Photo.IMAGENET: ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375)),
    Photo.UNIT: ((0.0,) * 3, (255.0,) * 3),
    Photo.SYMMETRIC: ((127.5,) * 3, (127.5,) * 3),
    Photo.RAW: ((0.0,) * 3, (1.0,) * 3),
}


def run_command(
    bundle: Annotated[Path, typer.Argument(help="The folder that compiling made.")],
    inputs: Annotated[
        list[Path] | None,
        typer.Option(
            "--input", "-i", help="A photo, .npz or .npy; repeatable. Default: the golden input."
        ),
    ] = None,
    photo: Annotated[
        Photo | None,
        typer.Option(help="Pixel values a photo is turned into; known for models of the zoo."),
    ] = None,
    repeat: Annotated[
        int, typer.Option(help="Times each input is sent, one at a time.", min=1)
    ] = 5,
    pipelined: Annotated[
        int, typer.Option(help="Requests sent back to back afterwards; 0 for none.", min=0)
    ] = 30,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Save the outputs as .npz.")
    ] = None,
    emulate_links: Annotated[
        bool, typer.Option("--emulate-links", help="Keep to the links' bandwidth and latency.")
    ] = False,
    timeout: Annotated[
        float, typer.Option(help="Seconds without progress that are an error.")
    ] = 60.0,
    json: options.Json = False,
) -> None:
    """Start all nodes of a bundle on this machine, run requests through them, and report.

    Nodes for other processors run under qemu-user. The report (predicted beside measured, and a
    picture of the timeline) is kept in the bundle's runs folder.

    Example: splitter run build --input photo.jpg
    """
    from runtime.host.bundle import Bundle
    from runtime.host.report_view import run_view
    from runtime.host.runs import new_run

    opened = Bundle.open(bundle)
    requests = _requests(opened, inputs or [], photo)
    with new_run(opened.path) as folder:
        answers, report = _serve(
            opened, list(requests.values()), repeat, pipelined, folder.draft, emulate_links, timeout
        )
        folder.write(report)
    results = dict(zip(requests, answers, strict=True))
    if output is not None:
        _save(output, opened.graph, results)
    if json:
        print_json(_as_json(opened.graph, results, report, folder.path))
        return
    for name, answer in results.items():
        out.print(_answer_table(name, opened, answer))
    out.print(run_view(report))
    out.print(f"Report and timeline: {escape(str(folder.path))}")


def _requests(
    bundle: "Bundle", files: Sequence[Path], photo: Photo | None
) -> dict[str, dict[str, Array]]:
    from runtime.host.inputs import PHOTO_SUFFIXES, load_inputs

    if not files:
        return {"golden": dict(np.load(bundle.path / "golden" / "input.npz"))}
    photos = any(file.suffix.lower() in PHOTO_SUFFIXES for file in files)
    preprocess = _preprocess(bundle, photo) if photos else None
    return {str(file): load_inputs(bundle.graph, file, preprocess) for file in files}


def _preprocess(bundle: "Bundle", photo: Photo | None) -> Any:
    from splitter import zoo

    name = bundle.manifest.model
    if photo is None and name in zoo.names():
        known = zoo.load(name).preprocess
        if known is not None:
            return lambda image: known(image).numpy()
    if photo is None:
        raise InputError(
            f"{name} is not a model of the zoo, so what it wants done to a photo is not known; say "
            f"--photo {'|'.join(Photo)}, or give the tensor as .npz"
        )
    first = bundle.graph.tensors[bundle.graph.inputs[0]]
    if len(first.shape) != 4 or first.shape[1] != 3:
        raise InputError(f"{name} takes {first}, which is no photo (1, 3, height, width)")
    mean, scale = _PIXELS[photo]

    def prepared(image: Image.Image) -> Array:
        resized = image.convert("RGB").resize((first.shape[3], first.shape[2]))
        pixels = (np.asarray(resized, np.float32) - np.array(mean, np.float32)) / np.array(
            scale, np.float32
        )
        return np.ascontiguousarray(pixels.transpose(2, 0, 1)[None]).astype(first.dtype)

    return prepared


def _serve(
    bundle: "Bundle",
    requests: Sequence[dict[str, Array]],
    repeat: int,
    pipelined: int,
    traces: Path,
    emulate_links: bool,
    timeout_s: float,
) -> tuple[list[tuple[Array, ...]], "RunReport"]:
    from runtime.host.report import run_report

    answers: list[tuple[Array, ...]] = []
    with (
        progress("running") as report,
        bundle.launch(
            trace_dir=traces, shape_links=emulate_links, timeout_s=timeout_s
        ) as deployment,
    ):
        total = len(requests) * repeat + pipelined
        for i, request in enumerate(requests):
            for k in range(repeat):
                answer = deployment(**request)
                report(i * repeat + k + 1, total, "one at a time")
            answers.append(answer if isinstance(answer, tuple) else (answer,))
        many = (requests[i % len(requests)] for i in range(pipelined))
        for k, _ in enumerate(deployment.map(many)):
            report(len(requests) * repeat + k + 1, total, "pipelined")
    return answers, run_report(bundle, traces, deployment.times)


def _answer_table(name: str, bundle: "Bundle", answer: tuple[Array, ...]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title=escape(name), title_justify="left")
    for heading in ("output", "shape", "least", "largest", "first places of the largest values"):
        table.add_column(heading)
    for tensor, value in zip(bundle.graph.outputs, answer, strict=True):
        best = np.argsort(-value.reshape(-1), kind="stable")[:5]
        places = ", ".join(f"{int(i)}: {value.reshape(-1)[i]:.4g}" for i in best)
        low, high = (value.min(), value.max()) if value.size else (0, 0)
        table.add_row(
            escape(tensor), "x".join(map(str, value.shape)), f"{low:.4g}", f"{high:.4g}", places
        )
    return table


def _save(path: Path, graph: Graph, results: Mapping[str, tuple[Array, ...]]) -> None:
    several = len(results) > 1
    arrays: dict[str, Any] = {
        f"{Path(name).stem}/{tensor}" if several else tensor: value
        for name, answer in results.items()
        for tensor, value in zip(graph.outputs, answer, strict=True)
    }
    draft = path.with_name(f".{path.name}.draft.npz")
    with writing(path):
        try:
            np.savez(draft, **arrays)
            draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)


def _as_json(
    graph: Graph, results: Mapping[str, tuple[Array, ...]], report: "RunReport", folder: Path
) -> dict[str, Any]:
    return {
        "outputs": {
            name: {
                tensor: value.tolist() if value.size <= _MOST_VALUES_IN_JSON else list(value.shape)
                for tensor, value in zip(graph.outputs, answer, strict=True)
            }
            for name, answer in results.items()
        },
        "report": report.to_dict(),
        "folder": str(folder),
    }
