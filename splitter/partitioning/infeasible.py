"""Why no placement exists, and what would help, in the user's words."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import permutations
from time import monotonic

import networkx as nx

from splitter.constraints import Constraints, Key, Rule
from splitter.costs import CostTable
from splitter.errors import InfeasibleError
from splitter.graph import Graph
from splitter.partitioning.conflict import Answer, Conflict, smallest_conflict
from splitter.partitioning.ilp import find_any
from splitter.partitioning.judge import over_budget
from splitter.partitioning.problem import Assignment, Problem, build_problem
from splitter.partitioning.remedy import remedies
from splitter.partitioning.rule_check import CONNECTION, broken
from splitter.partitioning.rules import allowed_devices, memory_limits
from splitter.partitioning.search import any_plan
from splitter.partitioning.simulate import memory_bytes
from splitter.topology import Link, Topology

MEMORY = "memory"
"""Field of the key that stands for the memory of a device."""
_TRIAL_S = 5.0
"""Time for one question whether some rules conflict."""
_QUICK_S = 0.5
_WHOLE_S = 30.0
_BARRED_S = 3.0
_UNLIMITED = 2**60
_NEVER_S = 1e9
"""Latency of a link that is imagined where there is none: too slow to draw other traffic."""


@dataclass(frozen=True)
class Question:
    """A problem that has no solution, whose rules can be dropped one by one."""

    graph: Graph
    topology: Topology
    costs: CostTable
    constraints: Constraints
    slots: int

    @cached_property
    def rules(self) -> tuple[Rule, ...]:
        """What can be dropped: facts first, so that the user's own rules are what is left."""
        facts = [
            Rule((CONNECTION, ends), f"no way leading from {ends[0]} to {ends[1]}")
            for ends in _missing(self.topology)
        ]
        facts += [
            Rule((MEMORY, device.name), f"the {device.memory_bytes / 1e6:.1f} MB of {device.name}")
            for device in self.topology.devices
        ]
        own = (rule for rule in self.constraints.listed() if rule.key[0] != "optional")
        return (*facts, *map(self._named, own))

    def _named(self, rule: Rule) -> Rule:
        if rule.key[0] != "private_input":
            return rule
        births = dict.fromkeys(self.topology.source_of(name) for name in self.graph.inputs)
        return replace(rule, words=f"the raw input staying on {' and '.join(births)}")

    def under(self, keys: frozenset[Key]) -> Problem:
        """The problem with only these rules.

        Raises:
            InfeasibleError: they leave a layer no device.
        """
        links = tuple(
            Link(a, b, float(_UNLIMITED), _NEVER_S)
            for a, b in _missing(self.topology)
            if (CONNECTION, (a, b)) not in keys
        )
        topology = replace(self.topology, links=self.topology.links + links)
        rules = replace(self.constraints.only(keys), optional=())
        found = build_problem(self.graph, topology, self.costs, rules, self.slots)
        return replace(found, limits=self._limits(found, keys))

    def _limits(self, problem: Problem, keys: frozenset[Key]) -> tuple[int, ...]:
        """Where a device's memory is dropped, only a cap on the largest memory is left."""
        caps = [cap for name, cap in problem.constraints.at_most if name == "memory"]
        most = int(min(caps, default=_UNLIMITED))
        return tuple(
            limit if (MEMORY, device.name) in keys else most
            for limit, device in zip(problem.limits, self.topology.devices, strict=True)
        )

    @cached_property
    def whole(self) -> Problem:
        """The problem with all rules, if need be with layers that may run nowhere."""
        graph, topology, rules = self.graph, self.topology, self.constraints
        allowed = allowed_devices(graph, topology, rules)
        limits = tuple(device.memory_bytes for device in topology.devices)
        return Problem(graph, topology, self.costs, rules, self.slots, allowed, limits)

    def ask(self, keys: frozenset[Key]) -> Answer[Key]:
        """Whether these rules conflict, or else what one placement found for them keeps."""
        try:
            problem = self.under(keys)
        except InfeasibleError:
            return Answer(True, keys)
        # Most sets do not conflict, and a simple search shows it sooner than a program does.
        found = any_plan(problem, monotonic() + _QUICK_S)
        if found is None:
            found, proved = find_any(problem, _TRIAL_S)
        if found is None:
            return Answer(proved, keys)
        lost = set(self._broken(found))
        # A reserve means nothing without the memory it is taken from, so the two go together.
        lost |= {(MEMORY, key[1][0]) for key in lost & keys if key[0] == "reserves"}
        return Answer(False, keys | ({rule.key for rule in self.rules} - lost))

    def _broken(self, assignment: Assignment) -> list[Key]:
        keys = [key for key, _ in broken(self.whole, assignment)]
        memory = [(MEMORY, device.name) for device in self.topology.devices]
        caps = [("at_most", entry) for entry in self.constraints.at_most]
        reserves = [("reserves", entry) for entry in self.constraints.reserves]
        if any(field == CONNECTION for field, _ in keys):
            return [*keys, *memory, *caps, *reserves]  # what needs every way to be judged
        used = dict(zip(self.topology.by_name, memory_bytes(self.whole, assignment), strict=True))
        size = {device.name: device.memory_bytes for device in self.topology.devices}
        keys += [key for key in memory if used[key[1]] > size[key[1]]]
        keys += [
            ("reserves", (d, r)) for d, r in self.constraints.reserves if used[d] > size[d] - r
        ]
        return keys + self._over_caps(assignment, used)

    def _over_caps(self, assignment: Assignment, used: dict[str, int]) -> list[Key]:
        found: list[Key] = []
        for name, cap in self.constraints.at_most:
            alone = replace(self.whole, constraints=Constraints(at_most=((name, cap),)))
            over = max(used.values()) > cap if name == "memory" else over_budget(alone, assignment)
            found += [("at_most", (name, cap))] if over else []
        return found


