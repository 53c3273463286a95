"""Loads trained weights into our definitions, and makes seeded ones where none exist."""

from collections.abc import Callable
from pathlib import Path

import safetensors.torch
import torch
from torch import nn

from splitter.errors import ModelError


def load_state(module: nn.Module, path: Path) -> None:
    """Load a state dict (.pth or .safetensors) whose keys must be exactly the module's.

    Raises:
        ModelError: The file is damaged or holds another network.
    """
    state = _read(path)
    try:
        module.load_state_dict(state)
    except RuntimeError as error:
        first = str(error).strip().split("\n")[0]
        raise ModelError(f"{path} does not hold the weights of this network: {first}") from error


def _read(path: Path) -> dict[str, torch.Tensor]:
    try:
        if path.suffix == ".safetensors":
            tensors: dict[str, torch.Tensor] = safetensors.torch.load_file(path)
            return tensors
        state: dict[str, torch.Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # the unpickler fails in any way at all on foreign bytes
        raise ModelError(f"{path} is damaged: {str(error) or type(error).__name__}") from error
    return state


def seeded(build: Callable[[], nn.Module], seed: int = 0) -> nn.Module:
    """The module with the same random weights at every call; torch's generator is left alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = build()
        for part in module.modules():
            if isinstance(part, nn.Conv2d):
                nn.init.kaiming_normal_(part.weight, mode="fan_out", nonlinearity="relu")
    return module.eval()
