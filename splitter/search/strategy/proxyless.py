"""ProxylessNAS: two paths at a time, with the expected latency in the loss.

Cai et al., "ProxylessNAS: Direct Neural Architecture Search on Target Task and Hardware", 2019. A
path is a choice on a device, so the split is searched as well. Two states of a slot are drawn, the
estimator scores both, only their logits move, and their total mass is kept. Deviation: the
estimator's scores stand for the loss of each path (its derivative by the gate when losses are
linear in the gates); `estimate.gates` has the gradients through a network's own gates.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from splitter.search.strategy.best import Best
from splitter.search.strategy.problem import FIXED, Answer
from splitter.search.strategy.relaxed import Floats, Relaxed, Weights, softmax, through_softmax
from splitter.search.strategy.task import Task

Integers = npt.NDArray[np.int64]
_LOOK_EVERY = 10


@dataclass(frozen=True)
class Proxyless:
    """Gradient ascent on score - lambda (E[latency] - budget) / budget."""

    rate: float = 0.3
    latency_rate: float = 0.5
    latency_weight: float = 0.1
    """lambda of the additive loss; rises while the expected latency exceeds the budget."""
    steps: int = 400

    def search(self, task: Task) -> Answer:
        """The best answer found."""
        relaxed, best = Relaxed.of(task), Best(task, "proxyless")
        rng, logits, weight = (
            np.random.default_rng(task.seed),
            relaxed.uniform(),
            self.latency_weight,
        )
        slots = [v for v, x in enumerate(task.problem.vertices) if x.slot != FIXED]
        for step in range(self.steps):
            p = [softmax(one) for one in logits]
            latency_s, gradient = relaxed.latency(p)
            for v, own in enumerate(gradient):
                pull = through_softmax(p[v], own) / relaxed.range_s
                logits[v] -= self.latency_rate * weight * pull
            weight *= 1.05 if latency_s > task.goal.budget_s else 0.98
            weight = max(weight, self.latency_weight)
            if not task.scored.spent:
                self._two_paths(best, relaxed, logits, slots, rng)
            if step % _LOOK_EVERY == 0:
                best.look(relaxed.decoded(task, p))
        best.look(relaxed.decoded(task, [softmax(one) for one in logits]))
        return best.result()

    def _two_paths(
        self,
        best: Best,
        relaxed: Relaxed,
        logits: Weights,
        slots: list[int],
        rng: np.random.Generator,
    ) -> None:
        """Compare two states of one slot, the others drawn."""
        task = best.task
        v = int(rng.choice(slots))
        p = [softmax(one) for one in logits]
        if np.count_nonzero(p[v] > 0) < 2:
            return
        pair = rng.choice(len(p[v]), size=2, replace=False, p=p[v])
        drawn = {
            task.problem.vertices[u].slot: relaxed.states[u][int(rng.choice(len(p[u]), p=p[u]))][0]
            for u in slots
        }
        scores = []
        for state in pair:
            drawn[task.problem.vertices[v].slot] = relaxed.states[v][int(state)][0]
            architecture = task.space.mended([drawn[slot] for slot in sorted(drawn)])
            scores.append(task.scored(architecture))
            best.look(architecture)
        logits[v] = two_path_step(logits[v], pair, np.array(scores), self.rate)


def two_path_step(logits: Floats, pair: Integers, gains: Floats, rate: float) -> Floats:
    """Move two logits by the gradient of their renormalised pair, then keep the pair's mass."""
    old = logits[pair]
    p = softmax(old)
    new = old + rate * through_softmax(p, gains / max(float(np.abs(gains).max()), 1e-12))
    shift = np.logaddexp.reduce(old) - np.logaddexp.reduce(new)
    moved = logits.copy()
    moved[pair] = new + shift
    return moved
