"""Operators, older operator sets among them, against ONNX Runtime."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from splitter.errors import ModelError, UnsupportedOperatorError
from splitter.tracing.onnx_import import OnnxModel, import_onnx

Array = NDArray[Any]
RANDOM = np.random.default_rng(0)


def normal(*shape: int) -> Array:
    return RANDOM.standard_normal(shape).astype(np.float32)


def model_of(
    op_type: str,
    inputs: Sequence[Array],
    constants: Sequence[Array] = (),
    *,
    opset: int,
    outputs: int = 1,
    domain: str = "",
    **attributes: Any,
) -> onnx.ModelProto:
    names = [f"x{i}" for i in range(len(inputs))]
    weights = [f"c{i}" for i in range(len(constants))]
    results = [f"y{i}" for i in range(outputs)]
    node = helper.make_node(
        op_type, [*names, *weights], results, "the_node", domain=domain, **attributes
    )
    graph = helper.make_graph(
        [node],
        "g",
        [_info(name, value) for name, value in zip(names, inputs, strict=True)],
        [onnx.ValueInfoProto(name=name) for name in results],
        [numpy_helper.from_array(v, n) for n, v in zip(weights, constants, strict=True)],
    )
    imports = [helper.make_opsetid("", opset)]
    if domain:
        imports.append(helper.make_opsetid(domain, 1))
    return helper.make_model(graph, opset_imports=imports, ir_version=7)


def _info(name: str, value: Array) -> onnx.ValueInfoProto:
    kind = helper.np_dtype_to_tensor_dtype(value.dtype)
    return helper.make_tensor_value_info(name, kind, list(value.shape))


def reference(model: onnx.ModelProto, inputs: Mapping[str, Array]) -> list[Array]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        onnx.shape_inference.infer_shapes(model).SerializeToString(),
        options,
        providers=["CPUExecutionProvider"],
    )
    return [np.asarray(x) for x in session.run(None, dict(inputs))]


def compare(model: onnx.ModelProto, inputs: Sequence[Array]) -> OnnxModel:
    """Both runtimes must agree in shape, type and values."""
    wanted = reference(model, {f"x{i}": value for i, value in enumerate(inputs)})
    imported = import_onnx(model)
    with torch.no_grad():
        found = imported.module(*(torch.from_numpy(value) for value in inputs))
    for mine, theirs in zip(found, wanted, strict=True):
        assert mine.numpy().dtype == theirs.dtype
        np.testing.assert_allclose(mine.numpy(), theirs, rtol=1e-4, atol=1e-5)
    return imported


def int64(*values: int) -> Array:
    return np.array(values, dtype=np.int64)


X4 = normal(2, 4, 6, 5)
OLD: list[tuple[str, int, list[Array], list[Array], dict[str, Any]]] = [
    ("Softmax", 11, [normal(2, 3, 4)], [], {"axis": 1}),
    ("Softmax", 11, [normal(2, 3, 1)], [], {}),
    ("Softmax", 11, [normal(3, 1, 4)], [], {"axis": 1}),
    ("LogSoftmax", 9, [normal(2, 3, 4)], [], {}),
    ("Hardmax", 11, [normal(2, 3, 4)], [], {}),
    ("Clip", 9, [X4], [], {"min": -0.5, "max": 0.5}),
    ("Clip", 6, [X4], [], {"min": 0.0}),
    ("Clip", 6, [X4], [], {}),
    ("Slice", 9, [X4], [], {"starts": [1, -3], "ends": [3, 100], "axes": [1, 3]}),
    ("Slice", 9, [X4], [], {"starts": [1], "ends": [2]}),
    ("Squeeze", 11, [normal(2, 1, 3, 1)], [], {"axes": [1, -1]}),
    ("Squeeze", 11, [normal(2, 1, 3, 1)], [], {}),
    ("Unsqueeze", 11, [normal(2, 3)], [], {"axes": [0, -1]}),
    ("ReduceSum", 11, [X4], [], {"axes": [1, 2], "keepdims": 0}),
    ("ReduceSum", 11, [X4], [], {}),
    ("ReduceMean", 13, [X4], [], {"axes": [-1]}),
    ("ReduceMax", 11, [X4], [], {"axes": [2], "keepdims": 0}),
    ("ReduceL2", 13, [X4], [], {"axes": [3]}),
    ("Pad", 10, [X4], [], {"pads": [0, 0, 1, 2, 0, 0, 0, 1], "value": 2.0}),
    ("Pad", 10, [X4], [], {"pads": [0, 0, 1, 2, 0, 0, 3, 1], "mode": "reflect"}),
    ("Pad", 10, [X4], [], {"pads": [0, 0, 0, 0, 0, 0, 0, 0]}),
    ("Upsample", 9, [X4], [np.array([1, 1, 2, 3], np.float32)], {"mode": "nearest"}),
    ("Upsample", 9, [X4], [np.array([1, 1, 2, 2], np.float32)], {"mode": "linear"}),
    ("Upsample", 7, [X4], [], {"scales": [1.0, 1.0, 2.0, 2.0]}),
    ("Resize", 10, [X4], [np.array([1, 1, 2, 1.5], np.float32)], {"mode": "nearest"}),
    ("Split", 11, [X4], [], {"split": [1, 3], "axis": 1}),
    ("Split", 11, [X4], [], {"axis": 1}),
    ("TopK", 9, [X4], [], {"k": 2, "axis": 2}),
    ("Dropout", 9, [X4], [], {"ratio": 0.3}),
    ("Dropout", 12, [X4], [np.float32(0.3)], {}),
    ("BatchNormalization", 8, [X4], [abs(normal(4)), normal(4), normal(4), abs(normal(4))], {}),
    ("GlobalLpPool", 11, [X4], [], {}),
    ("MeanVarianceNormalization", 13, [X4], [], {}),
    ("CastLike", 15, [X4], [int64(1)], {}),
    ("Add", 7, [X4], [np.float32(2.5)], {}),
    ("Sub", 7, [X4], [np.array([2.5], np.float32)], {}),
    ("Mul", 7, [normal(3)], [np.full((1, 1), 2, np.float32)], {}),
    ("Div", 7, [X4], [np.float32(3)], {}),
    ("Div", 7, [np.array([7, -7, 9], np.int64)], [int64(2)], {}),
    ("Pow", 7, [abs(X4)], [np.float32(0.5)], {}),
    ("Pow", 7, [X4], [np.float32(2)], {}),
    ("Pow", 7, [X4], [np.float32(3)], {}),
    ("Pow", 7, [X4], [np.float32(1)], {}),
    ("Pow", 12, [int64(1, 2, 3)], [int64(2)], {}),
    ("Min", 8, [X4, normal(1, 4, 1, 5), normal(5)], [], {}),
    ("Mean", 8, [X4, normal(1, 4, 1, 5)], [], {}),
    ("Concat", 4, [X4, X4], [normal(2, 4, 2, 5)], {"axis": 2}),
    ("Flatten", 11, [X4], [], {"axis": -2}),
    ("Gather", 11, [X4], [int64(0, -1)], {"axis": 1}),
    ("Gather", 11, [X4], [np.array(2, np.int64)], {"axis": 1}),
    ("Gather", 11, [X4], [int64(1, 2, 3)], {"axis": 2}),
    ("Gather", 11, [X4, int64(3, -2)], [], {"axis": 1}),
    ("MatMul", 9, [normal(2, 3, 4)], [normal(4, 5)], {}),
    ("MatMul", 9, [normal(4)], [normal(4, 5)], {}),
    ("MatMul", 9, [normal(2, 3, 4)], [normal(2, 4, 5)], {}),
    ("Gemm", 9, [normal(3, 4)], [normal(5, 4), normal(5)], {"transB": 1, "alpha": 0.5}),
    ("Gemm", 9, [normal(4, 3)], [normal(4, 5), normal(3, 1)], {"transA": 1, "beta": 2.0}),
    ("Gemm", 11, [normal(3, 4)], [normal(4, 5)], {}),
    ("PRelu", 9, [X4], [abs(normal(4, 1, 1))], {}),
    ("PRelu", 9, [X4], [abs(normal(1, 4, 6, 5))], {}),
    ("HardSigmoid", 6, [X4], [], {"alpha": 1 / 6, "beta": 0.5}),
    ("Reshape", 5, [X4], [int64(0, -1, 5)], {}),
    ("Expand", 8, [normal(3, 1)], [int64(2, 1, 4)], {}),
    ("OneHot", 11, [int64(0, 2, -1)], [np.array(3), np.array([0, 5], np.float32)], {}),
    ("LRN", 13, [X4], [], {"size": 3}),
    ("Where", 9, [X4 > 0, X4], [np.float32(0)], {}),
    ("InstanceNormalization", 6, [X4], [normal(4), normal(4)], {}),
    ("LSTM", 7, [normal(3, 2, 4)], [normal(1, 20, 4), normal(1, 20, 5), normal(1, 40)],
     {"hidden_size": 5}),
    ("GRU", 7, [normal(3, 2, 4)], [normal(2, 15, 4), normal(2, 15, 5), normal(2, 30)],
     {"hidden_size": 5, "direction": "bidirectional", "linear_before_reset": 1}),
    ("Einsum", 12, [normal(2, 3, 4), normal(2, 4, 5)], [], {"equation": "bij, bjk -> bik"}),
]  # fmt: skip


@pytest.mark.parametrize(
    ("op_type", "opset", "inputs", "constants", "attributes"),
    OLD,
    ids=[f"{case[0]}-{case[1]}-{i}" for i, case in enumerate(OLD)],
)
def test_agrees_with_onnx_runtime(
    op_type: str,
    opset: int,
    inputs: list[Array],
    constants: list[Array],
    attributes: dict[str, Any],
) -> None:
    outputs = {"Split": 2, "TopK": 2}.get(op_type, 1)
    model = model_of(op_type, inputs, constants, opset=opset, outputs=outputs, **attributes)
    compare(model, inputs)


sizes = st.integers(min_value=3, max_value=9)
small = st.integers(min_value=0, max_value=2)


@settings(max_examples=40, deadline=None)
@given(
    height=sizes, width=sizes, kernel=st.integers(1, 3), stride=st.integers(1, 3),
    dilation=st.integers(1, 2), pads=st.tuples(small, small, small, small),
    auto=st.sampled_from(["NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"]),
    groups=st.sampled_from([1, 2]),
)  # fmt: skip
def test_convolution_of_any_geometry(
    height: int, width: int, kernel: int, stride: int, dilation: int,
    pads: tuple[int, int, int, int], auto: str, groups: int,
) -> None:  # fmt: skip
    # ONNX Runtime has no SAME padding for dilated windows.
    dilation = 1 if auto.startswith("SAME") else dilation
    span = dilation * (kernel - 1) + 1
    if auto == "VALID" and min(height, width) < span:
        return
    if auto == "NOTSET" and min(height + pads[0] + pads[2], width + pads[1] + pads[3]) < span:
        return
    x = normal(1, 4, height, width)
    geometry: dict[str, Any] = {"strides": [stride] * 2, "dilations": [dilation] * 2}
    geometry |= {"pads": list(pads)} if auto == "NOTSET" else {"auto_pad": auto}
    weights = [normal(6, 4 // groups, kernel, kernel), normal(6)]
    compare(model_of("Conv", [x], weights, opset=11, group=groups, **geometry), [x])


@settings(max_examples=40, deadline=None)
@given(
    height=sizes, width=sizes, kernel=st.integers(2, 3), stride=st.integers(1, 3),
    pads=st.tuples(*[st.integers(0, 1)] * 4), ceil=st.booleans(), count=st.booleans(),
    op_type=st.sampled_from(["AveragePool", "MaxPool"]),
)  # fmt: skip
def test_pooling_of_any_geometry(
    height: int, width: int, kernel: int, stride: int, pads: tuple[int, int, int, int],
    ceil: bool, count: bool, op_type: str,
) -> None:  # fmt: skip
    x = normal(1, 3, height, width)
    geometry = {
        "kernel_shape": [kernel] * 2,
        "strides": [stride] * 2,
        "pads": list(pads),
        "ceil_mode": int(ceil),
    }
    if op_type == "AveragePool":
        geometry["count_include_pad"] = int(count)
    compare(model_of(op_type, [x], opset=19, **geometry), [x])


@settings(max_examples=40, deadline=None)
@given(
    height=sizes, width=sizes, kernel=st.integers(1, 3), stride=st.integers(1, 3),
    pads=st.tuples(*[st.integers(0, 1)] * 4), more=st.integers(0, 1),
    groups=st.sampled_from([1, 2]),
)  # fmt: skip
def test_transposed_convolution_of_any_geometry(
    height: int, width: int, kernel: int, stride: int, pads: tuple[int, int, int, int],
    more: int, groups: int,
) -> None:  # fmt: skip
    more = min(more, stride - 1)
    x = normal(1, 4, height, width)
    weights = [normal(4, 3, kernel, kernel), normal(3 * groups)]
    model = model_of(
        "ConvTranspose", [x], weights, opset=11, group=groups, strides=[stride] * 2,
        pads=list(pads), output_padding=[more] * 2,
    )  # fmt: skip
    compare(model, [x])


@settings(max_examples=60, deadline=None)
@given(
    target=st.tuples(st.integers(2, 12), st.integers(2, 12)),
    mode=st.sampled_from(["nearest", "linear", "cubic"]),
    rule=st.sampled_from(["half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric"]),
    rounding=st.sampled_from(["floor", "ceil", "round_prefer_floor", "round_prefer_ceil"]),
)
def test_resize_to_any_size(target: tuple[int, int], mode: str, rule: str, rounding: str) -> None:
    x = normal(1, 2, 4, 6)
    model = _resize_model(x, target, mode, rule, rounding)
    found = import_onnx(model).module(torch.from_numpy(x))[0].detach().numpy()
    (wanted,) = reference(model, {"x0": x})
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)


def _resize_model(
    x: Array, target: tuple[int, int], mode: str, rule: str, rounding: str
) -> onnx.ModelProto:
    node = helper.make_node(
        "Resize", ["x0", "", "", "sizes"], ["y"], mode=mode, nearest_mode=rounding,
        coordinate_transformation_mode=rule,
    )  # fmt: skip
    sizes = numpy_helper.from_array(int64(1, 2, *target), "sizes")
    results = [onnx.ValueInfoProto(name="y")]
    graph = helper.make_graph([node], "g", [_info("x0", x)], results, [sizes])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=7)


@settings(max_examples=60, deadline=None)
@given(
    start=st.integers(-9, 9), end=st.integers(-9, 9), step=st.sampled_from([-3, -1, 1, 2]),
    axis=st.integers(-2, 1),
)  # fmt: skip
def test_slice_with_any_bounds(start: int, end: int, step: int, axis: int) -> None:
    x = normal(5, 7)
    bounds = [int64(start), int64(end), int64(axis), int64(step)]
    model = model_of("Slice", [x], bounds, opset=13)
    places: list[Any] = [slice(None), slice(None)]
    places[axis] = slice(start, end, step)
    found = import_onnx(model).module(torch.from_numpy(x))[0].numpy()
    np.testing.assert_array_equal(found, x[tuple(places)])


def test_shape_arithmetic_folds_away() -> None:
    nodes = [
        helper.make_node("Shape", ["x"], ["shape"]),
        helper.make_node("Gather", ["shape", "zero"], ["batch"]),
        helper.make_node("Unsqueeze", ["batch"], ["batch1"], axes=[0]),
        helper.make_node("Concat", ["batch1", "rest"], ["target"], axis=0),
        helper.make_node("Reshape", ["x", "target"], ["y"]),
    ]
    constants = [
        numpy_helper.from_array(np.array(0), "zero"),
        numpy_helper.from_array(int64(-1), "rest"),
    ]
    x = normal(2, 3, 4)
    results = [onnx.ValueInfoProto(name="y")]
    graph = helper.make_graph(nodes, "g", [_info("x", x)], results, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)])
    module = import_onnx(model).module
    assert [node.op for node in module.graph.nodes] == ["placeholder", "call_function", "output"]
    assert module(torch.from_numpy(x))[0].shape == (2, 12)


def test_shape_from_data_is_refused() -> None:
    x, shape = normal(2, 3), int64(3, 2)
    message = (
        "Reshape node 'the_node': its shape is computed from input data; "
        "nearest supported form: Reshape with constant shape"
    )
    with pytest.raises(UnsupportedOperatorError) as error:
        import_onnx(model_of("Reshape", [x, shape], opset=13))
    assert str(error.value) == message


def test_unknown_operator_is_named_with_its_neighbour() -> None:
    message = "NonMaxSuppression node 'the_node': the operator is not supported"
    with pytest.raises(UnsupportedOperatorError, match=message):
        import_onnx(model_of("NonMaxSuppression", [normal(1, 2, 4), normal(1, 1, 2)], opset=11))


def test_operator_of_another_domain_is_refused() -> None:
    model = model_of("Gelu", [normal(2)], opset=17, domain="com.microsoft")
    with pytest.raises(UnsupportedOperatorError, match=r"of domain com\.microsoft is not"):
        import_onnx(model)


def test_shapes_that_do_not_fit_are_told_with_the_node() -> None:
    model = model_of("MatMul", [normal(2, 3), normal(4, 5)], opset=13)
    with pytest.raises(ModelError, match=r"MatMul node 'the_node' .* \[2, 3\], \[4, 5\]"):
        import_onnx(model)


def test_unsupported_element_type_is_named() -> None:
    model = model_of("Abs", [np.array([1], np.uint64)], opset=13)
    with pytest.raises(ModelError, match="input 'x0' has element type uint64"):
        import_onnx(model)
