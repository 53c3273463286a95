"""Bundles are the same bytes for the same inputs, and appear whole or not at all."""

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import splitter
from runtime.build import bundle as module
from runtime.build.bundle import build_bundle
from runtime.host.processor import QEMU
from splitter.errors import BundleError, PlanError


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.fixture(scope="module")
def made(
    program: splitter.Program,
    plan: splitter.Plan,
    topology: splitter.Topology,
    tmp_path_factory: pytest.TempPathFactory,
) -> splitter.Bundle:
    return splitter.compile(program, plan, topology, tmp_path_factory.mktemp("made") / "bundle")


def test_layout(made: splitter.Bundle) -> None:
    per_node = ["node", "weights.bin", "peers.toml"]
    assert sorted(contents(made.path)) == sorted(
        [
            *("manifest.json", "topology.toml", "plan.json", "plan.txt", "graph.json"),
            *("golden/input.npz", "golden/output.npz", "golden/cut.npz"),
            *(f"nodes/{d}/{file}" for d in ("camera", "hub", "server") for file in per_node),
        ]
    )
    assert all(os.access(made.path / f"nodes/{d}/node", os.X_OK) for d in made.manifest.nodes)


def test_golden_tensors(made: splitter.Bundle, program: splitter.Program) -> None:
    tensors = program.tensors(*program.example_inputs)
    kept = {"input": ["x"], "output": ["head"], "cut": ["x", "first", "third"]}
    for file, names in kept.items():
        with np.load(made.path / "golden" / f"{file}.npz") as found:
            assert set(found.files) <= set(names)
            for name in found.files:
                np.testing.assert_array_equal(found[name], tensors[name].numpy())
    with np.load(made.path / "golden" / "cut.npz") as cut:
        assert {"first", "third"} <= set(cut.files)


def test_same_inputs_give_the_same_bytes(
    made: splitter.Bundle,
    program: splitter.Program,
    plan: splitter.Plan,
    topology: splitter.Topology,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SPLITTER_CACHE", str(tmp_path / "empty"))
    again = splitter.compile(program, plan, topology, tmp_path / "elsewhere" / "other")
    assert contents(again.path) == contents(made.path)


@pytest.mark.foreign
def test_same_bytes_for_other_processors(
    program: splitter.Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = splitter.load_topology("home")
    devices = ("camera", "pi", "board", "laptop")
    layers = [layer.name for layer in program.graph.layers]
    placement = {name: devices[i * 4 // len(layers)] for i, name in enumerate(layers)}
    plan = splitter.partition(program, home, placement=placement)
    monkeypatch.setenv("PATH", "")  # the gate has its own tests
    made = []
    for name in ("first", "second"):
        monkeypatch.setenv("SPLITTER_CACHE", str(tmp_path / name / "cache"))
        made.append(contents(build_bundle(program, plan, home, tmp_path / name / "bundle").path))
    assert made[0] == made[1]


def test_another_weight_is_another_bundle(
    made: splitter.Bundle,
    plan: splitter.Plan,
    topology: splitter.Topology,
    tmp_path: Path,
) -> None:
    from small_net import small_program

    other = small_program()
    other.constant("head.bias")[0] += 1
    changed = splitter.compile(other, plan, topology, tmp_path / "bundle")
    assert changed.manifest.bundle_id != made.manifest.bundle_id


def test_bundle_is_replaced(
    program: splitter.Program, plan: splitter.Plan, topology: splitter.Topology, tmp_path: Path
) -> None:
    path = tmp_path / "bundle"
    splitter.compile(program, plan, topology, path)
    (path / "runs").mkdir()
    (path / "runs" / "note").write_text("of the old bundle")
    splitter.compile(program, plan, topology, path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["bundle"]
    assert not (path / "runs").exists()


@pytest.mark.parametrize("kind", ["file", "folder", "link"])
def test_what_is_no_bundle_is_left_alone(
    kind: str,
    program: splitter.Program,
    plan: splitter.Plan,
    topology: splitter.Topology,
    tmp_path: Path,
) -> None:
    path = tmp_path / "mine"
    if kind == "file":
        path.write_text("mine")
    elif kind == "link":
        path.symlink_to(tmp_path)
    else:
        path.mkdir()
        (path / "thesis.txt").write_text("mine")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(BundleError, match="mine exists and is no bundle; give another -o or rem"):
        splitter.compile(program, plan, topology, path)
    assert sorted(tmp_path.rglob("*")) == before


def failing(error: BaseException) -> Callable[..., Any]:
    def fail(*arguments: object, **options: object) -> Any:
        raise error

    return fail


@pytest.mark.parametrize(
    "step",
    ["save_topology", "_write_json", "build_node", "_write_golden", "check_equivalence"],
)
def test_full_disk_leaves_nothing(
    step: str,
    program: splitter.Program,
    plan: splitter.Plan,
    topology: splitter.Topology,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    monkeypatch.setattr(module, step, failing(full))
    with pytest.raises(
        BundleError, match="cannot be written: No space left on device; free some space or give"
    ):
        splitter.compile(program, plan, topology, tmp_path / "bundle")
    assert list(tmp_path.iterdir()) == []


def test_interrupt_leaves_nothing(
    program: splitter.Program,
    plan: splitter.Plan,
    topology: splitter.Topology,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_write_golden", failing(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        splitter.compile(program, plan, topology, tmp_path / "bundle")
    assert list(tmp_path.iterdir()) == []


def test_place_that_cannot_be_written(
    program: splitter.Program, plan: splitter.Plan, topology: splitter.Topology, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(BundleError, match=r"bundle cannot be written: .*; .* give another -o"):
        splitter.compile(program, plan, topology, tmp_path / "file" / "bundle")


def test_without_an_emulator_the_bundle_says_that_nothing_was_compared(
    program: splitter.Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = splitter.load_topology("home")
    placement = dict.fromkeys((layer.name for layer in program.graph.layers), "camera")
    plan = splitter.partition(program, home, placement=placement)
    monkeypatch.setenv("PATH", str(tmp_path))
    built = build_bundle(program, plan, home, tmp_path / "bundle")
    assert not built.gate.ran
    missing = ", ".join(QEMU[name] for name in ("armv7", "riscv64"))
    assert built.gate.reason == f"not compared: {missing} not installed"
    splitter.Bundle.open(built.path)


def test_plan_of_another_model_or_topology(
    program: splitter.Program, plan: splitter.Plan, topology: splitter.Topology, tmp_path: Path
) -> None:
    part = program.extract(["first", "second"], "part")
    with pytest.raises(PlanError, match="the plan is not one for part: layer head is in only one"):
        splitter.compile(part, plan, topology, tmp_path / "bundle")
    with pytest.raises(PlanError, match="the plan is for loopback3, not for home; plan again"):
        splitter.compile(program, plan, "home", tmp_path / "bundle")
    assert list(tmp_path.iterdir()) == []
