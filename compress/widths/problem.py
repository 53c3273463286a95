"""What a search of bit widths may ask: the score of a bit vector, at a price it is told of.

Scores are taken without retraining, on data held apart from the test set, and kept by bit vector,
so that searches can be compared at equal numbers of distinct evaluations.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import nn

from compress.direct import KMeans
from compress.recipe import Recipe, Rule
from compress.sites import Site, weight_of
from splitter.errors import UsageError

WIDTHS = (2, 3, 4, 5, 6, 8)
Bits = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Score:
    """How good a network is on the data held in."""

    accuracy: float
    """Share of right answers, 0 to 1."""
    loss: float
    """Finer than the accuracy: lower is better."""


Reward = Callable[[float, float], float]
"""From accuracy relative to float and mean bits per weight to a number to be raised."""


def product_reward(price_per_bit: float = 0.03) -> Reward:
    """``accuracy * (1 - price * bits)``."""
    return lambda accuracy, bits: accuracy * (1 - price_per_bit * bits)


def budget_reward(budget_bits: float, penalty_per_bit: float = 1.0) -> Reward:
    """The accuracy, less a penalty for each bit per weight above the budget."""
    return lambda accuracy, bits: accuracy - penalty_per_bit * max(0.0, bits - budget_bits)


@dataclass
class WidthProblem:
    """Layers, their choices, and the scores found so far."""

    sites: tuple[Site, ...]
    measure: Callable[[Bits], Score]
    """The score with these bits per layer, without retraining."""
    float_score: Score
    reward: Reward
    widths: Bits = WIDTHS
    scores: dict[Bits, Score] = field(default_factory=dict)
    """Distinct evaluations, in the order in which they were made."""

    def __post_init__(self) -> None:
        if not self.sites:
            raise UsageError("no layer is left to choose a bit width for")
        if tuple(sorted(set(self.widths))) != self.widths:
            raise UsageError(f"bit widths must rise, without repeats, not {list(self.widths)}")

    @property
    def sizes(self) -> tuple[int, ...]:
        """Weights per layer."""
        return tuple(torch.Size(site.shape).numel() for site in self.sites)

    def mean_bits(self, bits: Bits) -> float:
        """Bits per weight."""
        sizes = self.sizes
        return sum(b * n for b, n in zip(bits, sizes, strict=True)) / sum(sizes)

    def score(self, bits: Bits) -> Score:
        """The score of ``bits``; counted the first time."""
        if bits not in self.scores:
            self.scores[bits] = self.measure(bits)
        return self.scores[bits]

    def reward_of(self, bits: Bits) -> float:
        """What a search is to raise."""
        relative = self.score(bits).accuracy / max(self.float_score.accuracy, 1e-12)
        return self.reward(relative, self.mean_bits(bits))

    def fresh(self) -> "WidthProblem":
        """The same problem, nothing evaluated yet."""
        return WidthProblem(self.sites, self.measure, self.float_score, self.reward, self.widths)

    def best_seen(self) -> Bits:
        """Of all that was evaluated the highest reward, the first of equals."""
        return max(self.scores, key=self.reward_of)


@dataclass(frozen=True, slots=True)
class Found:
    """What a search came to."""

    search: str
    bits: Bits
    """Its answer: for the controller the final policy's, else the best seen."""
    reward: float
    best_seen: float
    """Highest reward of any evaluation."""
    evaluations: int
    """Distinct bit vectors that were scored."""


def found(search: str, problem: WidthProblem, bits: Bits | None = None) -> Found:
    """The result of a search that ends here."""
    chosen = problem.best_seen() if bits is None else bits
    reward = problem.reward_of(chosen)  # which may be one more evaluation
    best = problem.reward_of(problem.best_seen())
    return Found(search, chosen, reward, best, len(problem.scores))


def network_problem(
    model: nn.Module,
    sites: Sequence[Site],
    measure: Callable[[nn.Module], Score],
    reward: Reward,
    widths: Bits = WIDTHS,
) -> WidthProblem:
    """The problem of ``model``'s layers: each width means k-means from the weights alone.

    ``measure`` scores the network as it is; the weights are put back after each score.
    """
    weights = {site.weight: weight_of(model, site) for site in sites}
    original = {name: weight.detach().clone() for name, weight in weights.items()}
    table = _quantized(model, sites, widths, original)

    def scored(bits: Bits) -> Score:
        try:
            _put(weights, {s.weight: table[s.weight, b] for s, b in zip(sites, bits, strict=True)})
            return measure(model)
        finally:
            _put(weights, original)

    return WidthProblem(tuple(sites), scored, measure(model), reward, widths)


def width_recipe(sites: Sequence[Site], bits: Bits, method: str = "dnq") -> Recipe:
    """A recipe with one rule per layer."""
    from compress.methods import make_method

    return Recipe(
        tuple(
            Rule(site.layer, make_method(method, {"bits": b}))
            for site, b in zip(sites, bits, strict=True)
        )
    )


@torch.no_grad()
def _put(weights: Mapping[str, torch.Tensor], values: Mapping[str, torch.Tensor]) -> None:
    for name, value in values.items():
        weights[name].copy_(value)


def _quantized(
    model: nn.Module,
    sites: Sequence[Site],
    widths: Bits,
    original: Mapping[str, torch.Tensor],
) -> dict[tuple[str, int], torch.Tensor]:
    """Every weight at every width."""
    table: dict[tuple[str, int], torch.Tensor] = {}
    weights = {site.weight: weight_of(model, site) for site in sites}
    for width in widths:
        method = KMeans(bits=width)
        method.attach_to(model, sites)
        for name, tensor in method.finish().items():
            table[name, width] = torch.from_numpy(tensor.dense()).to(original[name])
        _put(weights, original)
    return table
