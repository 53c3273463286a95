"""Replicas: equal devices that take turns at one part of a model, each with another request.

A group is a tuple of devices; the first runs some layers, the others are equal to it and idle.
Request r runs on the (r mod size)-th device of each group what the plan puts on the first. So the
requests repeat after as many turns as the groups' sizes have for least common multiple, and every
turn is a plain placement. Per request a device or link is busy for the mean over the turns; the
latency is that of the slowest turn, and memory what the fullest turn needs.
"""

from collections.abc import Callable, Mapping, Sequence
from math import ceil, lcm
from statistics import fmean
from typing import Any

from splitter.plan import DeviceLoad, Estimate, LinkLoad, MediumLoad

Groups = tuple[tuple[str, ...], ...]


def turns_of(placement: Mapping[str, str], groups: Groups) -> tuple[dict[str, str], ...]:
    """The placement of each request until they repeat; the first is ``placement`` itself."""
    count = lcm(*(len(group) for group in groups))
    stands_in = [{group[0]: group[turn % len(group)] for group in groups} for turn in range(count)]
    return tuple(
        {layer: instead.get(device, device) for layer, device in placement.items()}
        for instead in stands_in
    )


def mean_estimate(turns: Sequence[Estimate]) -> Estimate:
    """What one request costs on average, given the estimate of every turn."""
    devices = tuple(_device(loads) for loads in zip(*(t.devices for t in turns), strict=True))
    links = tuple(_links(turns))
    media = tuple(_media(turns))
    busy = [*(d.compute_s for d in devices), *(k.seconds for k in links)]
    busy += [medium.seconds for medium in media]
    return Estimate(
        latency_s=max(turn.latency_s for turn in turns),
        period_s=max(busy),
        energy_j=fmean(turn.energy_j for turn in turns),
        sent_bytes=ceil(fmean(turn.sent_bytes for turn in turns)),
        devices=devices,
        links=links,
        media=media,
        dollars=fmean(turn.dollars for turn in turns),
    )


def _device(loads: Sequence[DeviceLoad]) -> DeviceLoad:
    fullest = max(loads, key=lambda load: load.memory_bytes)
    return DeviceLoad(
        device=loads[0].device,
        layers=max((load.layers for load in loads), key=len),
        compute_s=fmean(load.compute_s for load in loads),
        weight_bytes=fullest.weight_bytes,
        activation_bytes=fullest.activation_bytes,
        memory_bytes=fullest.memory_bytes,
        memory_limit_bytes=fullest.memory_limit_bytes,
        received_bytes=ceil(fmean(load.received_bytes for load in loads)),
        sent_bytes=ceil(fmean(load.sent_bytes for load in loads)),
        energy_j=fmean(load.energy_j for load in loads),
    )


def _by_key(
    turns: Sequence[Estimate], field: str, key: Callable[[Any], Any]
) -> dict[Any, list[Any]]:
    """The loads of each link or medium over all turns."""
    found: dict[Any, list[Any]] = {}
    for turn in turns:
        for load in getattr(turn, field):
            found.setdefault(key(load), []).append(load)
    return found


def _links(turns: Sequence[Estimate]) -> list[LinkLoad]:
    count = len(turns)
    return [
        LinkLoad(
            source,
            target,
            ceil(sum(load.bytes for load in loads) / count),
            sum(load.seconds for load in loads) / count,
            sum(load.energy_j for load in loads) / count,
        )
        for (source, target), loads in _by_key(
            turns, "links", lambda load: (load.source, load.target)
        ).items()
    ]


def _media(turns: Sequence[Estimate]) -> list[MediumLoad]:
    count = len(turns)
    return [
        MediumLoad(
            name,
            ceil(sum(load.bytes for load in loads) / count),
            sum(load.seconds for load in loads) / count,
        )
        for name, loads in sorted(_by_key(turns, "media", lambda load: load.name).items())
    ]
