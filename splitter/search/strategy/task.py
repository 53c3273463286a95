"""What every strategy is given, and what it gives back: an `Answer` in `problem`.

A strategy gets a `Task`: a space, an estimator of accuracy, the joint problem that says what a
network costs on the devices, and how many evaluations it may make. Those that need an accuracy in
closed form fit it from the estimator's scores (conditional means), within the same evaluations.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from importlib import import_module
from random import Random
from typing import Protocol

from splitter.errors import InfeasibleError, UsageError
from splitter.search.estimate.bilinear import Bilinear
from splitter.search.estimate.conditional import conditional_means
from splitter.search.estimate.estimator import Estimator
from splitter.search.space.space import Architecture, Space
from splitter.search.strategy.problem import Answer, Goal, Joint, JointProblem, Vertex
from splitter.search.strategy.program import solve_program


@dataclass(frozen=True)
class Task:
    """What to search."""

    space: Space
    estimator: Estimator
    problem: JointProblem
    """Costs of every choice on every device; its accuracy is not used but by `Known`."""
    goal: Goal
    evaluations: int = 200
    """Most distinct architectures that the estimator may be asked for."""
    seed: int = 0

    @cached_property
    def scored(self) -> "Scored":
        """The estimator, with its evaluations counted."""
        return Scored(self.estimator, self.evaluations)

    @cached_property
    def split(self) -> "Splitter":
        """The best split of a given architecture."""
        return Splitter(self.problem, self.goal)

    @cached_property
    def fitted(self) -> Bilinear:
        """Accuracy in closed form: the estimator itself if it is one, else fitted."""
        if isinstance(self.estimator, Bilinear):
            return self.estimator
        return fit(self.space, self.scored, self.evaluations, self.seed)

    def value(self, architecture: Architecture) -> Answer | None:
        """The architecture with its best split as an answer by the estimator; None if none fits."""
        answer = self.split(architecture)
        if answer is None:
            return None
        accuracy = self.scored(architecture)
        if accuracy < self.goal.least_accuracy:
            return None
        value = self.goal.weight * accuracy - self.goal.price_per_s * answer.time_s
        return replace(answer, value=value, accuracy=accuracy)


class Strategy(Protocol):
    """A way to choose a network and its split."""

    def search(self, task: Task) -> Answer:
        """The best answer found.

        Raises:
            InfeasibleError: nothing found respects all limits.
        """


@dataclass
class Scored:
    """An estimator that counts distinct architectures."""

    estimator: Estimator
    evaluations: int
    known: dict[Architecture, float] = field(default_factory=dict)

    def __call__(self, architecture: Architecture) -> float:
        """The score, computed once."""
        if architecture not in self.known:
            self.known[architecture] = self.estimator.score(architecture)
        return self.known[architecture]

    @property
    def spent(self) -> bool:
        """Whether all evaluations are used."""
        return len(self.known) >= self.evaluations


@dataclass
class Splitter:
    """The best split of one architecture at a time, by the integer program."""

    problem: JointProblem
    goal: Goal
    known: dict[Architecture, Answer | None] = field(default_factory=dict)

    def __call__(self, architecture: Architecture) -> Answer | None:
        """The fastest split within the limits; None when there is none."""
        if architecture not in self.known:
            self.known[architecture] = self._solved(architecture)
        return self.known[architecture]

    def _solved(self, architecture: Architecture) -> Answer | None:
        goal = replace(self.goal, weight=0.0, price_per_s=1.0, least_accuracy=-1e30)
        try:
            answer = best_split(self.problem, architecture, goal)
        except InfeasibleError:
            return None
        return answer


def best_split(problem: JointProblem, architecture: Architecture, goal: Goal) -> Answer:
    """The best split of one architecture: a dynamic program for chains, else the program.

    Raises:
        InfeasibleError: none respects all limits.
    """
    from splitter.search.strategy.chain import shortest_path

    narrowed = narrow(problem, architecture)
    if narrowed.is_chain and goal.time != "period" and goal.most_cuts is None:
        flat = replace(narrowed, shared=())
        try:
            # A limit on accuracy means nothing here: there is one architecture.
            answer = shortest_path(flat, replace(goal, least_accuracy=float("-inf")))
        except UsageError:
            pass  # memory binds, or pairs are far apart
        else:
            return replace(answer, joint=_widen(problem, narrowed, answer))
    answer = solve_program(narrowed, replace(goal, least_accuracy=float("-inf")))
    return replace(answer, joint=_widen(problem, narrowed, answer))


def narrow(problem: JointProblem, architecture: Architecture) -> JointProblem:
    """The problem with the choices of one architecture only."""
    vertices = tuple(
        vertex
        if vertex.slot < 0
        else Vertex(
            vertex.name,
            tuple(o for o in vertex.options if o.choice == architecture[vertex.slot]),
            vertex.inputs,
            vertex.slot,
            vertex.allowed,
        )
        for vertex in problem.vertices
    )
    return replace(problem, vertices=vertices)


def _widen(problem: JointProblem, narrowed: JointProblem, answer: Answer) -> Joint:
    options = tuple(
        vertex.options.index(small.options[o])
        for vertex, small, o in zip(
            problem.vertices, narrowed.vertices, answer.joint.options, strict=True
        )
    )
    return replace(answer.joint, options=options)


def fit(
    space: Space, scored: Callable[[Architecture], float], evaluations: int, seed: int
) -> Bilinear:
    """Conditional means from at most about ``evaluations`` scores."""
    decisions = sum(len(s.choices) for s in space.slots) + sum(len(s.depths) for s in space.stages)
    passes = max(1, evaluations // (decisions + 1))
    means = conditional_means(space, lambda a, _: scored(a), passes=passes, seed=seed)
    return means.bilinear(space)


STRATEGIES: Mapping[str, str] = {
    "jmsnas": "program_strategy:JMSNAS",
    "frank_wolfe": "frank_wolfe:FrankWolfe",
    "reinforce": "mnasnet:Reinforce",
    "proxyless": "proxyless:Proxyless",
    "gumbel": "gumbel:Gumbel",
    "evolution": "evolution:Evolution",
    "random": "evolution:RandomSearch",
}


def strategy(name: str) -> Strategy:
    """The strategy called ``name``, with its defaults.

    Raises:
        UsageError: there is none.
    """
    if name not in STRATEGIES:
        raise UsageError(f"no strategy {name!r}; there are {', '.join(STRATEGIES)}")
    module, cls = STRATEGIES[name].split(":")
    made: Strategy = getattr(import_module(f"splitter.search.strategy.{module}"), cls)()
    return made


def rng_of(task: Task) -> Random:
    """The random numbers of a search."""
    return Random(task.seed)
