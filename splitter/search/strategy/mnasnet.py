"""MnasNet's reward with policy gradient.

Tan et al., "MnasNet: Platform-Aware Neural Architecture Search for Mobile", 2019. Deviation: the
policy is one softmax per slot, trained by REINFORCE, instead of a recurrent network and PPO.
"""

from dataclasses import dataclass
from math import inf

import numpy as np

from splitter.search.space.space import Architecture
from splitter.search.strategy.best import Best
from splitter.search.strategy.problem import Answer, Goal
from splitter.search.strategy.relaxed import Adam, Weights, softmax
from splitter.search.strategy.task import Splitter, Task

SOFT = (-0.07, -0.07)
HARD = (0.0, -1.0)
"""Exponents within and past the target."""


def reward(
    accuracy: float, time_s: float, target_s: float, exponents: tuple[float, float] = SOFT
) -> float:
    """Accuracy x (time / target)^w; w is the first exponent within the target, else the second."""
    within, past = exponents
    return float(accuracy * (time_s / target_s) ** (within if time_s <= target_s else past))


@dataclass(frozen=True)
class Reinforce:
    """Policy gradient on the reward; the answer is the best within the budget that was drawn."""

    exponents: tuple[float, float] = HARD
    rate: float = 0.08
    batch: int = 8
    baseline_decay: float = 0.9

    def search(self, task: Task) -> Answer:
        """The best answer found."""
        best, rng = Best(task, "reinforce"), np.random.default_rng(task.seed)
        times = Splitter(task.problem, Goal(time=task.goal.time))
        logits: Weights = [np.zeros(width) for width in task.space.widths]
        adam, baseline = Adam(self.rate), 0.0
        for round_ in range(max(1, task.evaluations // self.batch)):
            gradient: Weights = [np.zeros_like(one) for one in logits]
            rewards = []
            for _ in range(self.batch):
                drawn = self._drawn(task, logits, rng)
                best.look(drawn)
                rewards.append(self._reward(task, times, drawn))
                advantage = rewards[-1] - baseline if round_ else 0.0
                for own, one, choice in zip(gradient, logits, drawn, strict=True):
                    own += advantage * ((np.arange(len(one)) == choice) - softmax(one))
            mean = float(np.mean(rewards))
            kept = self.baseline_decay if round_ else 0.0
            baseline = kept * baseline + (1 - kept) * mean
            adam.step(logits, gradient)
        return best.result()

    def _drawn(self, task: Task, logits: Weights, rng: np.random.Generator) -> Architecture:
        return task.space.mended([int(rng.choice(len(one), p=softmax(one))) for one in logits])

    def _reward(self, task: Task, times: Splitter, architecture: Architecture) -> float:
        answer = times(architecture)
        if answer is None:
            return 0.0
        accuracy = task.scored(architecture)
        if task.goal.budget_s < inf:
            return reward(accuracy, answer.time_s, task.goal.budget_s, self.exponents)
        return task.goal.weight * accuracy - task.goal.price_per_s * answer.time_s
