"""From photos to input tensors."""

from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image


@dataclass(frozen=True, slots=True)
class Preprocess:
    """Resize the shorter side, crop the centre, then (x - mean) / scale per channel.

    An instance is called with a photo and gives a 1x3xHxW float tensor.
    """

    shorter_side: int
    """Pixels of the shorter side before cropping; 0 resizes to the exact size instead."""
    height: int
    width: int
    mean: tuple[float, float, float]
    """In units of 0..255, red, green, blue."""
    scale: tuple[float, float, float]
    """In units of 0..255."""
    resampling: Image.Resampling = Image.Resampling.BILINEAR

    def __call__(self, image: Image.Image) -> torch.Tensor:
        """The input tensor for ``image``."""
        pixels = np.asarray(self._cropped(image.convert("RGB")), dtype=np.float32)
        normal = (pixels - np.array(self.mean, np.float32)) / np.array(self.scale, np.float32)
        return torch.from_numpy(np.ascontiguousarray(normal.transpose(2, 0, 1)))[None]

    def _cropped(self, image: Image.Image) -> Image.Image:
        if not self.shorter_side:
            return image.resize((self.width, self.height), self.resampling)
        factor = self.shorter_side / min(image.size)
        width, height = (round(side * factor) for side in image.size)
        resized = image.resize((width, height), self.resampling)
        left, top = (width - self.width) // 2, (height - self.height) // 2
        return resized.crop((left, top, left + self.width, top + self.height))


def imagenet(shorter_side: int = 256, size: int = 224) -> Preprocess:
    """ImageNet mean and standard deviation."""
    mean = (0.485 * 255, 0.456 * 255, 0.406 * 255)
    scale = (0.229 * 255, 0.224 * 255, 0.225 * 255)
    return Preprocess(shorter_side, size, size, mean, scale)


def synthetic_photo(width: int = 512, height: int = 512) -> Image.Image:
    """A picture with smooth areas, edges and texture, the same at every call."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    disc = (x - width / 2) ** 2 + (y - height / 2) ** 2 < (min(width, height) / 3) ** 2
    red = 255 * x / width
    green = np.where(disc, 200.0, 255 * y / height)
    blue = 127 + 100 * np.sin(x / 9) * np.cos(y / 13)
    stacked = np.stack([red, green, blue], axis=2)
    return Image.fromarray(np.clip(np.round(stacked), 0, 255).astype(np.uint8))
