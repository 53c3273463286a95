"""Channels at similar ranges: the network stays the same, its 8-bit numbers get better."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import splitter
from compress.int8 import Steps, quantize
from compress.int8.channels import groups_of
from compress.int8.equalise import equalised


class Net(nn.Module):
    """Channels of very different ranges, with what may lie between layers."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.depth = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.point = nn.Conv2d(8, 8, 1)
        self.grouped = nn.Conv2d(8, 8, 3, padding=1, groups=2)
        self.last = nn.Conv2d(8, 6, 1)
        self.hidden = nn.Linear(6, 10)
        self.head = nn.Linear(10, 4)
        with torch.no_grad():
            for weight in (w for w in self.parameters() if w.dim() > 1):
                weight *= 3  # else the outputs hardly depend on the inputs
            for layer, reader in ((self.first, self.depth), (self.last, self.hidden)):
                factors = torch.logspace(-2, 0, len(layer.weight))
                layer.weight *= factors[:, None, None, None]
                layer.bias *= factors  # type: ignore[operator]
                axis = 0 if reader is self.depth else 1
                reader.weight /= factors.reshape(
                    [-1 if i == axis else 1 for i in range(2 if axis else 4)]
                )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = F.relu6(self.first(x))
        y = F.max_pool2d(torch.relu(self.depth(F.pad(y, (1, 0, 0, 1)))), 2)
        y = y + self.point(y)
        y = torch.relu(self.last(torch.sigmoid(self.grouped(y)) * y))
        return self.head(torch.relu(self.hidden(y.mean((2, 3)))))


@pytest.fixture(scope="module")
def program() -> splitter.Program:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return splitter.trace(Net().eval(), (torch.randn(1, 3, 10, 10),), name="net")


@pytest.fixture(scope="module")
def requests() -> list[tuple[torch.Tensor, ...]]:
    generator = torch.Generator().manual_seed(2)
    return [(torch.randn(1, 3, 10, 10, generator=generator),) for _ in range(12)]


def test_groups(program: splitter.Program) -> None:
    found = {maker for group in groups_of(program.module) for maker, _ in group.makers}
    # What a grouped layer or a sigmoid reads cannot be scaled, nor can outputs.
    assert found == {"first.weight", "last.weight", "hidden.weight"}


def test_it_is_the_same_network(
    program: splitter.Program, requests: list[tuple[torch.Tensor, ...]]
) -> None:
    made = equalised(program, requests)
    changed = [
        n
        for n in program.graph.weight_bytes
        if not torch.equal(made.constant(n), program.constant(n))
    ]
    assert "first.weight" in changed
    assert "grouped.weight" not in changed
    for request in requests:
        torch.testing.assert_close(made(*request)[0], program(*request)[0], rtol=1e-4, atol=1e-5)


def test_numbers_are_better(
    program: splitter.Program, requests: list[tuple[torch.Tensor, ...]]
) -> None:
    def error(*how: bool) -> float:
        steps = Steps(*how) if how else None
        made = quantize(program, requests[:8], steps=steps)
        gaps = [(made(*r)[0] - program(*r)[0]).square().mean() for r in requests[8:]]
        return float(sum(gaps))

    usual = error(False, False)
    assert error(True, False) < usual
    assert error(True, True) < usual
    assert error() < usual, "what helps is found out"
