"""The differentiable form of the joint choice with shared weights: everything trained together.

Gumbel-softmax over choice x device of every vertex (Jang, Gu and Poole, 2017); only the drawn path
computes, with a straight-through gate on each slot's output (as in GDAS: Dong and Yang, 2019), and
the expected latency is in the loss (FBNet: Wu et al., 2019). One backward pass moves the weights
and the distributions. The budget is kept by a multiplier that rises while the latency exceeds it.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import inf

import torch
from torch.nn import functional

from splitter.search.estimate.supernet import OneShot
from splitter.search.estimate.training import Schedule, best_device, to_best_device
from splitter.search.space.shared import Supernet
from splitter.search.space.space import Architecture
from splitter.search.strategy.best import Best
from splitter.search.strategy.problem import INPUT, Answer
from splitter.search.strategy.relaxed import Relaxed
from splitter.search.strategy.task import Task
from splitter.zoo.datasets import Split

_HOT, _COLD = 2.0, 0.2
_RISE, _FALL = 1.03, 0.98
_LATE = 0.5
"""Last part of the training, in which decoded architectures become candidates."""


@dataclass(frozen=True)
class Distributions:
    """Logits of every vertex's states, with what they cost."""

    relaxed: Relaxed
    logits: tuple[torch.Tensor, ...]

    @classmethod
    def of(cls, task: Task) -> "Distributions":
        """Uniform distributions."""
        relaxed = Relaxed.of(task)
        logits = tuple(
            torch.zeros(len(states), dtype=torch.float64, requires_grad=True)
            for states in relaxed.states
        )
        return cls(relaxed, logits)

    def drawn(self, heat: float, generator: torch.Generator) -> list[torch.Tensor]:
        """Soft samples of every vertex."""
        found = []
        for logits in self.logits:
            uniform = torch.rand(logits.shape, generator=generator, dtype=torch.float64)
            noise = -torch.log(-torch.log(uniform.clamp(1e-12, 1 - 1e-12)))
            found.append(((logits + noise) / heat).softmax(0))
        return found

    def latency(self, p: list[torch.Tensor]) -> torch.Tensor:
        """Expected seconds of one request."""
        relaxed = self.relaxed
        total = sum(
            (one @ torch.from_numpy(s) for one, s in zip(p, relaxed.seconds, strict=True)),
            start=torch.zeros((), dtype=torch.float64),
        )
        for (u, v), move in relaxed.moving.items():
            start = torch.ones(1, dtype=torch.float64) if u == INPUT else p[u]
            total = total + start @ torch.from_numpy(move) @ p[v]
        for u, move in relaxed.delivering.items():
            total = total + torch.from_numpy(move) @ p[u]
        return total

    def path(self, task: Task, p: list[torch.Tensor]) -> tuple[Architecture, list[torch.Tensor]]:
        """The drawn architecture, and a gate of value 1 per slot that passes the gradient on."""
        vertex_of = self.relaxed.problem.vertex_of
        mass = [self._by_choice(vertex_of[slot], p) for slot in sorted(vertex_of)]
        architecture = task.space.mended([int(own.argmax()) for own in mass])
        gates = [
            (1.0 + own[choice] - own[choice].detach()).float()
            for own, choice in zip(mass, architecture, strict=True)
        ]
        return architecture, gates

    def _by_choice(self, v: int, p: list[torch.Tensor]) -> torch.Tensor:
        states = self.relaxed.states[v]
        width = 1 + max(c for c, _ in states)
        one_hot = torch.zeros((width, len(states)), dtype=torch.float64)
        for i, (choice, _) in enumerate(states):
            one_hot[choice, i] = 1.0
        return one_hot @ p[v]


def cotrain(
    net: Supernet,
    data: Split,
    task: Task,
    schedule: Schedule,
    *,
    rate: float = 0.05,
    progress: Callable[[int, int, str], None] = lambda done, total, what: None,
) -> Answer:
    """Train weights and distributions together; the best of what was decoded late in training.

    The task's estimator is replaced by the accuracy on images held in with the weights so trained.

    Raises:
        InfeasibleError: nothing decoded respects all limits.
        UsageError: the goal's time is not sequential.
    """
    distributions, where = Distributions.of(task), best_device()
    to_best_device(net.train())
    generator = torch.Generator().manual_seed(task.seed)
    weights = torch.optim.SGD(
        net.parameters(), lr=schedule.learning_rate, momentum=schedule.momentum, nesterov=True
    )
    choices = torch.optim.Adam(distributions.logits, lr=rate)
    steps, multiplier = schedule.steps(len(data.train)), 1.0
    seen: dict[Architecture, None] = {}
    for step in range(steps):
        p = distributions.drawn(_HOT * (_COLD / _HOT) ** (step / steps), generator)
        architecture, gates = distributions.path(task, p)
        rows = torch.randint(0, len(data.train), (schedule.batch,), generator=generator)
        logits = net(
            data.train.images[rows].to(where), architecture, [gate.to(where) for gate in gates]
        )
        loss = functional.cross_entropy(logits, data.train.labels[rows].to(where)).cpu()
        latency = distributions.latency(p)
        excess = float(latency.detach()) / task.goal.budget_s - 1.0
        multiplier *= _RISE if excess > 0 else _FALL
        price = multiplier if task.goal.budget_s < inf else 0.0
        late = price * latency / distributions.relaxed.range_s
        for group in weights.param_groups:
            group["lr"] = schedule.learning_rate * (1 - step / steps)
        weights.zero_grad(set_to_none=True)
        choices.zero_grad(set_to_none=True)
        total: torch.Tensor = loss + late + task.goal.price_per_s * latency
        total.backward()  # type: ignore[no-untyped-call]
        weights.step()
        choices.step()
        if step >= steps * (1 - _LATE):
            likeliest = [one.detach().softmax(0).numpy() for one in distributions.logits]
            seen[distributions.relaxed.decoded(task, likeliest)] = None
        progress(step + 1, steps, "weights, choices and devices together")
    judged = replace(task, estimator=OneShot(net, data.held_in))
    best = Best(judged, "gumbel, weights trained together")
    for candidate in seen:
        best.look(candidate)
    return best.result()
