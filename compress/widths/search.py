"""Bit widths without learning a policy: at random, greedily by sensitivity, by integer program."""

import random

from compress.widths.problem import Bits, Found, WidthProblem, found
from splitter.partitioning.milp import ONE, Milp, Terms

_TIME_LIMIT_S = 10.0


def random_search(problem: WidthProblem, evaluations: int, seed: int = 0) -> Found:
    """The best of this many distinct bit vectors, drawn uniformly."""
    draw = random.Random(seed)
    states = len(problem.widths) ** len(problem.sites)
    while len(problem.scores) < min(evaluations, states):
        problem.score(tuple(draw.choice(problem.widths) for _ in problem.sites))
    return found("random", problem)


Table = dict[tuple[int, int], float]


def sensitivity(problem: WidthProblem) -> Table:
    """Loss with only one layer narrowed, the others at the widest, less the loss at the widest.

    By (layer, bits). Never negative, and never falling with fewer bits: noise is not a gain.
    """
    widest = problem.widths[-1]
    base = tuple(widest for _ in problem.sites)
    least = problem.score(base).loss
    table: Table = {}
    for layer in range(len(problem.sites)):
        worst = table[layer, widest] = 0.0
        for width in reversed(problem.widths[:-1]):
            changed = (*base[:layer], width, *base[layer + 1 :])
            worst = max(worst, problem.score(changed).loss - least)
            table[layer, width] = worst
    return table


def greedy_search(problem: WidthProblem, table: Table | None = None) -> Found:
    """From the widest, narrow the layer whose sensitivity rises least per bit saved; take the best.

    Every step is evaluated.
    """
    costs = sensitivity(problem) if table is None else table
    bits = tuple(problem.widths[-1] for _ in problem.sites)
    problem.score(bits)
    while max(bits) > problem.widths[0]:
        bits = min(_narrower(problem, bits), key=lambda step: _price(problem, costs, bits, step))
        problem.score(bits)
    return found("greedy", problem)


def ilp_search(problem: WidthProblem, budgets: int = 16, table: Table | None = None) -> Found:
    """For each of several sizes the bits of least total sensitivity; of these the best is taken."""
    costs = sensitivity(problem) if table is None else table
    low, high = problem.widths[0], problem.widths[-1]
    for i in range(budgets):
        budget = low + (high - low) * i / max(budgets - 1, 1)
        problem.score(ilp_bits(problem, costs, budget))
    return found("ilp", problem)


def ilp_bits(problem: WidthProblem, table: Table, budget_bits: float) -> Bits:
    """The bits of least total sensitivity whose mean per weight is within the budget.

    The budget must allow the narrowest width.
    """
    program = Milp()
    columns = {key: program.column(0, 1, integer=True) for key in table}
    sizes = problem.sizes
    for layer in range(len(sizes)):
        program.equal({columns[layer, w]: 1.0 for w in problem.widths}, {ONE: 1.0})
    total: Terms = {columns[layer, w]: float(sizes[layer] * w) for layer, w in table}
    program.at_least({ONE: budget_bits * sum(sizes) * (1 + 1e-9)}, total)
    # Where sensitivities are equal, fewer bits: the tie costs less than any real difference.
    scale = max(table.values(), default=0.0) or 1.0
    program.objective = {
        columns[key]: table[key] / scale + 1e-6 * key[1] * sizes[key[0]] / sum(sizes)
        for key in table
    }
    result = program.solve(_TIME_LIMIT_S)
    assert result.values is not None, "the narrowest widths always fit"
    chosen = {key[0]: key[1] for key in table if result.values[columns[key]] > 0.5}
    return tuple(chosen[layer] for layer in range(len(sizes)))


def _narrower(problem: WidthProblem, bits: Bits) -> list[Bits]:
    """All vectors with one layer one step narrower."""
    steps: list[Bits] = []
    for i, width in enumerate(bits):
        place = problem.widths.index(width)
        if place > 0:
            steps.append((*bits[:i], problem.widths[place - 1], *bits[i + 1 :]))
    return steps


def _price(problem: WidthProblem, costs: Table, bits: Bits, step: Bits) -> float:
    layer = next(i for i, (a, b) in enumerate(zip(bits, step, strict=True)) if a != b)
    saved = (bits[layer] - step[layer]) * problem.sizes[layer]
    return (costs[layer, step[layer]] - costs[layer, bits[layer]]) / saved
