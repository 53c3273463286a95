"""The best chain of down-sets against a plain recursion over sets, on larger random orders."""

from functools import cache
from itertools import combinations
from math import inf
from random import Random

import pytest

from splitter.partitioning.throughput.chain import best_chain
from splitter.partitioning.throughput.contract import contract
from splitter.partitioning.throughput.downsets import all_downsets, order_of
from splitter.partitioning.throughput.instance import Group, Instance, Net
from splitter.partitioning.throughput.tables import StageTables


def random_instance(chance: Random, n: int) -> Instance:
    pairs = [(u, v) for u, v in combinations(range(n), 2) if chance.random() < 0.35]
    nets = [
        Net(chance.choice([0, 1, 3, 7]), frozenset(chance.sample(range(n), chance.randint(2, 4))))
        for _ in range(n)
    ]
    quick = [chance.choice([0.0, 1.0, chance.uniform(0, 8)]) for _ in range(n)]
    slow = [inf if chance.random() < 0.1 else 5 * s for s in quick]
    sizes = [float(chance.randint(0, 3)) for _ in range(n)]
    limit = chance.choice([sum(sizes), 0.6 * sum(sizes)])
    accelerators = tuple(f"acc{i}" for i in range(chance.randint(1, 3)))
    groups = (
        Group(("cpu0",), tuple(slow), 0.0, inf),
        Group(accelerators, tuple(quick), chance.choice([0.1, 1.0]), limit),
    )
    layers = tuple((f"n{i}",) for i in range(n))
    return Instance(
        layers, tuple(sizes), tuple(nets), groups, frozenset(pairs), frozenset(range(n))
    )


def least_period_s(instance: Instance) -> float:
    """By recursion over what is done and which devices are left."""
    before = [{u for u, v in instance.before if v == block} for block in range(instance.n)]

    @cache
    def best(done: frozenset[int], free: tuple[int, ...]) -> float:
        left = [block for block in range(instance.n) if block not in done]
        if not left:
            return 0.0
        reached = inf
        for stage in _stages(frozenset(left), done, before):
            for g, count in enumerate(free):
                if count:
                    fewer = (*free[:g], count - 1, *free[g + 1 :])
                    load = _load(instance, stage, g)
                    if load < reached:
                        reached = min(reached, max(load, best(done | stage, fewer)))
        return reached

    return best(frozenset(), tuple(len(group.devices) for group in instance.groups))


def _stages(
    left: frozenset[int], done: frozenset[int], before: list[set[int]]
) -> list[frozenset[int]]:
    found = [frozenset[int]()]
    for block in sorted(left):
        found += [s | {block} for s in found if before[block] <= done | s]
    return found[1:]


def _load(instance: Instance, stage: frozenset[int], group: int) -> float:
    here = instance.groups[group]
    if sum(instance.sizes[block] for block in stage) > here.limit_bytes:
        return inf
    cut = sum(net.bytes for net in instance.nets if stage & net.blocks and net.blocks - stage)
    return sum(here.seconds[block] for block in stage) + cut * here.byte_s


@pytest.mark.parametrize("seed", range(60))
def test_equal_to_a_plain_recursion(seed: int) -> None:
    instance = random_instance(Random(seed), 8)
    order = order_of(instance, depth_first=seed % 2 == 0)
    masks = all_downsets(order, 10**6)
    assert masks is not None
    found = best_chain(StageTables(instance, order, masks), inf, inf)
    assert found.complete
    wanted = least_period_s(instance)
    if wanted == inf:
        assert found.best is None
        return
    assert found.best is not None
    assert found.best.value_s == pytest.approx(wanted, rel=1e-9, abs=1e-12)
    again = best_chain(StageTables(instance, order, masks), wanted * (1 - 1e-9), inf)
    assert again.best is None


@pytest.mark.parametrize("seed", range(60))
def test_contraction_keeps_what_is_better_than_known(seed: int) -> None:
    chance = Random(1000 + seed)
    instance = random_instance(chance, 8)
    wanted = least_period_s(instance)
    if wanted == inf:
        return
    known = wanted * chance.choice([1.01, 1.5, 10.0]) + 1e-6
    smaller = contract(instance, known).instance
    assert least_period_s(smaller) == pytest.approx(wanted, rel=1e-9, abs=1e-12)


def test_time_runs_out_without_a_claim() -> None:
    instance = random_instance(Random(1), 8)
    order = order_of(instance)
    masks = all_downsets(order, 10**6)
    assert masks is not None
    found = best_chain(StageTables(instance, order, masks), inf, 0.0)
    assert not found.complete


def test_too_many_downsets_are_not_listed() -> None:
    instance = random_instance(Random(1), 8)
    assert all_downsets(order_of(instance), 3) is None
