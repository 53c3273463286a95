"""A bundle that would give a wrong answer never appears, and the fault is traced to a tensor."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import splitter
from runtime.build import node, weights
from runtime.build.bundle import build_bundle
from runtime.build.gate import difference
from runtime.build.kernels import Choices, Kernel, Progress, compile_layers
from runtime.build.lower.layer import Encodings
from runtime.build.lower.packing import Array
from runtime.build.machine import Machine
from runtime.build.weights import WeightKey, stored
from splitter.errors import EquivalenceError, UsageError


def refused(
    program: splitter.Program, plan: splitter.Plan, topology: splitter.Topology, folder: Path
) -> str:
    """The message with which compiling is refused; nothing stays behind."""
    with pytest.raises(EquivalenceError) as caught:
        splitter.compile(program, plan, topology, folder / "bundle")
    assert list(folder.iterdir()) == []
    return str(caught.value)


@pytest.mark.parametrize(
    ("layer", "first_to_differ"), [("first", "first"), ("second", "third"), ("third", "third")]
)
def test_wrong_weight_is_traced_to_the_first_tensor_on_a_link(
    layer: str,
    first_to_differ: str,
    program: splitter.Program,
    plan: splitter.Plan,
    topology: splitter.Topology,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def spoilt(program: splitter.Program, key: WeightKey) -> Array:
        value = stored(program, key).copy()
        if key[0] == f"{layer}.weight":
            value.reshape(-1)[7] += 1
        return value

    monkeypatch.setattr(weights, "stored", spoilt)
    message = refused(program, plan, topology, tmp_path)
    assert "the compiled nodes do not give the answer of small: output head differs by" in message
    assert f"the first tensor on a link to differ is {first_to_differ} (by" in message


def test_wrong_weight_at_the_end_is_the_last_devices_fault(
    program: splitter.Program,
    plan: splitter.Plan,
    topology: splitter.Topology,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def spoilt(program: splitter.Program, key: WeightKey) -> Array:
        return stored(program, key) + np.float32(key[0] == "head.bias")

    monkeypatch.setattr(weights, "stored", spoilt)
    message = refused(program, plan, topology, tmp_path)
    assert "every tensor on a link agrees, so the device that makes the output is at" in message


def test_weights_in_the_wrong_order_are_caught(
    program: splitter.Program,
    plan: splitter.Plan,
    topology: splitter.Topology,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def shuffled(program: splitter.Program, key: WeightKey) -> Array:
        value = stored(program, key)
        return value if key[1] is None else value[..., ::-1].copy()

    monkeypatch.setattr(weights, "stored", shuffled)
    assert "first tensor on a link to differ is first" in refused(program, plan, topology, tmp_path)


def test_wrong_kernel_is_caught(
    program: splitter.Program,
    plan: splitter.Plan,
    topology: splitter.Topology,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def swapped(
        program: splitter.Program,
        layers: Iterable[splitter.Layer],
        machine: Machine,
        progress: Progress,
        choices: Choices,
        encodings: Encodings,
    ) -> Mapping[str, Kernel]:
        found = dict(compile_layers(program, layers, machine, progress, choices, encodings))
        if "second" in found:
            (other,) = compile_layers(program, [program.graph.by_name["first"]], machine).values()
            code = {"symbol": other.symbol, "object_path": other.object_path}
            found["second"] = replace(found["second"], **code)
        return found

    monkeypatch.setattr(node, "compile_layers", swapped)
    assert "first tensor on a link to differ is third" in refused(program, plan, topology, tmp_path)


def test_bundle_that_was_there_survives_a_refusal(
    program: splitter.Program,
    plan: splitter.Plan,
    topology: splitter.Topology,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    good = build_bundle(program, plan, topology, tmp_path / "bundle")
    assert good.gate.ran
    assert good.gate.max_rel_diff < 1e-6
    monkeypatch.setattr(weights, "stored", lambda program, key: stored(program, key) * 2)
    with pytest.raises(EquivalenceError):
        splitter.compile(program, plan, topology, tmp_path / "bundle")
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]
    splitter.Bundle.open(tmp_path / "bundle")


def test_tolerance_is_the_callers(
    program: splitter.Program,
    plan: splitter.Plan,
    topology: splitter.Topology,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(weights, "stored", lambda program, key: stored(program, key) * 1.01)
    bundle = splitter.compile(program, plan, topology, tmp_path / "bundle", tolerance=0.5)
    assert bundle.manifest.tolerance == 0.5


@pytest.mark.parametrize("tolerance", [-1e-4, float("nan"), float("inf")])
def test_impossible_tolerance(
    tolerance: float,
    program: splitter.Program,
    plan: splitter.Plan,
    topology: splitter.Topology,
    tmp_path: Path,
) -> None:
    with pytest.raises(UsageError, match=f"the tolerance is {tolerance:g}; give 0 or more"):
        splitter.compile(program, plan, topology, tmp_path / "bundle", tolerance=tolerance)
    assert list(tmp_path.iterdir()) == []


INF, NAN = float("inf"), float("nan")


@pytest.mark.parametrize(
    ("found", "expected", "wanted"),
    [
        ([1.0, -4.0], [1.0, -4.0], (0, 0)),
        ([1.0, -4.5], [1.0, -4.0], (0.5, 0.125)),
        ([0.25], [0.0], (0.25, 0.25)),
        ([INF, 1.0], [INF, 1.0], (0, 0)),
        ([-INF, 1.0], [INF, 1.0], (INF, INF)),
        ([NAN, 1.0], [NAN, 2.0], (1, 0.5)),
        ([1.0, 1.0], [NAN, 1.0], (INF, INF)),
        ([NAN, 1.0], [1.0, 1.0], (NAN, NAN)),
        ([], [], (0, 0)),
        ([1.0], [1.0, 2.0], (INF, INF)),
    ],
)
def test_difference(found: list[float], expected: list[float], wanted: tuple[float, float]) -> None:
    given = np.array(found, np.float32), np.array(expected, np.float32)
    assert difference(*given) == pytest.approx(wanted, nan_ok=True)


def test_whole_numbers_must_be_equal() -> None:
    assert difference(np.array([1, 2, 4]), np.array([1, 2, 3])) == (1, 1)
    assert difference(np.array([1, 2, 3]), np.array([1.0, 2, 3])) == (INF, INF)
