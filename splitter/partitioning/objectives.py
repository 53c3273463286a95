"""Each objective as an expression of the integer program, in units of ``unit`` seconds, joules...

An expression may be below what a placement truly costs, never above; `learn` adds what it lacks.
"""

from functools import lru_cache

import networkx as nx

from splitter.partitioning.limits import MIB, Cuts, Refuted, changes, memory_terms
from splitter.partitioning.milp import ONE, Terms, combine
from splitter.partitioning.model import PlacementModel
from splitter.partitioning.problem import Problem
from splitter.plan import Objective

START, END = -1, -2
"""The virtual layers before the first and after the last."""


def add_objective(
    model: PlacementModel, objective: Objective, unit: float, cuts: Cuts, horizon: float
) -> Terms:
    """The expression of ``objective``, with its rows; every wanted plan is below ``horizon``."""
    if objective == "latency":
        return _add_latency(model, unit, cuts, horizon)
    if objective == "throughput":
        return _add_period(model, unit)
    if objective == "memory":
        return _add_peak(model, unit, cuts)
    return _additive(model, objective, unit)


def _add_latency(model: PlacementModel, unit: float, cuts: Cuts, horizon: float) -> Terms:
    """Critical path: finish[v] >= finish[u] + transfer(u, v) + compute(v), and device loads."""
    problem, milp = model.problem, model.milp
    finish = {i: {milp.column(): 1.0} for i in range(problem.n)}
    finish[START], finish[END] = {}, {milp.column(): 1.0}
    compute = {i: combine((model.compute(i), 1 / unit)) for i in range(problem.n)}
    compute[END] = {}
    for w, wire in enumerate(problem.wires):
        made = finish[START if wire.is_input else wire.producer]
        for reader in wire.readers:
            travel = _travel(model, w, model.needs(w, reader), unit)
            milp.at_least(finish[reader], combine((made, 1), (travel, 1), (compute[reader], 1)))
        if wire.is_output:
            back = {
                (d, wire.sink): model.born(wire, d)
                for d in range(problem.m)
                if d != wire.sink and model.born(wire, d)
            }
            milp.at_least(finish[END], combine((made, 1), (_travel(model, w, back, unit), 1)))
    for layer in range(problem.n):
        milp.at_least(finish[layer], compute[layer])
    for first, last, between in regions(problem):
        for device in range(problem.m):
            load = [(model.seconds_on(v, device), 1 / unit) for v in between]
            milp.at_least(finish[last], combine((finish[first], 1), (compute[last], 1), *load))
        _add_media(model, finish, compute, first, last, between, unit)
    _add_exclusive(model, finish, compute, cuts, horizon / unit)
    milp.at_least(finish[END], {ONE: cuts.least_s / unit})
    for slow in cuts.slow:
        same = combine(({ONE: 1.0}, 1), (changes(model, Refuted(slow.assignment, None)), -1))
        milp.at_least(finish[END], combine((same, slow.latency_s / unit)))
    return finish[END]


def _add_media(
    model: PlacementModel,
    finish: dict[int, Terms],
    compute: dict[int, Terms],
    first: int,
    last: int,
    between: tuple[int, ...],
    unit: float,
) -> None:
    """From the end of the fork to the start of the join, a link carries all that is read between.

    Only tensors that nobody else reads count: of the others it is open who causes the transfer.
    """
    problem = model.problem
    inside = {first, *between}
    readers = {*between, last}
    loads: dict[str, list[tuple[Terms, float]]] = {}
    for w, wire in enumerate(problem.wires):
        born = START if wire.is_input else wire.producer
        ends = {*wire.readers, *((END,) if wire.is_output else ())}
        if born not in inside or not ends <= readers:
            continue
        for (_, link), term in model.hop[w].items():
            one = problem.links[link]
            loads.setdefault(one.medium, []).append((term, one.busy_s(wire.bytes) / unit))
    for load in loads.values():
        if len(load) > 1:
            begun = combine((finish[first], 1), (compute[last], 1))
            model.milp.at_least(finish[last], combine((begun, 1), *load))


