"""Periods that no placement can beat, without a search."""

from math import inf, isfinite

from splitter.partitioning.throughput.instance import Instance


def period_bound(instance: Instance) -> float:
    """The largest of the bounds below."""
    return max(_largest_block(instance), _shared_work(instance))


def _largest_block(instance: Instance) -> float:
    """The block that takes longest where it is quickest."""
    return max(
        (min(group.seconds[block] for group in instance.groups) for block in range(instance.n)),
        default=0.0,
    )


def _shared_work(instance: Instance) -> float:
    """All blocks cut into pieces at will, each device as fast as the quickest for every block.

    Weights w of the groups' devices with sum 1 give the bound sum over blocks of min(w seconds):
    tried are weights that make the groups equally fast on the whole.
    """
    groups = instance.groups
    totals = [sum(s for s in group.seconds if isfinite(s)) for group in groups]
    if not all(totals):
        return 0.0
    speeds = [1.0 / total for total in totals]
    whole = sum(len(group.devices) * speed for group, speed in zip(groups, speeds, strict=True))
    weights = [speed / whole for speed in speeds]
    return sum(
        min(
            (w * g.seconds[b] for w, g in zip(weights, groups, strict=True) if g.seconds[b] < inf),
            default=0.0,
        )
        for b in range(instance.n)
    )
