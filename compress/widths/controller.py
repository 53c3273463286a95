"""The controller of DNQ: an LSTM that picks a bit width layer by layer, trained by policy gradient.

Xu et al., arXiv 1812.02375, as far as the abstract says; network, features and REINFORCE with a
moving-average baseline are a reconstruction.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from compress.sites import Site
from compress.widths.problem import Bits, Found, WidthProblem, found

_FEATURES = 6


@dataclass(frozen=True)
class Controller:
    """Settings of the controller and its training."""

    updates: int = 100
    batch: int = 8
    """Bit vectors drawn per update."""
    hidden: int = 32
    learning_rate: float = 5e-3
    entropy: float = 0.01
    """Weight of the entropy bonus."""
    baseline_decay: float = 0.9
    evaluations: int | None = None
    """Stop when this many distinct bit vectors were scored; None goes on to the last update."""
    seed: int = 0

    def search(self, problem: WidthProblem) -> Found:
        """Train, then let the final policy choose the likeliest bits; best seen is told beside."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            policy = _Policy(len(problem.widths), self.hidden)
            self._train(policy, problem)
        with torch.no_grad():
            choices, _, _ = policy(features(problem.sites), 1, greedy=True)
        return found("controller", problem, _bits(problem, choices[0]))

    def _train(self, policy: "_Policy", problem: WidthProblem) -> None:
        optimizer = torch.optim.Adam(policy.parameters(), self.learning_rate)
        facts = features(problem.sites)
        baseline: float | None = None
        for _ in range(self.updates):
            if self.evaluations is not None and len(problem.scores) >= self.evaluations:
                return
            choices, log_p, entropy = policy(facts, self.batch)
            rewards = torch.tensor([problem.reward_of(_bits(problem, row)) for row in choices])
            mean = float(rewards.mean())
            decay = self.baseline_decay
            baseline = mean if baseline is None else decay * baseline + (1 - decay) * mean
            loss = -((rewards - baseline) * log_p).mean() - self.entropy * entropy.mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()


def features(sites: Sequence[Site]) -> torch.Tensor:
    """What the controller sees of each layer, [layers, 6].

    Log of the number of weights, depth, whether it is a convolution, taps, log of inputs and of
    outputs.
    """
    rows = []
    for i, site in enumerate(sites):
        outputs, inputs, *kernel = site.shape
        rows.append(
            [
                math.log10(math.prod(site.shape)) / 6,
                i / max(len(sites) - 1, 1),
                float(site.is_convolution),
                math.prod(kernel) / 9,
                math.log2(inputs) / 10,
                math.log2(outputs) / 10,
            ]
        )
    return torch.tensor(rows)


def _bits(problem: WidthProblem, row: torch.Tensor) -> Bits:
    return tuple(problem.widths[int(choice)] for choice in row)


class _Policy(nn.Module):
    """Reads a layer and the choice before; gives the odds of each width."""

    def __init__(self, widths: int, hidden: int) -> None:
        super().__init__()
        self.widths, self.hidden = widths, hidden
        self.before = nn.Embedding(widths + 1, hidden)  # the last stands for the beginning
        self.cell = nn.LSTMCell(hidden + _FEATURES, hidden)
        self.head = nn.Linear(hidden, widths)

    def forward(
        self, facts: torch.Tensor, batch: int, *, greedy: bool = False
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Choices [batch, layers], their log probability [batch], mean entropy [batch]."""
        state = torch.zeros(batch, self.hidden), torch.zeros(batch, self.hidden)
        choice = torch.full((batch,), self.widths)
        choices, logs, entropies = [], [], []
        for row in facts:
            seen = torch.cat([self.before(choice), row.expand(batch, -1)], 1)
            state = self.cell(seen, state)
            odds = torch.distributions.Categorical(logits=self.head(state[0]))
            choice = odds.logits.argmax(1) if greedy else odds.sample()  # type: ignore[no-untyped-call]
            choices.append(choice)
            logs.append(odds.log_prob(choice))  # type: ignore[no-untyped-call]
            entropies.append(odds.entropy())  # type: ignore[no-untyped-call]
        return torch.stack(choices, 1), torch.stack(logs).sum(0), torch.stack(entropies).mean(0)
