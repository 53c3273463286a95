"""The differentiable form of the joint choice: Gumbel-softmax over choice x device.

Jang, Gu and Poole, "Categorical Reparameterization with Gumbel-Softmax", 2017; latency in the loss
as in Wu et al., "FBNet", 2019. The alternative to the integer program on the same model; a budget
is kept by a multiplier that rises while the expected latency exceeds it.
"""

from dataclasses import dataclass
from math import inf

import numpy as np

from splitter.search.strategy.best import Best
from splitter.search.strategy.problem import Answer
from splitter.search.strategy.relaxed import Adam, Relaxed, softmax, through_softmax
from splitter.search.strategy.task import Task


@dataclass(frozen=True)
class Gumbel:
    """Adam on logits of every vertex's states, with a falling temperature."""

    steps: int = 300
    rate: float = 0.1
    hot: float = 2.0
    cold: float = 0.1
    multiplier: float = 1.0
    """Of the latency's excess at the start, where 1 weighs the ranges of both alike."""

    def search(self, task: Task) -> Answer:
        """The best answer found."""
        relaxed, best, model = Relaxed.of(task), Best(task, "gumbel"), task.fitted
        rng, logits, adam = np.random.default_rng(task.seed), relaxed.uniform(), Adam(self.rate)
        unit = (sum(max(t) - min(t) for t in model.unary) or 1.0) / relaxed.range_s
        multiplier, budget_s = self.multiplier, task.goal.budget_s
        for step in range(self.steps):
            heat = self.hot * (self.cold / self.hot) ** (step / self.steps)
            noise = [rng.gumbel(size=len(one)) for one in logits]
            p = [softmax((one + g) / heat) for one, g in zip(logits, noise, strict=True)]
            latency_s, by_latency = relaxed.latency(p)
            _, by_accuracy = relaxed.accuracy(model, p)
            price = task.goal.price_per_s
            if budget_s < inf:
                excess = latency_s / budget_s - 1.0
                multiplier *= 1.03 if excess > 0 else 0.98
                price += multiplier * unit
            gradient = [
                through_softmax(own, task.goal.weight * a - price * t) / heat
                for own, a, t in zip(p, by_accuracy, by_latency, strict=True)
            ]
            adam.step(logits, gradient)
            if step % 5 == 0:
                best.look(relaxed.decoded(task, p))
        best.look(relaxed.decoded(task, [softmax(one) for one in logits]))
        return best.result()
