"""Tuning a small network for real: here, under an emulator, over a stand-in for ssh."""

import json
import os
import stat
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

import splitter
from runtime.build import tune
from runtime.build.tune import TuningDatabase, tune_device, tuner
from runtime.build.tune.reach import Here, Ssh, bench, place_of
from splitter.errors import ToolchainError, UsageError
from splitter.memory import NODE_OVERHEAD_BYTES, PACKING_BYTES
from splitter.schedule import NodeSchedule, node_schedules
from splitter.topology_file import load_card


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SPLITTER_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def node(
    program: splitter.Program, plan: splitter.Plan, topology: splitter.Topology
) -> tuple[NodeSchedule, splitter.Device]:
    """The middle of the network."""
    (schedule,) = (
        s for s in node_schedules(program.graph, topology, plan.placement) if s.device == "hub"
    )
    return schedule, topology.by_name["hub"]


def test_one_contest(program: splitter.Program, node: tuple[NodeSchedule, splitter.Device]) -> None:
    shown: list[tuple[int, int, str]] = []
    database = TuningDatabase()
    report = tune_device(program, *node, Here(), 0.01, database, lambda *step: shown.append(step))
    (ways,) = database.seconds(node[1]).values()
    assert report.device == "hub"
    assert len(ways) == report.ways + 1 >= 2
    assert report.untried > 0
    assert all(0 < seconds < 1 for seconds in ways.values())
    assert 0 < report.after_s <= report.before_s
    assert report.layers in (0, 2)
    said = [what for _, _, what in shown]
    assert f"hub: measuring {report.ways} ways" in said
    assert any("third, tiled tile=" in what for what in said)


