"""Placement and a variant of every layer by one integer program."""

from splitter.partitioning.joint.partition import partition_jointly

__all__ = ["partition_jointly"]
