"""The steps of a joint search, each kept in the search's folder."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from statistics import fmean
from time import monotonic
from typing import Any

import torch

from splitter.costs import CostTable
from splitter.errors import InfeasibleError, UsageError
from splitter.graph import Graph
from splitter.joint.settings import DATA, Settings, Workspace
from splitter.pipeline import cost_table
from splitter.search.estimate.bilinear import Bilinear
from splitter.search.estimate.blocks import BlockTable, parts_of
from splitter.search.estimate.conditional import Means, conditional_means
from splitter.search.estimate.supernet import OneShot, recalibrated, train_supernet
from splitter.search.estimate.training import Right, network_accuracy, train_network
from splitter.search.space.families import family
from splitter.search.space.network import ChosenNet, Family
from splitter.search.space.shared import Supernet, make_supernet
from splitter.search.space.space import Architecture
from splitter.search.strategy.build import joint_problem
from splitter.search.strategy.problem import Answer, Goal, JointProblem
from splitter.search.strategy.program import solve_program
from splitter.topology import Topology
from splitter.topology_file import load_topology
from splitter.zoo.datasets import DATASETS, Split

Progress = Callable[[int, int, str], None]
_MEASURED = 500
"""Images of one evaluation of the conditional means."""
_TUNE_RATE = 0.02
_SUPERNET_PART, _TUNE_PART = 0.5, 0.8
"""Of the minutes given: when training the supernet, and all candidates, must have ended."""


def candidate_name(architecture: Architecture) -> str:
    """Under which a network's fine-tuning is kept."""
    return "candidate-" + "-".join(map(str, architecture))


