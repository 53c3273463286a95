"""Every joint choice, one after the other: the control of the exact methods, for small problems."""

from itertools import product
from time import monotonic

from splitter.errors import InfeasibleError, UsageError
from splitter.search.strategy.judge import judge
from splitter.search.strategy.problem import Answer, Goal, Joint, JointProblem

_MOST = 2_000_000


def brute_force(problem: JointProblem, goal: Goal) -> Answer:
    """The best joint choice.

    Raises:
        InfeasibleError: no choice respects all limits.
        UsageError: there are more than two million choices.
    """
    began = monotonic()
    ways = [
        list(product(range(len(vertex.options)), problem.allowed(v)))
        for v, vertex in enumerate(problem.vertices)
    ]
    count = 1
    for way in ways:
        count *= len(way)
    if count > _MOST:
        raise UsageError(f"{count} joint choices are too many to try; use the integer program")
    best: Answer | None = None
    for pairs in product(*ways):
        options, devices = zip(*pairs, strict=True)
        answer = judge(problem, goal, Joint(options, devices))
        if answer is not None and (best is None or answer.value > best.value):
            best = answer
    if best is None:
        raise InfeasibleError("no choice of network and split respects all limits")
    return Answer(
        best.joint,
        best.value,
        best.accuracy,
        best.time_s,
        bound=best.value,
        solve_s=monotonic() - began,
        method="brute force",
    )
