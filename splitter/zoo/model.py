"""What the zoo gives out."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from PIL import Image


@dataclass(frozen=True)
class ZooModel:
    """A network ready to be traced."""

    name: str
    description: str
    module: torch.nn.Module
    """In evaluation mode."""
    example_inputs: tuple[torch.Tensor, ...]
    """One request; the same at every call."""
    input_names: tuple[str, ...]
    output_names: tuple[str, ...]
    pretrained: bool
    """Whether the weights come from training; otherwise they are seeded random numbers."""
    labels: tuple[str, ...] | None = None
    """Class names by index, for classifiers whose names are installed."""
    preprocess: Callable[[Image.Image], torch.Tensor] | None = None
    """From a photo to the first input, for models of images."""