@dataclass(frozen=True)
class Search:
    """One search and its folder."""

    settings: Settings
    workspace: Workspace
    progress: Progress
    began_s: float
    slowdown: Mapping[str, float] = field(default_factory=dict)
    """Of devices, computing time over what is predicted, once a network was executed."""
    overhead_s: float = 0.0
    """Of every request, besides what is planned: what executing a network has shown."""

    @classmethod
    def begin(cls, settings: Settings, workspace: Workspace, progress: Progress) -> "Search":
        """Check everything that can be checked before work begins.

        Raises:
            UsageError, TopologyError: something asked for does not exist or cannot be.
        """
        settings.check()
        search = cls(settings, workspace, progress, monotonic())
        search.check_data()
        workspace.open(settings)
        search.check_budget()
        return search

    def check_data(self) -> None:
        """Refuse images of another size than the space takes.

        Raises:
            UsageError: they are.
        """
        have, take = tuple(self.data.test.images.shape[1:]), self.family.input_shape
        if have != take:
            raise UsageError(
                f"images of {self.settings.data} are {'x'.join(map(str, have))}, space "
                f"{self.settings.space} takes {'x'.join(map(str, take))}; choose others"
            )

    def check_budget(self) -> None:
        """Refuse, before anything is trained, a budget that no network meets.

        Raises:
            InfeasibleError: the message names the fastest network there is.
        """
        space = self.family.space
        nothing = Bilinear(tuple((0.0,) * width for width in space.widths))
        problem = joint_problem(space, self.table, self.costs, self.topology, nothing)
        try:
            fastest = solve_program(problem, Goal(weight=0.0, price_per_s=1.0))
        except InfeasibleError as error:
            raise InfeasibleError(
                f"no network of {self.settings.space} fits the memory and rules of "
                f"{self.topology.name}; give a device more memory or another space"
            ) from error
        takes_s = fastest.time_s + self.overhead_s
        if takes_s > self.settings.latency_s:
            raise InfeasibleError(
                f"no network of {self.settings.space} takes at most "
                f"{self.settings.latency_s * 1e3:g} ms on {self.topology.name}; the fastest takes "
                f"{takes_s * 1e3:.4g} ms"
            )

    def until_s(self, part: float) -> float | None:
        """When ``part`` of the minutes given is over."""
        minutes = self.settings.budget_minutes
        return None if minutes is None else self.began_s + 60.0 * minutes * part

    @cached_property
    def family(self) -> Family:
        """The space with its modules."""
        return family(self.settings.space)

    @cached_property
    def topology(self) -> Topology:
        """The devices."""
        return load_topology(self.settings.topology)

    @cached_property
    def data(self) -> Split:
        """The images."""
        split = DATASETS[DATA[self.settings.data]]()
        most = self.settings.train_images
        return replace(split, train=split.train.rows(0, most)) if most else split

    @cached_property
    def table(self) -> BlockTable:
        """All blocks, traced."""

        def make() -> Any:
            self.progress(0, 0, "tracing blocks")
            parts = parts_of(self.family)
            return parts.table(parts.program().graph, self.family.input_shape).to_dict()

        return BlockTable.from_dict(self.workspace.kept("blocks", make))

    @cached_property
    def costs(self) -> CostTable:
        """Seconds of all layers of all blocks."""
        return self.costs_of(self.table.graph)

    def costs_of(self, graph: Graph) -> CostTable:
        """Seconds of all layers of a graph, as corrected."""
        found = cost_table(graph, self.topology, measured=not self.settings.roofline)
        slower = self.slowdown
        return CostTable(
            {
                (layer, device): replace(cost, seconds=cost.seconds * slower.get(device, 1.0))
                for (layer, device), cost in found.entries.items()
            }
        )

    @cached_property
    def supernet(self) -> Supernet:
        """Shared weights, trained."""
        torch.manual_seed(self.settings.seed)
        net = make_supernet(self.family)
        train_supernet(
            *(net, self.data.train, self.settings.schedule(self.settings.supernet_epochs)),
            seed=self.settings.seed,
            checkpoint=self.workspace.path / "supernet.pt",
            deadline_s=self.until_s(_SUPERNET_PART),
            progress=self.progress,
        )
        return net

    @cached_property
    def one_shot(self) -> OneShot:
        """Accuracy with the supernet's weights."""
        return OneShot(self.supernet, self.data.held_in)

    @cached_property
    def means(self) -> Means:
        """Conditional means of the accuracy.

        Differences are those of the right class's probability, which needs fewer images; the level
        is that of what was classified right.
        """
        above: list[float] = []

        def scored(architecture: Architecture, number: int) -> float:
            right = self._right(architecture, number)
            above.append(right.accuracy - right.probability)
            return right.probability

        def make() -> Any:
            found = conditional_means(
                self.family.space,
                scored,
                passes=self.settings.passes,
                seed=self.settings.seed,
                progress=self.progress,
            ).shifted(fmean(above))
            return {"base": found.base, "choices": found.choices, "depths": found.depths}

        kept = self.workspace.kept("means", make)
        choices, depths = (tuple(map(tuple, kept[key])) for key in ("choices", "depths"))
        return Means(kept["base"], choices, depths)

    def _right(self, architecture: Architecture, number: int) -> Right:
        held_in = self.data.held_in
        start = (number * _MEASURED) % max(len(held_in) - _MEASURED + 1, 1)
        part = held_in.rows(start, min(start + _MEASURED, len(held_in)))
        return self.one_shot.on(architecture, part)

    @cached_property
    def accuracy(self) -> Bilinear:
        """The estimator."""
        return self.means.bilinear(self.family.space)

    @cached_property
    def problem(self) -> JointProblem:
        """The joint problem."""
        space = self.family.space
        return joint_problem(space, self.table, self.costs, self.topology, self.accuracy)

    def goal(self) -> Goal:
        """The most accurate within the latency."""
        return Goal(budget_s=self.settings.latency_s - self.overhead_s)

    def candidate(self, excluded: tuple[Architecture, ...]) -> Answer:
        """The best joint choice but for ``excluded``; of equal ones the fastest.

        Raises:
            InfeasibleError: none is left.
        """
        goal = replace(self.goal(), excluded=excluded)
        best = solve_program(self.problem, goal)
        fastest = replace(goal, weight=0.0, price_per_s=1.0, least_accuracy=best.accuracy - 1e-6)
        return solve_program(self.problem, fastest, start=best.joint)

    def tuned(self, architecture: Architecture) -> ChosenNet:
        """The network, trained on from the supernet's weights."""
        settings, name = self.settings, candidate_name(architecture)
        network = self.supernet.extract(architecture)
        recalibrated(network, self.data.train)
        train_network(
            *(network, self.data.train, settings.schedule(settings.tune_epochs, _TUNE_RATE)),
            seed=settings.seed,
            checkpoint=self.workspace.path / f"{name}.pt",
            key=self.family.space.text(architecture),
            deadline_s=self.until_s(_TUNE_PART),
            progress=self.progress,
            what=name.replace("-", " "),
        )
        return network.eval()

    def measured(self, architecture: Architecture, part: str = "held_in") -> float:
        """Accuracy on images ``held_in`` or ``test`` after fine-tuning; kept."""

        def make() -> Any:
            network = self.tuned(architecture)
            return {
                "held_in": network_accuracy(network, self.data.held_in),
                "test": network_accuracy(network, self.data.test),
            }

        return float(self.workspace.kept(candidate_name(architecture), make)[part])

    @cached_property
    def tried(self) -> tuple[tuple[Answer, float], ...]:
        """Candidates with their measured accuracy, the best first.

        Each round solves without what was measured and fine-tunes what comes out. What was
        measured corrects the estimator by its mean error; rounds end when even the next solution,
        so corrected, is not expected to beat the best.
        """
        found: list[tuple[Answer, float]] = []
        for number in range(self.settings.rounds * self.settings.candidates):
            try:
                answer = self.candidate(tuple(a.joint.choices(self.problem) for a, _ in found))
            except InfeasibleError:
                if not found:
                    raise
                break
            if number >= self.settings.candidates and number % self.settings.candidates == 0:
                error = fmean(measured - one.accuracy for one, measured in found)
                if answer.accuracy + error <= max(measured for _, measured in found):
                    break
            found.append((answer, self.measured(answer.joint.choices(self.problem))))
        return tuple(sorted(found, key=lambda pair: -pair[1]))
