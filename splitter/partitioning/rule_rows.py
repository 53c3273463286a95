"""Rows of the integer program for the rules of `splitter.constraints`, pins and bans aside."""

from splitter.partitioning.model import PlacementModel


def add_rules(model: PlacementModel) -> None:
    """Exclude every placement that breaks a rule."""
    _add_together(model)


def _add_together(model: PlacementModel) -> None:
    for group in model.problem.rules.together:
        first, *others = group
        for device in range(model.problem.m):
            for layer in others:
                model.milp.equal(model.on(first, device), model.on(layer, device))
