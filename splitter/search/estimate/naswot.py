"""NASWOT: a score of untrained networks.

Mellor et al., "Neural Architecture Search without Training", 2021. One batch goes through the
network at initialisation; per ReLU and image, which units are active is a binary code. K counts the
units in which two images agree; the score is log |det K|. Deviation: a kernel matrix that is
singular scores minus infinity instead of being discarded, so that ranks stay complete.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from math import inf

import torch
from torch import nn

from splitter.search.space.space import Architecture


@dataclass(frozen=True)
class Naswot:
    """log |det| of the agreement of activation patterns in one batch."""

    network: Callable[[Architecture], nn.Module]
    """A fresh network of an architecture."""
    images: torch.Tensor
    seed: int = 0
    _known: dict[Architecture, float] = field(default_factory=dict, repr=False)

    def score(self, architecture: Architecture) -> float:
        """Higher for networks that tell the images apart better."""
        if architecture not in self._known:
            with torch.random.fork_rng(devices=()):
                torch.manual_seed(self.seed)
                network = self.network(architecture)
            self._known[architecture] = naswot_score(network, self.images)
        return self._known[architecture]


def naswot_score(network: nn.Module, images: torch.Tensor) -> float:
    """The score of one network; batch norms use the batch's own statistics."""
    made: list[torch.Tensor] = []

    def observe(module: nn.Module, _: object, output: torch.Tensor) -> None:
        del module
        made.append(output)

    hooks = [m.register_forward_hook(observe) for m in network.modules() if isinstance(m, nn.ReLU)]
    network.train()
    logits = network(images)
    for hook in hooks:
        hook.remove()
    sign, logarithm = torch.linalg.slogdet(_agreement(logits, made))
    value = float(logarithm)
    return value if float(sign) != 0.0 and value == value else -inf


def _agreement(logits: torch.Tensor, made: list[torch.Tensor]) -> torch.Tensor:
    """Units that agree, for each pair of images; only of ReLUs that the logits depend on."""
    kernel = torch.zeros((len(logits), len(logits)), dtype=torch.float64)
    gradients = torch.autograd.grad(logits.sum(), made, allow_unused=True) if made else ()
    for output, gradient in zip(made, gradients, strict=True):
        if gradient is None or not gradient.any():
            continue
        active = (output.detach().flatten(1) > 0).float()
        idle = 1.0 - active
        kernel += (active @ active.T + idle @ idle.T).double()
    return kernel
