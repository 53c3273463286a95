"""ONNX Runtime's own 8-bit version of a model: static QDQ, weights per channel."""

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path

import onnx
import torch
from onnxruntime.quantization import (
    CalibrationDataReader,
    QuantFormat,
    QuantType,
    quantize_static,
)
from onnxruntime.quantization.shape_inference import quant_pre_process


class _Reader(CalibrationDataReader):  # type: ignore[misc]
    def __init__(self, name: str, requests: Iterable[Sequence[torch.Tensor]]) -> None:
        self.left = iter([{name: request[0].numpy()} for request in requests])

    def get_next(self) -> object:
        """The next request, or None."""
        return next(self.left, None)


def quantized_model(model: Path, requests: Iterable[Sequence[torch.Tensor]], folder: Path) -> Path:
    """The quantized file, as ONNX Runtime's documentation has it done.

    Args:
        model: an ONNX file with one input.
        requests: what to calibrate on.
        folder: where files may be written.
    """
    prepared, target = folder / "prepared.onnx", folder / "int8.onnx"
    quant_pre_process(str(model), str(prepared), skip_symbolic_shape=True)
    name = onnx.load(str(prepared)).graph.input[0].name
    logging.getLogger().setLevel(logging.ERROR)
    quantize_static(
        *(str(prepared), str(target), _Reader(name, requests)),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
    )
    return target
