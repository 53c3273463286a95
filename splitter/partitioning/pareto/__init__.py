"""Pareto fronts of two objectives, by the epsilon-constraint method."""

from splitter.partitioning.pareto.front import POINTS, Front, Point, pareto_front

__all__ = ["POINTS", "Front", "Point", "pareto_front"]
