"""Constant folding, names of constants, sharing."""

import torch
from torch.nn import functional as F

from splitter.tracing.onnx_recorder import Recorder, attribute_path, identifier, in_role


def test_constants_fold_and_inputs_are_recorded() -> None:
    recorder = Recorder()
    x = recorder.placeholder("x", (2, 3), torch.float32)
    weight = recorder.constant("fc.weight", torch.arange(12.0).reshape(3, 4))
    with recorder:
        y = F.linear(x, torch.mul(torch.t(weight), 2.0))
        rows = y.shape[0] * 2
    recorder.output([y])
    module = recorder.module()
    assert rows == 4
    assert [node.op for node in module.graph.nodes] == [
        "placeholder", "get_attr", "call_function", "output",
    ]  # fmt: skip
    assert list(dict(module.named_parameters())) == ["fc.weight"]
    torch.testing.assert_close(module.get_parameter("fc.weight").detach(), weight.t() * 2)


def test_integers_and_statistics_are_buffers() -> None:
    recorder = Recorder()
    x = recorder.placeholder("x", (1, 2, 3, 3), torch.float32)
    mean, variance, scale = (recorder.constant(name, torch.ones(2)) for name in ("m", "v", "s"))
    places = recorder.constant("places", torch.tensor([1, 0]))
    with recorder:
        y = F.batch_norm(x, mean, variance, scale, None, False)
        y = torch.index_select(y, 1, places)
    recorder.output([y])
    module = recorder.module()
    assert set(dict(module.named_parameters())) == {"s.weight"}
    assert set(dict(module.named_buffers())) == {"m.running_mean", "v.running_var", "places"}


def test_equal_constants_of_one_origin_are_one() -> None:
    recorder = Recorder()
    x = recorder.placeholder("x", (1, 2), torch.float32)
    weight = recorder.constant("w", torch.eye(2))
    other = recorder.constant("v", torch.eye(2))
    with recorder:
        y = F.linear(F.linear(F.linear(x, torch.t(weight)), torch.t(weight)), other)
    recorder.output([y])
    assert set(dict(recorder.module().named_parameters())) == {"w.weight", "v.weight"}


def test_unnamed_weights_are_called_after_their_node() -> None:
    recorder = Recorder()
    x = recorder.placeholder("x", (1, 2), torch.float32)
    weight = recorder.constant("onnx::MatMul_12", torch.eye(2))
    bias = recorder.constant("onnx::Add_13", torch.ones(2))
    recorder.enter_node("/layer.0/query/MatMul", "MatMul")
    with recorder:
        y = F.linear(x, weight, bias)
    recorder.output([y])
    names = list(dict(recorder.module().named_parameters()))
    assert names == ["layer.0.query.weight", "layer.0.query.bias"]


def test_names_that_collide_stay_apart() -> None:
    recorder = Recorder()
    y = recorder.placeholder("x", (2,), torch.float32)
    names = ("a", "a.b", "a.b.c", "a/b", "a-b", "a_b")
    with recorder:
        for i, name in enumerate(names):
            y = torch.add(y, recorder.constant(name, torch.full((2,), float(i))))
    recorder.output([y])
    module = recorder.module()
    assert len(dict(module.named_parameters())) == len(names)
    assert module(torch.zeros(2))[0].tolist() == [15.0, 15.0]


def test_operators_with_several_results() -> None:
    recorder = Recorder()
    x = recorder.placeholder("x", (4,), torch.float32)
    with recorder:
        values, places = torch.topk(x, 2)
    recorder.output([values, places])
    values, places = recorder.module()(torch.tensor([3.0, 1.0, 4.0, 1.5]))
    assert (values.tolist(), places.tolist()) == ([4.0, 3.0], [2, 0])


def test_names() -> None:
    assert attribute_path("backbone.encoder.layer.0.weight") == "backbone.encoder.layer.0.weight"
    assert attribute_path("/a/b::c_output_0") == "a.b__c_output_0"
    assert attribute_path("training.forward.x") == "training_.forward_.x"
    assert attribute_path("...") == "constant"
    assert identifier("input.1") == "input_1"
    assert identifier("0") == "_0"


def test_parameters_are_called_by_their_role() -> None:
    for name in ("conv1_weights", "conv1.w_0", "conv1/kernel", "conv1.gamma"):
        assert attribute_path(in_role(name, "weight")) == "conv1.weight"
    assert in_role("bn.weight", "weight") == "bn.weight"
    assert in_role("bn.w_2", "running_var") == "bn/running_var"
    assert in_role("w", "weight") == "w/weight"
    assert in_role("table", "constant") == "table"
