"""ProxylessNAS' binary gates in a network: two paths in memory, however many candidates.

Cai et al., "ProxylessNAS", 2019. The output of a place is the sum of its candidates' outputs times
gates; the gradient of a gate is <output, dL/d output>, and dL/d alpha_i = sum_j dL/d gate_j p_j
(delta_ij - p_i). In the two-path form two candidates are drawn by p and only they compute; their
probabilities are renormalised, one gate is open and one closed.
"""

from collections.abc import Sequence

import torch
from torch import nn


class GatedChoice(nn.Module):
    """One place with several candidates."""

    alpha: torch.Tensor

    def __init__(self, candidates: Sequence[nn.Module]) -> None:
        super().__init__()
        self.candidates = nn.ModuleList(candidates)
        self.register_buffer("alpha", torch.zeros(len(candidates)))
        self.gates: torch.Tensor | None = None
        self.drawn: tuple[int, ...] = ()

    def draw(self, generator: torch.Generator) -> None:
        """Two candidates for the next step, the first of them open or closed by its probability."""
        p = self.alpha.softmax(0)
        pair = torch.multinomial(p, 2, replacement=False, generator=generator)
        self.drawn = tuple(int(i) for i in pair)
        own = self.alpha[pair].softmax(0)
        opened = int(torch.multinomial(own, 1, generator=generator))
        gates = torch.zeros(2)
        gates[opened] = 1.0
        self.gates = gates.requires_grad_()

    def all_open(self) -> None:
        """The full mixture: every candidate, with its probability as its gate."""
        self.drawn = tuple(range(len(self.candidates)))
        self.gates = self.alpha.softmax(0).clone().requires_grad_()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Sum of the drawn candidates' outputs times their gates."""
        assert self.gates is not None, "draw first"
        parts = [self.candidates[i](x) for i in self.drawn]
        total: torch.Tensor = sum(
            (gate * part for gate, part in zip(self.gates, parts, strict=True)),
            start=torch.zeros(()),
        )
        return total

    def alpha_gradient(self) -> torch.Tensor:
        """dL/d alpha from the gates' gradients, after ``backward``; zero for what was not drawn."""
        assert self.gates is not None, "draw first"
        assert self.gates.grad is not None, "backward first"
        found = torch.zeros_like(self.alpha)
        drawn = list(self.drawn)
        p = self.alpha[drawn].softmax(0)
        found[drawn] = p * (self.gates.grad - p @ self.gates.grad)
        return found


def saved_bytes(run: "torch.nn.Module", x: torch.Tensor) -> int:
    """Bytes of activations that one forward pass keeps for its backward pass."""
    kept: dict[int, int] = {}
    parameters = {p.untyped_storage().data_ptr() for p in run.parameters()}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in parameters:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        held = run(x)
        total = sum(kept.values())
    del held
    return total