def test_it_goes_on_where_it_stopped(
    program: splitter.Program,
    node: tuple[NodeSchedule, splitter.Device],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    database = TuningDatabase()
    monkeypatch.setattr("runtime.build.tune.queue._MOST_PER_LAYER", 3)
    first = tune_device(program, *node, Here(), 0.01, database)
    before = database.seconds(node[1])
    second = tune_device(program, *node, Here(), 60, database)
    (after,) = database.seconds(node[1]).values()
    assert second.untried == 0
    assert len(after) <= 4
    for ways in before.values():
        assert after[""] == ways[""]
        # Confirming a winner mends the figures of the layer's other ways, all by one factor.
        mended = [after[way] / figure for way, figure in ways.items() if way]
        assert mended == pytest.approx(mended[:1] * len(mended))
    third = tune_device(program, *node, Here(), 60, database)
    assert (third.ways, third.untried) == (0, 0)
    assert first.ways + second.ways == len(after) - 1


def test_interrupt_keeps_what_was_measured(
    program: splitter.Program,
    node: tuple[NodeSchedule, splitter.Device],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    held = 0
    compare = tuner.compare

    def interrupted(*arguments: object) -> object:
        nonlocal held
        held += 1
        if held == 2:
            raise KeyboardInterrupt
        return compare(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(tuner, "compare", interrupted)
    monkeypatch.setattr(tuner, "_LONGEST_S", 0.01)
    with pytest.raises(KeyboardInterrupt):
        tune_device(program, *node, Here(), 600, TuningDatabase())
    (ways,) = TuningDatabase().seconds(node[1]).values()
    assert len(ways) >= 2


@pytest.mark.foreign
def test_emulator(
    program: splitter.Program,
    node: tuple[NodeSchedule, splitter.Device],
    needs: Callable[[bool, str], None],
) -> None:
    from runtime.host.processor import missing_emulators

    needs(not missing_emulators(["aarch64"]), "qemu-user-static")
    pi = replace(node[1], card=load_card("raspberry_pi_4"))
    place = place_of(pi, {"hub": "emulator"})
    assert place == Here(emulated=True)
    report = tune_device(program, node[0], pi, place, 0.01, TuningDatabase())
    assert report.ways >= 1
    assert TuningDatabase().seconds(pi) == {}
    (ways,) = TuningDatabase().seconds(pi, emulated=True).values()
    assert len(ways) == report.ways + 1


SSH = """#!/bin/sh
# A host of the name "far" that is this machine.
if [ "$1 $2 $3 $4 $5" != "-o BatchMode=yes -o ConnectTimeout=10 far" ]; then
  echo "$5: no route" >&2
  exit 255
fi
shift 5
exec sh -c "$*"
"""


@pytest.fixture
def ssh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "ssh").write_text(SSH)
    (folder / "ssh").chmod(stat.S_IRWXU)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")


@pytest.mark.usefixtures("ssh")
def test_another_machine(
    program: splitter.Program, node: tuple[NodeSchedule, splitter.Device]
) -> None:
    before = set(Path("/tmp").glob("splitter.*"))
    report = tune_device(program, *node, Ssh("far"), 0.01, TuningDatabase())
    assert report.ways >= 1
    assert set(Path("/tmp").glob("splitter.*")) <= before
    assert len(next(iter(TuningDatabase().seconds(node[1]).values()))) == report.ways + 1


@pytest.mark.usefixtures("ssh")
def test_machine_that_does_not_answer(
    program: splitter.Program, node: tuple[NodeSchedule, splitter.Device]
) -> None:
    with pytest.raises(ToolchainError, match="nowhere took no node program: nowhere: no route"):
        tune_device(program, *node, Ssh("nowhere"), 0.01, TuningDatabase())


def test_node_that_fails(tmp_path: Path) -> None:
    script = tmp_path / "node"
    script.write_text("#!/bin/sh\necho 'node a: too hot' >&2\nexit 8\n")
    script.chmod(stat.S_IRWXU)
    with pytest.raises(ToolchainError, match=r"measuring failed \(exit 8\): node a: too hot"):
        bench([str(script)], 1)
    with pytest.raises(ToolchainError, match="cannot start"):
        bench([str(tmp_path / "none")], 1)


def test_places(topology: splitter.Topology) -> None:
    own = topology.devices[0]
    board = replace(own, card=load_card("riscv_board"))
    assert place_of(own, {}) == Here()
    assert place_of(replace(own, threads=4096), {}) is None
    assert place_of(board, {}) is None
    assert place_of(own, {own.name: "emulator"}) == Here()
    assert place_of(board, {own.name: "ssh:me@10.0.0.7"}) == Ssh("me@10.0.0.7")
    for text in ("ssh", "ssh:", "ssh:-oProxyCommand=x", "ssh:a b", "telnet:x", ""):
        with pytest.raises(UsageError, match=f"cannot be measured at '{text}'"):
            place_of(own, {own.name: text})


def test_plan_is_tuned_and_compiled(
    program: splitter.Program,
    plan: splitter.Plan,
    topology: splitter.Topology,
    tmp_path: Path,
) -> None:
    """The same database gives the same bytes; without it others."""
    reports = splitter.tune(program, plan, topology, 0.05)
    assert [report.device for report in reports] == ["camera", "hub", "server"]
    database = TuningDatabase()
    device = topology.devices[0]
    signature = program.graph.by_name["first"].signature
    slow = dict(database.seconds(device)[signature])
    way = next(text for text in slow if text)
    database.add(device, False, {signature: {way: slow[""] / 2}})
    first, second, usual = (
        splitter.compile(program, plan, topology, tmp_path / name, tuned=tuned).path
        for name, tuned in (("a", True), ("b", True), ("c", False))
    )
    files = [Path("nodes", "camera", name) for name in ("node", "weights.bin")]
    assert all((first / f).read_bytes() == (second / f).read_bytes() for f in files)
    assert any((first / f).read_bytes() != (usual / f).read_bytes() for f in files)
    manifest = json.loads((first / "manifest.json").read_text())
    assert manifest == json.loads((second / "manifest.json").read_text())


def test_ways_that_need_too_much_memory_are_left_aside(
    program: splitter.Program, plan: splitter.Plan, topology: splitter.Topology, tmp_path: Path
) -> None:
    usual = splitter.compile(program, plan, topology, tmp_path / "usual", tuned=False)
    device = topology.by_name["hub"]
    signature = program.graph.by_name["second"].signature
    wide = "tiled tile=vector-channels/16x1x5"  # eight channels padded to sixteen
    TuningDatabase().add(device, False, {signature: {"": 1.0, wide: 0.5}})
    roomy = splitter.compile(program, plan, topology, tmp_path / "roomy")
    weights = "nodes/hub/weights.bin"
    assert (roomy.path / weights).stat().st_size > (usual.path / weights).stat().st_size
    node = usual.manifest.nodes["hub"]
    need = node.weights_bytes + plan.slots * node.slot_bytes + node.arena_bytes
    tight = replace(device, memory_bytes=need + NODE_OVERHEAD_BYTES - PACKING_BYTES)
    small = replace(topology, devices=tuple(tight if d is device else d for d in topology.devices))
    built = splitter.compile(program, plan, small, tmp_path / "small")
    assert (built.path / weights).stat().st_size == (usual.path / weights).stat().st_size


@pytest.mark.parametrize("seconds", [0.0, -1.0, float("nan"), float("inf")])
def test_impossible_budget(
    seconds: float, program: splitter.Program, plan: splitter.Plan, topology: splitter.Topology
) -> None:
    with pytest.raises(UsageError, match="the time to tune is"):
        splitter.tune(program, plan, topology, seconds)


def test_unknown_device(
    program: splitter.Program, plan: splitter.Plan, topology: splitter.Topology
) -> None:
    with pytest.raises(UsageError, match="has no device toaster; it has camera, hub, server"):
        splitter.tune(program, plan, topology, 1.0, places={"toaster": "emulator"})


def test_surface() -> None:
    assert sorted(tune.__all__) == [
        "TuningDatabase",
        "TuningReport",
        "tune_device",
        "tune_plan",
    ]