def _missing(topology: Topology) -> list[tuple[str, str]]:
    """Pairs of devices without a way from the first to the second."""
    reach = {name: nx.descendants(topology.network(), name) for name in topology.by_name}
    return [(a, b) for a, b in permutations(topology.by_name, 2) if b not in reach[a]]


def conflict_of(question: Question, time_limit_s: float = _WHOLE_S) -> Conflict[Key]:
    """The smallest set of rules that leaves no placement, as far as the time allows."""
    deadline_s = monotonic() + time_limit_s
    keys = [rule.key for rule in question.rules]
    return smallest_conflict(keys, question.ask, lambda: monotonic() > deadline_s)


def explain(question: Question) -> str:
    """One message: which rules conflict, and for want of memory how much would do."""
    conflict = conflict_of(question)
    rules = [rule for rule in question.rules if rule.key in conflict.rules]
    memory = [rule for rule in rules if rule.key[0] == MEMORY]
    others = [rule for rule in rules if rule.key[0] != MEMORY]
    graph, topology = question.graph, question.topology
    if memory:
        because = f" under {_listed(others)}" if others else ""
        limits = memory_limits(topology, question.constraints)
        problem = replace(question.under(frozenset(conflict.rules)), limits=limits)
        found = remedies(problem, replace(question.whole, limits=limits))
        return f"{graph.name} does not fit into the memory of {topology.name}{because}: " + (
            "; ".join(found)
        )
    if all(rule.key[0] == CONNECTION for rule in rules):
        return (
            f"no placement of {graph.name} on {topology.name}: devices that must talk are not "
            f"connected: {_listed(rules)}; add a link"
        )
    return _conflicting(question, rules)


def explain_barred(question: Question) -> str:
    """The same where rules leave a layer no device, whatever else holds."""
    deadline_s = monotonic() + _BARRED_S
    graph, topology = question.graph, question.topology

    def ask(keys: frozenset[Key]) -> Answer[Key]:
        allowed = allowed_devices(graph, topology, question.constraints.only(keys))
        return Answer(not all(allowed), keys)

    keys = [rule.key for rule in question.rules if rule.key[0] not in (MEMORY, CONNECTION)]
    conflict = smallest_conflict(keys, ask, lambda: monotonic() > deadline_s)
    return _conflicting(question, [rule for rule in question.rules if rule.key in conflict.rules])


def _conflicting(question: Question, rules: Sequence[Rule]) -> str:
    what = "this rule cannot hold" if len(rules) == 1 else "these rules conflict"
    which = "it" if len(rules) == 1 else "one of them"
    return (
        f"no placement of {question.graph.name} on {question.topology.name}: {what}: "
        f"{_listed(rules)}; drop or relax {which}"
    )


def _listed(rules: Sequence[Rule]) -> str:
    return " and ".join(map(str, rules))
