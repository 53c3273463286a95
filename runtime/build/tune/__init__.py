"""Measured choice of kernels: try the best few ways to compute each layer, keep the fastest.

See docs/tuning.md.
"""

from runtime.build.tune.database import TuningDatabase
from runtime.build.tune.plan import tune_plan
from runtime.build.tune.tuner import TuningReport, tune_device

__all__ = ["TuningDatabase", "TuningReport", "tune_device", "tune_plan"]
