"""The best of the architectures that a strategy looked at."""

from dataclasses import dataclass, field, replace
from time import monotonic

from splitter.errors import InfeasibleError
from splitter.search.space.space import Architecture
from splitter.search.strategy.problem import Answer
from splitter.search.strategy.task import Task


@dataclass
class Best:
    """Judges architectures and keeps the best."""

    task: Task
    method: str
    answer: Answer | None = None
    history: list[float] = field(default_factory=list)
    began: float = field(default_factory=monotonic)

    def look(self, architecture: Architecture) -> Answer | None:
        """Judge one; None when it breaks a limit."""
        found = self.task.value(architecture)
        if found is not None and (self.answer is None or found.value > self.answer.value):
            self.answer = found
        self.history.append(self.answer.value if self.answer else float("-inf"))
        return found

    def result(self) -> Answer:
        """The best.

        Raises:
            InfeasibleError: none respected all limits.
        """
        if self.answer is None:
            raise InfeasibleError(
                f"{self.method} looked at {len(self.history)} networks, none within all limits"
            )
        return replace(
            self.answer,
            method=self.method,
            history=tuple(self.history),
            solve_s=monotonic() - self.began,
            bound=float("inf"),
        )
