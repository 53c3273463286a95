"""Loads trained weights into our definitions, and makes seeded ones where none exist."""

import pickle
from collections.abc import Callable
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import nn

from splitter.errors import ModelError


def load_state(module: nn.Module, path: Path) -> None:
    """Load a state dict (.pth or .safetensors) whose keys must be exactly the module's.

    Raises:
        ModelError: The file is damaged or holds another network.
    """
    try:
        if path.suffix == ".safetensors":
            state = safetensors.torch.load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
        module.load_state_dict(state)
    except (OSError, EOFError, pickle.UnpicklingError, safetensors.SafetensorError) as error:
        raise ModelError(f"{path} is damaged: {error}") from error
    except RuntimeError as error:
        first = str(error).strip().split("\n")[0]
        raise ModelError(f"{path} does not hold the weights of this network: {first}") from error


def seeded(build: Callable[[], nn.Module], seed: int = 0) -> nn.Module:
    """The module with the same random weights at every call; torch's generator is left alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = build()
        for part in module.modules():
            if isinstance(part, nn.Conv2d):
                nn.init.kaiming_normal_(part.weight, mode="fan_out", nonlinearity="relu")
    return module.eval()
