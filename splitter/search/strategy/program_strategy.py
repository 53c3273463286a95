"""JMSNAS as a strategy: the integer program on the estimator, or on what was fitted to it."""

from dataclasses import dataclass, replace

from splitter.errors import InfeasibleError
from splitter.search.estimate.bilinear import Bilinear
from splitter.search.strategy.best import Best
from splitter.search.strategy.problem import Answer
from splitter.search.strategy.program import solve_program
from splitter.search.strategy.task import Task


@dataclass(frozen=True)
class JMSNAS:
    """Solve, judge the solution and runners-up by the estimator itself, keep the best."""

    runners_up: int = 2
    """Next best solutions that are judged; none when the estimator is in closed form."""
    time_limit_s: float = 60.0

    def search(self, task: Task) -> Answer:
        """The best answer found; proved when the estimator is in closed form."""
        problem = replace(task.problem, accuracy=task.fitted)
        goal, best = task.goal, Best(task, "jmsnas")
        first = solve_program(problem, goal, time_limit_s=self.time_limit_s)
        best.look(first.joint.choices(problem))
        if isinstance(task.estimator, Bilinear):
            return replace(best.result(), bound=first.bound)
        seen = [first.joint.choices(problem)]
        for _ in range(self.runners_up):
            further = replace(goal, excluded=tuple(seen))
            try:
                seen.append(solve_program(problem, further).joint.choices(problem))
            except InfeasibleError:
                break
            best.look(seen[-1])
        return best.result()
