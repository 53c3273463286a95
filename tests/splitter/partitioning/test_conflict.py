"""The smallest conflict: minimal, truly a conflict, and none is smaller."""

from dataclasses import replace
from itertools import combinations
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st
from planner_cases import Case
from rule_cases import brute_feasible, ruled_case

from splitter.constraints import Key
from splitter.partitioning.conflict import Answer, smallest_conflict
from splitter.partitioning.infeasible import MEMORY, Question, conflict_of

MUCH = 2**40


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 10**9))
def test_of_any_set_system(seed: int) -> None:
    """Conflicts as random sets of numbers; an answer keeps a random possible set around."""
    random = Random(seed)
    rules = list(range(random.randint(1, 8)))
    cores = [set(random.sample(rules, random.randint(1, len(rules)))) for _ in range(3)]

    def ask(some: frozenset[int]) -> Answer[int]:
        if any(core <= some for core in cores):
            return Answer(True, some)
        kept = set(some)
        for rule in random.sample(rules, len(rules)):
            if not any(core <= kept | {rule} for core in cores) and random.random() < 0.7:
                kept.add(rule)
        return Answer(False, frozenset(kept))

    found = smallest_conflict(rules, ask, lambda: False)
    assert found.smallest
    assert set(found.rules) in cores
    assert len(found.rules) == min(map(len, cores))


def test_out_of_time_is_said() -> None:
    found = smallest_conflict([1, 2], lambda some: Answer(True, some), lambda: True)
    assert not found.smallest
    assert found.rules == (1, 2)


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 10**9))
def test_of_random_problems(seed: int) -> None:
    """Against enumeration of all placements under every subset of the rules."""
    case = ruled_case(seed, 6)
    question = Question(case.graph, case.topology, case.costs, case.constraints, case.slots)
    keys = [rule.key for rule in question.rules if rule.key[0] != "connection"]
    connected = len(keys) == len(question.rules)
    if not connected or len(keys) > 9 or possible(case, frozenset(keys)):
        return
    conflict = conflict_of(question)
    chosen = frozenset(conflict.rules)
    assert not possible(case, chosen)
    assert all(possible(case, chosen - {key}) for key in chosen)
    assert conflict.smallest
    for fewer in combinations(keys, len(chosen) - 1):
        assert possible(case, frozenset(fewer))


def possible(case: Case, keys: frozenset[Key]) -> bool:
    """Whether some placement respects these rules, by enumeration."""
    devices = tuple(
        d if (MEMORY, d.name) in keys else replace(d, memory_bytes=MUCH)
        for d in case.topology.devices
    )
    topology = replace(case.topology, devices=devices)
    rules = case.constraints.only(keys)
    if any((MEMORY, d) not in keys for d, _ in rules.reserves):
        kept = tuple(r for r in rules.reserves if (MEMORY, r[0]) in keys)
        rules = replace(rules, reserves=kept)
    relaxed = replace(case, topology=topology, constraints=rules)
    return brute_feasible(relaxed)
