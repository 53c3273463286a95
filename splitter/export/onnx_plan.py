"""A plan as an ONNX model of layers with the standard's multi-device annotations (IR version 11).

One node per layer, in the domain `DOMAIN`, with the operator family as its type. It carries shapes
and costs but no weights: it is for viewers and tools that read ``pipeline_stage``, not for running.
"""

from collections.abc import Mapping
from pathlib import Path

import onnx
from onnx import TensorProto, helper

from splitter.graph import Graph, Layer
from splitter.plan import Plan

DOMAIN = "splitter"
CONFIGURATION = "plan"
_IR_VERSION = 11
"""The first that has device configurations."""
_DTYPES = {
    "float32": TensorProto.FLOAT,
    "float64": TensorProto.DOUBLE,
    "float16": TensorProto.FLOAT16,
    "int64": TensorProto.INT64,
    "int32": TensorProto.INT32,
    "int16": TensorProto.INT16,
    "int8": TensorProto.INT8,
    "uint8": TensorProto.UINT8,
    "bool": TensorProto.BOOL,
}


def annotate_onnx(graph: Graph, plan: Plan, path_out: Path | str) -> None:
    """Write the annotated layer graph to ``path_out``.

    Every node names its pipeline stage; the sharding specification of its outputs names the
    device, as an index into the configuration's list of devices.

    Raises:
        OSError: the folder cannot be written, or the disk is full; no half file stays.
    """
    path = Path(path_out)
    draft = path.with_name(f".{path.name}.draft")
    try:
        draft.write_bytes(plan_to_onnx(graph, plan).SerializeToString(deterministic=True))
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def plan_to_onnx(graph: Graph, plan: Plan) -> onnx.ModelProto:
    """The annotated layer graph as a model in memory."""
    devices = [load.device for load in plan.estimate.devices]
    stages = pipeline_stages(graph, plan.placement)
    made = [name for name in graph.tensors if name in graph.producer and name not in graph.outputs]
    body = helper.make_graph(
        [_node(graph, layer, plan, devices, stages[layer.name]) for layer in graph.layers],
        graph.name,
        [_value(graph, name) for name in graph.inputs],
        [_value(graph, name) for name in graph.outputs],
        value_info=[_value(graph, name) for name in made],
    )
    model = helper.make_model(
        body,
        producer_name="splitter",
        ir_version=_IR_VERSION,
        opset_imports=[helper.make_opsetid("", 22), helper.make_opsetid(DOMAIN, 1)],
    )
    configuration = model.configuration.add()
    configuration.name = CONFIGURATION
    configuration.num_devices = len(devices)
    configuration.device.extend(devices)
    return model


def pipeline_stages(graph: Graph, placement: Mapping[str, str]) -> dict[str, int]:
    """Stage of each layer: one more than its latest predecessor's when the device changes."""
    stages: dict[str, int] = {}
    for layer in graph.layers:
        stage = 0
        for tensor in layer.inputs:
            maker = graph.producer.get(tensor)
            if maker is not None:
                moved = placement[maker.name] != placement[layer.name]
                stage = max(stage, stages[maker.name] + moved)
        stages[layer.name] = stage
    return stages


def _node(graph: Graph, layer: Layer, plan: Plan, devices: list[str], stage: int) -> onnx.NodeProto:
    node = helper.make_node(
        layer.kind,
        list(layer.inputs),
        list(layer.outputs),
        name=layer.name,
        domain=DOMAIN,
        macs=layer.macs,
        weight_bytes=graph.layer_weight_bytes(layer),
        scratch_bytes=layer.scratch_bytes,
        device=plan.placement[layer.name],
    )
    annotation = node.device_configurations.add()
    annotation.configuration_id = CONFIGURATION
    annotation.pipeline_stage = stage
    for tensor in layer.outputs:
        sharding = annotation.sharding_spec.add()
        sharding.tensor_name = tensor
        sharding.device.append(devices.index(plan.placement[layer.name]))
    return node


def _value(graph: Graph, name: str) -> onnx.ValueInfoProto:
    tensor = graph.tensors[name]
    return helper.make_tensor_value_info(name, _DTYPES[tensor.dtype], list(tensor.shape))
