"""Latency models fitted to measured networks, each with its error beside the floor.

The differentiable regressor is that of Xu et al., "Latency-Aware Differentiable Neural Architecture
Search", 2020 (the layers' widths are this project's; the text does not give them). Its control is
the additive table by least squares; the floor is how far two measurements of one network differ.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import perf_counter

import numpy as np
import torch
from torch import nn

from splitter.search.estimate.correlation import kendall_tau
from splitter.search.estimate.regression import fit_linear
from splitter.search.space.space import Architecture, Space

_REPEATS = 20
_WIDTH = 128
_TABLE_RIDGE = 1e-3


@dataclass(frozen=True)
class Measured:
    """Networks and two measurements of each, in seconds."""

    architectures: tuple[Architecture, ...]
    seconds: tuple[float, ...]
    again: tuple[float, ...]

    @property
    def floor(self) -> float:
        """Mean relative difference of the two measurements."""
        return relative_error(self.seconds, self.again)

    def rows(self, start: int, end: int) -> "Measured":
        """Some of them."""
        part = slice(start, end)
        return Measured(self.architectures[part], self.seconds[part], self.again[part])


def measure(
    architectures: Sequence[Architecture],
    network: Callable[[Architecture], nn.Module],
    images: torch.Tensor,
    repeats: int = _REPEATS,
) -> Measured:
    """Time each network twice: the least of ``repeats`` runs on one thread, the two in turn."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        pairs = [_timed(network(a).eval(), images, repeats) for a in architectures]
    finally:
        torch.set_num_threads(before)
    first, second = zip(*pairs, strict=True)
    return Measured(tuple(architectures), first, second)


@torch.no_grad()
def _timed(network: nn.Module, images: torch.Tensor, repeats: int) -> tuple[float, float]:
    network(images)
    found: list[list[float]] = [[], []]
    for k in range(2 * repeats):
        began = perf_counter()
        network(images)
        found[k % 2].append(perf_counter() - began)
    return min(found[0]), min(found[1])


def relative_error(truth: Sequence[float], predicted: Sequence[float]) -> float:
    """Mean of |predicted - truth| / truth."""
    t, p = np.asarray(truth), np.asarray(predicted)
    return float(np.mean(np.abs(p - t) / t))


class LatencyRegressor(nn.Module):
    """From probabilities of all choices to seconds; differentiable in the probabilities."""

    def __init__(self, space: Space, unit_s: float) -> None:
        super().__init__()
        self.space = space
        self.unit_s = unit_s
        self.layers = nn.Sequential(
            nn.Linear(sum(space.widths), _WIDTH),
            nn.ReLU(),
            nn.Linear(_WIDTH, _WIDTH),
            nn.ReLU(),
            nn.Linear(_WIDTH, 1),
        )

    def forward(self, probabilities: torch.Tensor) -> torch.Tensor:
        """Seconds of [n, all choices]."""
        seconds: torch.Tensor = self.layers(probabilities)[:, 0] * self.unit_s
        return seconds

    @torch.no_grad()
    def seconds(self, architecture: Architecture) -> float:
        """Predicted seconds of one architecture."""
        return float(self(one_hot(self.space, [architecture]))[0])


def one_hot(space: Space, architectures: Sequence[Architecture]) -> torch.Tensor:
    """[n, all choices]: 1 where a choice is taken."""
    rows = [
        np.concatenate([np.eye(w)[c] for w, c in zip(space.widths, a, strict=True)])
        for a in architectures
    ]
    return torch.tensor(np.stack(rows), dtype=torch.float32)


def fit_regressor(
    space: Space, measured: Measured, *, steps: int = 2000, seed: int = 0
) -> LatencyRegressor:
    """Train on the relative squared error."""
    unit = float(np.mean(measured.seconds))
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(seed)
        model = LatencyRegressor(space, unit)
    codes, truth = one_hot(space, measured.architectures), torch.tensor(measured.seconds)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, weight_decay=1e-5)
    for _ in range(steps):
        optimizer.zero_grad()
        loss = (((model(codes) - truth) / truth) ** 2).mean()
        loss.backward()
        optimizer.step()
    return model.eval()


def compare_models(space: Space, fitted: Measured, held_out: Measured) -> dict[str, float]:
    """Relative error and rank correlation of table and regressor on ``held_out``, and the floor."""
    table = fit_linear(space, fitted.architectures, fitted.seconds, ridge=_TABLE_RIDGE)
    regressor = fit_regressor(space, fitted)
    by_table = [table.score(a) for a in held_out.architectures]
    by_regressor = [regressor.seconds(a) for a in held_out.architectures]
    return {
        "floor": held_out.floor,
        "table_error": relative_error(held_out.seconds, by_table),
        "table_tau": kendall_tau(held_out.seconds, by_table),
        "regressor_error": relative_error(held_out.seconds, by_regressor),
        "regressor_tau": kendall_tau(held_out.seconds, by_regressor),
    }
