"""What each verb prints and writes when all is well."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from command_line import Cli, Outcome
from PIL import Image

import splitter
from splitter.topology_file import shipped_topologies

TINY = "tiny_models:tiny"


def parsed(found: Outcome) -> Any:
    assert found.code == 0, found.err
    return json.loads(found.out)


def fine(found: Outcome) -> str:
    assert found.code == 0, found.err
    return found.out


# --- topology


@pytest.mark.parametrize("name", shipped_topologies())
def test_shipped_topologies(name: str, cli: Cli) -> None:
    drawn = fine(cli("topology", name))
    assert drawn.startswith(f"{name}: ")
    data = parsed(cli("topology", name, "--json"))
    assert data["name"] == name
    assert all(device["name"] in drawn for device in data["devices"])


def test_list_of_topologies(cli: Cli) -> None:
    text = fine(cli("topology"))
    data = parsed(cli("topology", "--json"))
    assert list(data["topologies"]) == shipped_topologies()
    assert all(name in text for name in (*data["topologies"], *data["cards"]))


# --- inspect


def test_inspect_model(cli: Cli) -> None:
    text = fine(cli("inspect", TINY))
    data = parsed(cli("inspect", TINY, "--json"))
    assert [layer["name"] for layer in data["layers"]] == ["first", "second", "second/mean", "head"]
    assert all(layer["name"] in text for layer in data["layers"])


def test_inspect_model_at_another_size(cli: Cli) -> None:
    for model in (TINY, "tiny_models:without_inputs"):
        data = parsed(cli("inspect", model, "--input-shape", "image=2,3,16,24", "--json"))
        assert data["tensors"][0] == {"name": "image", "shape": [2, 3, 16, 24], "dtype": "float32"}


def test_inspect_bundle(cli: Cli, compiled: Path) -> None:
    text = fine(cli("inspect", compiled))
    assert "all as the manifest says" in text
    nodes = parsed(cli("inspect", compiled, "--json"))["nodes"]
    assert list(nodes) == ["a", "b"]
    for node in nodes.values():
        assert node["node_program_bytes"] < 100_000
        assert node["planned_memory_bytes"] < node["memory_limit_bytes"]


# --- plan


def test_plan_writes_what_is_asked_for(cli: Cli, two: Path, tmp_path: Path) -> None:
    files = {option: tmp_path / f"file.{option}" for option in ("output", "dot", "onnx")}
    options = [word for option, file in files.items() for word in (f"--{option}", file)]
    text = fine(cli("plan", TINY, "--topology", two, "--pin", "first=a", *options))
    assert "optimal" in text
    plan = json.loads(files["output"].read_text())
    assert plan["placement"]["first"] == "a"
    assert files["dot"].read_text().startswith("digraph")
    onnx.checker.check_model(onnx.load(str(files["onnx"])))
    assert sorted(tmp_path.iterdir()) == sorted([two, *files.values()])


def test_plan_of_a_plan_file_keeps_its_placement(cli: Cli, two: Path, tmp_path: Path) -> None:
    file = tmp_path / "plan.json"
    rules = ["--pin", "first=a", "--ban", "second*=a", "--pin", "head=a"]
    fine(cli("plan", TINY, "-t", two, *rules, "-o", file))
    again = parsed(cli("plan", TINY, "-t", two, "--plan", file, "--json"))
    assert again["placement"] == json.loads(file.read_text())["placement"]
    assert set(again["placement"].values()) == {"a", "b"}


@pytest.mark.parametrize("objective", ["latency", "throughput", "energy"])
def test_plan_objectives(objective: str, cli: Cli, two: Path) -> None:
    plan = parsed(cli("plan", TINY, "-t", two, "--objective", objective, "--json"))
    assert plan["objective"] == objective
    assert plan["proof"]["status"] == "optimal"


def test_plan_limits(cli: Cli, two: Path) -> None:
    limits = ["--private-input", "--max-sent-mb", 0.0001, "--slots", 2]
    plan = parsed(cli("plan", TINY, "-t", two, *limits, "--json"))
    assert plan["placement"]["first"] == "a"
    assert plan["estimate"]["sent_bytes"] <= 100
    assert plan["slots"] == 2


# --- profile


def test_profile_is_used_by_later_plans(
    cli: Cli, two: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPLITTER_CACHE", str(tmp_path / "cache"))
    rows = parsed(cli("profile", TINY, "-t", two, "--runs", 2, "--json"))
    assert [row["layer"] for row in rows] == ["first", "second", "second/mean", "head"]
    assert all(row["seconds"] > 0 for row in rows)
    assert "plans use these times on devices like a, b" in fine(
        cli("profile", TINY, "-t", two, "--runs", 2)
    )
    measured = parsed(cli("plan", TINY, "-t", two, "--json"))
    assert set(measured["cost_sources"].values()) == {"measured"}
    modelled = parsed(cli("plan", TINY, "-t", two, "--roofline", "--json"))
    assert set(modelled["cost_sources"].values()) == {"roofline"}


# --- compile, run


def test_compile_with_a_plan_file(cli: Cli, two: Path, tmp_path: Path) -> None:
    plan, bundle = tmp_path / "plan.json", tmp_path / "out [old]" / ":x: bundle"
    fine(cli("plan", TINY, "-t", two, "--pin", "first=a", "--pin", "head=b", "-o", plan))
    text = fine(cli("compile", TINY, "-t", two, "--plan", plan, "-o", bundle))
    assert "The nodes together give the unsplit model's answer" in text
    assert f"Bundle: {bundle}" in text.replace("\n", " ").replace("  ", " ")
    opened = splitter.Bundle.open(bundle)
    assert opened.plan.placement == json.loads(plan.read_text())["placement"]


def test_compile_json(cli: Cli, two: Path, tmp_path: Path) -> None:
    data = parsed(cli("compile", TINY, "-t", two, "-o", tmp_path / "bundle", "--json"))
    assert data["equivalence"]["ran"]
    assert data["equivalence"]["max_rel_diff"] < 1e-6
    assert set(data["nodes"]) == set(data["plan"]["placement"].values()) | {"a", "b"}


def test_run_with_the_golden_input(cli: Cli, own_bundle: Path) -> None:
    text = fine(cli("run", own_bundle, "--repeat", 2, "--pipelined", 4))
    assert "tiny on two: 6 requests" in text
    (folder,) = (own_bundle / "runs").iterdir()
    kept = {file.name for file in folder.iterdir()}
    assert {"report.json", "report.txt", "timeline.png"} <= kept
    assert json.loads((folder / "report.json").read_text())["requests"] == 6
    splitter.Bundle.open(own_bundle)


def test_run_saves_the_outputs(cli: Cli, own_bundle: Path, tmp_path: Path) -> None:
    with np.load(own_bundle / "golden" / "input.npz") as golden:
        image = golden["image"]
    np.savez(tmp_path / "one.npz", image=image)
    np.save(tmp_path / "other.npy", 2 * image)
    files = ["-i", tmp_path / "one.npz", "-i", tmp_path / "other.npy"]
    fine(cli("run", own_bundle, *files, "--pipelined", 0, "-o", tmp_path / "out.npz"))
    with (
        np.load(tmp_path / "out.npz") as found,
        np.load(own_bundle / "golden" / "output.npz") as wanted,
    ):
        np.testing.assert_allclose(found["one/head"], wanted["head"], rtol=1e-5)
        assert found["other/head"].shape == wanted["head"].shape


def test_run_json(cli: Cli, own_bundle: Path) -> None:
    data = parsed(cli("run", own_bundle, "--repeat", 1, "--pipelined", 0, "--json"))
    with np.load(own_bundle / "golden" / "output.npz") as wanted:
        np.testing.assert_allclose(data["outputs"]["golden"]["head"], wanted["head"], rtol=1e-5)
    assert data["report"]["model"] == "tiny"


@pytest.mark.parametrize("pixels", ["imagenet", "unit", "symmetric", "raw"])
def test_run_with_a_photo(pixels: str, cli: Cli, own_bundle: Path, tmp_path: Path) -> None:
    photo = tmp_path / "photo.jpg"
    Image.new("RGB", (30, 20), (200, 90, 10)).save(photo)
    few = ["--repeat", 1, "--pipelined", 0]
    data = parsed(cli("run", own_bundle, "-i", photo, "--photo", pixels, *few, "--json"))
    assert list(data["outputs"]) == [str(photo)]


def test_run_with_emulated_links(cli: Cli, own_bundle: Path) -> None:
    few = ["--repeat", 3, "--pipelined", 0]
    shaped = parsed(cli("run", own_bundle, "--emulate-links", *few, "--json"))
    assert shaped["report"]["links"][0]["arrival_s"] >= 0.001
