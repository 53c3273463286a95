"""8-bit integer programs: calibration from unlabelled inputs, and the rewriting of a Program."""

from compress.int8.choose import Steps
from compress.int8.ranges import Calibration
from compress.int8.rewrite import quantize

__all__ = ["Calibration", "Steps", "quantize"]
