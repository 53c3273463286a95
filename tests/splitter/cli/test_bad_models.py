"""Models that cannot be used: one message that says what, where and what to do."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
import tiny_models
import torch
from command_line import Cli, Refused
from onnx import TensorProto, helper, numpy_helper

MODEL_ERROR, USAGE_ERROR = 3, 2


def onnx_file(path: Path, shape: Sequence[int | str], *tail: onnx.NodeProto, rank: int = 4) -> Path:
    """A convolution of ``image``, then ``tail``, which reads ``c`` and makes ``y``."""
    weight = np.random.default_rng(0).normal(size=(4, 3, 3, 3)).astype(np.float32)
    nodes = [helper.make_node("Conv", ["image", "w"], ["c"], "conv1", pads=[1, 1, 1, 1]), *tail]
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, list("abcd"[:rank]))],
        [numpy_helper.from_array(weight, "w")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), str(path))
    return path


RELU = helper.make_node("Relu", ["c"], ["y"])


def exported(path: Path, *, opened: bool) -> Path:
    module, inputs = tiny_models.tiny()
    extents = {2: torch.export.Dim("high", min=4, max=64), 3: torch.export.Dim("wide", min=4)}
    shapes = {"image": extents} if opened else None
    torch.export.save(torch.export.export(module.eval(), inputs, dynamic_shapes=shapes), path)
    return path


# --- missing, corrupt


@pytest.mark.parametrize("name", ["net.onnx", "net.pt2", "folder/net.onnx"])
def test_missing_file(name: str, refused: Refused) -> None:
    assert refused(MODEL_ERROR, "inspect", name) == f"no model file {name}; check the path"


@pytest.mark.parametrize("content", [b"", b"\x00" * 40, b"PK\x03\x04junk", b"<html></html>"])
@pytest.mark.parametrize("suffix", ["onnx", "pt2"])
def test_corrupt_file(suffix: str, content: bytes, tmp_path: Path, refused: Refused) -> None:
    path = tmp_path / f"net.{suffix}"
    path.write_bytes(content)
    assert str(path) in refused(MODEL_ERROR, "inspect", path)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.99])
def test_cut_off_file(share: float, tmp_path: Path, refused: Refused) -> None:
    for path in (
        onnx_file(tmp_path / "net.onnx", [1, 3, 8, 8], RELU),
        exported(tmp_path / "net.pt2", opened=False),
    ):
        data = path.read_bytes()
        path.write_bytes(data[: int(len(data) * share)])
        assert str(path) in refused(MODEL_ERROR, "inspect", path)


def test_misspelt_name(refused: Refused) -> None:
    message = refused(MODEL_ERROR, "plan", "mobilenetv2", "-t", "home")
    assert message.startswith("no model 'mobilenetv2': give an .onnx or .pt2 file, package.module:")
    assert message.endswith('did you mean "mobilenet_v2"?')


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("tiny_models:nothing", "module 'tiny_models' has no attribute 'nothing'; write package.m"),
        ("no_such_module:net", "No module named 'no_such_module'; write package.module:callable"),
        ("./net:tiny", "cannot find ./net:tiny: "),
        ("tiny_models:", "cannot find tiny_models:: "),
        ("tiny_models:a_number", "tiny_models:a_number gave int, not a torch.nn.Module"),
        ("tiny_models:not_callable", "TypeError: 'int' object is not callable"),
        ("tiny_models:failing", "failing failed: RuntimeError: the weights are at home"),
        ("tiny_models:without_inputs", "or say, for example, --input-shape image=1,3,224,224"),
    ],
)
def test_callable_that_gives_no_model(model: str, message: str, refused: Refused) -> None:
    assert message in refused(MODEL_ERROR, "inspect", model)


# --- operators


def test_unsupported_operator_in_onnx(tmp_path: Path, refused: Refused) -> None:
    tail = [
        helper.make_node("NonZero", ["c"], ["z"], "finder"),
        helper.make_node("Cast", ["z"], ["y"], to=TensorProto.FLOAT),
    ]
    path = onnx_file(tmp_path / "net.onnx", [1, 3, 8, 8], *tail, rank=2)
    message = refused(MODEL_ERROR, "inspect", path)
    assert message.startswith("NonZero node 'finder': the operator is not supported; nearest supp")


def test_unsupported_operator_in_torch(refused: Refused) -> None:
    message = refused(MODEL_ERROR, "inspect", "tiny_models:unsupported")
    assert message.startswith("operator aten._fft_r2c.default of layer first/fft_r2c has no lower")
    assert "nearest supported: " in message


# --- open dimensions


def test_open_dimensions_of_onnx(tmp_path: Path, refused: Refused, cli: Cli) -> None:
    path = onnx_file(tmp_path / "net.onnx", ["batch", 3, "high", 8], RELU)
    message = refused(MODEL_ERROR, "inspect", path)
    assert "input 'image' has open dimensions: dimension 0 (batch), dimension 2 (high)" in message
    assert "--input-shape image=" in message
    assert cli("inspect", path, "--input-shape", "image=1,3,8,8").code == 0
    message = refused(MODEL_ERROR, "inspect", path, "--input-shape", "image=1,3,8")
    assert "has 4 dimensions (batch, 3, high, 8), but the shape given is 1,3,8" in message
    assert "'picture'" in refused(MODEL_ERROR, "inspect", path, "--input-shape", "picture=1,3,8,8")


def test_open_dimensions_of_an_exported_program(tmp_path: Path, refused: Refused, cli: Cli) -> None:
    path = exported(tmp_path / "net.pt2", opened=True)
    message = refused(MODEL_ERROR, "inspect", path)
    assert f"{path} has open dimensions; fix them with --input-shape image=1,3," in message
    assert cli("inspect", path, "--input-shape", "image=1,3,8,12").code == 0
    message = refused(MODEL_ERROR, "inspect", path, "--input-shape", "image=1,3,100,8")
    assert "<= 64" in message


def test_exported_program_of_another_size(tmp_path: Path, refused: Refused, cli: Cli) -> None:
    path = exported(tmp_path / "net.pt2", opened=False)
    assert cli("inspect", path).code == 0
    assert cli("inspect", path, "--input-shape", "image=1,3,8,8").code == 0
    message = refused(MODEL_ERROR, "inspect", path, "--input-shape", "image=1,3,16,8")
    assert "was exported for input image of shape [1, 3, 8, 8], not [1, 3, 16, 8]" in message


@pytest.mark.parametrize("shape", ["image", "image=", "image=1,x", "=1,3", "image=1,0", "image=-1"])
def test_malformed_shape(shape: str, refused: Refused) -> None:
    message = refused(USAGE_ERROR, "inspect", "tiny_models:tiny", "--input-shape", shape)
    assert message.startswith(f"--input-shape {shape}: write NAME=1,3,224,224 with whole numbers")


def test_shape_of_an_unknown_input(refused: Refused) -> None:
    given = ["--input-shape", "picture=1,3,8,8"]
    message = refused(MODEL_ERROR, "inspect", "tiny_models:tiny", *given)
    assert message == (
        "tiny_models:tiny has no input 'picture' to give a shape to; its inputs are image"
    )
