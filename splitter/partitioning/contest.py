"""Our plan beside the published baselines, on the same problem, judged alike."""

from dataclasses import dataclass

from splitter.costs import CostTable
from splitter.graph import Graph
from splitter.memory import REQUEST_SLOTS
from splitter.objective import Objective
from splitter.partitioning import partition
from splitter.partitioning.baselines import Baseline, judged_baselines
from splitter.partitioning.posing import check_effort, problem_of, question_of
from splitter.plan import Plan
from splitter.topology import Constraints, Topology

_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class Contest:
    """One plan and what others would have done."""

    plan: Plan
    baselines: tuple[Baseline, ...]

    @property
    def best(self) -> Baseline | None:
        """The best baseline that holds."""
        valid = [(one.value, one) for one in self.baselines if one.value is not None]
        return min(valid, key=lambda pair: pair[0])[1] if valid else None


def contest(
    graph: Graph,
    topology: Topology,
    costs: CostTable,
    *,
    objective: Objective = "latency",
    constraints: Constraints | None = None,
    slots: int = REQUEST_SLOTS,
    time_limit_s: float = 30.0,
) -> Contest:
    """The plan that `partition` finds from the best baseline on, and all baselines.

    Raises:
        InfeasibleError, PlanError, UsageError: as `partition`.
    """
    check_effort(objective, time_limit_s)
    problem = problem_of(question_of(graph, topology, costs, constraints, slots))
    rivals = judged_baselines(problem, objective)
    plan = partition(
        *(graph, topology, costs),
        objective=objective,
        constraints=constraints,
        slots=slots,
        time_limit_s=time_limit_s,
        starts=[rival.placement for rival in rivals if rival.value is not None],
    )
    reached = plan.estimate.value(objective)
    for rival in rivals:
        # The search starts from them, so a better one would be a mistake of ours.
        assert rival.value is None or reached <= rival.value * (1 + _ROUNDING), rival.method
    return Contest(plan, rivals)
