"""python -m benchmarks.photos: ImageNet networks compressed without labels, on twenty photos.

The photos (package foolbox) are only answered; what is trained on are random crops of the pictures
of scikit-image, with the float network as teacher. Twenty photos tell steps of 5 %, so the error of
the logits stands beside the agreement.
"""

import argparse
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, Literal

import torch
from PIL import Image
from rich import box
from rich.table import Table

from benchmarks.compression_runs import cached_json
from compress.compare import compare, stored_bytes
from compress.methods import parse_method
from compress.programs import compress_program, program_sites
from compress.recipe import Recipe, recipe_for
from compress.teach import Samples, Training, trainer
from splitter import zoo
from splitter.cli.console import err, out
from splitter.program import Program
from splitter.tracing.load import load
from splitter.zoo.model import ZooModel
from splitter.zoo.packages import package_file
from splitter.zoo.photos import photos

MODELS = ("mobilenet_v2", "efficientnet_lite0")
PICTURES = "scikit-image==0.26.0"
_NAMES = """astronaut.png brick.png camera.png chelsea.png clock_motion.png coffee.png coins.png
grass.png gravel.png hubble_deep_field.jpg ihc.png moon.png motorcycle_left.png
motorcycle_right.png page.png retina.jpg rocket.jpg text.png""".split()
_SMALLEST_SIDE = 0.35
"""Of a crop, as a part of the picture's shorter side."""


@dataclass(frozen=True)
class Row:
    """One way to compress, written as a method, and what the teacher does for it."""

    method: str
    teacher: Literal["", "fits layers", "trains"]


ROWS = (
    Row("kmeans:bits=8,per_channel=true,full=true", ""),
    Row("kmeans:bits=4,per_channel=true,full=true", ""),
    Row("gptq:bits=4", "fits layers"),
    Row("gptq:bits=3", "fits layers"),
    Row("slq:bits=4,per_channel=true,full=true", "trains"),
)


def crops(entry: ZooModel, count: int, seed: int = 0) -> Samples:
    """``count`` unlabelled inputs: random crops, half of them mirrored."""
    random = Random(seed)
    pictures = [Image.open(package_file(PICTURES, f"skimage/data/{n}")) for n in _NAMES]
    made = [_crop(random, pictures[i % len(pictures)].convert("RGB")) for i in range(count)]
    assert entry.preprocess is not None
    return Samples((torch.stack([entry.preprocess(crop) for crop in made]),))


def _crop(random: Random, picture: Image.Image) -> Image.Image:
    side = round(min(picture.size) * random.uniform(_SMALLEST_SIDE, 1.0))
    left, top = (random.randint(0, extent - side) for extent in picture.size)
    crop = picture.crop((left, top, left + side, top + side)).resize((256, 256))
    mirrored = Image.Transpose.FLIP_LEFT_RIGHT
    return crop.transpose(mirrored) if random.random() < 0.5 else crop


def test_photos(entry: ZooModel) -> Samples:
    """The twenty photos with their classes."""
    assert entry.preprocess is not None
    found = photos()
    images = [entry.preprocess(Image.open(photo.path)) for photo in found]
    return Samples((torch.stack(images),), torch.tensor([[photo.label] for photo in found]))


def recipe_of(program: Program, row: Row, steps: int) -> Recipe:
    """The method for its usual layers, its rounds taking ``steps`` together."""
    method = parse_method(row.method)
    if row.teacher == "trains":
        method = parse_method(f"{row.method},steps_per_round={max(steps // 5, 1)}")
    return recipe_for(method, program_sites(program))


def measured(name: str, row: Row, options: argparse.Namespace) -> dict[str, Any]:
    """One row."""
    entry, program = zoo.load(name), load(name)
    train, requests = None, []
    if row.teacher == "trains":
        settings = Training(options.batch, options.learning_rate, progress=report)
        train = trainer(program, crops(entry, options.crops), settings)
    if row.teacher == "fits layers":
        requests = crops(entry, options.fitted_crops).requests()
    recipe = recipe_of(program, row, options.steps)
    made, _ = compress_program(program, recipe, train, requests)
    found = compare(program, made, test_photos(entry))
    assert found.accuracy is not None
    assert found.original_accuracy is not None
    return {
        "network": name,
        "method": row.method,
        "teacher": row.teacher,
        "agreement": round(found.agreement * found.requests),
        "right": round(found.accuracy * found.requests),
        "float_right": round(found.original_accuracy * found.requests),
        "photos": found.requests,
        "logit_error": found.relative_error,
        "disk_bytes": stored_bytes(made),
        "float_bytes": program.graph.total_weight_bytes,
    }


def report(done: int, total: int, what: str) -> None:
    """Now and then, how far the training is."""
    if done % 20 == 0:
        err.print(f"{done} of {total}, {what}")


def rows(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Made, or found among those that were made before."""
    for name in options.models:
        for row in ROWS:
            if options.rows and not row.method.startswith(tuple(options.rows)):
                continue
            err.print(f"{name}: {row.method}")
            key = {"model": name, "method": row.method}
            if row.teacher == "fits layers":
                key["fitted_crops"] = options.fitted_crops
            if row.teacher == "trains":
                chosen = ("steps", "batch", "crops", "learning_rate")
                key |= {option: getattr(options, option) for option in chosen}
            yield cached_json("photos", key, lambda n=name, r=row: measured(n, r, options))  # type: ignore[misc]


def table_of(found: list[dict[str, Any]]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("network")
    table.add_column("method")
    table.add_column("teacher")
    for heading in ("as float", "right", "float right", "logit error", "MB", "float MB"):
        table.add_column(heading, justify="right")
    for row in found:
        table.add_row(
            *(row["network"], row["method"], row["teacher"]),
            *(f"{row[key]}/{row['photos']}" for key in ("agreement", "right", "float_right")),
            f"{row['logit_error']:.3f}",
            *(f"{row[key] / 1e6:.2f}" for key in ("disk_bytes", "float_bytes")),
        )
    return table


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.photos",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--steps", type=int, default=200, help="of training in all")
    parser.add_argument("--batch", type=int, default=12)
    parser.add_argument("--crops", type=int, default=600, help="to train on")
    parser.add_argument("--fitted-crops", type=int, default=64, help="to fit layers to")
    parser.add_argument("--rows", nargs="+", help="only methods that begin so")
    parser.add_argument("--learning-rate", type=float, default=3e-4)
    parser.add_argument("--json", type=Path, help="write the rows here")
    options = parser.parse_args()
    torch.set_num_threads(1)
    found = list(rows(options))
    out.print(table_of(found))
    if options.json is not None:
        options.json.write_text(json.dumps({"rows": found}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
