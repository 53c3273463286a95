"""The ONNX form of a plan."""

from pathlib import Path

import onnx
import pytest
from planner_cases import MIB, chain, costs_of, phone_edge_cloud, three_equal, vit_like

from splitter.export.onnx_plan import annotate_onnx, pipeline_stages, plan_to_onnx
from splitter.partitioning import partition


def test_file_loads_and_names_stage_and_device(tmp_path: Path) -> None:
    graph, topology = chain(4), three_equal(3 * MIB + 300_000)
    plan = partition(graph, topology, costs_of(graph, topology))
    path = tmp_path / "plan.onnx"
    annotate_onnx(graph, plan, path)
    model = onnx.load(path)
    onnx.checker.check_model(model)
    assert [p.name for p in tmp_path.iterdir()] == ["plan.onnx"]
    assert model.ir_version >= 11
    (configuration,) = model.configuration
    assert list(configuration.device) == ["camera", "hub", "server"]
    assert configuration.num_devices == 3
    devices = {
        node.name: configuration.device[node.device_configurations[0].sharding_spec[0].device[0]]
        for node in model.graph.node
    }
    assert devices == plan.placement
    stages = [node.device_configurations[0].pipeline_stage for node in model.graph.node]
    assert stages == [0, 0, 1, 1]


def test_shapes_are_kept() -> None:
    graph, topology = vit_like(1), three_equal(64 * MIB)
    plan = partition(
        graph, topology, costs_of(graph, topology), placement=dict.fromkeys(graph.by_name, "hub")
    )
    model = plan_to_onnx(graph, plan)
    values = [*model.graph.input, *model.graph.value_info, *model.graph.output]
    shapes = {
        value.name: tuple(d.dim_value for d in value.type.tensor_type.shape.dim) for value in values
    }
    assert shapes == {name: tensor.shape for name, tensor in graph.tensors.items()}


def test_coming_back_to_a_device_is_a_new_stage() -> None:
    placement = {"l0": "phone", "l1": "edge", "l2": "phone"}
    assert pipeline_stages(chain(3), placement) == {"l0": 0, "l1": 1, "l2": 2}


def test_folder_that_does_not_exist(tmp_path: Path) -> None:
    graph, topology = chain(2), phone_edge_cloud()
    plan = partition(graph, topology, costs_of(graph, topology))
    with pytest.raises(FileNotFoundError):
        annotate_onnx(graph, plan, tmp_path / "missing" / "plan.onnx")
