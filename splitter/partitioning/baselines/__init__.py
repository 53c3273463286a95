"""Published ways to split a network, each judged like our own plans: same estimate, same rules."""

from splitter.partitioning.baselines.judged import METHODS, Baseline, judged_baselines
from splitter.partitioning.baselines.method import DoesNotApplyError, Method

__all__ = ["METHODS", "Baseline", "DoesNotApplyError", "Method", "judged_baselines"]
