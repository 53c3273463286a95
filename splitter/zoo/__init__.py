"""Real networks by name: our own torch definitions and the ONNX files of model packages.

The table holds strings, so nothing is imported before it is used.
"""

import difflib
from collections.abc import Callable, Mapping
from importlib import import_module

from splitter.errors import ModelError
from splitter.zoo.model import ZooModel

__all__ = ["ZooModel", "load", "names"]

_MODELS: Mapping[str, str] = {
    "mobilenet_v2": "mobilenet:mobilenet_v2",
    "efficientnet_lite0": "efficientnet:efficientnet_lite0",
    "resnet18": "resnet:resnet18",
    "resnet50": "resnet:resnet50",
    "shufflenet_v2": "shufflenet:shufflenet_v2",
    "minilm_l6": "minilm:minilm_l6",
    "vit_saliency": "onnx_files:vit_saliency",
    "centerface": "onnx_files:centerface",
    "ocr_detection": "onnx_files:ocr_detection",
    "ocr_recognition": "onnx_files:ocr_recognition",
    "ocr_angle": "onnx_files:ocr_angle",
    "minilm_l3": "onnx_files:minilm_l3",
}


def names() -> tuple[str, ...]:
    """All names that `load` takes."""
    return tuple(_MODELS)


def load(name: str) -> ZooModel:
    """The model called ``name``, in evaluation mode.

    Raises:
        ModelError: There is no such model, or the package with its weights is not installed.
    """
    if name not in _MODELS:
        near = difflib.get_close_matches(name, _MODELS, n=1)
        hint = f"did you mean '{near[0]}'? " if near else ""
        raise ModelError(f"no model '{name}' in the zoo; {hint}there are {', '.join(_MODELS)}")
    module, function = _MODELS[name].split(":")
    build: Callable[[], ZooModel] = getattr(import_module(f"{__name__}.{module}"), function)
    return build()
