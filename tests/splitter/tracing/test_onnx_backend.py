"""The operator set's own test suite: single-node models with inputs and expected outputs."""

import warnings
from collections.abc import Mapping

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from onnx import numpy_helper
from onnx.backend.test.case import node as backend
from onnx.backend.test.case.test_case import TestCase as Case

from splitter.errors import ModelError, UnsupportedOperatorError
from splitter.tracing.onnx_import import import_onnx
from splitter.tracing.onnx_ops import OPS
from splitter.tracing.onnx_types import DTYPES

Array = NDArray[np.generic]

# Inputs that must be known at import: shapes, axes, sizes.
CONSTANT_INPUTS: Mapping[str, tuple[int, ...]] = {
    "CenterCropPad": (1,),
    "ConstantOfShape": (0,),
    "CumSum": (1,),
    "Dropout": (1, 2),
    "Expand": (1,),
    "OneHot": (1, 2),
    "Pad": (1, 2, 3),
    "Range": (0, 1, 2),
    "Reshape": (1,),
    "Resize": (1, 2, 3),
    "Slice": (1, 2, 3, 4),
    "Split": (1,),
    "Squeeze": (1,),
    "Tile": (1, 2),
    "TopK": (1,),
    "Trilu": (1,),
    "Unsqueeze": (1,),
    "Upsample": (1,),
}
REFUSED = {
    "test_batchnorm_epsilon_training_mode",
    "test_batchnorm_example_training_mode",
    "test_lstm_with_peepholes",
    "test_maxpool_with_argmax_2d_precomputed_pads",
    "test_maxpool_with_argmax_2d_precomputed_strides",
    "test_resize_tf_crop_and_resize",
    "test_resize_tf_crop_and_resize_axes_2_3",
    "test_resize_tf_crop_and_resize_axes_3_2",
    "test_resize_tf_crop_and_resize_extrapolation_value",
    "test_training_dropout",
    "test_training_dropout_default",
    "test_training_dropout_default_mask",
    "test_training_dropout_mask",
}
EMPTY = {
    "test_reduce_max_empty_set",
    "test_reduce_max_empty_set_bool",
    "test_reduce_min_empty_set",
}
# The suite scales by the unrounded output size here, ONNX Runtime and PyTorch by the rounded one.
DISPUTED = {
    "test_resize_downsample_scales_cubic_align_corners",
    "test_resize_downsample_scales_linear_align_corners",
}


def _cases() -> list[Case]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = backend.collect_testcases(None)
    return [case for case in found if _is_ours(case)]


def _is_ours(case: Case) -> bool:
    graph = case.model.graph
    types = {v.type.tensor_type.elem_type for v in [*graph.input, *graph.output]}
    return (
        len(graph.node) == 1
        and graph.node[0].op_type in OPS
        and not graph.node[0].domain
        and not case.name.endswith("_expanded")
        and types <= DTYPES.keys() - {onnx.TensorProto.BFLOAT16}
    )


CASES = {case.name: case for case in _cases()}


def _array(value: Array | onnx.TensorProto) -> Array:
    raw = numpy_helper.to_array(value) if isinstance(value, onnx.TensorProto) else value
    return np.array(raw)


def _prepared(case: Case, values: list[Array]) -> tuple[onnx.ModelProto, list[torch.Tensor]]:
    """The model with static inputs made initializers, and the values of the others."""
    model = onnx.ModelProto()
    model.CopyFrom(case.model)
    graph, inputs = model.graph, []
    op_type = graph.node[0].op_type
    static = (1,) if op_type.startswith("Reduce") else CONSTANT_INPUTS.get(op_type, ())
    for item, value in zip(list(graph.input), values, strict=True):
        if list(graph.node[0].input).index(item.name) in static:
            graph.initializer.append(numpy_helper.from_array(value, item.name))
            graph.input.remove(item)
        else:
            inputs.append(torch.from_numpy(value))
            item.type.CopyFrom(
                onnx.helper.make_tensor_type_proto(
                    item.type.tensor_type.elem_type, list(value.shape)
                )
            )
    return model, inputs


@pytest.mark.parametrize("name", sorted(CASES.keys() - REFUSED - EMPTY - DISPUTED))
def test_gives_the_expected_outputs(name: str) -> None:
    for inputs, outputs in CASES[name].data_sets:
        model, tensors = _prepared(CASES[name], [_array(x) for x in inputs])
        results = import_onnx(model).module(*tensors)
        for found, wanted in zip(results, map(_array, outputs), strict=True):
            assert found.detach().numpy().dtype == wanted.dtype
            np.testing.assert_allclose(found.detach().numpy(), wanted, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_refuses_what_it_cannot_mean(name: str) -> None:
    case = CASES[name]
    model, _ = _prepared(case, [_array(x) for x in case.data_sets[0][0]])
    with pytest.raises(UnsupportedOperatorError, match="nearest supported form: "):
        import_onnx(model)


@pytest.mark.parametrize("name", sorted(EMPTY))
def test_reduction_of_nothing_is_an_error(name: str) -> None:
    case = CASES[name]
    model, _ = _prepared(case, [_array(x) for x in case.data_sets[0][0]])
    with pytest.raises(ModelError, match=r"inputs of shapes \[2, 0, 4\]"):
        import_onnx(model)


def test_every_operator_is_tried() -> None:
    tried = {case.model.graph.node[0].op_type for case in CASES.values()}
    # These are not in the suite, or only in types that are left out; test_onnx_ops has them.
    assert OPS.keys() - tried <= {"CastLike", "GlobalLpPool", "Upsample"}
