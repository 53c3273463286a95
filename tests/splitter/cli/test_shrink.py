"""`splitter compile` of a smaller model: by a recipe, or chosen together with the split."""

import json
from pathlib import Path

import numpy as np
import pytest
from command_line import Cli, Refused

MODEL = "tiny_models:tiny"
USAGE = 2


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "data.npz"
    images = np.random.default_rng(0).normal(size=(20, 3, 8, 8)).astype(np.float32)
    np.savez(path, image=images)
    return path


def test_by_a_recipe(cli: Cli, two: Path, tmp_path: Path) -> None:
    recipe, bundle = tmp_path / "r.toml", tmp_path / "bundle"
    recipe.write_text('version = 1\n[[rules]]\nlayers = "second"\nmethod = "kmeans"\nbits = 4\n')
    words = ("compile", MODEL, "-t", two, "-o", bundle, "--recipe", recipe, "--json")
    found = cli(*words)
    assert found.code == 0, found.err
    facts = json.loads(found.out)
    assert facts["equivalence"]["ran"]
    weights = sum(node["weights_bytes"] for node in facts["nodes"].values())
    plain = json.loads(cli("compile", MODEL, "-t", two, "-o", bundle, "--json").out)
    assert weights < sum(node["weights_bytes"] for node in plain["nodes"].values())


def test_chosen_with_the_split(cli: Cli, two: Path, tmp_path: Path, data: Path) -> None:
    recipe, bundle = tmp_path / "r.toml", tmp_path / "bundle"
    words = ["compile", MODEL, "-t", two, "-o", bundle, "--data", data, "--steps", 4, "--json"]
    found = cli(*words, "--max-accuracy-drop", 60, "--save-recipe", recipe)
    assert found.code == 0, found.err
    facts = json.loads(found.out)
    chosen = [one for one in facts["compression"]["attempts"] if one["chosen"]]
    assert len(chosen) == 1
    assert chosen[0]["measured_drop"] <= 60
    assert facts["plan"]["estimate"]["latency_s"] == pytest.approx(chosen[0]["value"])
    assert facts["equivalence"]["ran"]
    assert recipe.read_text().startswith("version = 1")


def test_refused(refused: Refused, two: Path, tmp_path: Path, data: Path) -> None:
    words = ("compile", MODEL, "-t", two, "-o", tmp_path / "bundle")
    drop = ("--max-accuracy-drop", 1)
    assert refused(USAGE, *words, *drop) == (
        "--max-accuracy-drop measures accuracy; give requests with --data"
    )
    message = refused(USAGE, *words, "--data", data)
    assert message == "--data belongs to --recipe or --max-accuracy-drop"
    both = (*drop, "--data", data, "--recipe", "r.toml")
    assert "two ways; give one of them" in refused(USAGE, *words, *both)
    assert "leave out --plan" in refused(USAGE, *words, *drop, "--data", data, "--plan", "p.json")
    message = refused(USAGE, *words, *drop, "--data", data, "--decode", "load")
    assert message.endswith("leave out --decode")
    assert list(tmp_path.iterdir()) == [data] or set(tmp_path.iterdir()) == {data, two}
