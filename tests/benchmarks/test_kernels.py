"""The benchmark of kernels on a tiny network: what it writes is complete and agrees."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from benchmarks.kernels import device, geometric_mean
from benchmarks.limits import measure_limits
from benchmarks.peer import Peer

ROW = {
    *("model", "threads", "ours_ms", "onnxruntime_ms", "ratio", "max_abs_diff", "runs"),
    *("ours_least_ms", "onnxruntime_least_ms"),
    *("peak_bytes", "onnxruntime_peak_bytes", "disk_bytes", "onnxruntime_disk_bytes"),
    *("first_answer_ms", "onnxruntime_first_answer_ms", "compile_s", "tune_s"),
}


@pytest.fixture
def model(tmp_path: Path) -> Path:
    random = np.random.default_rng(0)
    weight = random.standard_normal((8, 3, 3, 3)).astype("f4")
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["x", "w"], ["a"], pads=[1, 1, 1, 1]),
            helper.make_node("Relu", ["a"], ["y"]),
        ],
        "tiny",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 16, 16])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 8, 16, 16])],
        [numpy_helper.from_array(weight, "w")],
    )
    path = tmp_path / "tiny.onnx"
    opset = helper.make_opsetid("", 17)
    onnx.save(helper.make_model(graph, opset_imports=[opset], ir_version=8), path)
    return path


def rows(repository: Path, model: Path, *words: object) -> dict[str, Any]:
    file = model.parent / "rows.json"
    command = [sys.executable, "-m", "benchmarks.kernels", "--models", model, *words]
    subprocess.run([*map(str, command), "--json", str(file)], cwd=repository, check=True)
    found = json.loads(file.read_text())
    assert isinstance(found, dict)
    return found


def test_row(repository: Path, model: Path) -> None:
    found = rows(repository, model, "--threads", "1", "--layers", "--tune", 0.1)
    (row,) = found["rows"]
    assert set(row) == ROW | {"layers", "limits"}
    assert row["max_abs_diff"] < 1e-4
    assert row["runs"] >= 30
    assert row["ratio"] == pytest.approx(row["ours_ms"] / row["onnxruntime_ms"])
    assert found["geomean_ratio"] == pytest.approx(row["ratio"])
    sizes = ROW - {"model", "max_abs_diff", "ratio"}
    assert all(row[name] > 0 for name in sizes), row
    assert row["limits"]["flops_per_s"] > 1e8
    (layer,) = row["layers"]
    assert layer["kind"] == "conv2d"
    assert layer["share"] == 1
    operations = 2 * 16 * 16 * 8 * 27
    assert layer["gflop_per_s"] == pytest.approx(operations / layer["ms"] / 1e6)


def test_warm_and_untuned(repository: Path, model: Path) -> None:
    (row,) = rows(repository, model, "--threads", "2", "--warm", "--untuned")["rows"]
    assert set(row) == ROW
    assert (row["threads"], row["compile_s"], row["tune_s"]) == (2, None, None)


def test_peer_is_stopped_while_it_waits(
    model: Path, tmp_path: Path, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(repository)
    np.savez(tmp_path / "inputs.npz", x=np.ones((1, 3, 16, 16), "f4"))
    with Peer(model, tmp_path / "inputs.npz", 2) as peer:
        assert state(peer) == "T"
        assert len(peer.run(3)) == 3
        assert state(peer) == "T"
        (output,) = peer.outputs(tmp_path)
        assert output.shape == (1, 8, 16, 16)
        assert peer.ask("peak") > 0
        assert state(peer) == "T"
    assert peer.process.returncode == 0


def test_peer_that_dies(
    model: Path, tmp_path: Path, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(repository)
    np.savez(tmp_path / "inputs.npz", x=np.ones((1, 3, 16, 16), "f4"))
    with Peer(model, tmp_path / "inputs.npz", 1) as peer:
        os.kill(peer.process.pid, signal.SIGKILL)
        with pytest.raises(SystemExit, match="ONNX Runtime ended early"):
            peer.run(1)


def state(peer: Peer) -> str:
    text = Path(f"/proc/{peer.process.pid}/stat").read_text()
    return text.rpartition(")")[2].split()[0]


def test_limits() -> None:
    found = measure_limits(device(1))
    assert 1e8 < found.flops_per_s < 1e13
    assert 1e8 < found.bytes_per_s < 1e12


def test_geometric_mean() -> None:
    assert geometric_mean([0.5, 2.0, 1.0]) == pytest.approx(1.0)