def _travel(
    model: PlacementModel, w: int, needs: dict[tuple[int, int], Terms], unit: float
) -> Terms:
    routes = model.problem.routes[w]
    return combine(
        *((term, routes[key].seconds / unit) for key, term in needs.items() if key in routes)
    )


def _add_exclusive(
    model: PlacementModel,
    finish: dict[int, Terms],
    compute: dict[int, Terms],
    cuts: Cuts,
    horizon: float,
) -> None:
    """Two layers on one device run in graph order, not at once."""
    milp = model.milp
    for i, j in sorted(cuts.exclusive):
        for device in sorted(set(model.x[i]) & set(model.x[j])):
            apart = combine(({ONE: 2.0}, 1), (model.on(i, device), -1), (model.on(j, device), -1))
            after = combine((finish[i], 1), (compute[j], 1), (apart, -horizon))
            milp.at_least(finish[j], after)


def _add_period(model: PlacementModel, unit: float) -> Terms:
    """The busiest device or link."""
    problem, milp = model.problem, model.milp
    period = {milp.column(): 1.0}
    for device in range(problem.m):
        load = [(model.seconds_on(v, device), 1 / unit) for v in range(problem.n)]
        milp.at_least(period, combine(*load))
    carried: list[list[tuple[Terms, float]]] = [[] for _ in problem.links]
    for w, wire in enumerate(problem.wires):
        for (_, used), term in model.hop[w].items():
            carried[used].append((term, problem.links[used].seconds(wire.bytes) / unit))
    for load in carried:
        milp.at_least(period, combine(*load))
    for links in problem.media:
        milp.at_least(period, combine(*(part for link in links for part in carried[link])))
    return period


def _add_peak(model: PlacementModel, unit: float, cuts: Cuts) -> Terms:
    """The largest memory of any device."""
    peak = {model.milp.column(): 1.0}
    for device in set(range(model.problem.m)) - model.problem.closed:
        for terms in memory_terms(model, device, cuts):
            model.milp.at_least(peak, combine((terms, MIB / unit)))
    for floor in cuts.floors:
        same = combine(({ONE: 1.0}, 1.0), (changes(model, floor.of), -1.0))
        model.milp.at_least(peak, combine((same, floor.bytes / unit)))
    return peak


def _additive(model: PlacementModel, objective: Objective, unit: float) -> Terms:
    problem = model.problem
    per_second, per_byte = problem.rates[objective]
    parts: list[tuple[Terms, float]] = [
        (model.seconds_on(v, d), per_second[d] / unit) for v in range(problem.n) for d in model.x[v]
    ]
    parts += [
        (term, wire.bytes * per_byte[link] / unit)
        for w, wire in enumerate(problem.wires)
        for (_, link), term in model.hop[w].items()
    ]
    return combine(*parts)


def regions(problem: Problem) -> tuple[tuple[int, int, tuple[int, ...]], ...]:
    """(fork, join, layers between) for every layer where paths meet, and for the whole graph.

    All layers between run after the fork ends and before the join starts, so the time from one to
    the other is at least each device's share of them.
    """
    return _regions(tuple(_edges(problem)), problem.n)


def _edges(problem: Problem) -> list[tuple[int, int]]:
    edges = {(START, layer) for layer in range(problem.n)}
    edges |= {(layer, END) for layer in range(problem.n)}
    for wire in problem.wires:
        edges |= {(wire.producer, reader) for reader in wire.readers if not wire.is_input}
    return sorted(edges)


@lru_cache(maxsize=8)
def _regions(
    edges: tuple[tuple[int, int], ...], n: int
) -> tuple[tuple[int, int, tuple[int, ...]], ...]:
    dag: nx.DiGraph[int] = nx.DiGraph(edges)
    for layer in range(n):
        if dag.in_degree(layer) > 1:
            dag.remove_edge(START, layer)
    found = [(START, END, tuple(range(n)))]
    dominators = nx.immediate_dominators(dag, START)
    after = {node: nx.descendants(dag, node) for node in set(dominators.values())}
    for join in range(n):
        if dag.in_degree(join) > 1:
            fork = dominators[join]
            between = after[fork] & nx.ancestors(dag, join)
            found.append((fork, join, tuple(sorted(between))))
    return tuple(found)
