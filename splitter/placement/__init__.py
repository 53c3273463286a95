"""Published placement problems as the same types that describe real models."""

from splitter.placement.reader import PlacementProblem, read_placement

__all__ = ["PlacementProblem", "read_placement"]
