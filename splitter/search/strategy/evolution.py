"""Controls: regularised evolution (Real et al., 2019) and random search."""

from collections import deque
from dataclasses import dataclass

from splitter.search.space.space import Architecture
from splitter.search.strategy.best import Best
from splitter.search.strategy.problem import Answer
from splitter.search.strategy.task import Task, rng_of


@dataclass(frozen=True)
class RandomSearch:
    """The best of as many random architectures as there are evaluations."""

    def search(self, task: Task) -> Answer:
        """The best answer found."""
        rng, best = rng_of(task), Best(task, "random")
        for _ in range(task.evaluations):
            best.look(task.space.random(rng))
        return best.result()


@dataclass(frozen=True)
class Evolution:
    """Mutate the best of a sample of the youngest; the oldest dies."""

    population: int = 30
    sample: int = 8
    mutation: float = 0.1
    crossover: float = 0.25
    """Part of the children that have two parents, as in BINAS' evolution."""

    def search(self, task: Task) -> Answer:
        """The best answer found."""
        rng, best = rng_of(task), Best(task, "evolution")
        alive: deque[tuple[float, Architecture]] = deque()
        for number in range(task.evaluations):
            if number < min(self.population, task.evaluations // 2):
                child = task.space.random(rng)
            else:
                child = max(rng.choices(alive, k=self.sample))[1]
                if rng.random() < self.crossover:
                    other = max(rng.choices(alive, k=self.sample))[1]
                    child = task.space.crossed(child, other, rng)
                child = task.space.mutated(child, rng, self.mutation)
                alive.popleft()
            found = best.look(child)
            alive.append((found.value if found else float("-inf"), child))
        return best.result()
