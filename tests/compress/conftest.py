"""Small networks that the tests of compression share."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).parent))

from compress_nets import Loop, Residual


@pytest.fixture
def net() -> Residual:
    """A residual network with batch norms that were fed."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made = Residual()
        made(torch.randn(32, 2, 8, 8))
        return made


@pytest.fixture
def loop() -> Loop:
    """An ordinary training loop, with momentum and weight decay."""

    def run(model: nn.Module, after_step: Callable[[], None], steps: int) -> None:
        generator = torch.Generator().manual_seed(1)
        optimizer = torch.optim.SGD(model.parameters(), 0.05, momentum=0.9, weight_decay=1e-2)
        for _ in range(steps):
            x = torch.randn(8, 2, 8, 8, generator=generator)
            labels = (x.mean((1, 2, 3)) > 0).long()
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x), labels).backward()
            optimizer.step()
            after_step()

    return run
