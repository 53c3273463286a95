"""Small random joint problems of every form, for tests and the benchmark."""

from itertools import pairwise
from random import Random

from splitter.search.estimate.bilinear import Bilinear
from splitter.search.strategy.problem import (
    INPUT,
    Goal,
    JointProblem,
    Move,
    Moves,
    Option,
    Time,
    Vertex,
    sizes_of,
)
from splitter.timing import Hop

_STRUCTURES = (
    ((INPUT,), (0,), (1,), (2,)),
    ((INPUT,), (0,), (0,), (1, 2)),
    ((INPUT,), (0,), (INPUT, 1), (1, 2)),
)
"""Inputs of each vertex: a chain, a diamond, one with a skip connection and two inputs."""


def random_problem(
    rng: Random, vertices: int = 4, choices: int = 2, devices: int = 3
) -> JointProblem:
    """One problem: a chain or another small DAG, with widths, a stage, pins and memory caps."""
    chain = vertices != 4 or rng.random() < 0.4
    structure = tuple((v - 1,) for v in range(vertices)) if chain else rng.choice(_STRUCTURES)
    widths = (0, 1) if rng.random() < 0.3 else (0,)
    stage = (1, 2, 3) if chain and vertices >= 4 and rng.random() < 0.6 else ()
    made = tuple(
        _vertex(rng, v, inputs, choices, devices, widths, v in stage[1:])
        for v, inputs in enumerate(structure)
    )
    input_bytes = rng.randrange(1, 2000)
    sizes = sizes_of(made, input_bytes)
    weights = sum(max(o.weight_bytes for o in v.options) for v in made)
    caps = tuple(rng.uniform(0.3, 1.5) * weights + 3000 for _ in range(devices))
    return JointProblem(
        vertices=made,
        devices=tuple(f"d{d}" for d in range(devices)),
        moves=_moves(rng, sizes, devices),
        accuracy=_accuracy(rng, made, stage),
        input_bytes=input_bytes,
        source=rng.randrange(devices),
        sink=rng.randrange(devices),
        limits=caps if rng.random() < 0.6 else (),
        in_flight=rng.randrange(1, 4),
        stages=(stage,) if stage else (),
        shared=(rng.random() < 0.3,) if stage else (),
    )


def random_goal(rng: Random) -> Goal:
    """One goal, of any form."""
    time: Time = "period" if rng.random() < 0.3 else "sequential"
    cuts = rng.randrange(3) if rng.random() < 0.2 else None
    kind = rng.randrange(3)
    if kind == 0:
        return Goal(budget_s=rng.uniform(3.0, 12.0), time=time, most_cuts=cuts)
    if rng.random() < 0.2:
        excluded = tuple(tuple(rng.randrange(2) for _ in range(4)) for _ in range(3))
        return Goal(budget_s=rng.uniform(3.0, 12.0), excluded=excluded)
    if kind == 1:
        return Goal(price_per_s=rng.uniform(0.05, 1.0), time=time, most_cuts=cuts)
    return Goal(weight=0.0, price_per_s=1.0, least_accuracy=rng.uniform(-1, 2), time=time)


def _vertex(
    rng: Random,
    v: int,
    inputs: tuple[int, ...],
    choices: int,
    devices: int,
    widths: tuple[int, ...],
    skippable: bool,
) -> Vertex:
    options = [
        Option(
            choice=c,
            seconds=tuple(rng.uniform(0.2, 3.0) for _ in range(devices)),
            output_bytes=rng.randrange(1, 2000),
            weight_bytes=rng.randrange(1000, 5000),
            working_bytes=rng.randrange(0, 3000),
            takes=takes,
            gives=rng.choice(widths) if v else rng.choice(widths[: 1 + c]),
        )
        for c in range(choices)
        for takes in (widths if INPUT not in inputs else (0,))
    ]
    if skippable:
        options += [
            Option(choices, (0.0,) * devices, 1000 + w, takes=w, gives=w, skip=True) for w in widths
        ]
    allowed = tuple(d for d in range(devices) if rng.random() < 0.8) if rng.random() < 0.3 else ()
    return Vertex(f"v{v}", tuple(options), inputs, slot=v, allowed=allowed)


def _moves(rng: Random, sizes: set[int], devices: int) -> dict[int, Moves]:
    fixed = {
        (d, e): (rng.uniform(0.0, 1.0), rng.uniform(200.0, 4000.0))
        for d in range(devices)
        for e in range(devices)
        if d != e and rng.random() < 0.95
    }
    shared = rng.random() < 0.3
    return {
        size: {
            (d, e): _move(d, e, devices, late, size / rate, shared)
            for (d, e), (late, rate) in fixed.items()
        }
        for size in sizes
    }


def _move(d: int, e: int, devices: int, late_s: float, busy_s: float, shared: bool) -> Move:
    """Straight, but from the first of three devices to the last by way of the second."""
    way = (0, 1, 2) if devices == 3 and (d, e) == (0, 2) else (d, e)
    parts = len(way) - 1
    return Move(
        tuple(
            Hop(b, 0 if shared else a * devices + b, busy_s / parts, late_s / parts)
            for a, b in pairwise(way)
        )
    )


def _accuracy(rng: Random, vertices: tuple[Vertex, ...], stage: tuple[int, ...]) -> Bilinear:
    counts = [1 + max(o.choice for o in vertex.options) for vertex in vertices]
    skips = [next((o.choice for o in v.options if o.skip), -1) for v in vertices]
    pair = (0, rng.randrange(1, len(vertices)))
    table = tuple(
        tuple(rng.uniform(-0.5, 0.5) for _ in range(counts[pair[1]])) for _ in range(counts[0])
    )
    return Bilinear(
        unary=tuple(tuple(rng.uniform(0.0, 1.0) for _ in range(n)) for n in counts),
        base=rng.uniform(-1.0, 1.0),
        depth=(tuple(rng.uniform(-0.5, 0.5) for _ in range(len(stage) + 1)),) if stage else (),
        stages=(stage,) if stage else (),
        skips=tuple(skips),
        pairs={pair: table} if rng.random() < 0.6 else {},
    )
