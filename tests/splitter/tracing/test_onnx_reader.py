"""Bad files, bad shapes, and what reading leaves of a file."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from splitter.errors import ModelError
from splitter.tracing.onnx_import import load_onnx
from splitter.tracing.onnx_reader import read_onnx

WEIGHT = np.arange(12, dtype=np.float32).reshape(4, 3)


def small_model(shape: list[Any]) -> onnx.ModelProto:
    """y = relu(x @ W), where W is an input too, as in old files."""
    nodes = [
        helper.make_node("MatMul", ["x", "W"], ["h"], "product"),
        helper.make_node("Relu", ["h"], ["y"], "ramp"),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, shape),
            helper.make_tensor_value_info("W", TensorProto.FLOAT, [4, 3]),
        ],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [shape[0], 3])],
        [numpy_helper.from_array(WEIGHT, "W")],
        value_info=[helper.make_tensor_value_info("h", TensorProto.FLOAT, [shape[0], 3])],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 9)], ir_version=4)


def saved(path: Path, shape: list[Any]) -> Path:
    onnx.save(small_model(shape), str(path))
    return path


def test_weights_are_no_inputs_and_open_dimensions_are_fixed(tmp_path: Path) -> None:
    model = load_onnx(saved(tmp_path / "m.onnx", ["batch", 4]), {"x": (2, 4)})
    assert model.input_names == ("x",)
    assert model.output_names == ("y",)
    assert [tuple(x.shape) for x in model.example_inputs] == [(2, 4)]
    (y,) = model.module(torch.ones(2, 4))
    np.testing.assert_allclose(y.detach().numpy(), np.ones((2, 4), np.float32) @ WEIGHT)


def test_weight_keeps_its_name_and_can_be_trained(tmp_path: Path) -> None:
    module = load_onnx(saved(tmp_path / "m.onnx", [1, 4])).module
    assert [name for name, _ in module.named_parameters()] == ["W.weight"]
    module(torch.ones(1, 4))[0].sum().backward()
    assert module.get_parameter("W.weight").grad is not None


def test_baked_dimensions_are_replaced(tmp_path: Path) -> None:
    path = saved(tmp_path / "m.onnx", [10, 4])
    model = load_onnx(path, {"x": (3, 4)})
    assert model.module(torch.ones(3, 4))[0].shape == (3, 3)
    assert load_onnx(path).example_inputs[0].shape == (10, 4)


@pytest.mark.parametrize(
    ("shape", "given", "message"),
    [
        (["batch", 4], {}, "dimension 0 (batch); fix them, for example with --input-shape x=1,4"),
        ([None, None], {}, "dimension 0 (?), dimension 1 (?); fix"),
        ([-1, 4], {}, "dimension 0 (?); fix them, for example with --input-shape x=1,4"),
        ([1, 4], {"x": (1, 4, 1)}, "has 2 dimensions (1, 4), but the shape given is 1,4,1"),
        ([1, 4], {"x": (0, 4)}, "every size of 0,4 must be at least 1"),
        ([1, 4], {"z": (1, 4)}, "the model has no input 'z'; its inputs are x"),
        ([1, 4], {"W": (4, 3)}, "the model has no input 'W'; its inputs are x"),
    ],
)
def test_bad_shapes(
    tmp_path: Path, shape: list[Any], given: dict[str, tuple[int, ...]], message: str
) -> None:
    with pytest.raises(ModelError) as error:
        read_onnx(saved(tmp_path / "m.onnx", shape), given)
    assert message in str(error.value)


def test_shape_that_does_not_fit_the_weights(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="MatMul node 'product' cannot be imported"):
        load_onnx(saved(tmp_path / "m.onnx", [1, 4]), {"x": (1, 5)})


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"nowhere\.onnx: no such file"):
        load_onnx(tmp_path / "nowhere.onnx")


def test_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no such file"):
        load_onnx(tmp_path)


@pytest.mark.parametrize("content", [b"", b"\x00" * 64, b"PK\x03\x04 not a model", b"hello\n" * 9])
def test_file_that_is_no_model(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=r"m\.onnx is not an ONNX model"):
        load_onnx(path)


@pytest.mark.parametrize("part", [0.3, 0.6, 0.9])
def test_truncated_file(tmp_path: Path, part: float) -> None:
    path = saved(tmp_path / "m.onnx", [1, 4])
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * part)])
    with pytest.raises(ModelError, match=r"m\.onnx"):
        load_onnx(path)


def test_external_data_is_read_and_its_absence_told(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    onnx.save(
        small_model([1, 4]), str(path), save_as_external_data=True, location="w", size_threshold=0
    )
    np.testing.assert_array_equal(
        load_onnx(path).module.get_parameter("W.weight").detach(), WEIGHT.T
    )
    (tmp_path / "w").unlink()
    with pytest.raises(ModelError, match=r"m\.onnx: its external data cannot be read"):
        load_onnx(path)


def test_graph_that_reads_what_nothing_makes(tmp_path: Path) -> None:
    model = small_model([1, 4])
    model.graph.node[1].input[0] = "nothing"
    path = tmp_path / "m.onnx"
    onnx.save(model, str(path))
    with pytest.raises(ModelError, match=r"m\.onnx is not a valid ONNX model: .*nothing"):
        load_onnx(path)
